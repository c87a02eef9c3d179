//! What a person probably meant by a command that `cu` does not have: a word of another tool, or one that is
//! spelled wrong. Commands that are not for people are never suggested.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::config::ENDINGS;
use crate::shell_word::shell_word;
use crate::topics;

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

/// Options of schedulers' commands, and the option or key of a run that says the same.
const OPTIONS: [(&[&str], &str); 13] = [
    (&["--mem", "--mem-per-node", "--ram"], "--memory SIZE"),
    (&["--time", "-t", "--walltime"], "--time-limit TIME"),
    (
        &["--ncpus", "--cores", "--threads", "--cpus-per-task", "-c"],
        "--cpus N",
    ),
    (&["--ngpus", "--gpus-per-node", "-G"], "--gpus N"),
    (&["--chdir", "--cwd", "-D"], "--working-directory DIR"),
    (&["--job-name", "-J"], "--name NAME"),
    (
        &["--partition", "-p", "--queue"],
        "backend.slurm.partition=NAME",
    ),
    (&["--account", "-A"], "backend.slurm.account=NAME"),
    (&["--qos"], "backend.slurm.qos=NAME"),
    (&["--constraint", "-C"], "backend.slurm.constraint=FEATURES"),
    (&["--gres"], "backend.slurm.gres=NAME:N"),
    (&["--nodes", "-N"], "backend.slurm.nodes=N"),
    (&["--ntasks", "-n"], "backend.slurm.ntasks=N"),
];

/// Says what an option of another tool is called here. `words` are those of the command line.
fn option(mut error: Error, words: &[OsString]) -> Error {
    let is_typed = |command: &str| words.iter().any(|word| word == command);
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let known = OPTIONS
        .iter()
        .find(|(words, _)| words.contains(&word.as_str()));
    let tip = match known.filter(|_| is_typed("run")) {
        Some((_, key)) if key.contains('=') => Some(format!(
            "write {key}, before `--` and a command, or after a config"
        )),
        Some((_, option)) => Some(format!("write {option}")),
        None if is_typed("resume") && word.contains('=') => {
            Some(format!("`cu update RUN {word}` changes a run"))
        }
        None if is_typed("list") && !word.starts_with('-') => Some(format!(
            "`cu status {0}` shows one run, `cu list --results-dir {0}` lists another directory",
            shell_word(Path::new(word))
        )),
        None if is_typed("run") => own_command(words),
        None => None,
    };
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedArg);
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// How to write a command with an option of its own that was typed where a config belongs.
fn own_command(words: &[OsString]) -> Option<String> {
    let (_, typed) = words.split_at(words.iter().position(|word| word == "run")? + 1);
    let program = Path::new(typed.first()?);
    let ending = program.extension().and_then(|it| it.to_str());
    let is_config = ending.is_some_and(|ending| ENDINGS.contains(&ending));
    let is_option = program.to_string_lossy().starts_with('-');
    if is_config || is_option || typed.iter().any(|word| word == "--") {
        return None;
    }
    let typed: Vec<_> = typed
        .iter()
        .map(|word| shell_word(Path::new(word)))
        .collect();
    Some(format!(
        "to run a command, write `cu run -- {}`",
        typed.join(" ")
    ))
}

/// Replaces the suggestion in an error about a command or an option that does not exist.
pub fn correct(mut error: Error, cu: &Command, words: &[OsString]) -> Error {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {}
        ErrorKind::UnknownArgument => return option(error, words),
        _ => return error,
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let meant = match words.get(1).is_some_and(|first| first == "help") {
        true => nearest(word, topics::names().map(|(name, _)| name)).or_else(|| meant(word, cu)),
        false => meant(word, cu),
    };
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
    let commands = cu
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    nearest(word, commands.map(Command::get_name))
}

/// The one of `names` that `word` was probably meant to be.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let allowed = (word.chars().count() / 3).max(1);
    let near = names.filter_map(|name| {
        let distance = strsim::damerau_levenshtein(word, name);
        (distance <= allowed && distance < word.chars().count()).then_some((distance, name))
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

    #[test]
    fn options_of_schedulers_name_what_says_the_same() {
        let cu = Arguments::command();
        let run = cu.find_subcommand("run").expect("a command");
        let keys = crate::config::reference::known_paths();
        for (_, meant) in OPTIONS {
            let name = meant.split(['=', ' ']).next().unwrap_or_default();
            let long = name.trim_start_matches("--");
            let is_option = run.get_arguments().any(|arg| arg.get_long() == Some(long));
            assert!(is_option || keys.contains(&name.to_owned()), "{meant}");
        }
        let typed = ["cu", "run", "--mem=2G", "--", "true"];
        let error = cu.try_get_matches_from(typed).expect_err("no such option");
        let words: Vec<OsString> = typed.iter().map(Into::into).collect();
        let said = correct(error, &Arguments::command(), &words).to_string();
        assert!(said.contains("tip: write --memory SIZE\n"), "{said}");
        assert!(!said.contains("-- --mem"), "{said}");
        let typed = ["cu", "resume", "digits", "stop.after=1h"];
        let error = Arguments::command().try_get_matches_from(typed);
        let words: Vec<OsString> = typed.iter().map(Into::into).collect();
        let error = error.expect_err("no such argument");
        let said = correct(error, &Arguments::command(), &words).to_string();
        assert!(
            said.contains("tip: `cu update RUN stop.after=1h`"),
            "{said}"
        );
    }
}
