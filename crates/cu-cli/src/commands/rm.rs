//! `cu rm`: removes the directories of runs that have ended.

use std::path::Path;

use cu_core::{Reader, RunDir, check_removable, finish_removal, remove_run};
use serde_json::json;

use crate::args::{Common, Rm};
use crate::error::{Error, ExitCode, Result};
use crate::runs::disk::DiskUse;
use crate::text::plural;
use crate::view::summary::run_state;
use crate::{runs, terminal, view};

/// Removes them, after all were checked.
///
/// # Errors
/// If one of them is not a run, or belongs to another user, or a main process works on it, or its scheduler has
/// attempts of it: then none is removed. If a file can't be removed.
pub fn rm(common: &Common, arguments: &Rm) -> Result<ExitCode> {
    let mut chosen: Vec<RunDir> = Vec::new();
    let mut ended = Vec::new();
    for called in &arguments.runs {
        if let Some(path) = end_of_removal(called, common.results_dir())? {
            ended.push(path);
            continue;
        }
        let run = runs::find(Some(called), common.results_dir())?;
        check(&run)?;
        if !chosen.contains(&run) {
            chosen.push(run);
        }
    }
    let rooms: Vec<_> = chosen.iter().map(|run| DiskUse::of(run.path())).collect();
    if !chosen.is_empty() && !arguments.yes && !agrees(common, &chosen, &rooms)? {
        terminal::say("nothing was removed");
        return Ok(ExitCode::Done);
    }
    for run in &chosen {
        remove_run(run)?;
        if !common.quiet && !common.json {
            terminal::say(&format!("removed {}", run.path().display()));
        }
    }
    if common.json {
        let removed = chosen.iter().zip(&rooms);
        let removed = removed.map(|(run, room)| json!({"run_dir": run.path(), "disk": room}));
        let ended = ended
            .iter()
            .map(|path| json!({"run_dir": path, "disk": null}));
        let removed: Vec<_> = removed.chain(ended).collect();
        terminal::json(&json!({"version": 1, "removed": removed}))?;
    }
    Ok(ExitCode::Done)
}

/// Removes what a killed `cu rm` has left of the run `called`, if there is no new one in its place.
fn end_of_removal(called: &str, results_dir: &Path) -> Result<Option<std::path::PathBuf>> {
    if runs::exists(called, results_dir) {
        return Ok(None);
    }
    for path in runs::candidates(called, results_dir) {
        let path = runs::absolute(&path)?;
        if path.file_name().is_some() && finish_removal(&path)? {
            terminal::say(&format!("removed what was left of {}", path.display()));
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn check(run: &RunDir) -> Result<()> {
    let path = run.path();
    if let Ok(target) = path.read_link() {
        return Err(Error::usage_hint(
            format!("{} is a link to {}", path.display(), target.display()),
            "name the run directory itself; `rm` removes the link",
        ));
    }
    Ok(check_removable(run)?)
}

/// Says what would be removed, and asks.
fn agrees(common: &Common, chosen: &[RunDir], rooms: &[DiskUse]) -> Result<bool> {
    if common.json || !terminal::can_ask() {
        let message = "nobody can be asked here whether to remove the runs";
        return Err(Error::usage_hint(
            message,
            "`cu rm --yes` removes them without asking",
        ));
    }
    for (run, room) in chosen.iter().zip(rooms) {
        let status = Reader::open(run)?.status()?;
        terminal::say(&format!(
            "{}: {}, {}; {}",
            run.path().display(),
            run_state(status.state),
            view::counts(&status),
            room.in_words()
        ));
    }
    let runs = plural(chosen.len() as u64, "run");
    Ok(terminal::agrees(&format!("remove {runs} for good? [y/N]")))
}
