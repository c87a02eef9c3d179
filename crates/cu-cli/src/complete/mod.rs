//! Completions of the command line: which words could stand at the cursor.
//!
//! The scripts (`bash.sh`, `zsh.zsh`, `fish.fish`) hand the typed words to the hidden command `cu complete SHELL`.
//! `line.rs` takes them apart, clap finds out which argument they have come to, `values.rs` knows the words of each kind
//! of argument, and `names.rs` finds names of runs, jobs, configs and keys. The answer is a line for each word, with a
//! tab and what it is. A mistake prints nothing: it would appear in the middle of what a person types.

mod line;
mod names;
mod values;

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use clap::Command;
use clap_complete::engine::CompletionCandidate;

use crate::commands::generate::for_people;
use crate::commands::job;
use crate::text::width::one_line;
use crate::{terminal, topics};
use line::{Line, Shell};

/// The script for a shell that has one; `source <(cu completions bash)` runs it.
pub fn script(shell: clap_complete::Shell) -> Option<&'static str> {
    match shell {
        clap_complete::Shell::Bash => Some(include_str!("bash.sh")),
        clap_complete::Shell::Zsh => Some(include_str!("zsh.zsh")),
        clap_complete::Shell::Fish => Some(include_str!("fish.fish")),
        _ => None,
    }
}

/// `cu complete SHELL …`: prints the words that could stand at the cursor. Returns the exit code.
pub fn complete(words: &[OsString]) -> u8 {
    let answer = Line::of(words).map(|line| answer(&Arc::new(line)));
    match answer.map(|answer| terminal::bytes(answer.as_bytes())) {
        Some(Ok(_)) => 0,
        _ => 1,
    }
}

fn answer(line: &Arc<Line>) -> String {
    if let Some(first) = line.others_command() {
        return format!("\tcommand {first}\n");
    }
    let mut text = String::new();
    for candidate in candidates(line) {
        let Some(value) = line.for_shell(candidate.get_value()) else {
            continue;
        };
        text.push_str(&value);
        let about = candidate.get_help().filter(|_| line.shell != Shell::Bash);
        if let Some(about) = about.map(ToString::to_string) {
            // Writing to a String can't fail.
            let _ = write!(
                text,
                "\t{}",
                one_line(about.lines().next().unwrap_or_default())
            );
        }
        text.push('\n');
    }
    text
}

fn candidates(line: &Arc<Line>) -> Vec<CompletionCandidate> {
    let current = line.current();
    let words: Vec<_> = line.words.iter().map(|word| word.to_str()).collect();
    let mut found = match words[..] {
        [_, Some("help"), Some(current)] => topics::names()
            .filter(|(name, _)| name.starts_with(current))
            .map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into())))
            .collect(),
        _ => Vec::new(),
    };
    let mut cu = values::with_completers(with_job(for_people()), line);
    let here = std::env::current_dir().ok();
    let at = line.words.len() - 1;
    let by_clap = clap_complete::engine::complete(&mut cu, line.words.clone(), at, here.as_deref());
    found.extend(by_clap.unwrap_or_default());
    // A person who types no dash looks for something else, if there is anything else.
    let is_option = |it: &CompletionCandidate| begins_with_dash(it.get_value());
    if !begins_with_dash(&current) && !found.iter().all(is_option) {
        found.retain(|it| !is_option(it));
    }
    found
}

fn begins_with_dash(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// The commands with `cu job`, which clap does not know.
fn with_job(cu: Command) -> Command {
    let mut job = Command::new("job").about("The commands for a job's shell script");
    for (name, about) in job::commands() {
        job = job.subcommand(Command::new(name).about(about));
    }
    cu.subcommand(job)
}

/// Whether the directory of `path` may hold it: a word such as `results/di` names a run by its path.
fn is_path(word: &str) -> bool {
    word.contains('/') || Path::new(word).is_absolute() || word.starts_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that `cu complete fish` answers, without what they are.
    pub fn completed(words: &[&str]) -> Vec<String> {
        let all = ["fish", "--", "cu"].iter().chain(words);
        let all: Vec<OsString> = all.map(Into::into).collect();
        let line = Line::of(&all).expect("a line");
        let answer = answer(&Arc::new(line));
        let value = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        answer.lines().map(value).collect()
    }

    #[test]
    fn commands_options_and_topics_are_completed() {
        assert_eq!(completed(&["gri"]), ["grid-search"]);
        assert_eq!(completed(&["job", "check"]), ["checkpoint"]);
        assert_eq!(completed(&["run", "--stop-a"]), ["--stop-after"]);
        assert_eq!(completed(&["help", "exit"]), ["exit-codes"]);
        assert_eq!(completed(&["--color", "al"]), ["always"]);
        assert_eq!(completed(&["run", "--color=al"]), ["--color=always"]);
        let commands = completed(&[""]);
        assert!(commands.contains(&"run".to_owned()), "{commands:?}");
        let hidden = ["main-process", "probe", "complete", "--json"];
        assert!(
            !commands.iter().any(|it| hidden.contains(&&**it)),
            "{commands:?}"
        );
    }

    #[test]
    fn keys_and_their_values_are_completed() {
        assert_eq!(completed(&["run", "x.toml", "stop.a"]), ["stop.after="]);
        assert_eq!(
            completed(&["run", "backend.kind=l", "x"]),
            completed(&["run", "x.toml", "x"])
        );
        assert_eq!(
            completed(&["run", "x.toml", "backend.kind=l"]),
            ["backend.kind=local"]
        );
        assert_eq!(
            completed(&["update", "resources.me"]),
            ["resources.memory="]
        );
        assert_eq!(completed(&["update", "backend.ki"]), [""; 0]);
        assert_eq!(
            completed(&["config", "reference", "stop.bef"]),
            ["stop.before_limit"]
        );
        assert_eq!(completed(&["run", "--signal", "US"]), ["USR1", "USR2"]);
        assert_eq!(completed(&["run", "--backend", "ht"]), ["htcondor"]);
        assert_eq!(
            completed(&["jobs", "--state", "failed,ca"]),
            ["failed,cancelled"]
        );
    }

    #[test]
    fn the_command_of_another_program_is_left_to_the_shell() {
        for (words, expected) in [
            (&["run", "--cpus", "2", "--", "py"][..], "\tcommand 5\n"),
            (&["sbatch", "-p", ""], "\tcommand 1\n"),
            (&["--json", "sbatch", "x"], "\tcommand 2\n"),
        ] {
            let all = ["zsh", "--", "cu"].iter().chain(words);
            let all: Vec<OsString> = all.map(Into::into).collect();
            let line = Line::of(&all).expect("a line");
            assert_eq!(answer(&Arc::new(line)), expected, "{words:?}");
        }
    }
}
