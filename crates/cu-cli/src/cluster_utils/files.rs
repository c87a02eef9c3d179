//! JSON and TOML as cluster_utils takes them, in the order in which they are written, without Python.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::dynamic;
use super::given::find;
use crate::config::Place;
use crate::error::{Error, Result};

/// What to do about a config that holds Python.
const INSTALL: &str =
    "run `pip install al-smart-settings`, so that `cu` reads the config as cluster_utils does";

/// The values of a JSON text. A key that is given twice is an error.
pub fn json(path: &Path, text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Unique(Value::Object(values))) => Ok(values),
        Ok(_) => Err(Error::usage(format!(
            "{}: expected an object: {{\"optimization_procedure_name\": …}}",
            path.display()
        ))),
        Err(error) => Err(Error::usage(format!(
            "{}: this is not valid JSON: {error}",
            path.display()
        ))),
    }
}

/// The values of a TOML text.
pub fn toml(path: &Path, text: &str) -> Result<Map<String, Value>> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = Place::in_text(path, text, error.span().unwrap_or_default());
        Error::usage(format!(
            "{place}: this is not valid TOML: {}",
            error.message()
        ))
    })?;
    let wrong = |span: Range<usize>, reason: String| {
        Error::usage(format!("{}: {reason}", Place::in_text(path, text, span)))
    };
    table_of(table.get_ref()).map_err(|(span, reason)| wrong(span, reason))
}

type AtSpan<T> = Result<T, (Range<usize>, String)>;

fn table_of(table: &DeTable<'_>) -> AtSpan<Map<String, Value>> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(name, _)| name.span().start);
    let pairs = pairs.into_iter().map(|(name, value)| {
        let value = value_of(value.get_ref()).map_err(|reason| match reason {
            (span, reason) if span.is_empty() => (value.span(), reason),
            other => other,
        });
        Ok((name.get_ref().to_string(), value?))
    });
    pairs.collect()
}

fn value_of(value: &DeValue<'_>) -> AtSpan<Value> {
    let wrong = |reason: &str| (0..0, reason.to_owned());
    Ok(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(moment) => Value::from(moment.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| wrong("this number is too large"))?,
        DeValue::Float(number) => {
            let number = number
                .as_str()
                .parse::<f64>()
                .ok()
                .and_then(Number::from_f64);
            number
                .map(Value::Number)
                .ok_or_else(|| wrong("jobs of cluster_utils can't be given inf or nan"))?
        }
        DeValue::Array(values) => {
            let values = values.iter().map(|value| value_of(value.get_ref()));
            Value::Array(values.collect::<AtSpan<_>>()?)
        }
        DeValue::Table(table) => Value::Object(table_of(table)?),
    })
}

/// `values` with what Python would make of them, as far as that needs no Python.
pub fn evaluated(
    path: &Path,
    text: &str,
    values: &Map<String, Value>,
) -> Result<Map<String, Value>> {
    dynamic::evaluate(values).map_err(|(key, found)| {
        let place = match find(text, &found) {
            Some(span) => Place::in_text(path, text, span),
            None => Place::Config(path.to_owned()),
        };
        Error::usage_hint(
            format!("{place}: `{key}`: {found:?} needs Python, and neither python3 nor python here has smart_settings"),
            INSTALL,
        )
    })
}

/// A JSON value in which no object has a key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeys).map(Self)
    }
}

struct UniqueKeys;

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        let mut seen = HashSet::new();
        while let Some(name) = pairs.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(de::Error::custom(format!(
                    "the key {name:?} is given twice"
                )));
            }
            let Unique(value) = pairs.next_value()?;
            values.insert(name, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_come_once() {
        let path = Path::new("a.x");
        let order = |values: &Map<String, Value>| {
            let names: Vec<_> = values.keys().cloned().collect();
            names.concat()
        };
        let read = json(
            path,
            r#"{"z": 1, "a": {"y": null, "b": 1.5}, "m": [true, -1, "x"]}"#,
        )
        .unwrap();
        assert_eq!(order(&read), "zam");
        assert_eq!(order(read["a"].as_object().unwrap()), "yb");
        let read = toml(
            path,
            "z = 1\na.y = 2\na.b = 1e3\nm = [{ q = 0x10, c = 1_000 }]\n[t]\nx = 1\n[s]\n",
        )
        .unwrap();
        assert_eq!(order(&read), "zamts");
        assert_eq!(order(read["a"].as_object().unwrap()), "yb");
        assert_eq!(read["m"], serde_json::json!([{"q": 16, "c": 1000}]));
        for (text, said) in [
            (
                r#"{"a": 1, "b": {"c": 1, "c": 2}}"#,
                "\"c\" is given twice at line 1",
            ),
            (
                "{\"a\": 1,\n \"b\": NaN}",
                "not valid JSON: expected value at line 2",
            ),
            ("[1]", "expected an object"),
        ] {
            let error = json(path, text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = toml(path, "a = 1\nb = nan\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "a.x, line 2: jobs of cluster_utils can't be given inf or nan"
        );
    }

    #[test]
    fn a_text_that_needs_python_is_named_with_its_line() {
        let path = Path::new("a.json");
        for (text, expected) in [
            (
                "{\"a\": 1,\n\"results_dir\": \"{1 + 1}/x\"}",
                Some("a.json, line 2: `results_dir`: \"{1 + 1}/x\" needs"),
            ),
            (
                "{\"l\": [\n{\"values\": \"{len(x)}\"}]}",
                Some("line 2: `l[].values`: "),
            ),
            (
                "{\"__import__\": \"b.json\"}",
                Some("line 1: `__import__`: "),
            ),
            ("{\"fixed_params\": {\"x\": \"{fn.y * 2}\"}}", None),
        ] {
            let values = json(path, text).unwrap();
            let error = evaluated(path, text, &values)
                .err()
                .map(|error| error.to_string());
            match (&error, expected) {
                (Some(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
                (found, expected) => assert_eq!(found.as_deref(), expected),
            }
        }
    }
}
