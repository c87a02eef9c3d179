//! `cu resume`: continues a run whose main process has ended. `cu run` does the same once it has made
//! its run.

use cu_core::{Reader, RunDir, RunState, Status, check_run};

use crate::args::{Common, Resume, Watch};
use crate::error::{ExitCode, Result};
use crate::runs::{self, results_dir};
use crate::shell_word::shell_word;
use crate::start::interrupt::Interrupts;
use crate::start::watched::{MainProcess, Outcome};
use crate::start::{background, logging};
use crate::text::plural;
use crate::view::json::RunJson;
use crate::view::{self, summary};
use crate::{backend, terminal};

/// Continues a run.
///
/// # Errors
/// If there is no such run, another process works on it, or its main process has to give up.
pub fn resume(common: &Common, arguments: &Resume) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    // Before it opens a log, a lock or a backend in a directory that is not ours.
    check_run(&run)?;
    Reader::open(&run)?.status()?;
    if !common.quiet {
        warn_of_strangers(&run);
    }
    see_through(common, &arguments.watch, run)
}

/// Only warns: the run exists already, and is still ours.
fn warn_of_strangers(run: &RunDir) {
    let results_dir = run.path().parent().unwrap_or(run.path());
    // Opening what can't be examined reports the error.
    let warnings = results_dir::check(results_dir, true).unwrap_or_default();
    warnings.iter().for_each(|warning| terminal::warn(warning));
}

/// Acts as the main process of `run` until all its jobs have ended, or starts one in the background.
///
/// # Errors
/// As [`resume`].
pub fn see_through(common: &Common, watch: &Watch, run: RunDir) -> Result<ExitCode> {
    if watch.detach {
        return detach(common, &run);
    }
    logging::start(&run, common.verbose)?;
    let mut view = view::choose(common, watch.no_progress);
    let mut interrupts = Interrupts::new(watch.on_interrupt);
    let outcome = background::runtime()?.block_on(async {
        let scheduler = backend::of_run(&run).await?;
        let main_process = MainProcess::open(run.clone(), scheduler).await?;
        main_process.run(view.as_mut(), &mut interrupts).await
    })?;
    match outcome {
        Outcome::Settled(status) => {
            report(common, &run, &status)?;
            Ok(match status.state {
                RunState::Completed => ExitCode::Done,
                _ if interrupts.interrupted() => ExitCode::Interrupted,
                _ => ExitCode::JobsFailed,
            })
        }
        Outcome::Detached(status) => {
            report(common, &run, &status)?;
            let resume = format!("`cu resume {}`", shell_word(run.path()));
            terminal::say(&match status.jobs.queued + status.jobs.running {
                0 => format!("{resume} continues the run"),
                attempts => format!(
                    "{} of the run continue; nothing is resubmitted until you run {resume}",
                    plural(attempts.into(), "attempt")
                ),
            });
            Ok(ExitCode::Interrupted)
        }
        Outcome::Ended => {
            terminal::say(&format!(
                "ended at once; `cu resume {}` continues the run",
                shell_word(run.path())
            ));
            Ok(ExitCode::Interrupted)
        }
    }
}

/// Prints the outcome of a run.
fn report(common: &Common, run: &RunDir, status: &Status) -> Result<()> {
    if common.json {
        terminal::json(&RunJson::from(status))
    } else {
        let jobs = Reader::open(run)?.jobs()?;
        terminal::data(&summary::end_of_run(status, &jobs))
    }
}

fn detach(common: &Common, run: &RunDir) -> Result<ExitCode> {
    background::start(run, common.verbose)?;
    let status = Reader::open(run)?.status()?;
    if common.json {
        terminal::json(&RunJson::from(&status))?;
    } else {
        terminal::data(&run.path().display().to_string())?;
        terminal::say(&format!(
            "the run continues in the background; `cu status {0}` shows it, {1} is its log",
            shell_word(run.path()),
            run.log().display()
        ));
    }
    Ok(ExitCode::Done)
}
