//! One text of keys: a run's config, or the defaults below it. A later layer goes before an earlier one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::defaults::{Defaults, OF_A_RUN};
use super::error::{Error, Place, Result};
use super::format::Format;
use super::paths;
use super::table::{Section, join};

/// The table whose tables are keys again, of which the user chooses one by its name.
pub const PROFILES: &str = "profiles";

/// A text of keys.
#[derive(Clone, Debug)]
pub struct Layer {
    path: PathBuf,
    text: String,
    is_default: bool,
}

impl Layer {
    /// The config of a run.
    pub fn config(path: PathBuf, text: String) -> Self {
        Self {
            path,
            text,
            is_default: false,
        }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Defaults have one file, which is in TOML; a run's config may be in another language.
    fn format(&self) -> Format {
        match self.is_default {
            true => Format::Toml,
            false => Format::of(&self.path),
        }
    }

    /// Its keys, with those of `profile` put over them. Adds the names of its profiles to `profiles`. In
    /// defaults, relative paths are made absolute.
    ///
    /// # Errors
    /// If it is not valid in its language, its profiles are not tables, or defaults have keys of a run.
    pub fn table(
        &self,
        profile: Option<&str>,
        known: &[Section],
        profiles: &mut BTreeSet<String>,
    ) -> Result<Table> {
        let format = self.format();
        let mut table = format.table(&self.text).map_err(|mistake| Error::Syntax {
            language: format.name(),
            reason: match format {
                Format::Toml => syntax(&self.text, mistake.span.clone(), &mistake.reason),
                Format::Json | Format::Yaml => mistake.reason,
            },
            place: self.place(mistake.span),
        })?;
        let mut chosen = Table::new();
        for (name, keys) in self.take_profiles(&mut table)? {
            if profile == Some(name.as_str()) {
                chosen = keys;
            }
            profiles.insert(name);
        }
        merge(&mut table, chosen, "", known);
        if self.is_default {
            self.check_defaults(&table)?;
            self.make_absolute(&mut table)?;
        }
        Ok(table)
    }

    fn take_profiles(&self, table: &mut Table) -> Result<Vec<(String, Table)>> {
        let wrong = |key: &str, found: &Value| Error::Value {
            place: self.place_of(key),
            key: key.to_owned(),
            reason: format!("expected a table, found {}", found.type_str()),
        };
        let profiles = match table.remove(PROFILES) {
            None => return Ok(Vec::new()),
            Some(Value::Table(profiles)) => profiles,
            Some(other) => return Err(wrong(PROFILES, &other)),
        };
        let tables = profiles.into_iter().map(|(name, keys)| match keys {
            Value::Table(keys) => Ok((name, keys)),
            other => Err(wrong(&join(PROFILES, &name), &other)),
        });
        tables.collect()
    }

    /// Checks that defaults do not make a run.
    fn check_defaults(&self, table: &Table) -> Result<()> {
        match OF_A_RUN.into_iter().find(|key| table.contains_key(*key)) {
            None => Ok(()),
            Some(key) => Err(Error::Value {
                place: self.place_of(key),
                key: key.to_owned(),
                reason: "this file has defaults for all runs; give this key in a run's config"
                    .to_owned(),
            }),
        }
    }

    fn make_absolute(&self, table: &mut Table) -> Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if let Some(Value::Table(variables)) = table.get_mut("environment") {
            for (_, value) in variables.iter_mut() {
                if let Value::String(text) = value {
                    *text = paths::with_config_dir(text, directory);
                }
            }
        }
        let made = paths::make_absolute(table, directory);
        made.map_err(|(key, reason)| Error::Value {
            place: self.place_of(&key),
            key,
            reason,
        })
    }

    /// How many parts of a dotted key this layer has, and the bytes of the last of them.
    pub fn find(&self, key: &[&str], profile: Option<&str>) -> Option<(usize, Range<usize>)> {
        let depth = |key: &[&str]| self.format().find(&self.text, key);
        let given = depth(key);
        let mut of_profile: Vec<&str> = vec![PROFILES, profile.unwrap_or_default()];
        of_profile.extend(key);
        let by_profile = depth(&of_profile);
        // The profile alone says nothing of the key.
        let by_profile = by_profile.filter(|(parts, _)| *parts > 2);
        let by_profile = by_profile.map(|(parts, span)| (parts - 2, span));
        match (given, by_profile) {
            (Some(given), Some(by_profile)) if by_profile.0 < given.0 => Some(given),
            (given, by_profile) => by_profile.filter(|_| profile.is_some()).or(given),
        }
    }

    /// The place of a dotted key, whatever the profile.
    fn place_of(&self, key: &str) -> Place {
        let parts: Vec<_> = key.split('.').collect();
        self.place(self.find(&parts, None).map(|(_, span)| span))
    }

    /// The place of the bytes `span`; without them, the file.
    pub fn place(&self, span: Option<Range<usize>>) -> Place {
        match span {
            Some(span) => Place::in_text(&self.path, &self.text, span),
            None => Place::Config(self.path.clone()),
        }
    }
}

impl From<Defaults> for Layer {
    fn from(defaults: Defaults) -> Self {
        Self {
            path: defaults.path,
            text: defaults.text,
            is_default: true,
        }
    }
}

/// Puts `over` over `table`: key by key in the tables that the config knows, whole elsewhere, where several
/// keys are one value.
pub fn merge(table: &mut Table, over: Table, path: &str, known: &[Section]) {
    for (name, value) in over {
        let inner = join(path, &name);
        match (table.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(over))
                if known.iter().any(|it| it.path == inner) =>
            {
                merge(below, over, &inner, known);
            }
            (_, value) => {
                table.insert(name, value);
            }
        }
    }
}

/// What is wrong with `text` at `span`: another language's habit, or what the parser says.
fn syntax(text: &str, span: Option<Range<usize>>, message: &str) -> String {
    let at = span.map_or(0, |span| span.start.min(text.len()));
    let before = text.as_bytes()[..at].iter();
    let number = before.filter(|byte| **byte == b'\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    let value = line.split_once('=').map(|(_, value)| value.trim());
    let looks_like_yaml = line.split_once(':').is_some_and(|(key, _)| {
        let is_part = |it: char| it.is_alphanumeric() || "_-. ".contains(it);
        !key.is_empty() && key.chars().all(is_part)
    });
    match value {
        Some("null" | "None" | "nil") => "TOML has no null; leave the key out".to_owned(),
        None if text.trim_start().starts_with('{') => {
            "this looks like JSON; name such a file x.json, or write TOML: `name = \"x\"`"
                .to_owned()
        }
        None if looks_like_yaml || line == "---" => {
            "this looks like YAML; name such a file x.yaml, or write TOML: `name = \"x\"`"
                .to_owned()
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference::sections;

    fn table(text: &str) -> Table {
        toml::from_str(text).expect("TOML")
    }

    #[test]
    fn tables_are_merged_key_by_key_and_values_are_replaced_whole() {
        let mut below = table(
            "[environment]\nA = \"1\"\nB = \"1\"\n[stop]\nafter = \"1h\"\n[resume]\n\
             done_when = { file = \"F\", contains = \"x\" }\nexit_code = [3, 4]\n",
        );
        let over = table(
            "[environment]\nB = \"2\"\n[stop]\ngrace = \"1s\"\n[resume]\n\
             done_when = { output = \"y\" }\nexit_code = 5\n[backend.slurm]\npartition = \"p\"\n",
        );
        merge(&mut below, over, "", &sections());
        let expected = table(
            "[environment]\nA = \"1\"\nB = \"2\"\n[stop]\nafter = \"1h\"\ngrace = \"1s\"\n[resume]\n\
             done_when = { output = \"y\" }\nexit_code = 5\n[backend.slurm]\npartition = \"p\"\n",
        );
        assert_eq!(below, expected);
    }
}
