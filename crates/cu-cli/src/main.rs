//! The binary `cu`: run long work as a chain of short, resumable jobs.
//!
//! `cu exec` and `cu job` are part of every attempt of every job, so they begin before anything else
//! is read or started; so does `cu complete`, for which a person waits at a half-typed line. The rest is parse, run, render the error, exit.

#[cfg(not(any(feature = "local", feature = "slurm", feature = "htcondor")))]
compile_error!("cu needs a backend: choose at least one of the features local, slurm, htcondor");

mod args;
mod backend;
mod cluster_utils;
mod commands;
mod complete;
mod config;
mod error;
mod examine;
mod foreign_words;
mod git;
mod git_command;
mod home;
mod optimize;
mod runs;
mod select;
mod shell_word;
mod start;
mod suggest;
mod terminal;
mod text;
mod this_program;
mod topics;
mod twins;
mod unshelled;
mod updates;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;

use args::{Arguments, Command};
use commands::operate::{Operation, operate};
use error::{Error, ExitCode as Code, Result, render};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let code = std::panic::catch_unwind(|| match arguments.get(1).and_then(|word| word.to_str()) {
        Some("exec") => commands::exec::exec(&arguments[2..]),
        Some("job") => commands::job::job(&arguments[2..]),
        Some("complete") => complete::complete(&arguments[2..]),
        _ => command(&arguments),
    });
    // The panic has printed its message. Its own exit code, 101, would be one more number that
    // scripts could take for a job's.
    ExitCode::from(code.unwrap_or(Code::Internal as u8))
}

/// Runs one of the commands that people type.
fn command(words: &[OsString]) -> u8 {
    if let Some(text) = help(words) {
        return match terminal::data(&text) {
            Ok(()) => Code::Done as u8,
            Err(error) => error.exit_code(),
        };
    }
    let words = &foreign_words::apart(words);
    let mut arguments = match twins::parse(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            return usage(
                words,
                &suggest::correct(error, &Arguments::command(), words),
            );
        }
    };
    arguments.common.color.apply();
    let done = with_defaults(&mut arguments).and_then(|()| dispatch(&arguments));
    match done {
        Ok(code) => code,
        Err(error) => {
            fail(arguments.common.json, &error);
            error.exit_code()
        }
    }
}

/// Fills in where runs are by the defaults of the user and the site, for the commands that look for runs.
fn with_defaults(arguments: &mut Arguments) -> Result<()> {
    use Command::{
        Completions, Config, Doctor, GridSearch, HpOptimization, MainProcess, Man, Probe, Run,
    };
    match &arguments.command {
        // These read all defaults themselves, or none.
        Run(_)
        | GridSearch(_)
        | HpOptimization(_)
        | Doctor(_)
        | Config(_)
        | Completions { .. }
        | Man(_)
        | MainProcess(_)
        | Probe(_) => {}
        _ => arguments.common.default_results_dir = config::default_results_dir()?,
    }
    Ok(())
}

/// The text for `cu help WORD` where clap knows nothing of WORD.
fn help(words: &[OsString]) -> Option<String> {
    let [_, help, word] = words else {
        return None;
    };
    match word.to_str().filter(|_| help == "help")? {
        "job" => Some(commands::job::HELP.to_owned()),
        "exec" => Some(commands::exec::HELP.to_owned()),
        word => topics::text(word),
    }
}

fn dispatch(arguments: &Arguments) -> Result<u8> {
    let common = &arguments.common;
    let code = match &arguments.command {
        Command::Run(run) => commands::run::run(common, run),
        Command::GridSearch(given) => commands::grid_search::grid_search(common, given),
        Command::HpOptimization(given) => commands::hp_optimization::hp_optimization(common, given),
        #[cfg(feature = "slurm")]
        Command::Sbatch(sbatch) => commands::sbatch::sbatch(common, sbatch),
        #[cfg(feature = "htcondor")]
        Command::CondorSubmit(submit) => commands::condor_submit::condor_submit(common, submit),
        Command::Resume(resume) => commands::resume::resume(common, resume),
        Command::Update(update) => commands::update::update(common, update),
        Command::Wait(run) => commands::attach::wait(common, run),
        Command::Watch(run) => commands::attach::watch(common, run),
        Command::Status(run) => commands::status::status(common, run),
        Command::Jobs(jobs) => commands::jobs::jobs(common, jobs),
        Command::List(list) => commands::list::list(common, list),
        Command::Events(events) => commands::events::events(common, events),
        Command::Rm(rm) => commands::rm::rm(common, rm),
        Command::Report(report) => commands::report::report(common, report),
        Command::Share(share) => commands::share::share(common, share),
        Command::Export(export) => commands::export::export(common, export),
        Command::Show(job) => commands::show::show(common, job),
        Command::Logs(logs) => commands::logs::logs(common, logs),
        Command::Stop(stop) => commands::operate::stop(common, stop),
        Command::Pause(jobs) => operate(common, Operation::Pause, jobs),
        Command::Continue(jobs) => operate(common, Operation::Continue, jobs),
        Command::Retry(jobs) => operate(common, Operation::Retry, jobs),
        Command::Checkpoint(jobs) => operate(common, Operation::Checkpoint, jobs),
        Command::Doctor(doctor) => commands::doctor::doctor(common, doctor),
        Command::Probe(probe) => commands::probe::probe(probe),
        Command::Completions { shell } => {
            commands::generate::completions(*shell, complete::script(*shell))
        }
        Command::Man(man) => commands::generate::man(man),
        Command::Config(config) => commands::config::config(common, config),
        Command::MainProcess(run) => return commands::main_process::main_process(common, run),
    };
    code.map(|code| code as u8)
}

/// Help and version are data; anything else is bad usage, reported as JSON if that is wanted.
fn usage(words: &[OsString], error: &clap::Error) -> u8 {
    let wants_json = words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
        || twins::is_set("json");
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if wants_json && !asked_for {
        let text = error.to_string();
        let message = text.trim_start_matches("error: ").trim_end();
        fail(true, &Error::usage(message));
    } else {
        // A reader that has gone away is harmless.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(Code::Usage as u8)
}

/// Reports an error: to programs on stdout, to people on stderr.
fn fail(as_json: bool, error: &Error) {
    if as_json && terminal::json(&render::json(error)).is_ok() {
        return;
    }
    terminal::say_styled(&render::text(error));
}
