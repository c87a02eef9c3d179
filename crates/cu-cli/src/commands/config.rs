//! `cu config`: explains, shows, checks and begins configs.

use std::io::ErrorKind;
use std::path::Path;

use cu_core::RunDir;
use serde_json::{Map, Value, json};

use crate::args::{Common, Config, GivenConfig, Profile, ShowConfig};
use crate::config::{self, Override, Place, Source, defaults};
use crate::error::{Error, ExitCode, Result};
use crate::git::Wanted;
use crate::text::plural;
use crate::{runs, terminal};

/// The file that `cu config init` writes.
const BEGINNING: &str = include_str!("beginning.toml");

/// Does what is asked.
///
/// # Errors
/// If a config is wrong, or a file or stdout can't be written.
pub fn config(common: &Common, command: &Config) -> Result<ExitCode> {
    match command {
        Config::Reference { key } => reference(common, key.as_deref())?,
        Config::Show(arguments) => show(common, arguments)?,
        Config::Check(arguments) => check(common, arguments)?,
        Config::Init { file } => init(common, file)?,
        Config::Schema => terminal::json(&config::schema())?,
    }
    Ok(ExitCode::Done)
}

/// The config that the words of a command line describe, over the defaults.
pub struct Given {
    /// Its texts.
    pub source: Source,
    /// Whether a file was named.
    pub is_named: bool,
}

impl Given {
    /// Reads the config among `words`, whose other words are overrides, and the defaults.
    ///
    /// # Errors
    /// If two configs are named, an override is not one, or a file can't be read.
    pub fn read(words: &[String], more: Option<Override>, profile: &Profile) -> Result<Self> {
        // Directories of experiments have names such as `rate=0.1`.
        let is_override = |word: &&String| word.contains('=') && !Path::new(word).is_file();
        let (overrides, configs): (Vec<_>, Vec<_>) = words.iter().partition(is_override);
        let overrides = overrides.into_iter().map(|words| Override::parse(words));
        let mut overrides = overrides.collect::<Result<Vec<_>, _>>()?;
        overrides.extend(more);
        let here = runs::absolute(Path::new("."))?;
        let source = match configs[..] {
            [] => Source::command_line(overrides).within(&here),
            [path] => {
                let path = Path::new(path);
                let path_absolute = runs::absolute(path)?;
                let directory = path_absolute.parent().unwrap_or(&here);
                Source::read(path, overrides)?.within(directory)
            }
            [_, second, ..] => {
                let message = format!("unexpected `{second}`: give one config");
                return Err(Error::usage_hint(message, "overrides are KEY=VALUE"));
            }
        };
        Ok(Self {
            source: source.over(defaults::read()?, profile.profile.clone()),
            is_named: !configs.is_empty(),
        })
    }
}

fn reference(common: &Common, key: Option<&str>) -> Result<()> {
    let reference = match key {
        None => config::reference(),
        Some(key) => config::reference_of(key).ok_or_else(|| Error::from(config::unknown(key)))?,
    };
    match common.json {
        true => terminal::json(&json!({"version": 1, "reference": reference})),
        false => terminal::data(reference.trim_end()),
    }
}

/// Prints a line for each key, and where defaults are looked for.
fn show(common: &Common, arguments: &ShowConfig) -> Result<()> {
    let given = &arguments.given;
    let given = Given::read(&given.config_and_overrides, None, &given.profile)?;
    let parsed = given.source.parse()?;
    let mut keys = Vec::new();
    flatten("", parsed.table(), &mut keys);
    let origins = keys.iter().map(|(key, _)| origin(&parsed.place(key)));
    let origins: Vec<_> = origins.collect();
    let places = defaults::here();
    if common.json {
        let origins = keys
            .iter()
            .map(|(key, _)| key.clone())
            .zip(origins.into_iter().map(Value::from));
        return terminal::json(&json!({
            "version": 1,
            "config": parsed.table(),
            "origins": origins.collect::<Map<_, _>>(),
            "defaults": places.iter().filter(|path| path.exists()).collect::<Vec<_>>(),
        }));
    }
    let mut text = String::new();
    for path in &places {
        let state = match path.exists() {
            true => "read",
            false => "no such file is in reach",
        };
        text.push_str(&format!("# defaults in {}: {state}\n", path.display()));
    }
    for ((key, value), origin) in keys.iter().zip(origins) {
        text.push_str(&format!("{key} = {value}"));
        if arguments.origin {
            text.push_str(&format!("  # {origin}"));
        }
        text.push('\n');
    }
    terminal::data(text.trim_end())
}

/// Every key with its value, its name dotted.
fn flatten(path: &str, table: &toml::Table, keys: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let key = config::table::join(path, &quoted(name));
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => flatten(&key, inner, keys),
            value => keys.push((key, value.clone())),
        }
    }
}

/// A part of a dotted key as TOML has it.
fn quoted(name: &str) -> String {
    let is_bare = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => toml::Value::from(name).to_string(),
    }
}

fn origin(place: &Place) -> String {
    match place {
        Place::CommandLine(words) => format!("the command line: {words}"),
        place => place.to_string(),
    }
}

/// Reports every mistake of the config and of its profiles; without a config, of the defaults.
fn check(common: &Common, arguments: &GivenConfig) -> Result<()> {
    let words = without_defaults(&arguments.config_and_overrides)?;
    let given = Given::read(&words, None, &arguments.profile)?;
    let parsed = given.source.clone().parse()?;
    let (jobs, warnings) = match given.is_named {
        true => {
            let run = RunDir::new("/");
            let config = config::Config::new(Wanted::before(&parsed, &run)?)?;
            (Some(config.plan.jobs.len()), config.warnings)
        }
        // Defaults make no run.
        false => (None, Vec::new()),
    };
    let profiles = given.source.profiles()?;
    for profile in &profiles {
        given.source.with_profile(profile).parse()?;
    }
    if common.json {
        return terminal::json(&json!({
            "version": 1,
            "jobs": jobs,
            "warnings": warnings,
            "profiles": profiles,
        }));
    }
    warnings.iter().for_each(|warning| terminal::warn(warning));
    let subject = match jobs {
        Some(jobs) => format!(
            "the config is correct; it makes {}",
            plural(jobs as u64, "job")
        ),
        None => "the defaults are correct".to_owned(),
    };
    let profiles: Vec<_> = profiles.into_iter().collect();
    match profiles.is_empty() {
        true => terminal::data(&subject),
        false => terminal::data(&format!("{subject}; profiles: {}", profiles.join(", "))),
    }
}

/// `words` without the path of a file of defaults, which is checked in any case and is not a run's config.
fn without_defaults(words: &[String]) -> Result<Vec<String>> {
    let places = defaults::here();
    let mut others = Vec::new();
    for word in words {
        let path = runs::absolute(Path::new(word))?;
        if !places.contains(&path) {
            others.push(word.clone());
        }
    }
    Ok(others)
}

fn init(common: &Common, file: &Path) -> Result<()> {
    use std::io::Write;
    let made =
        std::fs::File::create_new(file).and_then(|mut made| made.write_all(BEGINNING.as_bytes()));
    made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::usage_hint(
            format!("{} exists already", file.display()),
            "name another file: `cu config init other.toml`",
        ),
        _ => Error::write("write", file)(error),
    })?;
    if common.json {
        return terminal::json(&json!({"version": 1, "file": file}));
    }
    terminal::say(&format!(
        "wrote {0}; change its command, then start it with `cu run {0}`",
        file.display()
    ));
    Ok(())
}
