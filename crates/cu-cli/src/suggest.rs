//! What a person probably meant by a command that `cu` does not have: a word of another tool, or one that is
//! spelled wrong. Commands that are not for people are never suggested.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

/// Words of schedulers, shells and similar tools.
const WORDS: [(&[&str], &str); 13] = [
    (
        &["cancel", "kill", "scancel", "abort", "condor_rm", "qdel"],
        "stop",
    ),
    (&["top", "attach", "follow", "monitor", "htop"], "watch"),
    (
        &[
            "ps", "queue", "squeue", "q", "tasks", "table", "sacct", "history", "results",
        ],
        "jobs",
    ),
    (&["ls", "runs"], "list"),
    (&["submit", "start", "launch", "exec-job"], "run"),
    (&["batch", "srun"], "sbatch"),
    (&["hold", "suspend"], "pause"),
    (&["release", "unpause", "unhold"], "continue"),
    (&["rerun", "restart", "requeue"], "retry"),
    (
        &["log", "tail", "cat", "output", "stdout", "stderr"],
        "logs",
    ),
    (&["info", "inspect", "describe", "scontrol"], "show"),
    (&["save", "snapshot"], "checkpoint"),
    (&["check", "test", "diagnose"], "doctor"),
];

/// Replaces the suggestion in an error about a command that does not exist.
pub fn correct(mut error: Error, cu: &Command) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let meant = meant(word, cu);
    error.remove(ContextKind::SuggestedSubcommand);
    if let Some(meant) = meant {
        let meant = ContextValue::Strings(vec![meant]);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    error
}

fn meant(word: &str, cu: &Command) -> Option<String> {
    let known = WORDS.iter().find(|(words, _)| words.contains(&word));
    if let Some((_, command)) = known {
        return Some((*command).to_owned());
    }
    let allowed = (word.chars().count() / 3).max(1);
    let commands = cu
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let near = commands.filter_map(|command| {
        let distance = strsim::damerau_levenshtein(word, command.get_name());
        (distance <= allowed && distance < word.chars().count())
            .then_some((distance, command.get_name()))
    });
    near.min().map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn words_of_other_tools_and_wrong_spellings_are_understood() {
        let cu = Arguments::command();
        for (word, expected) in [
            ("scancel", Some("stop")),
            ("top", Some("watch")),
            ("resmue", Some("resume")),
            ("statsu", Some("status")),
            ("frob", None),
            ("main", Some("man")),
            ("main-proces", None),
            ("prob", None),
            ("x", None),
        ] {
            assert_eq!(meant(word, &cu).as_deref(), expected, "{word}");
        }
        let names: Vec<_> = cu.get_subcommands().map(Command::get_name).collect();
        for (_, command) in WORDS {
            assert!(names.contains(&command), "{command}");
        }
    }
}
