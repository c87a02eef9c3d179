//! A variable for each option: `CU_RUN_STOP_AFTER=50min` is `cu run --stop-after 50min`. What is typed counts more:
//! the variable of an option that is typed, or can't stand beside one that is, has no effect.

use std::ffi::OsString;

use clap::builder::FalseyValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, Error, FromArgMatches, Id};

use crate::args::Arguments;

/// How all of them begin.
const PREFIX: &str = "CU";

/// Reads the arguments, and the variables that stand for options.
///
/// # Errors
/// What clap finds wrong with them.
pub fn parse(words: &[OsString]) -> Result<Arguments, Error> {
    let mut plain = Arguments::command();
    // Only then each command knows the options of every command.
    plain.build();
    // A mistake may be an option that is missing and that a variable gives.
    let typed = plain.clone().try_get_matches_from(words).ok();
    let mut command = with_twins(plain, PREFIX, typed.as_ref());
    let matches = command.try_get_matches_from_mut(words);
    let matches = matches.map_err(|error| named(error, &command))?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Whether a flag of every command is set by its variable.
pub fn is_set(flag: &str) -> bool {
    std::env::var_os(name(PREFIX, flag)).is_some_and(|value| is_yes(&value))
}

/// The command with the variables of its options. `typed` are the options of this command that are given.
fn with_twins(command: Command, prefix: &str, typed: Option<&ArgMatches>) -> Command {
    let blocked = blocked(&command, typed);
    let command = command.mut_args(|arg| match variable(&arg, prefix) {
        Some(variable) if !blocked.contains(arg.get_id()) => with_twin(arg, variable),
        _ => arg,
    });
    let below = typed.map(ArgMatches::subcommand);
    command.mut_subcommands(|command| {
        let prefix = name(prefix, command.get_name());
        match below {
            Some(Some((chosen, typed))) if chosen == command.get_name() => {
                with_twins(command, &prefix, Some(typed))
            }
            Some(_) => command,
            None => with_twins(command, &prefix, None),
        }
    })
}

/// The variable of an option; those that clap names itself have one already.
fn variable(arg: &Arg, prefix: &str) -> Option<String> {
    let is_told = matches!(arg.get_id().as_str(), "help" | "version");
    let option = arg
        .get_long()
        .filter(|_| arg.get_env().is_none() && !is_told)?;
    // An option of every command has one variable for all of them.
    let prefix = if arg.is_global_set() { PREFIX } else { prefix };
    Some(name(prefix, option))
}

fn name(prefix: &str, word: &str) -> String {
    format!("{prefix}_{}", word.to_uppercase().replace('-', "_"))
}

fn with_twin(arg: Arg, variable: String) -> Arg {
    let Some(value) = std::env::var_os(&variable).filter(|value| !value.is_empty()) else {
        return arg;
    };
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let is_off = is_flag && !is_yes(&value);
    match is_off {
        true => arg,
        // Its help would be longer by a line for each option; `cu help environment` has the rule.
        false if is_flag => arg
            .env(variable)
            .hide_env(true)
            .value_parser(FalseyValueParser::new()),
        false => arg.env(variable).hide_env(true),
    }
}

/// Whether the variable of a flag sets it: as clap reads `CU_TRUST_PARENTS`.
fn is_yes(value: &std::ffi::OsStr) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    !matches!(&*value, "" | "0" | "n" | "no" | "f" | "false" | "off")
}

/// The options that are typed, and those that can't stand beside them.
fn blocked(command: &Command, typed: Option<&ArgMatches>) -> Vec<Id> {
    let Some(typed) = typed else {
        return Vec::new();
    };
    let mut deepest = typed;
    while let Some((_, below)) = deepest.subcommand() {
        deepest = below;
    }
    let is_typed = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        // What is global may stand on either side of the command.
        [typed, deepest].iter().any(|matches| {
            let is_known = matches.try_contains_id(id).is_ok();
            is_known && matches.value_source(id) == Some(ValueSource::CommandLine)
        })
    };
    let given: Vec<&Arg> = command.get_arguments().filter(is_typed).collect();
    let conflicts = |one: &Arg, other: &Arg| {
        let conflicts = command.get_arg_conflicts_with(one);
        conflicts.iter().any(|arg| arg.get_id() == other.get_id())
    };
    let blocks = |arg: &&Arg| {
        let beside = |given: &&Arg| {
            arg.get_id() == given.get_id() || conflicts(arg, given) || conflicts(given, arg)
        };
        given.iter().any(beside)
    };
    let blocked = command.get_arguments().filter(blocks);
    blocked.map(|arg| arg.get_id().clone()).collect()
}

/// The error, with the variable that holds the wrong value.
fn named(mut error: Error, command: &Command) -> Error {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let option = option.split(' ').next().unwrap_or_default();
    let long = option.trim_start_matches("--").to_owned();
    let found = twin(command, &long);
    if let Some(variable) = found {
        let tip = format!("the variable {variable} stands for {option}, and is set");
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// The variable that is set for an option somewhere in the command.
fn twin(command: &Command, long: &str) -> Option<String> {
    let mut args = command.get_arguments();
    let arg = args.find(|arg| arg.get_long() == Some(long) && arg.get_env().is_some());
    let set = arg
        .and_then(Arg::get_env)
        .filter(|name| std::env::var_os(name).is_some());
    let here = set.map(|name| name.to_string_lossy().into_owned());
    here.or_else(|| {
        command
            .get_subcommands()
            .find_map(|command| twin(command, long))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What attempts find in their environment: a nested `cu` must not take it for an option.
    const OF_A_JOB: [&str; 15] = [
        "CU_JOB_ID",
        "CU_ATTEMPT",
        "CU_RUN_DIR",
        "CU_OUTPUT_DIR",
        "CU_SETTINGS",
        "CU_STOP_FILE",
        "CU_DEADLINE",
        "CU_KILL_WAIT",
        "CU_SOCKET",
        "CU_SUBMISSION",
        "CU_LOCAL_JOB",
        "CU_LOCAL_GPUS",
        "CU_STDOUT_COPY",
        "CU_STDERR_COPY",
        "CU_BIN",
    ];

    fn collect(command: &Command, prefix: &str, found: &mut BTreeMap<String, Vec<String>>) {
        for arg in command.get_arguments() {
            let of = format!("{prefix} {:?}", arg.get_long());
            let variables = variable(arg, prefix).into_iter();
            variables.for_each(|variable| found.entry(variable).or_default().push(of.clone()));
        }
        for command in command.get_subcommands() {
            collect(command, &name(prefix, command.get_name()), found);
        }
    }

    #[test]
    fn no_variable_of_a_job_stands_for_an_option() {
        let mut found = BTreeMap::new();
        collect(&Arguments::command(), PREFIX, &mut found);
        for (variable, options) in &found {
            assert!(!OF_A_JOB.contains(&&**variable), "{variable}: {options:?}");
            assert_eq!(options.len(), 1, "{variable}: {options:?}");
        }
        for expected in [
            "CU_RUN_STOP_AFTER",
            "CU_COLOR",
            "CU_CONFIG_SHOW_ORIGIN",
            "CU_STOP_YES",
        ] {
            assert!(found.contains_key(expected), "{expected}: {found:?}");
        }
    }
}
