//! The settings of a job, for a program with a struct of its own or with the map [`Settings`].

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The settings as they are in the file, for programs without a struct of their own.
///
/// ```
/// let settings: cu_client::Settings = serde_json::from_str(r#"{"optimizer": {"rate": 0.1}}"#)?;
/// assert_eq!(settings.get("optimizer.rate"), Some(&0.1.into()));
/// assert_eq!(settings.get("optimizer.momentum"), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub Map<String, Value>);

impl Settings {
    /// The setting of this name. A dot leads into a nested table, unless a key contains the dot.
    #[must_use]
    pub fn get(&self, dotted: &str) -> Option<&Value> {
        lookup(&self.0, dotted)
    }
}

fn lookup<'a>(table: &'a Map<String, Value>, dotted: &str) -> Option<&'a Value> {
    if let Some(value) = table.get(dotted) {
        return Some(value);
    }
    dotted.match_indices('.').find_map(|(dot, _)| {
        let below = table.get(&dotted[..dot])?.as_object()?;
        lookup(below, &dotted[dot + 1..])
    })
}

/// Settings without a type, and where they come from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Its content; empty without a file.
    pub settings: Settings,
    /// The reason why there is no file, for messages.
    without: &'static str,
}

impl Source {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(Error::file("read", path))?;
        let failed = |reason: String| Error::Settings {
            origin: path.display().to_string(),
            key: String::new(),
            reason,
        };
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("it is not valid JSON: {error}")))?;
        let Value::Object(table) = value else {
            return Err(failed(
                "it is not a JSON object, such as {\"seed\": 1}".to_owned(),
            ));
        };
        Ok(Self {
            file: Some(path.to_owned()),
            settings: Settings(table),
            without: "",
        })
    }

    /// Empty settings, enough for a program with a default for each. `why` is the reason in brief.
    pub fn nothing(without: &'static str) -> Self {
        Self {
            file: None,
            settings: Settings::default(),
            without,
        }
    }

    /// Converts all settings to the type that the program expects.
    pub fn parse<S: DeserializeOwned>(&self) -> Result<S> {
        serde_path_to_error::deserialize(&self.settings.0).map_err(|error| {
            let path = error.path().to_string();
            let key = if path == "." { String::new() } else { path };
            self.error(key, error.inner())
        })
    }

    /// Whether there is such a setting.
    pub fn has(&self, dotted: &str) -> bool {
        self.settings.get(dotted).is_some()
    }

    /// Converts one setting to the type that the program expects.
    pub fn parse_one<T: DeserializeOwned>(&self, dotted: &str) -> Result<T> {
        let value = self
            .settings
            .get(dotted)
            .ok_or_else(|| self.error(dotted.to_owned(), "there is no such setting"))?;
        T::deserialize(value).map_err(|error| self.error(dotted.to_owned(), error))
    }

    fn error(&self, key: String, reason: impl fmt::Display) -> Error {
        Error::Settings {
            origin: self.to_string(),
            key,
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => file.display().fmt(out),
            None => write!(out, "nowhere ({})", self.without),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)] // Only deserialised.
    struct Training {
        seed: u64,
        optimizer: Optimizer,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Optimizer {
        rate: f64,
    }

    fn refused(json: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings.json");
        std::fs::write(&path, json).unwrap();
        let parsed = Source::read(&path).and_then(|source| source.parse::<Training>());
        let message = parsed.unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        message
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        for (json, words) in [
            (r#"{"optimizer": {"rate": 1}}"#, "missing field `seed`"),
            (
                r#"{"seed": 1, "optimizer": {}}"#,
                "`optimizer`: missing field `rate`",
            ),
            (
                r#"{"seed": 1, "optimizer": {"rate": "fast"}}"#,
                "`optimizer.rate`: invalid type: string \"fast\", expected f64",
            ),
            (
                r#"{"seed": 1, "optimizer": {"rate": 1}, "sed": 2}"#,
                "unknown field `sed`",
            ),
            (r#"{"seed": -1, "optimizer": {"rate": 1}}"#, "`seed`: "),
            (r#"[1]"#, "it is not a JSON object"),
            (r#"{"seed": 1,}"#, "it is not valid JSON"),
        ] {
            let message = refused(json);
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Source::read(Path::new("/no/such/settings.json")).unwrap_err();
        assert!(error.to_string().contains("/no/such/settings.json"));
    }

    #[test]
    fn no_settings_are_enough_if_all_have_defaults() {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Defaults {
            seed: u64,
        }
        assert_eq!(
            Source::nothing("CU_SETTINGS is not set")
                .parse::<Defaults>()
                .unwrap()
                .seed,
            0
        );
        let message = Source::nothing("CU_SETTINGS is not set")
            .parse::<Training>()
            .unwrap_err()
            .to_string();
        assert!(message.contains("CU_SETTINGS"), "{message}");
    }

    #[test]
    fn one_setting_by_its_dotted_name() {
        let mut source = Source::nothing("CU_SETTINGS is not set");
        source.settings =
            serde_json::from_str(r#"{"a": {"b": {"c": 1}, "b.d": [2]}, "a.e": 3, "n": null}"#)
                .unwrap();
        assert_eq!(source.parse_one::<u8>("a.b.c").unwrap(), 1);
        assert_eq!(source.parse_one::<Vec<u8>>("a.b.d").unwrap(), [2]);
        assert_eq!(source.parse_one::<u8>("a.e").unwrap(), 3);
        assert_eq!(source.parse_one::<Option<u8>>("n").unwrap(), None);
        let message = source.parse_one::<u8>("a.x").unwrap_err().to_string();
        assert!(message.contains("`a.x`"), "{message}");
    }
}
