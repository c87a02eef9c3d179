//! A config of cluster_utils with the overrides of the command line. It knows where each key was given.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::python;
use crate::config::Place;
use crate::error::{Error, Result};

/// A config as it was given.
#[derive(Debug)]
pub struct Given {
    path: PathBuf,
    text: String,
    values: Map<String, Value>,
    /// The words of each override, with its key.
    overrides: Vec<(String, String)>,
}

impl Given {
    /// The config `values`, which is the `text` of a file, with `overrides` such as `a.b=True`.
    ///
    /// # Errors
    /// If an override is not a key and a literal of Python, or needs a table where a value is.
    pub fn new(
        path: &Path,
        (values, text): (Map<String, Value>, String),
        overrides: &[String],
    ) -> Result<Self> {
        let mut given = Self {
            path: path.to_owned(),
            text,
            values,
            overrides: Vec::new(),
        };
        for words in overrides {
            given.apply(words)?;
        }
        Ok(given)
    }

    fn apply(&mut self, words: &str) -> Result<()> {
        let wrong = |reason: String, hint: String| {
            Error::usage_hint(format!("`{words}` is not an override: {reason}"), hint)
        };
        let example = || {
            "an override is KEY=VALUE with a value of Python, such as fixed_params.seed=2"
                .to_owned()
        };
        let Some((key, value)) = words.split_once('=') else {
            return Err(wrong("it has no `=`".to_owned(), example()));
        };
        let value = python::literal(value).map_err(|reason| {
            let hint = match value.contains(['"', '\'', '(', '[', '{']) {
                true => example(),
                false => format!(
                    "write a text in quotes, which the shell must not take: '{key}=\"{value}\"'"
                ),
            };
            wrong(reason, hint)
        })?;
        if key.split('.').any(str::is_empty) {
            return Err(wrong("a part of its key is empty".to_owned(), example()));
        }
        put(&mut self.values, key, value)
            .map_err(|part| wrong(format!("`{part}` in the config is not a table"), example()))?;
        self.overrides.push((words.to_owned(), key.to_owned()));
        Ok(())
    }

    /// The keys at the top.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The value of the dotted `key`; `None` counts as not given.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.values.get(parts.next()?)?;
        let found = parts.try_fold(first, |value, part| value.get(part));
        found.filter(|value| !value.is_null())
    }

    /// The text at `key`.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", Value::as_str)
    }

    /// The text at `key`, which must be given.
    pub fn needed(&self, key: &str) -> Result<&str> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// The error that `key` is missing.
    pub fn missing(&self, key: &str) -> Error {
        Error::usage_hint(
            format!("{}: `{key}` is missing", self.path.display()),
            format!("add it to the config, or give it as an override: '{key}=\"…\"'"),
        )
    }

    /// Whether `key` is true; `default` if it is not given.
    pub fn truth(&self, key: &str, default: bool) -> Result<bool> {
        let given = self.typed(key, "True or False", Value::as_bool)?;
        Ok(given.unwrap_or(default))
    }

    /// The whole number at `key`, 0 or above.
    pub fn whole(&self, key: &str) -> Result<Option<u64>> {
        let whole = |value: &Value| match value.as_f64() {
            Some(float)
                if value.is_f64() && float.fract() == 0.0 && (0.0..1e15).contains(&float) =>
            {
                Some(float as u64)
            }
            _ => value.as_u64(),
        };
        self.typed(key, "a whole number, 0 or above", whole)
    }

    /// The texts of the list at `key`.
    pub fn texts(&self, key: &str) -> Result<Vec<String>> {
        let texts = |value: &Value| {
            let texts = value
                .as_array()?
                .iter()
                .map(|it| Some(it.as_str()?.to_owned()));
            texts.collect::<Option<Vec<_>>>()
        };
        Ok(self
            .typed(key, "a list of texts", texts)?
            .unwrap_or_default())
    }

    /// The table at `key`.
    pub fn table(&self, key: &str) -> Result<Option<&Map<String, Value>>> {
        self.typed(key, "a table of keys", Value::as_object)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        of: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match of(value) {
                Some(typed) => Ok(Some(typed)),
                None => Err(self.wrong(key, format!("expected {expected}, found {value}"))),
            },
        }
    }

    /// An error about the value of `key`.
    pub fn wrong(&self, key: &str, reason: impl std::fmt::Display) -> Error {
        Error::usage(format!("{}: `{key}`: {reason}", self.place(key)))
    }

    /// The place where `key` was given last.
    pub fn place(&self, key: &str) -> Place {
        let within = |longer: &str, shorter: &str| {
            let rest = longer.strip_prefix(shorter);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut overrides = self.overrides.iter().rev();
        if let Some((words, _)) =
            overrides.find(|(_, given)| within(key, given) || within(given, key))
        {
            return Place::CommandLine(words.clone());
        }
        let last = key.rsplit('.').next().unwrap_or(key);
        match find(&self.text, last) {
            Some(span) => Place::in_text(&self.path, &self.text, span),
            None => Place::Config(self.path.clone()),
        }
    }
}

/// Puts `value` at the dotted `key`. Names of parameters may have dots themselves. The error is the part of the key
/// at which something else than a table is in the way.
fn put(table: &mut Map<String, Value>, key: &str, value: Value) -> Result<(), String> {
    let Some((first, rest)) = key.split_once('.').filter(|_| !table.contains_key(key)) else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    match table
        .entry(first)
        .or_insert_with(|| Value::Object(Map::new()))
    {
        Value::Object(inner) => put(inner, rest, value),
        _ => Err(first.to_owned()),
    }
}

/// Where the word `word` stands first in `text`.
pub fn find(text: &str, word: &str) -> Option<Range<usize>> {
    let is_inside = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut places = text.match_indices(word);
    let found = places.find(|(at, _)| {
        let (before, after) = (&text[..*at], &text[at + word.len()..]);
        !before.ends_with(is_inside) && !after.starts_with(is_inside)
    });
    found
        .filter(|_| !word.is_empty())
        .map(|(at, _)| at..at + word.len())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A config of this text, with overrides.
    pub fn given(text: &str, overrides: &[&str]) -> Result<Given> {
        let path = Path::new("grid.json");
        let values = super::super::files::json(path, text)?;
        let overrides: Vec<_> = overrides.iter().map(|&it| it.to_owned()).collect();
        Given::new(path, (values, text.to_owned()), &overrides)
    }

    #[test]
    fn overrides_are_python_and_reach_into_tables() {
        let text = r#"{"a": 1, "fixed_params": {"fn.x": 1}, "b": null}"#;
        let given = given(
            text,
            &[
                "a=None",
                "fixed_params.fn.x=(1, 2)",
                "fixed_params.fn.y='z'",
                "c.d=True",
                "b=2",
            ],
        );
        let expected = serde_json::json!(
            {"a": null, "fixed_params": {"fn.x": [1, 2], "fn": {"y": "z"}}, "b": 2, "c": {"d": true}}
        );
        let given = given.unwrap();
        assert_eq!(Value::Object(given.values.clone()), expected);
        assert_eq!(given.get("a"), None);
        assert_eq!(given.place("c.d").to_string(), "`c.d=True`");
        assert_eq!(given.place("fixed_params.q").to_string(), "grid.json");
    }

    #[test]
    fn a_wrong_override_says_what_to_type() {
        for (words, said, hint) in [
            (
                "results_dir=foo",
                "is not a literal of Python",
                "'results_dir=\"foo\"'",
            ),
            ("results_dir", "it has no `=`", "KEY=VALUE"),
            ("a.b=1", "`a` in the config is not a table", "KEY=VALUE"),
            (".a=1", "a part of its key is empty", "KEY=VALUE"),
        ] {
            let error = given(r#"{"a": 1}"#, &[words]).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(
                error.hint().is_some_and(|it| it.contains(hint)),
                "{:?}",
                error.hint()
            );
        }
    }

    #[test]
    fn a_value_of_another_type_is_named_with_its_line() {
        let given = given("{\n\"x\": {\n\"cpus\": \"two\"}}", &[]).unwrap();
        let error = given.whole("x.cpus").unwrap_err().to_string();
        assert_eq!(
            error,
            "grid.json, line 3: `x.cpus`: expected a whole number, 0 or above, found \"two\""
        );
    }
}
