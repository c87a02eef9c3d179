//! Reads a config: from the text and the overrides to typed keys that know where they were given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cu_system::files;
use serde::Deserialize;
use toml::Table;

use super::defaults::{self, Defaults, LONGEST};
use super::error::{Error, Place, Result};
use super::file::File;
use super::layer::{Layer, merge};
use super::nearest::nearest;
use super::overrides::{self, Override};
use super::paths;
use super::reference::{known_paths, sections};
use super::table::join;
use super::words::in_words_of_toml;

/// Tables without which a run does nothing of what they are about.
const OPTIONAL: [&str; 2] = ["git", "optimize"];

/// The user's words: the text of a file, the defaults below it, and the overrides of the command line.
#[derive(Clone, Debug)]
pub struct Source {
    /// The weakest first.
    defaults: Vec<Layer>,
    config: Layer,
    profile: Option<String>,
    overrides: Vec<Override>,
    directory: Option<PathBuf>,
}

impl Source {
    /// The config in the file `path` with `overrides`.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn read(path: &Path, overrides: Vec<Override>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::new(path.to_owned(), text, overrides))
    }

    /// The config that is kept with a run. It must be this user's alone.
    ///
    /// # Errors
    /// If the file can't be read, or is not this user's alone.
    pub fn read_own(path: &Path) -> Result<Self> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let text = files::read_own(path, LONGEST).map_err(read)?;
        let text = String::from_utf8(text).map_err(|error| read(std::io::Error::other(error)))?;
        Ok(Self::new(path.to_owned(), text, Vec::new()))
    }

    /// A config made of options alone.
    pub fn command_line(overrides: Vec<Override>) -> Self {
        Self::new(PathBuf::from("the command line"), String::new(), overrides)
    }

    /// The config `text`, which is in the file `path`, with `overrides`. Its paths stay as they are.
    pub fn new(path: PathBuf, text: String, overrides: Vec<Override>) -> Self {
        Self {
            defaults: Vec::new(),
            config: Layer::config(path, text),
            profile: None,
            overrides,
            directory: None,
        }
    }

    /// The same, its relative paths taken from `directory` (absolute).
    #[must_use]
    pub fn within(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// The same over `defaults`, the weakest of them first, with the keys of `profile` if one is named.
    #[must_use]
    pub fn over(mut self, defaults: Vec<Defaults>, profile: Option<String>) -> Self {
        self.defaults = defaults.into_iter().map(Layer::from).collect();
        self.profile = profile;
        self
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// If the text is not valid TOML, or an override needs a table where a value is: the first of these.
    /// Otherwise, every key that is unknown or whose value has the wrong type.
    pub fn parse(self) -> Result<Parsed> {
        let table = self.table()?;
        let file = self.file(&table)?;
        Ok(Parsed {
            file,
            table,
            source: self,
            clone: None,
        })
    }

    /// All that was given, with overrides applied and paths absolute.
    fn table(&self) -> Result<Table> {
        let known = sections();
        let mut table = Table::new();
        let mut profiles = BTreeSet::new();
        for layer in self.layers() {
            let given = layer.table(self.profile.as_deref(), &known, &mut profiles)?;
            merge(&mut table, given, "", &known);
        }
        if let Some(name) = self
            .profile
            .as_ref()
            .filter(|name| !profiles.contains(*name))
        {
            return Err(Error::NoProfile {
                name: name.clone(),
                known: profiles.into_iter().collect(),
            });
        }
        for given in &self.overrides {
            given.apply(&mut table)?;
        }
        if let Some(directory) = &self.directory {
            let made = paths::make_absolute(&mut table, directory);
            made.map_err(|(key, reason)| Error::Value {
                place: self.place(&key),
                key,
                reason,
            })?;
        }
        Ok(table)
    }

    /// The keys of `table`.
    fn file(&self, table: &Table) -> Result<File> {
        let mut wrong = Vec::new();
        // Without the wrong keys, so that one mistake does not hide another.
        let mut rest = table.clone();
        loop {
            let mut unknown = Vec::new();
            let mut track = serde_path_to_error::Track::new();
            let tracked = serde_path_to_error::Deserializer::new(rest.clone(), &mut track);
            let file = File::deserialize(serde_ignored::Deserializer::new(tracked, &mut |path| {
                unknown.push(path.to_string());
            }));
            let is_complete = match &file {
                Ok(_) => true,
                Err(error) => {
                    let key = track.path().to_string();
                    wrong.push(Error::Value {
                        place: self.place(&key),
                        reason: in_words_of_toml(&key, error.message().trim_end()),
                        key: key.clone(),
                    });
                    !overrides::remove(&mut rest, without_index(&key))
                }
            };
            if is_complete {
                wrong.extend(unknown.into_iter().map(|key| self.unknown(key, table)));
                wrong.sort_by_key(Error::line);
                return match (file, wrong.is_empty()) {
                    (Ok(file), true) => Ok(file),
                    _ => Err(Error::several(wrong)),
                };
            }
        }
    }

    /// The place where `key` (dotted) was given last.
    fn place(&self, key: &str) -> Place {
        let key = without_index(key);
        let parts: Vec<&str> = key.split('.').collect();
        let given = |given: &&Override| {
            let shared = given.key.len().min(parts.len());
            given.key[..shared].iter().zip(&parts).all(|(a, b)| a == b)
        };
        if let Some(given) = self.overrides.iter().rev().find(given) {
            return Place::CommandLine(given.words.clone());
        }
        let found = self.layers().enumerate().filter_map(|(number, layer)| {
            let (depth, span) = layer.find(&parts, self.profile.as_deref())?;
            Some(((depth, number), layer.place(Some(span))))
        });
        match found.max_by_key(|(strength, _)| *strength) {
            Some((_, place)) => place,
            None => Place::Config(self.config.path().to_owned()),
        }
    }

    /// The names of all profiles.
    ///
    /// # Errors
    /// If a text is not valid TOML.
    pub fn profiles(&self) -> Result<BTreeSet<String>> {
        let mut profiles = BTreeSet::new();
        for layer in self.layers() {
            layer.table(None, &[], &mut profiles)?;
        }
        Ok(profiles)
    }

    /// The same with the keys of another profile.
    pub fn with_profile(&self, profile: &str) -> Self {
        let profile = Some(profile.to_owned());
        Self {
            profile,
            ..self.clone()
        }
    }

    /// The weakest first.
    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.defaults.iter().chain([&self.config])
    }

    fn unknown(&self, key: String, table: &Table) -> Error {
        let place = self.place(&key);
        let mut known = known_paths();
        if let Some(settings) = table.get("settings").and_then(toml::Value::as_table) {
            known.extend(settings.keys().map(|name| join("settings", name)));
        }
        // A name alone is hardly meant for what the config does not ask for: `seed=2` is a setting.
        if !key.contains('.') {
            let is_unused = |known: &str| {
                let table_of = known.split_once('.').map(|(first, _)| first);
                table_of.is_some_and(|it| OPTIONAL.contains(&it) && !table.contains_key(it))
            };
            known.retain(|known| !is_unused(known));
        }
        let nearest = nearest(&key, &known);
        Error::UnknownKey {
            place,
            key,
            nearest,
        }
    }
}

/// Where runs are by the defaults of the user and the site.
///
/// # Errors
/// If these can't be read, or are wrong.
pub fn default_results_dir() -> Result<Option<PathBuf>> {
    let source = Source::command_line(Vec::new()).over(defaults::read()?, None);
    let results_dir = source.parse()?.file.results_dir;
    Ok(results_dir.map(|path| path.0.into()))
}

/// A config as far as types go: its keys, and where each was given.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The keys.
    pub file: File,
    table: Table,
    source: Source,
    clone: Option<InClone>,
}

/// The clone of a repository in which the programs are.
#[derive(Clone, Debug)]
pub struct InClone {
    /// Where it is.
    pub top: PathBuf,
    /// What stands in it for the config's directory.
    pub project: PathBuf,
    /// Whether it is there already.
    pub is_made: bool,
}

impl Parsed {
    /// The same with further overrides, parsed again.
    ///
    /// # Errors
    /// As [`Source::parse`].
    pub fn with(&self, overrides: impl IntoIterator<Item = Override>) -> Result<Self> {
        let mut source = self.source.clone();
        source.overrides.extend(overrides);
        let clone = self.clone.clone();
        Ok(Self {
            clone,
            ..source.parse()?
        })
    }

    /// The same, its programs being in a clone.
    #[must_use]
    pub fn in_clone(self, clone: InClone) -> Self {
        let clone = Some(clone);
        Self { clone, ..self }
    }

    /// Whether `path` can't be looked at because the clone that has it is still to be made.
    pub fn is_to_be_cloned(&self, path: &Path) -> bool {
        let clone = self.clone.as_ref();
        clone.is_some_and(|clone| !clone.is_made && path.starts_with(&clone.top))
    }

    /// All that was given, with overrides applied and paths absolute.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The directory from which the paths of programs are taken: the config's, or what stands for it in a clone.
    pub fn directory(&self) -> &Path {
        match &self.clone {
            Some(clone) => &clone.project,
            None => self.config_directory(),
        }
    }

    /// The directory from which all other relative paths are taken.
    pub fn config_directory(&self) -> &Path {
        let directory = self.source.directory.as_deref();
        directory.unwrap_or(Path::new("/"))
    }

    /// The place where `key` (dotted) was given last.
    pub fn place(&self, key: &str) -> Place {
        self.source.place(key)
    }

    /// An error about the value of `key`.
    pub fn wrong(&self, key: &str, reason: impl Into<String>) -> Error {
        Error::Value {
            place: self.place(key),
            key: key.to_owned(),
            reason: reason.into(),
        }
    }

    /// The error that `key` is missing.
    pub fn missing(&self, key: &'static str) -> Error {
        Error::Missing {
            path: self.source.config.path().to_owned(),
            key,
        }
    }
}

/// The error that no key or table is called `key`, about which the user asked.
pub fn unknown(key: &str) -> Error {
    Error::UnknownKey {
        place: Place::CommandLine(key.to_owned()),
        key: key.to_owned(),
        nearest: nearest(key, &known_paths()),
    }
}

/// The key of the list in which `key` is an element, or `key` itself.
fn without_index(key: &str) -> &str {
    let list = key.strip_suffix(']').and_then(|key| key.rsplit_once('['));
    list.map_or(key, |(list, _)| list)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The config `text` in run.toml, with `overrides` as the command line has them.
    pub fn parsed(text: &str, overrides: &[&str]) -> Result<Parsed> {
        let overrides = overrides.iter().map(|words| Override::parse(words));
        let overrides = overrides.collect::<Result<_>>()?;
        Source::new("run.toml".into(), text.to_owned(), overrides).parse()
    }

    fn error(text: &str, overrides: &[&str]) -> (String, Option<String>) {
        let error = parsed(text, overrides).expect_err("it is wrong");
        (error.to_string(), error.hint())
    }

    #[test]
    fn an_unknown_key_names_its_line_and_its_nearest() {
        let (message, hint) = error("name = \"a\"\n\n[stop]\naftre = \"1h\"\n", &[]);
        assert_eq!(message, "run.toml, line 4: unknown key `stop.aftre`");
        assert_eq!(hint.as_deref(), Some("did you mean `stop.after`?"));

        let (message, hint) = error("[resources]\ncpus = 1\n", &["resource.cpus=2"]);
        assert_eq!(message, "`resource.cpus=2`: unknown key `resource`");
        assert_eq!(hint.as_deref(), Some("did you mean `resources`?"));

        let (_, hint) = error("[resources]\ncpu = 2\n", &[]);
        assert_eq!(hint.as_deref(), Some("did you mean `resources.cpus`?"));
        let (_, hint) = error("[backend.local]\ncpu = 2\n", &[]);
        assert_eq!(hint.as_deref(), Some("did you mean `backend.local.cpus`?"));

        let (message, hint) = error("[backend.slurm]\npartion = \"gpu\"\n", &[]);
        assert_eq!(
            message,
            "run.toml, line 2: unknown key `backend.slurm.partion`"
        );
        assert_eq!(
            hint.as_deref(),
            Some("did you mean `backend.slurm.partition`?")
        );

        for (text, meant) in [
            ("walltime = \"1h\"\n", "resources.time_limit"),
            ("[resources]\nmem = \"1GiB\"\n", "resources.memory"),
            (
                "[backend.slurm]\nqueue = \"gpu\"\n",
                "backend.slurm.partition",
            ),
        ] {
            let (_, hint) = error(text, &[]);
            assert_eq!(hint, Some(format!("did you mean `{meant}`?")));
        }
        let (_, hint) = error("[settings]\ntime = 1\n", &["time=2"]);
        assert_eq!(hint.as_deref(), Some("did you mean `settings.time`?"));

        let (_, hint) = error("exit_code = 4\n", &[]);
        assert_eq!(hint.as_deref(), Some("did you mean `resume.exit_code`?"));

        let (_, hint) = error("[settings]\nseed = 1\n", &["seed=2"]);
        assert_eq!(hint.as_deref(), Some("did you mean `settings.seed`?"));

        let (_, hint) = error("xyzzy = 1\n", &[]);
        assert_eq!(
            hint.as_deref(),
            Some("`cu config reference` prints all keys")
        );
    }

    #[test]
    fn a_wrong_type_names_its_key_and_line() {
        let (message, _) = error("[resources]\ncpus = 1\ntime_limit = 60\n", &[]);
        assert!(
            message.starts_with("run.toml, line 3: `resources.time_limit`: "),
            "{message}"
        );
        assert!(message.contains("a time with its unit"), "{message}");

        let (message, _) = error("", &["resources.cpus=0"]);
        assert!(
            message.starts_with("`resources.cpus=0`: `resources.cpus`: "),
            "{message}"
        );

        let (message, _) = error("command = \"python3 train.py\"\n", &[]);
        assert_eq!(
            message,
            "run.toml, line 1: `command`: expected a list such as [\"python3\", \"train.py\", \
             \"--rate={settings.learning_rate}\"], found \"python3 train.py\""
        );

        let number = "command = [\n    \"./train\",\n    30\n]\n";
        let (message, _) = error(number, &[]);
        let reason = "`command[1]`: expected a string, found 30";
        assert_eq!(message, format!("run.toml, line 1: {reason}"));
        let (message, _) = error("", &["command=[\"./train\", 30]"]);
        assert_eq!(message, format!("`command=[\"./train\", 30]`: {reason}"));

        for (given, expected) in [
            (
                "resources.cpus=0",
                "expected a whole number above 0, found 0",
            ),
            (
                "resources.gpus=-1",
                "expected a whole number, 0 or above, found -1",
            ),
            (
                "resume.exit_code=x",
                "expected a whole number, or a list of them such as [3, 85], found \"x\"",
            ),
            (
                "resume.exit_code=0",
                "without such a request it means that the job is done",
            ),
            (
                "resume.exit_code=[3, 256]",
                "`resume.exit_code`: an exit code from 1 to 255 is expected: 0 means that the job is done",
            ),
            (
                "resume.exit_code=[]",
                "`resume.exit_code`: expected at least one exit code, found none",
            ),
        ] {
            let (message, _) = error("", &[given]);
            assert!(message.ends_with(expected), "{message}");
        }

        for table in ["stop", "settings", "backend.slurm"] {
            let (message, _) = error(&format!("{table} = 3\n"), &[]);
            let expected = format!("run.toml, line 1: `{table}`: expected a table, found 3");
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn a_setting_without_its_table_is_told_where_it_belongs() {
        let (_, hint) = error("", &["seed=2"]);
        let hint = hint.expect("what to type");
        assert!(hint.starts_with("`settings.seed=2` gives it"), "{hint}");
        let (_, hint) = error("[optimize]\nmetric = \"loss\"\n", &["seed=2"]);
        assert_eq!(hint.as_deref(), Some("did you mean `optimize.seed`?"));
        let (_, hint) = error("", &["optimize.sed=2"]);
        assert_eq!(hint.as_deref(), Some("did you mean `optimize.seed`?"));
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let (message, _) = error("name = \"a\"\n[stop\n", &[]);
        assert!(
            message.starts_with("run.toml, line 2: this is not valid TOML: "),
            "{message}"
        );
    }

    #[test]
    fn habits_of_other_languages_are_named() {
        for (text, expected) in [
            (
                "name = \"a\"\nx = null\n",
                "TOML has no null; leave the key out",
            ),
            (
                "name: a\ncommand: [true]\n",
                "this looks like YAML; name such a file x.yaml",
            ),
            (
                "---\nname: a\n",
                "this looks like YAML; name such a file x.yaml",
            ),
            (
                "{\"name\": \"a\"}\n",
                "this looks like JSON; name such a file x.json",
            ),
        ] {
            let (message, _) = error(text, &[]);
            assert!(message.contains(expected), "{message}");
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        let known = proptest::sample::select(vec![
            "name = ",
            "command = ",
            "[stop]\n",
            "[grid]\n",
            "[settings]\n",
            "after = ",
            "\"1h\"",
            "[1, 2]",
            "[\"a\"]",
            "lr = ",
            "\n",
            "[backend.local]\n",
            "cpus = ",
            "3",
            "nan",
            "{}",
            "2020-01-01",
            "'''",
            "a.b.c = ",
        ]);
        let piece = prop_oneof![known.prop_map(str::to_owned), any::<String>()];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_text_is_a_config_or_an_error(
            text in any_text(),
            overrides in proptest::collection::vec(any::<String>(), 0..3),
        ) {
            let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
            if let Err(error) = parsed(&text, &overrides) {
                prop_assert!(!error.to_string().is_empty());
            }
        }

        #[test]
        fn an_override_arrives_as_it_was_given(seed in any::<i64>(), name in "[a-z]{1,8}") {
            let words = [format!("settings.{name}={seed}"), format!("settings.Inner.{name}=\"{seed}\"")];
            let parsed = parsed("[settings]\nkept = true\n", &[&words[0], &words[1]]).expect("valid");
            let settings = parsed.file.settings.0;
            prop_assert_eq!(settings[&name].as_integer(), Some(seed));
            let text = seed.to_string();
            prop_assert_eq!(settings["Inner"][&name].as_str(), Some(text.as_str()));
            prop_assert_eq!(settings.get("kept").is_some(), true);
        }
    }
}
