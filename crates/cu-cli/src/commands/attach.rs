//! `cu wait` and `cu watch`: wait for the end of a run that another process works on, and end as `cu run`
//! would have. Both only read.

use cu_core::RunDir;

use crate::args::{Common, Wait, WatchRun};
use crate::error::{ExitCode, Result};
use crate::runs;
use crate::shell_word::shell_word;
use crate::start::background;
use crate::start::follow::{End, follow};
use crate::start::foreground::{end_of, report};
use crate::terminal;
use crate::text::moment::rounded;
use crate::view::json::StatusJson;
use crate::view::{self, Lines, Silent, View};

/// Waits for the end of a run.
///
/// # Errors
/// If there is no such run, or it can't be read.
pub fn wait(common: &Common, arguments: &Wait) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let mut view = Silent;
    let followed = follow(&run, arguments.timeout, &mut view);
    let end = background::runtime()?.block_on(followed)?;
    ended(common, &run, end, || {
        let timeout = arguments.timeout.unwrap_or_default();
        format!("the run had not ended after {}", rounded(timeout))
    })
}

/// Shows a run until its end, as `cu run` does.
///
/// # Errors
/// If there is no such run, or it can't be read.
pub fn watch(common: &Common, arguments: &WatchRun) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let mut view: Box<dyn View> = match common.verbose {
        0 => view::choose(common, arguments.no_progress),
        _ => Box::new(Lines::new(terminal::say, true)),
    };
    let end = background::runtime()?.block_on(follow(&run, None, view.as_mut()));
    view.pause();
    ended(common, &run, end?, String::new)
}

/// Reports the end. `late` says that the time is over.
fn ended(common: &Common, run: &RunDir, end: End, late: impl Fn() -> String) -> Result<ExitCode> {
    let (status, code, note) = match end {
        End::Settled(status) => {
            let code = end_of(run, &status)?;
            (status, code, None)
        }
        End::Abandoned(status) => {
            let note = view::summary::no_main_process(run.path());
            (status, ExitCode::Interrupted, Some(note))
        }
        End::TimedOut(status) => (status, ExitCode::TimedOut, Some(late())),
        End::Interrupted(status) => {
            let run = shell_word(run.path());
            let note = format!("the run continues; `cu watch {run}` shows it again");
            (status, ExitCode::Interrupted, Some(note))
        }
    };
    match note {
        None => report(common, run, &status)?,
        Some(_) if common.json => terminal::json(&StatusJson::of(run, &status)?)?,
        Some(_) => {}
    }
    // Without it nobody would know why the run has not ended.
    if let Some(note) = note {
        terminal::say(&format!(
            "{}: {}; {note}",
            status.name,
            view::counts(&status)
        ));
    }
    Ok(code)
}
