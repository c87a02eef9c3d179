//! `cu resume`: continues a run whose main process has ended. `cu run` does the same once it has made
//! its run.

use std::path::Path;

use cu_core::{Reader, RunDir, check_run};
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::args::{Common, Resume, Watch};
use crate::error::{ExitCode, Result};
use crate::runs::{self, results_dir};
use crate::start::background;
use crate::start::foreground::{end_of, report, work_on};
use crate::start::variables;
use crate::text::plural;
use crate::{backend, terminal, updates};

/// Continues a run.
///
/// # Errors
/// If there is no such run, another process works on it, or its main process has to give up.
pub fn resume(common: &Common, arguments: &Resume) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    if let Some(code) = check(common, &run)? {
        return Ok(code);
    }
    if arguments.abandon_attempts {
        let abandoned = background::runtime()?.block_on(backend::abandon(&run))?;
        if !common.quiet {
            let attempts = plural(abandoned as u64, "attempt");
            terminal::say(&format!("{attempts} given up; the jobs are resumed here"));
        }
    }
    work_on(common, &arguments.watch, run)
}

/// Continues the run in this directory, with the attempts that it has.
///
/// # Errors
/// As [`resume`].
pub fn continue_run(common: &Common, watch: &Watch, run: RunDir) -> Result<ExitCode> {
    match check(common, &run)? {
        Some(code) => Ok(code),
        None => work_on(common, watch, run),
    }
}

/// Refuses what can't be continued, before anything opens a log, a lock or a backend in a directory that is
/// not ours. Returns the exit code of a run that has ended where nothing can be written: it is only shown.
fn check(common: &Common, run: &RunDir) -> Result<Option<ExitCode>> {
    check_run(run)?;
    let reader = Reader::open(run)?;
    let status = reader.status()?;
    let is_over = status.ended.is_some();
    // The backend would be found in use, too, and say less.
    reader.check_unused()?;
    if !common.quiet {
        warn_of_strangers(run);
        if let Some(text) = variables::warning(run).filter(|_| !is_over) {
            terminal::warn(&text);
        }
        // The error about a config that can't be read comes when the backend is opened.
        if let Some(text) = updates::notice(run, is_over).ok().flatten() {
            terminal::warn(&text);
        }
    }
    if is_over && is_read_only(run.path()) {
        report(common, run, &status)?;
        return end_of(run, &status).map(Some);
    }
    Ok(None)
}

fn is_read_only(directory: &Path) -> bool {
    statvfs(directory).is_ok_and(|it| it.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Only warns: the run exists already, and is still ours.
fn warn_of_strangers(run: &RunDir) {
    let results_dir = run.path().parent().unwrap_or(run.path());
    // Opening what can't be examined reports the error.
    let warnings = results_dir::check(results_dir, true).unwrap_or_default();
    warnings.iter().for_each(|warning| terminal::warn(warning));
}
