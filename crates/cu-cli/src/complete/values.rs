//! What each argument takes, by its name in `args.rs`.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use clap::{Arg, Command, ValueHint};
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use serde_json::Value;

use super::line::Line;
use super::names::{self, candidate};
use crate::config::ENDINGS;
use crate::config::reference::{known_paths, sections};
use crate::config::table::join;
use crate::updates::may_change;

/// What an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Run,
    JobsAndRun,
    Config,
    /// A config of cluster_utils.
    GridSearch,
    Overrides,
    /// A config and overrides in any order.
    ConfigAndOverrides,
    /// A run, and keys that may change in it.
    Update,
    Key,
    KeyOfJobs,
    Condition,
    Setting,
    Profile,
    Words(&'static [&'static str]),
    /// What clap knows itself, or a path.
    Hint(ValueHint),
    /// What only the person knows: a number, a time, a name.
    Free,
}

const BACKENDS: &[&str] = &["auto", "local", "slurm", "htcondor"];
const SIGNALS: &[&str] = &["auto", "HUP", "INT", "TERM", "USR1", "USR2", "none"];
const STATES: &[&str] = &[
    "waiting",
    "queued",
    "running",
    "completed",
    "failed",
    "cancelled",
];

fn kind(command: &str, arg: &Arg) -> Kind {
    match (command, arg.get_id().as_str()) {
        (_, "run" | "runs") => Kind::Run,
        (_, "jobs_and_run") => Kind::JobsAndRun,
        ("grid-search", "config") => Kind::GridSearch,
        ("grid-search", "overrides") => Kind::Free,
        (_, "config") => Kind::Config,
        (_, "overrides" | "set") => Kind::Overrides,
        (_, "config_and_overrides") => Kind::ConfigAndOverrides,
        ("update", "words") => Kind::Update,
        (_, "key") => Kind::Key,
        (_, "sort" | "columns") => Kind::KeyOfJobs,
        (_, "conditions") => Kind::Condition,
        (_, "setting") => Kind::Setting,
        (_, "profile") => Kind::Profile,
        (_, "backend") => Kind::Words(BACKENDS),
        (_, "signal") => Kind::Words(SIGNALS),
        (_, "state") => Kind::Words(STATES),
        (_, "results_dir" | "working_directory" | "directory") => Kind::Hint(ValueHint::DirPath),
        (_, "stdin" | "output" | "file") => Kind::Hint(ValueHint::AnyPath),
        (_, "color" | "on_interrupt" | "shell") => Kind::Hint(ValueHint::Unknown),
        _ => Kind::Free,
    }
}

/// The command with what each of its arguments takes on this line.
pub fn with_completers(command: Command, line: &Arc<Line>) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match kind(&name, &arg) {
        Kind::Hint(hint) => arg.value_hint(hint),
        Kind::Free => arg,
        kind => arg.add(ArgValueCompleter::new(Completer {
            kind,
            line: Arc::clone(line),
        })),
    });
    command.mut_subcommands(|command| with_completers(command, line))
}

struct Completer {
    kind: Kind,
    line: Arc<Line>,
}

impl ValueCompleter for Completer {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(word) = current.to_str() else {
            return Vec::new();
        };
        let line = &self.line;
        match self.kind {
            Kind::Run => runs(line, word),
            Kind::JobsAndRun => jobs_and_run(line, word),
            Kind::Config => {
                let configs = paths(word, &ENDINGS);
                configs.into_iter().chain(overrides(line, word)).collect()
            }
            Kind::GridSearch => paths(word, &ENDINGS),
            Kind::Overrides => overrides(line, word),
            Kind::ConfigAndOverrides => {
                let mut found = overrides(line, word);
                if !line.arguments().any(|word| Path::new(word).is_file()) {
                    found.splice(0..0, paths(word, &ENDINGS));
                }
                found
            }
            Kind::Update => {
                let mut found = assignments(word, names::keys(|key| may_change(key).is_ok()));
                if !names::names_run(line) {
                    found.splice(0..0, runs(line, word));
                }
                found
            }
            Kind::Key => {
                let keys = known_paths().into_iter().map(|key| candidate(key, ""));
                beginning_with(word, keys.collect())
            }
            Kind::KeyOfJobs => beginning_with(word, names::keys_of_jobs(line)),
            Kind::Condition => match word.contains(['<', '=', '>', '~', '!']) {
                true => Vec::new(),
                false => beginning_with(word, names::keys_of_jobs(line)),
            },
            Kind::Setting => {
                let settings = names::settings(line).into_iter();
                let of_settings = settings.filter_map(|it| {
                    let name = it.get_value().to_str()?.strip_prefix("settings.")?;
                    Some(CompletionCandidate::new(name).help(it.get_help().cloned()))
                });
                assignments(word, of_settings.collect())
            }
            Kind::Profile => beginning_with(word, names::profiles(line)),
            Kind::Words(words) => {
                let words = words.iter().map(|it| candidate(*it, ""));
                beginning_with(word, words.collect())
            }
            Kind::Hint(_) | Kind::Free => Vec::new(),
        }
    }
}

fn beginning_with(word: &str, candidates: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    let begins = |it: &CompletionCandidate| {
        it.get_value()
            .as_encoded_bytes()
            .starts_with(word.as_bytes())
    };
    candidates.into_iter().filter(begins).collect()
}

fn runs(line: &Line, word: &str) -> Vec<CompletionCandidate> {
    match names::is_name(word) {
        true => {
            let runs = names::runs(line)
                .into_iter()
                .map(|name| candidate(name, "run"));
            beginning_with(word, runs.collect())
        }
        false => PathCompleter::dir().complete(OsStr::new(word)),
    }
}

/// Jobs while none is chosen, the last of several: `1-3,5`; and runs while none is named.
fn jobs_and_run(line: &Line, word: &str) -> Vec<CompletionCandidate> {
    let before = word.rfind([',', '-']).map_or("", |at| &word[..=at]);
    let is_choice = |word: &str| word == "all" || word.starts_with(|it: char| it.is_ascii_digit());
    let mut found = Vec::new();
    if !line.arguments().any(is_choice) && names::is_name(word) {
        let chosen: Vec<_> = before.split([',', '-']).collect();
        let jobs = beginning_with(&word[before.len()..], names::jobs(line));
        let jobs = jobs
            .into_iter()
            .filter(|it| !chosen.iter().any(|job| it.get_value() == *job));
        found.extend(jobs.map(|it| it.add_prefix(before)));
    }
    if !names::names_run(line) {
        found.extend(runs(line, word));
    }
    found
}

/// Files with these endings, and directories on the way to more.
fn paths(word: &str, endings: &'static [&'static str]) -> Vec<CompletionCandidate> {
    let is_right = |path: &Path| {
        let ending = path.extension().and_then(OsStr::to_str);
        path.is_file() && ending.is_some_and(|ending| endings.contains(&ending))
    };
    PathCompleter::any()
        .filter(is_right)
        .complete(OsStr::new(word))
}

fn overrides(line: &Line, word: &str) -> Vec<CompletionCandidate> {
    if let Some((key, begun)) = word.split_once('=') {
        return values(key, begun);
    }
    let mut keys = names::settings(line);
    keys.extend(names::keys(|_| true));
    assignments(word, keys)
}

/// The keys with the `=` that follows.
fn assignments(word: &str, keys: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    if let Some((key, begun)) = word.split_once('=') {
        return values(key, begun);
    }
    let keys = beginning_with(word, keys).into_iter();
    let with_sign = keys.filter_map(|it| {
        let key = it.get_value().to_str()?;
        Some(CompletionCandidate::new(format!("{key}=")).help(it.get_help().cloned()))
    });
    with_sign.collect()
}

/// The values of a key that has few.
fn values(key: &str, begun: &str) -> Vec<CompletionCandidate> {
    let schema = sections().into_iter().find_map(|section| {
        let mut keys = section.keys.iter();
        let found = keys.find(|it| join(&section.path, it.name) == key)?;
        Some((found.schema)())
    });
    let Some(schema) = schema else {
        return Vec::new();
    };
    let mut words: Vec<_> = match schema["enum"].as_array() {
        Some(words) => words.iter().filter_map(Value::as_str).collect(),
        None if schema["type"] == "boolean" => vec!["true", "false"],
        None => Vec::new(),
    };
    if key == "stop.signal" {
        words.extend(SIGNALS);
    }
    let words = words.into_iter().filter(|word| word.starts_with(begun));
    words
        .map(|word| candidate(format!("{key}={word}"), ""))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Arguments;

    /// Every argument whose values are not completed, so that a new one is thought about.
    const FREE: &[&str] = &[
        "after",
        "attempt",
        "command",
        "cpus",
        "done_when_contains",
        "done_when_file",
        "done_when_output",
        "env",
        "failure_retries",
        "first",
        "group",
        "gpus",
        "grace",
        "lines",
        "max_failures",
        "memory",
        "name",
        "resume_exit_code",
        "since",
        "stop_after",
        "stop_before_limit",
        "stop_create",
        "stop_file",
        "stuck_after",
        "time_limit",
        "timeout",
        "wait",
        "words",
        "overrides",
    ];

    fn check(command: &Command) {
        for arg in command
            .get_arguments()
            .filter(|arg| arg.get_action().takes_values())
        {
            let is_free = kind(command.get_name(), arg) == Kind::Free;
            let id = arg.get_id().as_str();
            assert!(
                !is_free || FREE.contains(&id),
                "{}: {id}",
                command.get_name()
            );
        }
        let people = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        people.for_each(check);
    }

    #[test]
    fn every_argument_is_completed_or_meant_to_be_free() {
        check(&Arguments::command());
    }

    #[test]
    fn the_backends_are_those_of_the_key() {
        let schema = crate::config::schema();
        let listed = &schema["properties"]["backend"]["properties"]["kind"]["enum"];
        assert_eq!(*listed, serde_json::json!(BACKENDS));
    }
}
