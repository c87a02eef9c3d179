//! The languages in which a run's config may be written: TOML, and by the ending of its file JSON or YAML. Whichever it
//! is, the keys are the same, and each keeps its place in the text.

use std::ops::Range;
use std::path::Path;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::table::join;

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What a file is without another ending.
    Toml,
    /// `.json`
    Json,
    /// `.yaml`, `.yml`; also read for the places of keys in JSON, whose texts are YAML as well.
    Yaml,
}

/// What is wrong with a text, and its bytes.
#[derive(Debug)]
pub struct Mistake {
    pub span: Option<Range<usize>>,
    pub reason: String,
}

/// The endings of configs.
pub const ENDINGS: [&str; 4] = ["toml", "json", "yaml", "yml"];

impl Format {
    /// That of the file at `path`.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Self::Json,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Toml,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        }
    }

    /// The keys of a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn table(self, text: &str) -> Result<Table, Mistake> {
        match self {
            Self::Toml => toml::from_str(text).map_err(|error: toml::de::Error| Mistake {
                span: error.span(),
                reason: error.message().to_owned(),
            }),
            Self::Json => json(text),
            Self::Yaml => match documents(text)?.as_slice() {
                [] => Ok(Table::new()),
                [document] => match of_yaml("", document, text)? {
                    Value::Table(table) => Ok(table),
                    _ => Err(not_keys(Some(bytes(document, text)))),
                },
                [_, second, ..] => Err(Mistake {
                    span: Some(bytes(second, text)),
                    reason: "a config is one document, and a second one begins here".to_owned(),
                }),
            },
        }
    }

    /// How many parts of a dotted key a text has, and the bytes of the last of them.
    pub fn find(self, text: &str, key: &[&str]) -> Option<(usize, Range<usize>)> {
        match self {
            Self::Toml => {
                let table = DeTable::parse(text).ok()?;
                in_toml(table.get_ref(), key, 0)
            }
            Self::Json | Self::Yaml => {
                let documents = documents(text).ok()?;
                in_yaml(documents.first()?, key, 0, text)
            }
        }
    }
}

fn not_keys(span: Option<Range<usize>>) -> Mistake {
    Mistake {
        span,
        reason: "a config is a table of keys".to_owned(),
    }
}

/// The mistake of a key that has no value.
fn nothing(key: &str, span: Option<Range<usize>>) -> Mistake {
    Mistake {
        span,
        reason: format!("`{key}` has no value; leave the key out"),
    }
}

fn json(text: &str) -> Result<Table, Mistake> {
    let parsed: Json = serde_json::from_str(text).map_err(|error| {
        let before: usize = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let at = (before + error.column().saturating_sub(1)).min(text.len());
        let said = error.to_string();
        let reason = said.split(" at line ").next().unwrap_or_default();
        Mistake {
            span: Some(at..at + 1),
            reason: reason.to_owned(),
        }
    })?;
    // The JSON parser takes the last one of two equal keys.
    if let Err(mistake) = documents(text)
        && mistake.reason.contains("duplicate")
    {
        return Err(mistake);
    }
    match of_json("", parsed, text)? {
        Value::Table(table) => Ok(table),
        _ => Err(not_keys(None)),
    }
}

fn of_json(key: &str, value: Json, text: &str) -> Result<Value, Mistake> {
    let place = || {
        let parts: Vec<_> = key.split('.').collect();
        Format::Json.find(text, &parts).map(|(_, span)| span)
    };
    Ok(match value {
        Json::Null => return Err(nothing(key, place())),
        Json::Bool(truth) => Value::Boolean(truth),
        Json::String(text) => Value::String(text),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(float)) if !number.is_u64() => Value::Float(float),
            _ => {
                return Err(Mistake {
                    span: place(),
                    reason: format!("`{key}`: {number} is too large; write it as a text"),
                });
            }
        },
        Json::Array(values) => {
            let values = values.into_iter().map(|value| of_json(key, value, text));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Json::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let value = of_json(&join(key, &name), value, text)?;
                Ok((name, value))
            });
            Value::Table(members.collect::<Result<_, _>>()?)
        }
    })
}

fn documents(text: &str) -> Result<Vec<MarkedYaml<'_>>, Mistake> {
    MarkedYaml::load_from_str(text).map_err(|error| {
        let at = byte(error.marker().index(), text);
        Mistake {
            span: Some(at..at + 1),
            reason: error.info().to_owned(),
        }
    })
}

/// The byte of a character.
fn byte(character: usize, text: &str) -> usize {
    let mut places = text.char_indices().map(|(byte, _)| byte);
    places.nth(character).unwrap_or(text.len())
}

fn bytes(node: &MarkedYaml<'_>, text: &str) -> Range<usize> {
    byte(node.span.start.index(), text)..byte(node.span.end.index(), text)
}

fn of_yaml(key: &str, node: &MarkedYaml<'_>, text: &str) -> Result<Value, Mistake> {
    let wrong = |reason: String| Mistake {
        span: Some(bytes(node, text)),
        reason,
    };
    Ok(match &node.data {
        YamlData::Value(scalar) => match scalar {
            Scalar::Null => return Err(nothing(key, Some(bytes(node, text)))),
            Scalar::Boolean(truth) => Value::Boolean(*truth),
            Scalar::Integer(integer) => Value::Integer(*integer),
            Scalar::FloatingPoint(float) => Value::Float(float.into_inner()),
            Scalar::String(text) => Value::String(text.to_string()),
        },
        YamlData::Sequence(values) => {
            let values = values.iter().map(|value| of_yaml(key, value, text));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(members) => {
            let members = members.iter().map(|(name, value)| {
                let name = name_of(name).ok_or_else(|| Mistake {
                    span: Some(bytes(name, text)),
                    reason: "a key is a text".to_owned(),
                })?;
                let value = of_yaml(&join(key, &name), value, text)?;
                Ok((name, value))
            });
            Value::Table(members.collect::<Result<_, _>>()?)
        }
        YamlData::Tagged(tag, _) => {
            return Err(wrong(format!("a config has no tags such as {tag}")));
        }
        YamlData::Representation(..) | YamlData::Alias(_) | YamlData::BadValue => {
            return Err(wrong(format!("`{key}` can't be read")));
        }
    })
}

/// The name of a key, which may be written as a number.
fn name_of(node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(integer)) => Some(integer.to_string()),
        YamlData::Value(Scalar::Boolean(truth)) => Some(truth.to_string()),
        _ => None,
    }
}

fn in_yaml(
    node: &MarkedYaml<'_>,
    key: &[&str],
    above: usize,
    text: &str,
) -> Option<(usize, Range<usize>)> {
    let (first, rest) = key.split_first()?;
    let YamlData::Mapping(members) = &node.data else {
        return None;
    };
    let mut members = members.iter();
    let (name, value) = members.find(|(name, _)| name_of(name).as_deref() == Some(*first))?;
    let name = bytes(name, text);
    match &value.data {
        YamlData::Mapping(_) => in_yaml(value, rest, above + 1, text).or(Some((above + 1, name))),
        _ => Some((above + 1, name.start..bytes(value, text).end)),
    }
}

fn in_toml(table: &DeTable<'_>, key: &[&str], above: usize) -> Option<(usize, Range<usize>)> {
    let (first, rest) = key.split_first()?;
    let (key, value) = table
        .iter()
        .find(|(key, _)| key.get_ref().as_ref() == *first)?;
    let given = Some((above + 1, key.span().start..value.span().end));
    match value.get_ref() {
        DeValue::Table(inner) => {
            let here = Some((above + 1, key.span()));
            in_toml(inner, rest, above + 1).or(here)
        }
        _ => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use proptest::prelude::*;

    const TOML: &str = "name = \"a\"\n[settings]\nlr = 1e-3\nn = 3\nflag = true\nwords = [\"é\", \"no\"]\n\
                        [settings.opt]\nkind = \"adam\"\n[stop]\nafter = \"1:30:00\"\n";
    const JSON: &str = "{\"name\": \"a\", \"settings\": {\"lr\": 1e-3, \"n\": 3, \"flag\": true,\n\
                        \"words\": [\"\\u00e9\", \"no\"], \"opt\": {\"kind\": \"adam\"}},\n\
                        \t\"stop\": {\"after\": \"1:30:00\"}}\n";
    const YAML: &str = "# é\nname: a\nsettings:\n  lr: 1e-3\n  n: 3\n  flag: true\n  words: [é, no]\n  opt:\n    \
                        kind: adam\nstop:\n  after: 1:30:00\n";

    #[test]
    fn the_same_config_in_three_languages_is_the_same() {
        let toml = Format::Toml.table(TOML).expect("TOML");
        assert_eq!(Format::Json.table(JSON).expect("JSON"), toml);
        assert_eq!(Format::Yaml.table(YAML).expect("YAML"), toml);
    }

    fn message(name: &str, text: &str) -> (String, String) {
        let source = Source::new(name.into(), text.to_owned(), Vec::new());
        let error = source.parse().expect_err("it is wrong");
        let marked = error
            .excerpt()
            .map(|it| it.text[it.span.clone()].to_owned());
        (error.to_string(), marked.unwrap_or_default())
    }

    #[test]
    fn a_mistake_has_its_line_and_its_mark() {
        for (name, text, expected, marked) in [
            (
                "x.json",
                "{\n  \"name\": \"a\",\n  \"stop\": {\"aftre\": \"1h\"}\n}",
                "x.json, line 3: unknown key `stop.aftre`",
                "\"aftre\": \"1h\"",
            ),
            (
                "x.yaml",
                "# é\nname: a\nstop:\n  aftre: 1h\n",
                "x.yaml, line 4: unknown key `stop.aftre`",
                "aftre: 1h",
            ),
            (
                "x.json",
                "{\n  \"name\": \"a\"\n  \"command\": []\n}",
                "x.json, line 3: this is not valid JSON: expected `,` or `}`",
                "\"",
            ),
            (
                "x.json",
                "{\"settings\": {\"x\": null}}",
                "x.json, line 1: this is not valid JSON: `settings.x` has no value; leave the key out",
                "\"x\": null",
            ),
            (
                "x.yml",
                "name: a\nsettings:\n  x:\n",
                "x.yml, line 3: this is not valid YAML: `settings.x` has no value; leave the key out",
                "",
            ),
        ] {
            let (said, shown) = message(name, text);
            assert_eq!((said.as_str(), shown.as_str()), (expected, marked));
        }
        for (name, text, words) in [
            ("x.json", "{\"name\": \"a\", \"name\": \"b\"}", "duplicate"),
            ("x.yaml", "name: a\nname: b\n", "duplicate"),
            ("x.yaml", "name: a\n---\nname: b\n", "a second one begins"),
            ("x.yaml", "- a\n- b\n", "a table of keys"),
            ("x.json", "[1]", "a table of keys"),
            (
                "x.json",
                "{\"settings\": {\"x\": 18446744073709551615}}",
                "too large",
            ),
            (
                "x.yaml",
                "name: !!python/object:os.system a\n",
                "not valid YAML",
            ),
            ("x.yaml", "name: [a\n", "not valid YAML"),
        ] {
            let (said, _) = message(name, text);
            assert!(said.contains(words), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-:{}\\[\\],\"'a\u{e9}#&*!|> \n\t01.]{0,40}") {
            for format in [Format::Json, Format::Yaml] {
                let _ = format.table(&text);
                let _ = format.find(&text, &["a", "b"]);
            }
        }
    }
}
