//! Names that exist: of runs and jobs, of configs, their keys, settings and profiles. What can't be read has none.

use std::fs;
use std::path::Path;

use clap_complete::engine::CompletionCandidate;
use cu_core::{JobReport, JobState, Reader, RunDir};
use toml::{Table, Value};

use super::is_path;
use super::line::{Line, expanded};
use crate::config::reference::sections;
use crate::config::table::join;
use crate::config::{Source, defaults};
use crate::runs;
use crate::select::{Key, Names};

/// The jobs of a larger run are not listed: nobody chooses one of so many, and reading them takes long.
const MOST_JOBS: u64 = 2000;

/// A candidate, with what it is.
pub fn candidate(value: impl Into<String>, about: impl Into<String>) -> CompletionCandidate {
    let about = Some(about.into()).filter(|about| !about.is_empty());
    CompletionCandidate::new(value.into()).help(about.map(Into::into))
}

/// The runs of the results directory. No store is opened for their names.
pub fn runs(line: &Line) -> Vec<String> {
    let entries = fs::read_dir(line.results_dir())
        .into_iter()
        .flatten()
        .flatten();
    let runs = entries.filter(|entry| RunDir::new(entry.path()).store().exists());
    let names = runs.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The run that is named before the cursor, else the newest.
fn run(line: &Line) -> Option<RunDir> {
    let results_dir = line.results_dir();
    let mut words = line.arguments();
    let named = words.find(|word| runs::exists(&expanded(word).to_string_lossy(), &results_dir));
    let named = named.map(|word| expanded(word).to_string_lossy().into_owned());
    runs::find(named.as_deref(), &results_dir).ok()
}

/// Whether a run is named before the cursor.
pub fn names_run(line: &Line) -> bool {
    let results_dir = line.results_dir();
    let mut words = line.arguments();
    words.any(|word| runs::exists(&expanded(word).to_string_lossy(), &results_dir))
}

/// The jobs of the run that the line is about, as far as its command concerns them, each with its state and settings.
pub fn jobs(line: &Line) -> Vec<CompletionCandidate> {
    let Some(jobs) = reports(line) else {
        return Vec::new();
    };
    let command = line.command().map(|(_, command)| command);
    let names = Names::of(&jobs);
    let jobs = jobs.iter().filter(|job| concerns(command, job));
    let candidate = |job: &JobReport| {
        let state = Key::State.of(job).shown();
        let settings = names.settings.iter().filter_map(|name| {
            let value = Key::Setting(name.clone()).of(job);
            (!value.is_missing()).then(|| format!("{name}={}", value.shown()))
        });
        let about: Vec<_> = std::iter::once(state).chain(settings.take(4)).collect();
        candidate(job.job.0.to_string(), about.join(", "))
    };
    jobs.map(candidate).collect()
}

fn reports(line: &Line) -> Option<Vec<JobReport>> {
    let reader = Reader::open(&run(line)?).ok()?;
    let total = u64::from(reader.status().ok()?.jobs.total);
    (total <= MOST_JOBS).then(|| reader.jobs().ok())?
}

fn concerns(command: Option<&str>, job: &JobReport) -> bool {
    match command {
        Some("stop") => !job.state.is_settled(),
        Some("pause") => !(job.state.is_settled() || job.paused),
        Some("continue") => job.paused,
        Some("retry") => matches!(job.state, JobState::Failed | JobState::Cancelled),
        Some("checkpoint") => job.state == JobState::Running,
        _ => true,
    }
}

/// The keys of the jobs of the run that the line is about.
pub fn keys_of_jobs(line: &Line) -> Vec<CompletionCandidate> {
    let names = reports(line).map(|jobs| Names::of(&jobs));
    let own = names.into_iter().flat_map(|names| {
        let settings = names.settings.into_iter().map(Key::Setting);
        let all: Vec<_> = settings
            .chain(names.metrics.into_iter().map(Key::Metric))
            .collect();
        all
    });
    let common = Key::HELP
        .iter()
        .map(|(name, about)| candidate(*name, *about));
    common
        .chain(own.map(|key| candidate(key.name(), "")))
        .collect()
}

/// The keys of a config that `is_right` accepts, each with the first line about it.
pub fn keys(is_right: impl Fn(&str) -> bool) -> Vec<CompletionCandidate> {
    let mut keys = Vec::new();
    for section in sections()
        .into_iter()
        .filter(|section| section.free.is_none())
    {
        for key in section.keys {
            let path = join(&section.path, key.name);
            if is_right(&path) {
                let about = key.doc.first().map_or("", |line| line.trim());
                keys.push(candidate(path, about));
            }
        }
    }
    keys
}

/// The settings of the config on the line, dotted, each with its value.
pub fn settings(line: &Line) -> Vec<CompletionCandidate> {
    let mut found = Vec::new();
    let table = source(line).and_then(|source| source.parse().ok());
    if let Some(Value::Table(settings)) = table.as_ref().and_then(|it| it.table().get("settings")) {
        collect("settings", settings, &mut found);
    }
    found
}

fn collect(path: &str, table: &Table, found: &mut Vec<CompletionCandidate>) {
    for (name, value) in table {
        match value {
            Value::Table(inner) => collect(&join(path, name), inner, found),
            value => found.push(candidate(join(path, name), format!("now {value}"))),
        }
    }
}

/// The profiles of the defaults, and of the config on the line.
pub fn profiles(line: &Line) -> Vec<CompletionCandidate> {
    let profiles = source(line).and_then(|source| source.profiles().ok());
    let profiles = profiles.into_iter().flatten();
    profiles.map(|name| candidate(name, "")).collect()
}

/// The config on the line over the defaults.
fn source(line: &Line) -> Option<Source> {
    let is_config = |word: &&str| Path::new(*word).is_file() && !word.contains('=');
    let config = line.arguments().find(is_config);
    let source = match config {
        Some(path) => Source::read(&expanded(path), Vec::new()).ok()?,
        None => Source::command_line(Vec::new()),
    };
    Some(source.over(defaults::read().ok()?, None))
}

/// Whether `word` may be completed to a name; otherwise it is a path.
pub fn is_name(word: &str) -> bool {
    !is_path(word)
}
