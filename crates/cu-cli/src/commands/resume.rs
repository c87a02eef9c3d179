//! `cu resume`: continues a run whose main process has ended. `cu run` does the same once it has made
//! its run.

use cu_core::{Reader, RunDir, check_run};

use crate::args::{Common, Resume};
use crate::error::{ExitCode, Result};
use crate::runs::{self, results_dir};
use crate::start::background;
use crate::start::foreground::work_on;
use crate::text::plural;
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
    if arguments.abandon_attempts {
        let abandoned = background::runtime()?.block_on(backend::abandon(&run))?;
        if !common.quiet {
            let attempts = plural(abandoned as u64, "attempt");
            terminal::say(&format!("{attempts} given up; the jobs are resumed here"));
        }
    }
    work_on(common, &arguments.watch, run)
}

/// Only warns: the run exists already, and is still ours.
fn warn_of_strangers(run: &RunDir) {
    let results_dir = run.path().parent().unwrap_or(run.path());
    // Opening what can't be examined reports the error.
    let warnings = results_dir::check(results_dir, true).unwrap_or_default();
    warnings.iter().for_each(|warning| terminal::warn(warning));
}
