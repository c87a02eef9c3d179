//! `cu list`: the runs of a results directory, the newest first.

use cu_system::users;
use serde_json::{Value, json};

use crate::args::{Common, List};
use crate::error::render;
use crate::error::{Error, ExitCode, Result};
use crate::runs::disk::DiskUse;
use crate::runs::{self, Listed};
use crate::terminal;
use crate::view::json::RunJson;
use crate::view::summary;

/// Prints them.
///
/// # Errors
/// If the results directory can't be read.
pub fn list(common: &Common, arguments: &List) -> Result<ExitCode> {
    let mut listed = runs::list(common.results_dir())?;
    if arguments.disk {
        for run in &mut listed {
            run.disk = Some(DiskUse::of(run.run.path()));
        }
    }
    if common.json {
        terminal::json(&listed.into_iter().map(entry).collect::<Result<Vec<_>>>()?)?;
    } else if listed.is_empty() {
        terminal::say(&format!("no runs in {}", common.results_dir().display()));
    } else {
        terminal::data_styled(&summary::list(&listed, terminal::width()))?;
    }
    Ok(ExitCode::Done)
}

/// A run as `cu status --json` has it, and whose it is if not ours; an unreadable one as its directory
/// and the error.
fn entry(listed: Listed) -> Result<Value> {
    let owner = listed.owner.map(users::describe);
    let disk = listed.disk;
    let mut value = of_status(listed)?;
    value["owner"] = json!(owner);
    if let Some(disk) = disk {
        value["disk"] = json!(disk);
    }
    Ok(value)
}

fn of_status(listed: Listed) -> Result<Value> {
    match listed.status {
        Ok(status) => {
            serde_json::to_value(RunJson::from(&status)).map_err(Error::internal("write JSON"))
        }
        Err(error) => {
            let mut value = render::json(&Error::Run(error));
            value["run_dir"] = json!(listed.run.path());
            value["state"] = json!(summary::UNREADABLE);
            Ok(value)
        }
    }
}
