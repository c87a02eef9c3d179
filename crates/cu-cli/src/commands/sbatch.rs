//! `cu sbatch`: makes a run of a batch script of Slurm, as sbatch would submit it, and leaves a main process
//! in the background.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use cu_core::JobState;
use cu_scheduler::slurm::batch_options::{self, BatchOption, CommandLine};

use super::run::{Made, Order, Script, free_name, make_run};
use super::submitted::{await_submission, id, name_of_run, say_how_to_follow};
use crate::args::{Arguments, Common, Sbatch, Watch};
use crate::backend::BatchJob;
use crate::config::{Override, Source, literally};
use crate::error::{Error, ExitCode, Result};
use crate::start::background;
use crate::start::foreground::{report, work_on};
use crate::view::json::StatusJson;
use crate::{config, runs, terminal};

/// The script's copy, as Slurm calls its own.
const COPY: &str = "slurm_script";

/// Makes the run, and starts a main process in the background.
///
/// # Errors
/// If an option or the script is wrong, or the run can't be made.
pub fn sbatch(common: &Common, arguments: &Sbatch) -> Result<ExitCode> {
    let here = runs::absolute(Path::new("."))?;
    let (line, mut overrides) = read_words(&arguments.words)?;
    if let Some(text) = text_asked_for(&line.options) {
        terminal::data(text.trim_end())?;
        return Ok(ExitCode::Done);
    }
    let batch = Batch::of(&line, &here)?;
    let options = batch.options(line.options)?;
    let job = BatchJob::new(&options, &batch.name, &here)?;
    let stem = name_of_run(job.name.as_deref().unwrap_or(&batch.name), "batch");
    overrides.splice(0..0, job.overrides);
    let command = std::iter::once(format!("{{output_dir}}/{COPY}"));
    let command = command.chain(batch.arguments.iter().map(|word| literally(word)));
    let command: Vec<String> = command.collect();
    overrides.push(Override::option(
        "backend.kind",
        "slurm",
        "cu sbatch".to_owned(),
    ));
    overrides.push(Override::option("command", command, batch.name.clone()));
    let named = overrides.iter().any(|given| given.key == ["name"]);
    if !named {
        overrides.push(free_name(common, &stem));
    }
    let watch = Watch {
        detach: !job.waits,
        on_interrupt: None,
        no_progress: false,
    };
    let is_quiet = common.quiet || job.is_quiet;
    if !is_quiet {
        job.notes.iter().for_each(|note| terminal::say(note));
    }
    let order = Order {
        parsed: Source::command_line(overrides).within(&here).parse()?,
        free_name: (!named).then_some(stem),
        planned: None,
        origin: None,
        script: Some(Script {
            name: COPY,
            text: &batch.text,
        }),
        each_job: Vec::new(),
        reads_stdin: false,
        watch: &watch,
        trust_parents: arguments.trust_parents,
        or_resume: false,
        dry_run: job.is_test,
    };
    let run = match make_run(common, order)? {
        Made::Else(code) => return Ok(code),
        Made::Run(run) => run,
    };
    if job.waits {
        return work_on(common, &watch, run);
    }
    background::start(&run, common.verbose)?;
    let (status, jobs) = await_submission(&run, 1)?;
    let first = &jobs[0];
    if first.state == JobState::Failed {
        report(common, &run, &status)?;
        return Ok(ExitCode::JobsFailed);
    }
    if common.json {
        terminal::json(&StatusJson::of(&run, &status)?)?;
        return Ok(ExitCode::Done);
    }
    match id(first) {
        Some(id) if job.is_parsable => terminal::data(id)?,
        Some(id) => terminal::data(&format!("Submitted batch job {id}"))?,
        None => terminal::warn(&format!(
            "Slurm has not taken the first job yet; the main process tries again: {}",
            first.why
        )),
    }
    if !is_quiet {
        say_how_to_follow(&run, "it is the first of the run's jobs");
    }
    Ok(ExitCode::Done)
}

/// Reads the words, of which some before the script may be keys of the config.
fn read_words(words: &[String]) -> Result<(CommandLine, Vec<Override>)> {
    let mut all = CommandLine::default();
    let mut overrides = Vec::new();
    let mut words = words.to_vec();
    loop {
        let read = batch_options::command_line(&words).map_err(|reason| {
            Error::usage_hint(
                reason,
                "`cu sbatch --help` says what it does; `man sbatch` has the options",
            )
        })?;
        all.options.extend(read.options);
        let mut rest = read.rest.into_iter();
        match rest.next() {
            Some(word) if word.contains('=') && !Path::new(&word).exists() => {
                overrides.push(Override::parse(&word)?);
                words = rest.collect();
            }
            first => {
                all.rest = first.into_iter().chain(rest).collect();
                return Ok((all, overrides));
            }
        }
    }
}

/// The help or the version, if one of them is asked for.
fn text_asked_for(options: &[BatchOption]) -> Option<String> {
    use clap::CommandFactory;
    let is_there = |names: &[&str]| options.iter().any(|it| names.contains(&it.name.as_str()));
    let mut cu = Arguments::command();
    if is_there(&["help", "usage"]) {
        let sbatch = cu.find_subcommand_mut("sbatch")?;
        return Some(sbatch.render_long_help().to_string());
    }
    is_there(&["version"]).then(|| cu.render_version())
}

/// A script with its arguments.
struct Batch {
    /// What sbatch would call the job.
    name: String,
    text: Vec<u8>,
    arguments: Vec<String>,
}

impl Batch {
    /// The script that the words name, wrap or leave to standard input.
    fn of(line: &CommandLine, here: &Path) -> Result<Self> {
        let mut wraps = line.options.iter().filter(|option| option.name == "wrap");
        let wrapped = wraps.next_back().and_then(|option| option.value.as_deref());
        let mut rest = line.rest.iter().cloned();
        match (rest.next(), wrapped) {
            (Some(script), Some(_)) => Err(Error::usage(format!(
                "--wrap makes a script of a command, and `{script}` would be another script: give one of them"
            ))),
            (None, Some(command)) => Ok(Self {
                name: "wrap".to_owned(),
                text: format!("#!/bin/sh\n# Made by cu sbatch --wrap.\n\n{command}\n").into_bytes(),
                arguments: Vec::new(),
            }),
            (None, None) if std::io::stdin().is_terminal() => Err(Error::usage_hint(
                "no batch script is given",
                "`cu sbatch SCRIPT`; `cu sbatch --help` has examples",
            )),
            (None, None) => {
                let mut text = Vec::new();
                let read = std::io::stdin().read_to_end(&mut text);
                read.map_err(Error::read("read", Path::new("standard input")))?;
                if text.is_empty() {
                    return Err(Error::usage_hint(
                        "no batch script is given, and standard input is empty",
                        "`cu sbatch SCRIPT`; `cu sbatch --help` has examples",
                    ));
                }
                Ok(Self {
                    name: "sbatch".to_owned(),
                    text,
                    arguments: Vec::new(),
                })
            }
            (Some(script), None) => {
                let path = find(&script, here);
                let text = std::fs::read(&path).map_err(|error| {
                    Error::usage_hint(
                        format!("can't read the script {}: {error}", path.display()),
                        "options of sbatch come before the script, and its own arguments behind it",
                    )
                })?;
                let name = path.file_name().unwrap_or_default();
                Ok(Self {
                    name: name.to_string_lossy().into_owned(),
                    text,
                    arguments: rest.collect(),
                })
            }
        }
    }

    /// The options that hold: those of the script, of variables and of the command line.
    fn options(&self, of_command_line: Vec<BatchOption>) -> Result<Vec<BatchOption>> {
        let wrong = |reason: String| Error::usage(format!("{}: {reason}", self.name));
        let mut given = batch_options::of_script(&self.text).map_err(wrong)?;
        given.extend(batch_options::of_variables(|name| std::env::var(name).ok()));
        given.extend(of_command_line);
        let options = batch_options::in_effect(given);
        let ignores_pbs = options.iter().any(|option| option.name == "ignore-pbs");
        match batch_options::pbs_line(&self.text).filter(|_| !ignores_pbs) {
            None => Ok(options),
            Some(line) => Err(Error::usage_hint(
                format!(
                    "{}: line {line} is a #PBS line, which cu does not translate",
                    self.name
                ),
                "write it as #SBATCH, or give --ignore-pbs",
            )),
        }
    }
}

/// The script `name`: here, or without a slash also in PATH.
fn find(name: &str, here: &Path) -> PathBuf {
    let path = here.join(name);
    if path.is_file() || name.contains('/') {
        return path;
    }
    config::find_command(name, None).unwrap_or(path)
}
