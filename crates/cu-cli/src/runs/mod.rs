//! Finds runs: by path, by name, or the newest.

pub mod disk;
mod missing;
pub mod results_dir;
pub mod scratch;
pub mod share;

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cu_core::{Reader, RunDir, Status, foreign_owner};
use cu_protocol::Timestamp;

use crate::config::check_name;
use crate::error::{Error, Result};
use disk::DiskUse;

/// The default results directory, below the current directory.
pub const RESULTS_DIR: &str = "results";

/// A run directory with the state of its run, or why that can't be read.
pub struct Listed {
    /// The directory.
    pub run: RunDir,
    /// The user to whom it belongs, if that is not this one. Such a run is only read.
    pub owner: Option<u32>,
    /// The state of the run.
    pub status: Result<Status, cu_core::Error>,
    /// The room that it takes, if that was asked for.
    pub disk: Option<DiskUse>,
}

/// The path made absolute; attempts run in other directories.
///
/// # Errors
/// If the current directory can't be found.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::read("make absolute", path))
}

/// Every run in `results_dir`, the newest first; unreadable ones come last.
///
/// # Errors
/// If the directory exists and can't be read.
pub fn list(results_dir: &Path) -> Result<Vec<Listed>> {
    let results_dir = absolute(results_dir)?;
    let entries = match fs::read_dir(&results_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::read("read", &results_dir)(error)),
    };
    let runs = entries.flatten().map(|entry| RunDir::new(entry.path()));
    let mut listed: Vec<_> = runs.filter_map(look).collect();
    listed.sort_by_key(|listed| {
        let created = listed.status.as_ref().map(|status| status.created).ok();
        (std::cmp::Reverse(created), listed.run.path().to_owned())
    });
    Ok(listed)
}

/// The entry of `run` in the list, if it may be a run.
fn look(run: RunDir) -> Option<Listed> {
    match Reader::open(&run).and_then(|reader| reader.status()) {
        Err(cu_core::Error::NoRun { .. }) => None,
        status => Some(Listed {
            owner: foreign_owner(&run),
            run,
            status,
            disk: None,
        }),
    }
}

/// The run called `run`: a path, or a name in `results_dir`. Without a name, the user's newest run in
/// `results_dir`.
///
/// # Errors
/// If there is none.
pub fn find(run: Option<&str>, results_dir: &Path) -> Result<RunDir> {
    let Some(called) = run else {
        return newest(results_dir);
    };
    let candidates = candidates(called, results_dir);
    let found = candidates.iter().find(|path| is_run(path));
    match found.or_else(|| candidates.iter().find(|path| may_be_run(path))) {
        // Opening it shows what it really is.
        Some(path) => Ok(RunDir::new(absolute(path)?)),
        None => Err(missing::called(called, results_dir)),
    }
}

/// Whether there is a run called `called`: a path, or a name in `results_dir`.
pub fn exists(called: &str, results_dir: &Path) -> bool {
    candidates(called, results_dir)
        .iter()
        .any(|path| is_run(path))
}

/// Where the run `called` may be.
pub fn candidates(called: &str, results_dir: &Path) -> [PathBuf; 2] {
    [PathBuf::from(called), results_dir.join(called)]
}

fn is_run(path: &Path) -> bool {
    RunDir::new(path).store().exists()
}

/// Whether the path may be a run: a directory, or something that we are not allowed to look at.
fn may_be_run(path: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match path.metadata() {
        Ok(metadata) => metadata.is_dir(),
        Err(error) => !matches!(error.kind(), NotFound | NotADirectory),
    }
}

/// The user's newest run that can be read. A run is at least as old as the last change of its store, so only the stores
/// that changed last are opened, however many runs there are.
fn newest(results_dir: &Path) -> Result<RunDir> {
    let mut are_there = false;
    let mut newest: Option<(Timestamp, RunDir)> = None;
    for (changed, run) in by_last_change(results_dir)? {
        let is_before = |(created, _): &(Timestamp, _)| changed.after(CLOCKS_DIFFER) < *created;
        if newest.as_ref().is_some_and(is_before) {
            break;
        }
        let Ok(created) = Reader::open(&run).and_then(|reader| reader.created()) else {
            continue;
        };
        are_there = true;
        let is_older = |(other, of): &(Timestamp, RunDir)| {
            (created, Reverse(run.path())) <= (*other, Reverse(of.path()))
        };
        // Another user's run may claim any date.
        if foreign_owner(&run).is_none() && !newest.as_ref().is_some_and(is_older) {
            newest = Some((created, run));
        }
    }
    let of_yours = if are_there { " of yours" } else { "" };
    newest
        .map(|(_, run)| run)
        .ok_or_else(|| missing::newest(results_dir, of_yours))
}

/// By how much the clock of a file server may differ from the one of a host that makes a run.
const CLOCKS_DIFFER: Duration = Duration::from_secs(600);

/// The directories in `results_dir` that may be runs, each with the last change of its store, the latest first.
fn by_last_change(results_dir: &Path) -> Result<Vec<(Timestamp, RunDir)>> {
    let results_dir = absolute(results_dir)?;
    let entries = match fs::read_dir(&results_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::read("read", &results_dir)(error)),
    };
    let with_change = |entry: fs::DirEntry| {
        let run = RunDir::new(entry.path());
        let changed = run.store().metadata().and_then(|found| found.modified());
        Some((changed.ok()?.into(), run))
    };
    let mut runs: Vec<(Timestamp, _)> = entries.flatten().filter_map(with_change).collect();
    runs.sort_by_key(|(changed, _)| Reverse(*changed));
    Ok(runs)
}

/// The name of a run that is made from a command alone: that of its program, or of the script that
/// an interpreter is given.
pub fn name_of(command: &[String]) -> String {
    let stem = |path: &String| {
        let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str());
        stem.filter(|stem| check_name(stem).is_ok())
            .map(str::to_owned)
    };
    let program = command.first().and_then(stem);
    let script = command
        .iter()
        .skip(1)
        .find(|argument| !argument.starts_with('-') && Path::new(argument).is_file())
        .and_then(stem)
        .filter(|_| {
            let program = command.first().and_then(|path| Path::new(path).file_name());
            program
                .and_then(|name| name.to_str())
                .is_some_and(is_interpreter)
        });
    script.or(program).unwrap_or_else(|| "run".to_owned())
}

/// Whether a program of this name runs the script that it is given.
pub fn is_interpreter(name: &str) -> bool {
    const INTERPRETERS: [&str; 12] = [
        "python", "python2", "python3", "bash", "sh", "dash", "zsh", "Rscript", "julia", "perl",
        "ruby", "node",
    ];
    name.starts_with("python3.") || INTERPRETERS.contains(&name)
}

/// `name`, or `name-2`, `name-3`, …: the first that is free in `results_dir`.
pub fn free_name(results_dir: &Path, name: &str) -> String {
    let taken = |name: &str| results_dir.join(name).symlink_metadata().is_ok();
    if !taken(name) {
        return name.to_owned();
    }
    let mut numbered = (2_u64..).map(|number| format!("{name}-{number}"));
    numbered
        .find(|name| !taken(name))
        .expect("a directory holds fewer than 2^64 names")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use cu_core::{JobPlan, Policy, RunPlan, create_run};

    use super::*;

    #[test]
    fn a_command_gives_its_run_a_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = directory.path().join("train.py");
        fs::write(&script, "").expect("a file");
        let script = script.to_str().expect("UTF-8");
        for (command, name) in [
            (&["./legacy.sh"][..], "legacy"),
            (&["/usr/bin/python3", "-u", script, "--fast"], "train"),
            (&["python3.11", script], "train"),
            (&["python3", "-c", "print()"], "python3"),
            (&["./simulate", script], "simulate"),
            (&["/.."], "run"),
            (&[], "run"),
        ] {
            let command: Vec<_> = command.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(name_of(&command), name, "{command:?}");
        }
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(free_name(directory.path(), "a"), "a");
        fs::create_dir(directory.path().join("a")).expect("a directory");
        fs::create_dir(directory.path().join("a-2")).expect("a directory");
        assert_eq!(free_name(directory.path(), "a"), "a-3");
    }

    #[test]
    fn an_unreachable_run_is_not_called_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let results = directory.path().join("results");
        // It stops every user, as a private directory stops all but its owner.
        std::os::unix::fs::symlink(&results, &results).expect("a link to itself");
        let path = results.join("a");
        let found = find(path.to_str(), directory.path()).expect("it may be there");
        assert_eq!(found.path(), path);
        let found = find(Some("a"), &results).expect("it may be there");
        assert_eq!(found.path(), path);
    }

    #[test]
    fn the_newest_run_was_made_last_whichever_changed_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let make = |name: &str| {
            let run = RunDir::new(directory.path().join(name));
            let job = JobPlan::new(vec!["true".to_owned()]);
            let plan = RunPlan::new(name.to_owned(), Policy::default(), vec![job]);
            create_run(&run, &plan).expect("a run");
            let created = Reader::open(&run).and_then(|reader| reader.created());
            (run, created.expect("a time"))
        };
        let change = |run: &RunDir, hours: u64| {
            let store = fs::File::options().write(true).open(run.store());
            let changed = SystemTime::now() + Duration::from_secs(3600 * hours);
            store.and_then(|it| it.set_modified(changed)).expect("set");
        };
        let (first, created) = make("first");
        let (mut last, mut later) = make("last");
        while later == created {
            fs::remove_dir_all(last.path()).expect("removed");
            (last, later) = make("last");
        }
        let newest = || find(None, directory.path()).expect("a run");
        for hours in [0, 1, 2] {
            // Its main process still works on it.
            change(&first, hours);
            assert_eq!(newest().path(), last.path(), "{hours}");
        }
        // One that can't be read counts as none.
        let (unreadable, _) = make("unreadable");
        fs::write(unreadable.store(), "no database").expect("written");
        assert_eq!(newest().path(), last.path());
    }

    #[test]
    fn a_missing_run_is_called_missing() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = find(None, directory.path()).expect_err("none").to_string();
        assert!(error.starts_with("there is no run in "), "{error}");
        let error = find(Some("a"), directory.path())
            .expect_err("none")
            .to_string();
        assert!(
            error.starts_with("there is no run a: neither a run directory nor a name in "),
            "{error}"
        );
    }
}
