//! What a client is told: where the service is, how calls are made, and what they carry.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tonic::metadata::{
    AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap,
};
use tonic::transport::{Endpoint, Uri};

use crate::client::Client;
use crate::error::{Error, Reason, Source};

/// The header that names the tenant.
const NAMESPACE: &str = "x-workflow-state-namespace";
const EXPECTED: &str = "expected one such as http://127.0.0.1:7410 or https://state.example.com";

/// How a call that failed with UNAVAILABLE is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How often a call is tried in all, 1 or more.
    pub attempts: u32,
    /// The longest pause before the second attempt, more than 0; it doubles with each.
    pub base: Duration,
    /// The longest pause, more than 0.
    pub most: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_millis(50), most: Duration::from_secs(2) }
    }
}

impl Retry {
    /// How long to wait after so many attempts: exponential, with a random half.
    pub(crate) fn pause(&self, count: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(count.saturating_sub(1));
        self.base.saturating_mul(doubled).min(self.most).mul_f64(rand::random_range(0.5..1.0))
    }
}

type Ask = dyn Fn() -> BoxFuture<'static, Result<String, Source>> + Send + Sync;

#[derive(Clone)]
enum Token {
    Fixed(String),
    Asked(Arc<Ask>),
}

/// What a client can be told, until [`build`](Builder::build) makes it.
///
/// ```no_run
/// # use std::time::Duration;
/// # use agenterra_workflow_state::{Client, Error};
/// # fn main() -> Result<(), Error> {
/// let client = Client::builder("https://state.example.com")
///     .token("…")
///     .timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder makes a client by `build`"]
pub struct Builder {
    url: String,
    timeout: Duration,
    retry: Retry,
    silence: Duration,
    token: Option<Token>,
    metadata: Result<MetadataMap, &'static str>,
    #[cfg(feature = "tls")]
    tls: Tls,
}

#[cfg(feature = "tls")]
#[derive(Clone, Default)]
struct Tls {
    root_certificates: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Builder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: Duration::from_secs(30),
            retry: Retry::default(),
            silence: Duration::from_secs(45),
            token: None,
            metadata: Ok(MetadataMap::new()),
            #[cfg(feature = "tls")]
            tls: Tls::default(),
        }
    }

    /// How long a call may take with all its attempts, unless it says otherwise; 30 s if not given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How calls are tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long a watch on a session hears nothing before it connects anew; 45 s if not given.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Sent as `authorization: Bearer …`. Use it with `https://` only.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::Fixed(token.into()));
        self
    }

    /// Gives the token of each attempt, for tokens that run out.
    pub fn token_with<F, A>(mut self, ask: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<String, Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        self.token = Some(Token::Asked(Arc::new(move || Box::pin(ask()))));
        self
    }

    /// Which of the caller's namespaces to work in.
    pub fn namespace(self, namespace: &str) -> Self {
        self.metadata(NAMESPACE, namespace)
    }

    /// A further header of every call: printable ASCII.
    pub fn metadata(mut self, name: &str, value: &str) -> Self {
        self.metadata = self.metadata.and_then(|mut metadata| {
            let key = AsciiMetadataKey::from_bytes(checked(name)?).map_err(|_| NAMES)?;
            let is_printable =
                value.bytes().all(|letter| matches!(letter, b' '..=b'~')) && value.trim() == value;
            let value = AsciiMetadataValue::try_from(value).ok().filter(|_| is_printable);
            metadata.insert(key, value.ok_or("The text of a header must be printable ASCII.")?);
            Ok(metadata)
        });
        self
    }

    /// A further header of every call whose name ends in `-bin`: any bytes.
    pub fn binary_metadata(mut self, name: &str, value: &[u8]) -> Self {
        self.metadata = self.metadata.and_then(|mut metadata| {
            let key = BinaryMetadataKey::from_bytes(checked(name)?)
                .map_err(|_| "The name of a header of bytes ends in -bin.")?;
            metadata.insert_bin(key, BinaryMetadataValue::from_bytes(value));
            Ok(metadata)
        });
        self
    }

    /// For `https://`: who may have signed the service's certificate, as PEM. If not given, whom the system
    /// trusts.
    #[cfg(feature = "tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.root_certificates = Some(pem.into());
        self
    }

    /// For mutual TLS: the client's certificate and its key, as PEM.
    #[cfg(feature = "tls")]
    pub fn client_certificate(mut self, pem: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some((pem.into(), key.into()));
        self
    }

    /// Makes the client. It connects when it is first used. Fails with INVALID_REQUEST and the `field`.
    pub fn build(self) -> Result<Client, Error> {
        Ok(Client::new_of(self.settings()?))
    }

    fn settings(self) -> Result<Settings, Error> {
        let spans = [
            ("timeout", self.timeout),
            ("silence", self.silence),
            ("retry.base", self.retry.base),
            ("retry.most", self.retry.most),
        ];
        for (field, span) in spans {
            if span.is_zero() {
                return Err(Error::invalid(field, format!("{field} must be more than 0.")));
            }
        }
        if self.retry.attempts == 0 {
            return Err(Error::invalid("retry.attempts", "retry.attempts must be 1 or more."));
        }
        let token = match self.token {
            Some(Token::Fixed(token)) => Some(Authorization::Fixed(bearer(&token)?)),
            Some(Token::Asked(ask)) => Some(Authorization::Asked(ask)),
            None => None,
        };
        let uri = uri_of(&self.url)?;
        let is_secure = uri.scheme_str() == Some("https");
        let endpoint = Endpoint::from(uri)
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            // A dead connection is found by a ping, also while only a watch is open.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            // An error names every check that failed, in a header.
            .http2_max_header_list_size(4 << 20);
        #[cfg(feature = "tls")]
        let endpoint = self.tls.applied(endpoint, is_secure)?;
        if is_secure && cfg!(not(feature = "tls")) {
            return Err(Error::invalid("url", "An https:// URL needs the crate's feature `tls`."));
        }
        Ok(Settings {
            endpoint,
            timeout: self.timeout,
            retry: self.retry,
            silence: self.silence,
            authorization: token,
            metadata: self.metadata.map_err(|message| Error::invalid("metadata", message))?,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL, the token or headers: they can hold secrets.
        formatter
            .debug_struct("Builder")
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "tls")]
impl Tls {
    fn applied(self, endpoint: Endpoint, is_secure: bool) -> Result<Endpoint, Error> {
        use tonic::transport::{Certificate, ClientTlsConfig, Identity};
        if !is_secure {
            return if self.root_certificates.is_none() && self.identity.is_none() {
                Ok(endpoint)
            } else {
                Err(Error::invalid("url", "Certificates need an https:// URL."))
            };
        }
        let mut config = ClientTlsConfig::new();
        config = match self.root_certificates {
            Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
            None => config.with_native_roots(),
        };
        if let Some((certificate, key)) = self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(config).map_err(|error| {
            Error::invalid("root_certificates", "The certificates or the key can't be read.").because(error)
        })
    }
}

const NAMES: &str = "The name of a header is of a-z, 0-9, -, _ and ., and does not begin with grpc-.";

fn checked(name: &str) -> Result<&[u8], &'static str> {
    let is_plain = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_plain) || name.starts_with("grpc-") {
        return Err(NAMES);
    }
    Ok(name.as_bytes())
}

// No message repeats the URL: it could hold a password.
fn uri_of(url: &str) -> Result<Uri, Error> {
    let invalid = |what: &str| Error::invalid("url", format!("{what}: {EXPECTED}."));
    let uri: Uri = url.parse().map_err(|_| invalid("The URL can't be read"))?;
    let host = uri.host().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
        return Err(invalid("The URL has no scheme that is known, or no host"));
    }
    if authority.contains('@') {
        return Err(Error::invalid(
            "url",
            "The URL must have no user or password: use `token` or `metadata`.",
        ));
    }
    if uri.path() != "/" || uri.query().is_some() || url.contains('#') {
        return Err(invalid("The URL must have nothing after the port"));
    }
    if authority.len() > host.len() && uri.port_u16().is_none() {
        return Err(invalid("The URL's port is none"));
    }
    Ok(uri)
}

fn bearer(token: &str) -> Result<AsciiMetadataValue, Error> {
    let invalid = || {
        Error::new(Reason::Unauthenticated, "A token is visible ASCII, without spaces.")
            .with("field", "token")
    };
    if token.is_empty() || !token.bytes().all(|letter| letter.is_ascii_graphic()) {
        return Err(invalid());
    }
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}")).map_err(|_| invalid())?;
    value.set_sensitive(true);
    Ok(value)
}

enum Authorization {
    Fixed(AsciiMetadataValue),
    Asked(Arc<Ask>),
}

/// What a client was told, checked.
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) timeout: Duration,
    pub(crate) retry: Retry,
    pub(crate) silence: Duration,
    authorization: Option<Authorization>,
    metadata: MetadataMap,
}

impl Settings {
    /// What a call carries.
    pub(crate) async fn metadata(&self) -> Result<MetadataMap, Error> {
        let mut metadata = self.metadata.clone();
        let authorization = match &self.authorization {
            None => return Ok(metadata),
            Some(Authorization::Fixed(value)) => value.clone(),
            Some(Authorization::Asked(ask)) => bearer(&ask().await.map_err(|error| {
                Error::new(Reason::StoreUnavailable, "The token of the call could not be had.").because(error)
            })?)?,
        };
        metadata.insert("authorization", authorization);
        Ok(metadata)
    }
}
