//! Values to `google.protobuf.Value` and back: what is read equals what was written, or it is not written.

use std::borrow::Cow;
use std::fmt;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Wire};
use serde::de::DeserializeOwned;
use serde::ser::{self, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Reason};
use crate::write::Writer;

/// Numbers are doubles on the wire: up to here every whole one is exact.
pub(crate) const LARGEST_WHOLE: i64 = 1 << 53;
/// Levels of a value; a scalar has one. Parsers of some languages stop at 100 nested messages, and an object
/// costs three.
pub(crate) const MAX_DEPTH: u32 = 32;
/// A longer path, or name in it, is cut.
const LONGEST_PATH: usize = 1000;
const LONGEST_NAME: usize = 100;

/// A value as a message. Fails with INVALID_VALUE and its `path`; the key is named in the error.
pub(crate) fn to_wire<T: Serialize + ?Sized>(value: &T, key: &str) -> Result<Wire, Error> {
    value.serialize(Writer::new(MAX_DEPTH)).map_err(|fault| fault.error(key))
}

/// A message as a value. A number that is whole and within 2^53 is an integer.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
pub(crate) fn from_wire(message: Wire) -> Value {
    match message.kind {
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::NumberValue(number))
            if number.trunc() == number && number.abs() <= LARGEST_WHOLE as f64 =>
        {
            Value::from(number as i64)
        }
        Some(Kind::NumberValue(number)) => Value::from(number),
        Some(Kind::StructValue(object)) => Value::Object(object_of(object)),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(from_wire).collect()),
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::NullValue(_)) | None => Value::Null,
    }
}

fn object_of(object: Struct) -> Map<String, Value> {
    object.fields.into_iter().map(|(key, member)| (key, from_wire(member))).collect()
}

/// A value as the type that the caller asks for. Fails with INVALID_VALUE where it is not one.
pub(crate) fn read<T: DeserializeOwned>(value: Value, key: &str) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        // The text of serde's error may hold the value.
        let path = error.path().iter().fold(Path::default(), |path, segment| {
            use serde_path_to_error::Segment;
            match segment {
                Segment::Seq { index } => path.index(*index),
                Segment::Map { key } => path.member(key),
                Segment::Enum { variant } => path.member(variant),
                Segment::Unknown => path,
            }
        });
        let what = format!("is not what it is read as ({})", std::any::type_name::<T>());
        refused(&path, &what, key)
    })
}

/// Where in a value: `$.of[0]`.
struct Path(String);

impl Default for Path {
    fn default() -> Self {
        Self("$".to_owned())
    }
}

impl Path {
    fn index(self, index: usize) -> Self {
        self.grown(&format!("[{index}]"))
    }

    fn member(self, name: &str) -> Self {
        let is_plain = |(at, letter): (usize, char)| {
            letter.is_ascii_alphabetic() || matches!(letter, '_' | '$') || at > 0 && letter.is_ascii_digit()
        };
        if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().enumerate().all(is_plain) {
            return self.grown(&format!(".{name}"));
        }
        let mut cut: String = name.chars().take(LONGEST_NAME).collect();
        if cut.len() < name.len() {
            cut.push('…');
        }
        self.grown(&format!("[{}]", Value::String(cut)))
    }

    fn grown(mut self, step: &str) -> Self {
        if self.0.len() <= LONGEST_PATH {
            self.0.push_str(step);
        } else if !self.0.ends_with('…') {
            self.0.push('…');
        }
        self
    }
}

fn refused(path: &Path, what: &str, key: &str) -> Error {
    let Path(path) = path;
    let at = if path == "$" { "The value".to_owned() } else { format!("The value at {path}") };
    Error::new(Reason::InvalidValue, format!("{at} {what}.")).with("path", path).with("key", key)
}

/// What is wrong with a value; the way to it grows from the inside to the outside.
#[derive(Debug)]
pub(crate) struct Fault(Box<(Cow<'static, str>, Vec<Step>)>);

#[derive(Debug)]
pub(crate) enum Step {
    Index(usize),
    Member(String),
}

impl Fault {
    pub(crate) fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new((what.into(), Vec::new())))
    }

    /// Says where it is, one level further out.
    pub(crate) fn within(mut self, step: Step) -> Self {
        self.0.1.push(step);
        self
    }

    fn error(self, key: &str) -> Error {
        let (what, steps) = *self.0;
        let path = steps.into_iter().rev().fold(Path::default(), |path, step| match step {
            Step::Index(index) => path.index(index),
            Step::Member(name) => path.member(&name),
        });
        refused(&path, &what, key)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the value {}", self.0.0)
    }
}

impl std::error::Error for Fault {}

impl ser::Error for Fault {
    /// What a type's own `Serialize` says may hold the value, so it is not repeated.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::new("can't be serialized, as its type says")
    }
}

pub(crate) fn list(values: Vec<Wire>) -> Wire {
    wire(Kind::ListValue(ListValue { values }))
}

pub(crate) fn wire(kind: Kind) -> Wire {
    Wire { kind: Some(kind) }
}
