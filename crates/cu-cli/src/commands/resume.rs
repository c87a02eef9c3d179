//! `cu resume`: continues a run whose main process has ended. `cu run` does the same once it has made
//! its run.

use cu_core::{Reader, RunDir, check_run};

use crate::args::{Common, Resume, Watch};
use crate::error::{ExitCode, Result};
use crate::runs::{self, results_dir};
use crate::start::foreground::work_on;
use crate::terminal;

/// Continues a run.
///
/// # Errors
/// If there is no such run, another process works on it, or its main process has to give up.
pub fn resume(common: &Common, arguments: &Resume) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    continue_run(common, &arguments.watch, run)
}

/// Continues the run in this directory.
///
/// # Errors
/// As [`resume`].
pub fn continue_run(common: &Common, watch: &Watch, run: RunDir) -> Result<ExitCode> {
    // Before it opens a log, a lock or a backend in a directory that is not ours.
    check_run(&run)?;
    let reader = Reader::open(&run)?;
    reader.status()?;
    // The backend would be found in use, too, and say less.
    reader.check_unused()?;
    drop(reader);
    if !common.quiet {
        warn_of_strangers(&run);
    }
    work_on(common, watch, run)
}

/// Only warns: the run exists already, and is still ours.
fn warn_of_strangers(run: &RunDir) {
    let results_dir = run.path().parent().unwrap_or(run.path());
    // Opening what can't be examined reports the error.
    let warnings = results_dir::check(results_dir, true).unwrap_or_default();
    warnings.iter().for_each(|warning| terminal::warn(warning));
}
