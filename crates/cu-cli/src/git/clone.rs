//! Makes the clone of a run, makes it anew, and removes it. It has its name only once it is whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cu_core::{RunDir, RunState, Status};

use super::record::Record;
use super::wanted::Wanted;
use crate::config::{Source, check_repository};
use crate::error::{Error, Result};
use crate::git_command::{Failure, ask, ask_within, fetch};
use crate::terminal;
use crate::text::plural;

/// Begins the name of a clone that is not whole; the number of the process that works on it follows.
const UNFINISHED: &str = ".cu-clone-";

/// Makes the clone of a new run, which this process holds.
///
/// # Errors
/// If git can't make it, or a file can't be written.
pub fn make(run: &RunDir, wanted: &Wanted, quiet: bool) -> Result<Record> {
    clear(run, |_| true)?;
    let place = run.clone_dir();
    // That of a run whose making was ended by a kill. The branch may have moved since.
    if place.exists() {
        fs::remove_dir_all(&place).map_err(Error::write("remove", &place))?;
    }
    if !quiet {
        terminal::say(&format!("cloning {}", wanted.shown()));
    }
    let (branch, commit) = fill(run, wanted)?;
    let mut record = Record::of_clone(&place, &wanted.repository, branch, commit);
    let tree = Record::of_tree(Path::new(&wanted.repository)).filter(|_| wanted.is_path);
    if let Some(tree) = tree {
        let is_dirty = tree.commit == record.commit && tree.dirty == Some(true);
        record.dirty = Some(is_dirty);
        record.origin = tree.origin;
        if is_dirty && !quiet {
            terminal::warn(&format!(
                "{} has uncommitted changes, which are not in the clone; commit them, or run without a clone",
                record.repository
            ));
        }
    }
    Ok(record)
}

/// Removes the clone of a run that is not made after all.
pub fn discard(run: &RunDir) {
    // The next run in this directory removes what is left.
    let _ = fs::remove_dir_all(run.clone_dir());
}

/// Makes the clone of a run whose jobs go on anew if it is missing: from the commit that is recorded.
///
/// # Errors
/// As [`make`].
pub fn restore(run: &RunDir) -> Result<()> {
    let place = run.clone_dir();
    let Some(record) = Record::read(run).filter(|record| record.clone.is_some()) else {
        return Ok(());
    };
    if place.is_dir() {
        return Ok(());
    }
    // Those of processes of this machine that were killed.
    clear(run, |process| !Path::new("/proc").join(process).exists())?;
    let parsed = Source::read_own(&run.config())?.parse()?;
    let Some(wanted) = Wanted::of(&parsed)? else {
        return Ok(());
    };
    let text = format!("the clone is missing, and made anew: {}", record.in_words());
    tracing::info!("{text}");
    terminal::say(&text);
    fill(run, &wanted.pinned(&record)).map(drop)
}

/// Removes the clone of a run that is `status`, once all jobs have completed. Keeps it if programs have left files
/// in it that exist nowhere else, and says so in the text that it returns.
///
/// # Errors
/// If it can't be removed.
pub fn remove_if_unneeded(run: &RunDir, status: &Status) -> Result<Option<String>> {
    let is_recorded = Record::read(run).is_some_and(|record| record.clone.is_some());
    if !is_recorded || status.state != RunState::Completed {
        return Ok(None);
    }
    clear(run, |_| true)?;
    let place = run.clone_dir();
    let parsed = Source::read_own(&run.config())?.parse()?;
    if parsed.file.git.keep == Some(true) || !place.is_dir() {
        return Ok(None);
    }
    let why = match left_in(&place) {
        Some(left) => match &left[..] {
            [] => {
                let away = unfinished(run);
                fs::rename(&place, &away).map_err(Error::write("remove", &place))?;
                clear(run, |_| true)?;
                return Ok(None);
            }
            [first] => format!("{first} in it is not in its commit"),
            [first, others @ ..] => {
                let files = plural(others.len() as u64, "other file");
                format!("{first} and {files} in it are not in its commit")
            }
        },
        None => "git does not say whether programs have left files in it".to_owned(),
    };
    Ok(Some(format!(
        "the clone {} is kept: {why}",
        place.display()
    )))
}

/// How long git may look for files that programs have left in a clone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Python and its tools leave everywhere, and make again.
const CACHES: [&str; 5] = [
    "__pycache__",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
];

/// What is in the clone and not in its commit, but for caches; `None` if git can't tell.
fn left_in(clone: &Path) -> Option<Vec<String>> {
    let arguments = ["status", "--porcelain", "-z", "--ignored"];
    let listed = ask_within(PATIENCE, clone, arguments)?;
    let paths = listed.split('\0').filter_map(|entry| entry.get(3..));
    let is_cache = |path: &str| {
        path.ends_with(".pyc")
            || Path::new(path)
                .iter()
                .any(|part| CACHES.iter().any(|it| part == *it))
    };
    Some(
        paths
            .filter(|path| !is_cache(path))
            .map(str::to_owned)
            .collect(),
    )
}

fn unfinished(run: &RunDir) -> PathBuf {
    run.path()
        .join(format!("{UNFINISHED}{}", std::process::id()))
}

/// Removes the clones that are not whole, of those processes whose number `is_chosen`.
fn clear(run: &RunDir, is_chosen: impl Fn(&str) -> bool) -> Result<()> {
    let entries = fs::read_dir(run.path()).map_err(Error::read("read", run.path()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
        if process.is_some_and(&is_chosen) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(Error::write("remove", &path))?;
        }
    }
    Ok(())
}

/// Makes the clone, and returns the branch and the commit that it has.
fn fill(run: &RunDir, wanted: &Wanted) -> Result<(Option<String>, String)> {
    let directory = unfinished(run);
    let filled = fetched(&directory, wanted).and_then(|found| {
        put_in_place(&directory, &run.clone_dir())
            .map_err(|error| Failure::System("keep the clone", error))?;
        Ok(found)
    });
    filled.map_err(|failure| {
        // The next one removes what can't be removed now.
        let _ = fs::remove_dir_all(&directory);
        wanted.failed("clone")(failure)
    })
}

/// Gives the clone its name. A power failure leaves it whole, or without its name.
fn put_in_place(directory: &Path, place: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(directory)?)?;
    fs::rename(directory, place)?;
    File::open(place.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn fetched(directory: &Path, wanted: &Wanted) -> Result<(Option<String>, String), Failure> {
    let depth = wanted.depth.map(|depth| format!("--depth={depth}"));
    let branch = wanted
        .branch
        .as_ref()
        .map(|branch| format!("--branch={branch}"));
    let mut clone: Vec<&str> = vec![
        "clone",
        "--quiet",
        "--no-checkout",
        "--template=",
        "--origin=origin",
    ];
    if wanted.is_path && depth.is_some() {
        // Otherwise git copies all.
        clone.push("--no-local");
    }
    clone.extend(depth.iter().chain(&branch).map(String::as_str));
    let path = directory.display().to_string();
    clone.extend(["--", &wanted.repository, &path]);
    fetch(directory.parent().unwrap_or(Path::new("/")), clone)?;
    let commit = match &wanted.commit {
        Some(commit) => commit_in(directory, commit, depth.as_deref())?,
        None => ask(
            directory,
            ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"],
        )
        .map_err(|_| Failure::Failed("the repository has no commit yet".to_owned()))?,
    };
    let of_head = || ask(directory, ["symbolic-ref", "--quiet", "--short", "HEAD"]).ok();
    let branch = match &wanted.commit {
        Some(_) => wanted.local_branch.clone(),
        None => of_head(),
    };
    let checkout = ["checkout", "--quiet"];
    fetch(
        directory,
        match &branch {
            Some(branch) => [&checkout[..], &["-B", branch, &commit, "--"]].concat(),
            None => [&checkout[..], &["--detach", &commit, "--"]].concat(),
        },
    )?;
    if wanted.is_path {
        keep_origin(directory, &wanted.repository);
    }
    if wanted.submodules && directory.join(".gitmodules").is_file() {
        let mut update = vec!["submodule", "--quiet", "update", "--init", "--recursive"];
        update.extend(depth.as_deref());
        fetch(directory, update)?;
    }
    Ok((branch, commit))
}

/// The full hash of a commit, which is fetched if the clone does not have it yet.
fn commit_in(directory: &Path, commit: &str, depth: Option<&str>) -> Result<String, Failure> {
    let find = || {
        let name = format!("{commit}^{{commit}}");
        ask(directory, ["rev-parse", "--verify", "--quiet", &name])
    };
    if let Ok(found) = find() {
        return Ok(found);
    }
    // Many servers give a commit to who knows its whole hash, also one that no branch has.
    if [40, 64].contains(&commit.len()) {
        let mut by_hash = vec!["fetch", "--quiet"];
        by_hash.extend(depth);
        by_hash.extend(["origin", commit]);
        if fetch(directory, by_hash).is_ok()
            && let Ok(found) = find()
        {
            return Ok(found);
        }
    }
    if directory.join(".git/shallow").exists() {
        let all = "+refs/heads/*:refs/remotes/origin/*";
        fetch(
            directory,
            ["fetch", "--quiet", "--tags", "--unshallow", "origin", all],
        )?;
        if let Ok(found) = find() {
            return Ok(found);
        }
    }
    Err(Failure::Failed(format!(
        "it has no commit {commit}; was it pushed there?"
    )))
}

/// Makes the origin of a repository on this machine that of its clone, since the addresses of submodules are
/// relative to it.
fn keep_origin(directory: &Path, repository: &str) {
    let origin = ask(
        Path::new(repository),
        ["config", "--get", "remote.origin.url"],
    );
    if let Ok(origin) = origin
        && check_repository(&origin).is_ok()
    {
        // A relative one was relative to the repository.
        let origin = match origin.starts_with('.') {
            true => Path::new(repository).join(origin).display().to_string(),
            false => origin,
        };
        // Without it, the repository itself is the origin.
        let _ = ask(directory, ["config", "remote.origin.url", &origin]);
    }
}
