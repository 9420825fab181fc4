//! Where a client connects to, and what its calls carry: URLs, TLS, tokens, metadata.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use agenterra_workflow_state::{Builder, Client, Code, Reason, Retry, StreamExt};
use serde_json::Value;
use tonic::Status;

use crate::support::raw::{Raw, detailed};
use crate::support::{Service, reason, retries, self_signed};

#[tokio::test]
async fn a_url_names_a_host_and_a_port() {
    let service = Service::shared();
    let port = service.url.rsplit(':').next().unwrap();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}"),
        format!("HTTP://localhost:{port}"),
    ] {
        let client = Client::new(url).unwrap();
        assert_eq!(client.get_state::<Value>("s", "none").await.unwrap(), None);
    }
    let service = Service::start_at("[::1]:0", &[]);
    assert_eq!(service.client().get_state::<Value>("s", "none").await.unwrap(), None);
}

#[test]
fn a_url_that_is_none_is_refused_without_repeating_it() {
    let wrong = [
        "",
        "127.0.0.1:7410",
        "localhost:7410",
        "grpc://localhost:7410",
        "http://",
        "http://:7410",
        "http://user:secret@localhost:7410",
        "http://secret@localhost",
        "http://localhost:99999",
        "http://localhost:port",
        "http://localhost/secret",
        "http://localhost?token=secret",
        "http://localhost#secret",
        "http://[::1",
        "http://a b",
    ];
    for url in wrong {
        let error = Client::new(url).expect_err(url);
        assert_eq!(error.reason(), Reason::InvalidRequest, "{url}");
        assert_eq!(error.metadata()["field"], "url", "{url}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[test]
fn wrong_options_are_refused_by_name() {
    let client = || Client::builder("http://localhost");
    let none = Retry { attempts: 0, ..Retry::default() };
    let at_once = Retry { base: Duration::ZERO, ..Retry::default() };
    let never_longer = Retry { most: Duration::ZERO, ..Retry::default() };
    let cases: [(&str, Builder); 16] = [
        ("url", client().root_certificates("x")),
        ("url", client().client_certificate("x", "y")),
        ("root_certificates", Client::builder("https://localhost").client_certificate("x", "y")),
        ("timeout", client().timeout(Duration::ZERO)),
        ("silence", client().silence(Duration::ZERO)),
        ("retry.attempts", client().retry(none)),
        ("retry.base", client().retry(at_once)),
        ("retry.most", client().retry(never_longer)),
        ("metadata", client().metadata("Upper", "x")),
        ("metadata", client().metadata("grpc-x", "x")),
        ("metadata", client().metadata("x", "line\nbreak")),
        ("metadata", client().metadata("x", " spaces ")),
        ("metadata", client().metadata("x-bin", "text")),
        ("metadata", client().binary_metadata("x", b"bytes")),
        ("token", client().token("two words")),
        ("token", client().token("")),
    ];
    for (field, builder) in cases {
        assert_eq!(builder.build().unwrap_err().metadata()["field"], field);
    }
}

#[test]
fn what_is_shown_of_a_client_has_no_secret() {
    let builder = Client::builder("http://localhost").token("secret").metadata("x-key", "secret");
    assert!(!format!("{builder:?}").contains("secret"));
    assert!(!format!("{:?}", builder.build().unwrap()).contains("secret"));
}

#[tokio::test]
async fn a_service_with_tls_is_reached_by_who_trusts_its_certificate() {
    let identity = self_signed();
    let (cert, key) = (identity.folder.path("cert.pem"), identity.folder.path("key.pem"));
    let service = Service::start(&["--tls-cert", &cert, "--tls-key", &key]);
    let url = service.url.replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://"));
    let trusting = Client::builder(&url).root_certificates(identity.certificate.as_str()).build().unwrap();
    trusting.set_state("s", "k", 1).await.unwrap();
    let Some(Ok(message)) = trusting.watch_session("s").stream().next().await else { panic!("a snapshot") };
    assert_eq!(message.revision(), 1);
    // Whom the system trusts did not sign it.
    for stranger in [Client::builder(&url), Client::builder(url.replace("https", "http"))] {
        let client = stranger.retry(retries(1)).build().unwrap();
        assert!(client.set_state("s", "k", 2).await.is_err());
    }
    assert_eq!(trusting.get_state("s", "k").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let identity = self_signed();
    let (cert, key) = (identity.folder.path("cert.pem"), identity.folder.path("key.pem"));
    let auth = r#"{ "auth": {
        "certificates": [{ "subjectAltName": "DNS:localhost", "principal": "p", "namespaces": ["default"] }],
        "grants": [{ "principal": "p", "namespace": "default", "action": "admin" }]
    } }"#;
    let config = identity.folder.write("config.json", auth);
    let service = Service::start(&[
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &cert,
        "--config",
        &config,
    ]);
    let url = service.url.replace("127.0.0.1", "localhost");
    let builder = || Client::builder(&url).root_certificates(identity.certificate.as_str()).retry(retries(1));
    let known =
        builder().client_certificate(identity.certificate.as_str(), identity.key.as_str()).build().unwrap();
    known.set_state("s", "k", 1).await.unwrap();
    assert!(builder().build().unwrap().set_state("s", "k", 2).await.is_err());
    assert_eq!(known.get_state("s", "k").await.unwrap(), Some(1));
}

#[tokio::test]
async fn every_call_carries_the_token_the_namespace_and_the_metadata() {
    let (raw, url) = Raw::saying([Status::invalid_argument("no")]).await;
    let client = Client::builder(url)
        .token("abc.def")
        .namespace("blue")
        .metadata("x-tenant", "ada")
        .binary_metadata("x-trace-bin", &[0, 255])
        .build()
        .unwrap();
    assert!(client.get_entry("s", "k").timeout(Duration::from_secs(7)).await.is_err());
    assert!(client.watch_session("s").stream().next().await.unwrap().is_err());
    assert!(client.watch_sessions().await.unwrap().next().await.unwrap().is_err());
    assert!(client.pipeline(futures_util::stream::iter([vec![]])).next().await.unwrap().is_err());
    assert!(client.list_events("s").stream().next().await.unwrap().is_err());
    let carried = raw.carried();
    assert_eq!(carried.len(), 5);
    for headers in &carried {
        assert_eq!(headers["authorization"], "Bearer abc.def");
        assert_eq!(headers["x-workflow-state-namespace"], "blue");
        assert_eq!(headers["x-tenant"], "ada");
        assert_eq!(headers["x-trace-bin"], "AP8");
    }
    assert!(carried[0].contains_key("grpc-timeout") && !carried[1].contains_key("grpc-timeout"));
}

#[tokio::test]
async fn a_token_function_is_asked_for_each_attempt() {
    let (raw, url) = Raw::saying([detailed(Code::Unavailable, 20)]).await;
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let token = || async { Ok(format!("t{}", COUNT.fetch_add(1, SeqCst))) };
    let client = Client::builder(url).token_with(token).retry(retries(3)).build().unwrap();
    assert_eq!(reason(client.get_entry("s", "k").await), Reason::StoreUnavailable);
    let tokens: Vec<_> = raw.carried().iter().map(|headers| headers["authorization"].clone()).collect();
    assert_eq!(tokens, ["Bearer t0", "Bearer t1", "Bearer t2"]);
}

#[tokio::test]
async fn a_token_that_can_not_be_had_is_no_call() {
    let (raw, url) = Raw::saying([Status::invalid_argument("no")]).await;
    let away = || async { Err("the issuer is away".into()) };
    let client = Client::builder(&url).token_with(away).retry(retries(2)).build().unwrap();
    let error = client.set_state("s", "k", 1).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the issuer is away");
    let wrong = || async { Ok("two words".to_owned()) };
    let client = Client::builder(&url).token_with(wrong).build().unwrap();
    assert_eq!(reason(client.set_state("s", "k", 1).await), Reason::Unauthenticated);
    let never = || async { std::future::pending().await };
    let client = Client::builder(&url).token_with(never).timeout(Duration::from_millis(50)).build().unwrap();
    assert_eq!(reason(client.set_state("s", "k", 1).await), Reason::StoreUnavailable);
    assert_eq!(raw.carried().len(), 0);
}
