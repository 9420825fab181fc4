//! A serde serializer whose output is a `google.protobuf.Value`, and which refuses what would not come back.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value as Wire};
use serde::ser::{self, Serialize};

use crate::value::{Fault, LARGEST_WHOLE, Step, list, wire};

/// What serde_json calls a number that it keeps as text, where its feature `arbitrary_precision` is on.
const NUMBER: &str = "$serde_json::private::Number";
/// What serde_json calls JSON that it keeps as text.
const RAW: &str = "$serde_json::private::RawValue";

/// Writes one value, which may have so many levels.
pub(crate) struct Writer {
    levels: u32,
}

impl Writer {
    pub(crate) fn new(levels: u32) -> Self {
        Self { levels }
    }

    /// What is inside the value, a level further down.
    fn inner(&self) -> Self {
        Self { levels: self.levels.saturating_sub(1) }
    }

    fn member<T: Serialize + ?Sized>(&self, value: &T, step: impl FnOnce() -> Step) -> Result<Wire, Fault> {
        let inner = self.inner();
        let written = if inner.levels == 0 {
            Err(Fault::new("is too deep: a value has 32 levels at most"))
        } else {
            value.serialize(inner)
        };
        written.map_err(|fault| fault.within(step()))
    }
}

#[allow(clippy::cast_precision_loss)]
fn whole(number: i128) -> Result<Wire, Fault> {
    if number.unsigned_abs() > LARGEST_WHOLE.unsigned_abs().into() {
        return Err(Fault::new(
            "is an integer beyond 2^53, which numbers here can't hold exactly: pass it as text",
        ));
    }
    Ok(wire(Kind::NumberValue(number as f64)))
}

fn object(fields: BTreeMap<String, Wire>) -> Wire {
    wire(Kind::StructValue(Struct { fields }))
}

macro_rules! whole_numbers {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Wire, Fault> {
            whole(value.into())
        })*
    };
}

impl ser::Serializer for Writer {
    type Ok = Wire;
    type Error = Fault;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Object;
    type SerializeStruct = Object;
    type SerializeStructVariant = Object;

    whole_numbers!(
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64
    );

    fn serialize_u128(self, value: u128) -> Result<Wire, Fault> {
        whole(i128::try_from(value).unwrap_or(i128::MAX))
    }

    fn serialize_f32(self, value: f32) -> Result<Wire, Fault> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Wire, Fault> {
        if !value.is_finite() {
            return Err(Fault::new("is not a finite number"));
        }
        // There is no negative zero.
        Ok(wire(Kind::NumberValue(if value == 0.0 { 0.0 } else { value })))
    }

    fn serialize_bool(self, value: bool) -> Result<Wire, Fault> {
        Ok(wire(Kind::BoolValue(value)))
    }

    fn serialize_char(self, value: char) -> Result<Wire, Fault> {
        Ok(wire(Kind::StringValue(value.into())))
    }

    fn serialize_str(self, value: &str) -> Result<Wire, Fault> {
        Ok(wire(Kind::StringValue(value.to_owned())))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Wire, Fault> {
        Err(Fault::new("is bytes, which would not come back: pass text, such as base64"))
    }

    fn serialize_none(self) -> Result<Wire, Fault> {
        Ok(wire(Kind::NullValue(0)))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Wire, Fault> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Wire, Fault> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Wire, Fault> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Wire, Fault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T>(self, _: &'static str, value: &T) -> Result<Wire, Fault>
    where
        T: Serialize + ?Sized,
    {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Wire, Fault>
    where
        T: Serialize + ?Sized,
    {
        let member = self.member(value, || Step::Member(variant.to_owned()))?;
        Ok(object(BTreeMap::from([(variant.to_owned(), member)])))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<List, Fault> {
        // No more than a value may have: a length is only said.
        let values = Vec::with_capacity(length.unwrap_or(0).min(10_000));
        Ok(List { writer: self, values, variant: None })
    }

    fn serialize_tuple(self, length: usize) -> Result<List, Fault> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<List, Fault> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List, Fault> {
        Ok(List { writer: self.inner(), values: Vec::new(), variant: Some(variant) })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object, Fault> {
        Ok(Object::new(self))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Object, Fault> {
        if name == RAW {
            return Err(Fault::new("is JSON as text: pass it parsed"));
        }
        Ok(Object { is_number: name == NUMBER, ..Object::new(self) })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object, Fault> {
        Ok(Object { variant: Some(variant), ..Object::new(self.inner()) })
    }
}

/// Writes a list.
pub(crate) struct List {
    writer: Writer,
    values: Vec<Wire>,
    /// The variant of an enum that the list belongs to: an object around it.
    variant: Option<&'static str>,
}

impl List {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let index = self.values.len();
        let item = self.writer.member(value, || Step::Index(index));
        self.values.push(item.map_err(|fault| within(fault, self.variant))?);
        Ok(())
    }

    fn done(self) -> Wire {
        variant_of(self.variant, list(self.values))
    }
}

/// Writes an object.
pub(crate) struct Object {
    writer: Writer,
    fields: BTreeMap<String, Wire>,
    key: Option<String>,
    variant: Option<&'static str>,
    is_number: bool,
}

impl Object {
    fn new(writer: Writer) -> Self {
        Self { writer, fields: BTreeMap::new(), key: None, variant: None, is_number: false }
    }

    fn add<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Fault> {
        let member = self.writer.member(value, || Step::Member(key.to_owned()));
        let member = member.map_err(|fault| within(fault, self.variant))?;
        self.fields.insert(key.to_owned(), member);
        Ok(())
    }

    fn done(self) -> Wire {
        variant_of(self.variant, object(self.fields))
    }
}

fn within(fault: Fault, variant: Option<&'static str>) -> Fault {
    match variant {
        Some(name) => fault.within(Step::Member(name.to_owned())),
        None => fault,
    }
}

fn variant_of(variant: Option<&'static str>, value: Wire) -> Wire {
    match variant {
        Some(name) => object(BTreeMap::from([(name.to_owned(), value)])),
        None => value,
    }
}

/// A number that serde_json keeps as text.
fn number_of(text: &str) -> Result<Wire, Fault> {
    if let Ok(number) = text.parse::<i128>() {
        return whole(number);
    }
    if text.bytes().all(|digit| digit.is_ascii_digit() || digit == b'-') {
        return whole(i128::MAX);
    }
    let number = text.parse::<f64>().unwrap_or(f64::NAN);
    ser::Serializer::serialize_f64(Writer::new(1), number)
}

macro_rules! lists {
    ($($kind:ident $method:ident),*) => {
        $(impl ser::$kind for List {
            type Ok = Wire;
            type Error = Fault;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
                self.add(value)
            }

            fn end(self) -> Result<Wire, Fault> {
                Ok(self.done())
            }
        })*
    };
}

lists!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

impl ser::SerializeMap for Object {
    type Ok = Wire;
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.key = match key.serialize(Writer::new(1)).map(|key| key.kind) {
            Ok(Some(Kind::StringValue(text))) => Some(text),
            // Read as a number again where the type says so.
            Ok(Some(Kind::NumberValue(number))) if number.trunc() == number => Some(format!("{number:.0}")),
            _ => return Err(Fault::new("has a key that is not text: the keys of an object are text")),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        let key = self.key.take().ok_or_else(|| Fault::new("has a member without a key"))?;
        self.add(&key, value)
    }

    fn end(self) -> Result<Wire, Fault> {
        Ok(self.done())
    }
}

impl ser::SerializeStruct for Object {
    type Ok = Wire;
    type Error = Fault;

    fn serialize_field<T>(&mut self, key: &'static str, value: &T) -> Result<(), Fault>
    where
        T: Serialize + ?Sized,
    {
        if self.is_number {
            // Its text is no level of the value.
            let text = value.serialize(Writer::new(1))?;
            self.fields.insert(key.to_owned(), text);
            return Ok(());
        }
        self.add(key, value)
    }

    fn end(self) -> Result<Wire, Fault> {
        if self.is_number {
            return match self.fields.get(NUMBER).and_then(|text| text.kind.as_ref()) {
                Some(Kind::StringValue(text)) => number_of(text),
                _ => Err(Fault::new("is not a number")),
            };
        }
        Ok(self.done())
    }
}

impl ser::SerializeStructVariant for Object {
    type Ok = Wire;
    type Error = Fault;

    fn serialize_field<T>(&mut self, key: &'static str, value: &T) -> Result<(), Fault>
    where
        T: Serialize + ?Sized,
    {
        self.add(key, value)
    }

    fn end(self) -> Result<Wire, Fault> {
        Ok(self.done())
    }
}
