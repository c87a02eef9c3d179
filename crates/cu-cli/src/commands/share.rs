//! `cu share`: lets a group read a run.

use serde_json::json;

use crate::args::{Common, Share};
use crate::error::{Error, ExitCode, Result};
use crate::runs::share::{Group, obstacle, share as share_run};
use crate::{runs, terminal};

/// Gives the rights.
///
/// # Errors
/// If there is no such run or group, or a right can't be given.
pub fn share(common: &Common, arguments: &Share) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    cu_core::check_run(&run)?;
    let group = match &arguments.group {
        Some(name) => Group::find(name)?,
        None => Group::of(&run)?.ok_or_else(|| {
            Error::usage_hint(
                "which group may read the run?",
                "name it with --group GROUP",
            )
        })?,
    };
    share_run(&run, group)?;
    if let Some(obstacle) = obstacle(&run, group) {
        terminal::warn(&obstacle);
    }
    if common.json {
        terminal::json(&json!({"version": 1, "run_dir": run.path()}))?;
    } else if !common.quiet {
        terminal::say(&format!(
            "the group can read {0}: `cu status {0}`; its secret, the commands of its jobs and backend/ stay private",
            run.path().display()
        ));
    }
    Ok(ExitCode::Done)
}
