//! Metrics: names with plain values, and the form of a value in JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::{Decode, Encode};

/// Metrics by name. They are ordered, so that the same metrics always have the same encoding.
pub type Metrics = BTreeMap<String, MetricValue>;

/// One value. Flat on purpose: a metric is a cell of a table.
///
/// In JSON a value is what it looks like: `null`, `true`, `3`, `3.0`, `"text"`. A number with a
/// fraction or an exponent is a [`Float`](MetricValue::Float), another one an
/// [`Integer`](MetricValue::Integer), or the nearest float if 64 bits with a sign don't hold it.
/// JSON has no NaN and no infinities. They are written as `{"float":"NaN"}`, `{"float":"Infinity"}`
/// and `{"float":"-Infinity"}`, and a NaN other than the usual one with its bits,
/// `{"float":"NaN(7ff8000000000001)"}`. So every float survives bit for bit. Floats are compared
/// bit for bit, too: a NaN equals itself, and 0 differs from -0.
///
/// ```
/// use cu_protocol::MetricValue;
///
/// let values: Vec<MetricValue> = serde_json::from_str(r#"[1, 1.0, {"float":"-Infinity"}]"#)?;
/// assert_eq!(values, [1.into(), 1.0.into(), f64::NEG_INFINITY.into()]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Encode, Decode)]
pub enum MetricValue {
    /// No value.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number, also NaN or an infinity.
    Float(f64),
    /// Text.
    Text(String),
}

impl PartialEq for MetricValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(left), Self::Boolean(right)) => left == right,
            (Self::Integer(left), Self::Integer(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => left.to_bits() == right.to_bits(),
            (Self::Text(left), Self::Text(right)) => left == right,
            _ => false,
        }
    }
}

impl Eq for MetricValue {}

/// Writes the value as a cell of a table: [`Null`](MetricValue::Null) as nothing, text unchanged,
/// and a whole float with `.0`.
impl fmt::Display for MetricValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Boolean(value) => value.fmt(out),
            Self::Integer(value) => value.fmt(out),
            // `Debug` keeps the `.0`, and writes very large and small numbers with an exponent.
            Self::Float(value) => write!(out, "{value:?}"),
            Self::Text(value) => value.fmt(out),
        }
    }
}

macro_rules! from {
    ($($variant:ident: $($value:ty),+;)+) => {$($(
        impl From<$value> for MetricValue {
            fn from(value: $value) -> Self {
                Self::$variant(value.into())
            }
        }
    )+)+};
}

from! {
    Boolean: bool;
    Integer: i8, i16, i32, i64, u8, u16, u32;
    Float: f32, f64;
    Text: &str, String;
}

impl<T: Into<MetricValue>> From<Option<T>> for MetricValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Float(value) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(FLOAT, &name_of(*value))?;
                map.end()
            }
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for MetricValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// The only key of the map that stands for NaN or an infinity.
const FLOAT: &str = "float";

/// The name of a float that is not finite.
fn name_of(value: f64) -> String {
    if value == f64::INFINITY {
        "Infinity".into()
    } else if value == f64::NEG_INFINITY {
        "-Infinity".into()
    } else if value.to_bits() == f64::NAN.to_bits() {
        "NaN".into()
    } else {
        format!("NaN({:016x})", value.to_bits())
    }
}

/// The float that isn't finite and has this name.
fn float_named(name: &str) -> Option<f64> {
    match name {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => {
            let digits = name.strip_prefix("NaN(")?.strip_suffix(')')?;
            let bits = crate::hexadecimal::parse(digits).map(u64::from_be_bytes)?;
            Some(f64::from_bits(bits)).filter(|value| value.is_nan())
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = MetricValue;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(r#"null, true, false, a number, a text or {"float":"NaN"}"#)
    }

    fn visit_unit<E>(self) -> Result<MetricValue, E> {
        Ok(MetricValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<MetricValue, E> {
        Ok(MetricValue::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<MetricValue, E> {
        Ok(MetricValue::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<MetricValue, E> {
        Ok(i64::try_from(value).map_or(MetricValue::Float(value as f64), MetricValue::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<MetricValue, E> {
        Ok(MetricValue::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<MetricValue, E> {
        Ok(MetricValue::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<MetricValue, E> {
        Ok(MetricValue::Text(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MetricValue, A::Error> {
        let invalid = || A::Error::invalid_type(Unexpected::Map, &self);
        match map.next_key::<String>()? {
            Some(key) if key == FLOAT => {}
            _ => return Err(invalid()),
        }
        let name: String = map.next_value()?;
        let value = float_named(&name)
            .ok_or_else(|| A::Error::invalid_value(Unexpected::Str(&name), &FloatName))?;
        match map.next_key::<String>()? {
            None => Ok(MetricValue::Float(value)),
            Some(_) => Err(invalid()),
        }
    }
}

struct FloatName;

impl serde::de::Expected for FloatName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("NaN, Infinity or -Infinity")
    }
}

#[cfg(test)]
mod tests {
    use super::MetricValue;

    #[test]
    fn floats_are_compared_bit_for_bit() {
        let float = MetricValue::Float;
        assert_eq!(float(f64::NAN), float(f64::NAN));
        assert_ne!(float(f64::NAN), float(-f64::NAN));
        assert_ne!(float(0.0), float(-0.0));
        assert_ne!(float(1.0), MetricValue::Integer(1));
    }
}
