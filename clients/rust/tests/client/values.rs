//! What is written comes back equal, or is not written.

use std::collections::{BTreeMap, HashMap};

use agenterra_workflow_state::{
    Client, Commit, Error, GetSession, GetState, Operation, Reason, SetState, StreamExt, TryStreamExt,
    WatchMessage,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::support::{NOWHERE, Service, unique};

/// So many levels around a scalar, which is one more.
fn nested(levels: u32, around: fn(Value) -> Value) -> Value {
    (1..levels).fold(json!("deep"), |inner, _| around(inner))
}

fn in_object(inner: Value) -> Value {
    json!({ "a": inner })
}

fn in_list(inner: Value) -> Value {
    json!([inner])
}

fn samples() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(0.1),
        json!(1e300),
        json!(5e-324),
        json!(-1.797_693_134_862_315_7e308),
        json!(9_007_199_254_740_992_i64),
        json!(-9_007_199_254_740_992_i64),
        json!(9_007_199_254_740_994_f64),
        json!(""),
        json!("\u{0}\u{feff}é🛒\u{10ffff}\r\n\"\\"),
        json!("x".repeat(100_000)),
        json!([]),
        json!({}),
        json!([null, [], {}, [[]], false, 0, ""]),
        json!({ "__proto__": { "constructor": null }, "": 1, "\u{0}": 2, "z": 3, "a": [4] }),
        json!((0..9_999).collect::<Vec<_>>()),
        nested(32, in_object),
        nested(32, in_list),
    ]
}

#[tokio::test]
async fn a_value_reads_back_equal_from_every_call() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("values");
    let mut revision = 0;
    for value in samples() {
        revision = client.set_state(&id, "k", &value).await.unwrap().revision;
        assert_eq!(client.get_state::<Value>(&id, "k").await.unwrap().as_ref(), Some(&value));
        assert_eq!(client.get_entry(&id, "k").await.unwrap().unwrap().value.as_ref(), Some(&value));
        assert_eq!(client.get_session(&id).await.unwrap().unwrap().state["k"], value);
        let entries: Vec<_> = client.list_state(&id).key_prefix("k").stream().try_collect().await.unwrap();
        assert_eq!(entries[0].value.as_ref(), Some(&value));
        let committed = client.commit(&id).set("k", &value).await.unwrap();
        assert_eq!(committed.entry("k").unwrap().value.as_ref(), Some(&value));
        revision = revision.max(committed.revision);

        // An object that is as deep as may be is deepest in these.
        let operations: [Operation; 4] = [
            GetState::new(&id, "k").into(),
            SetState::new(&id, "k", &value).into(),
            GetSession::new(&id).into(),
            Commit::new(&id).set("k", &value).into(),
        ];
        let answers: Vec<_> =
            client.batch(operations).await.unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(answers[0].entry().unwrap().value.as_ref(), Some(&value));
        assert_eq!(answers[1].entry().unwrap().value.as_ref(), Some(&value));
        assert_eq!(answers[2].session().unwrap().state["k"], value);
        assert_eq!(answers[3].committed().unwrap().entries[0].value.as_ref(), Some(&value));

        let mut watch = client.watch_session(&id).stream();
        let Some(Ok(WatchMessage::Snapshot(session))) = watch.next().await else { panic!("a snapshot") };
        assert_eq!(session.state["k"], value);
        let mut watch = client.watch_session(&id).after_revision(session.revision - 1).stream();
        let Some(Ok(WatchMessage::Event(event))) = watch.next().await else { panic!("an event") };
        assert_eq!(event.entries[0].value.as_ref(), Some(&value));

        let saved = client.save_session(&id, [("k", &value)]).await.unwrap();
        assert_eq!(saved.state["k"], value);
        let copy = client.fork_session(&id, unique("copy")).await.unwrap();
        assert_eq!(copy.state["k"], value);
        client.update(&id, |draft| draft.set("copy", draft.get::<Value>("k")?)).await.unwrap();
        assert_eq!(client.get_state::<Value>(&id, "copy").await.unwrap(), Some(value));
    }
    assert!(revision > 0);
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Order {
    id: u64,
    price: f32,
    note: Option<String>,
    pair: (i8, char),
    by_number: BTreeMap<u16, Vec<Kind>>,
    unit: (),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Kind {
    Unit,
    One(i64),
    Two(i64, String),
    Named { flag: bool },
}

#[tokio::test]
async fn a_type_of_the_callers_reads_back_as_it_was() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("typed");
    let kinds = vec![Kind::Unit, Kind::One(-7), Kind::Two(1 << 53, "two".into()), Kind::Named { flag: true }];
    let order = Order {
        id: 42,
        price: 0.1,
        note: Some("ü".into()),
        pair: (-1, '🛒'),
        by_number: BTreeMap::from([(7, kinds), (65_535, vec![])]),
        unit: (),
    };
    for order in [order, Order { pair: (0, 'x'), ..Order::default() }] {
        client.set_state(&id, "order", &order).await.unwrap();
        assert_eq!(client.get_state(&id, "order").await.unwrap(), Some(order.clone()));
        assert_eq!(
            client.get_session(&id).await.unwrap().unwrap().get("order").unwrap(),
            Some(order.clone())
        );
        assert_eq!(client.get_entry(&id, "order").await.unwrap().unwrap().get().unwrap(), Some(order));
    }
    // Whole numbers are numbers, however they were written.
    client.set_state(&id, "n", 3.0_f64).await.unwrap();
    assert_eq!(client.get_state::<u8>(&id, "n").await.unwrap(), Some(3));
    client.set_state(&id, "n", 3_u8).await.unwrap();
    assert_eq!(client.get_state::<f64>(&id, "n").await.unwrap(), Some(3.0));
    client.set_state(&id, "n", -0.0_f64).await.unwrap();
    assert_eq!(client.get_state::<Value>(&id, "n").await.unwrap(), Some(json!(0)));
}

#[tokio::test]
async fn a_missing_key_is_none_and_a_stored_null_is_null() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("null");
    client.set_state(&id, "null", ()).await.unwrap();
    assert_eq!(client.get_state::<Value>(&id, "null").await.unwrap(), Some(Value::Null));
    assert_eq!(client.get_state::<Option<u8>>(&id, "null").await.unwrap(), Some(None));
    assert_eq!(client.get_entry(&id, "null").await.unwrap().unwrap().value, Some(Value::Null));
    assert_eq!(client.get_state::<Value>(&id, "none").await.unwrap(), None);
    assert_eq!(client.get_entry(&id, "none").await.unwrap(), None);
    assert_eq!(client.get_state::<Value>(unique("none"), "none").await.unwrap(), None);
}

/// The path of a refused value. Nothing is sent.
async fn refused(value: impl Serialize) -> String {
    let client = Client::new(NOWHERE).unwrap();
    let error = client.set_state("s", "key", value).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidValue, "{error}");
    assert_eq!(error.metadata()["key"], "key");
    error.metadata()["path"].clone()
}

struct Bytes;

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(b"bytes")
    }
}

struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("secret"))
    }
}

#[tokio::test]
async fn a_value_that_would_not_come_back_is_refused_with_its_path() {
    assert_eq!(refused((1_u64 << 53) + 1).await, "$");
    assert_eq!(refused(-(1_i64 << 53) - 1).await, "$");
    assert_eq!(refused(u64::MAX).await, "$");
    assert_eq!(refused(u128::MAX).await, "$");
    assert_eq!(refused(i128::MIN).await, "$");
    assert_eq!(refused(f64::NAN).await, "$");
    assert_eq!(refused([0.0, f64::INFINITY]).await, "$[1]");
    assert_eq!(refused(f32::NEG_INFINITY).await, "$");
    assert_eq!(refused(HashMap::from([("of", vec![Bytes])])).await, "$.of[0]");
    assert_eq!(refused(HashMap::from([("of", Stubborn)])).await, "$.of");
    assert_eq!(refused(HashMap::from([(Some([1]), 1)])).await, "$");
    assert_eq!(refused(HashMap::from([("a b", u64::MAX)])).await, r#"$["a b"]"#);
    assert_eq!(refused(HashMap::from([("", HashMap::from([("$_9", u64::MAX)]))])).await, r#"$[""].$_9"#);
    assert_eq!(refused(Kind::Two(i64::MAX, String::new())).await, "$.Two[0]");
    assert_eq!(refused(Kind::One(i64::MAX)).await, "$.One");
    assert_eq!(refused(nested(33, in_list)).await, format!("${}", "[0]".repeat(32)));
    assert_eq!(refused(nested(33, in_object)).await, format!("${}", ".a".repeat(32)));
    // An enum's variant is a level around what is in it.
    let enums = (0..16).fold(json!(1), |inner, _| json!({ "One": [inner] }));
    assert_eq!(refused(enums).await.len(), 1 + 16 * "[0].One".len());
    let long = "x".repeat(5000);
    let path = refused(HashMap::from([(long.as_str(), u64::MAX)])).await;
    assert!(path.len() < 200 && path.ends_with("…\"]"), "{path}");
}

#[tokio::test]
async fn a_refused_value_is_not_written_by_any_call() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("refused");
    let bad = json!({ "of": [u64::MAX] });
    let operations = || [SetState::new(&id, "a", 1).into(), Commit::new(&id).merge("k", &bad).into()];
    let outcomes: Vec<Result<(), Error>> = vec![
        client.set_state(&id, "k", &bad).await.map(drop),
        client.save_session(&id, [("k", &bad)]).await.map(drop),
        client.commit(&id).set("a", 1).set("k", &bad).await.map(drop),
        client.commit(&id).append("k", [&bad]).await.map(drop),
        client.commit(&id).set_keeping_expiry("k", &bad).await.map(drop),
        client.batch(operations()).await.map(drop),
        client.update(&id, |draft| draft.set("k", &bad)).await,
        client
            .update(&id, |draft| {
                draft.set("k", json!([]))?;
                *draft.get_mut("k").unwrap() = bad.clone();
                Ok::<_, Error>(())
            })
            .await,
    ];
    for (at, outcome) in outcomes.into_iter().enumerate() {
        let error = outcome.unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidValue, "{at}: {error}");
        assert_eq!(error.metadata()["path"], "$.of[0]", "{at}");
    }
    assert_eq!(client.get_session(&id).await.unwrap(), None);
}

#[tokio::test]
async fn a_value_of_another_type_than_it_is_read_as_is_an_error_that_does_not_repeat_it() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("misfit");
    client.set_state(&id, "k", json!({ "items": [{ "id": "secret-secret" }] })).await.unwrap();
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Item {
        id: u32,
    }
    let error = client.get_state::<BTreeMap<String, Vec<Item>>>(&id, "k").await.unwrap_err();
    assert_eq!(error.reason(), Reason::InvalidValue);
    assert_eq!(error.metadata()["path"], "$.items[0].id");
    assert_eq!(error.metadata()["key"], "k");
    assert!(!format!("{error} {error:?}").contains("secret"));
    let error = client.set_state(&id, "k", Stubborn).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
    assert!(client.get_session(&id).await.unwrap().unwrap().get::<bool>("k").is_err());
}

/// As serde_json gives a number where its feature arbitrary_precision is on.
#[derive(Serialize)]
#[serde(rename = "$serde_json::private::Number")]
struct Precise {
    #[serde(rename = "$serde_json::private::Number")]
    text: &'static str,
}

#[tokio::test]
async fn numbers_that_serde_json_keeps_as_text_are_numbers() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("precise");
    for (text, value) in
        [("9007199254740992", json!(1_u64 << 53)), ("-1.5e3", json!(-1500)), ("0.1", json!(0.1))]
    {
        client.set_state(&id, "k", [Precise { text }]).await.unwrap();
        assert_eq!(client.get_state::<Value>(&id, "k").await.unwrap(), Some(json!([value])));
    }
    for text in ["9007199254740993", "1e999", "99999999999999999999999999999999999999999999"] {
        assert_eq!(refused([Precise { text }]).await, "$[0]");
    }
}

#[tokio::test]
async fn random_values_read_back_equal() {
    let service = Service::shared();
    let client = service.client();
    let id = unique("random");
    let seed: u64 = rand::random();
    let mut random = Random(seed | 1);
    for _ in 0..200 {
        let value = random.value(5);
        client.set_state(&id, "k", &value).await.unwrap();
        let read = client.get_state::<Value>(&id, "k").await.unwrap();
        assert_eq!(read, Some(value), "seed {seed}");
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn value(&mut self, levels: u32) -> Value {
        let kinds = if levels == 0 { 5 } else { 7 };
        match self.below(kinds) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(i64::try_from(self.below(1 << 54)).unwrap() - (1 << 53)),
            3 => {
                let number = f64::from_bits(self.below(u64::MAX));
                // A whole number comes back as an integer.
                if number.is_finite() && number.fract() != 0.0 { json!(number) } else { json!(0.5) }
            }
            4 => json!(self.text()),
            5 => (0..self.below(5)).map(|_| self.value(levels - 1)).collect(),
            _ => Value::Object((0..self.below(5)).map(|_| (self.text(), self.value(levels - 1))).collect()),
        }
    }

    fn text(&mut self) -> String {
        (0..self.below(8))
            .filter_map(|_| char::from_u32(u32::try_from(self.below(0x0011_0000)).unwrap()))
            .collect()
    }
}
