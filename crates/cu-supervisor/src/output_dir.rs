//! What an attempt finds and leaves in the job's output directory and in its working directory: the
//! newest checkpoint, and whether anything changed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cu_protocol::{CheckpointId, OutputChange};
use cu_run_dir::{OUR_PREFIX, newest_checkpoint};
use cu_system::causes::in_one_line;
use rustix::fs::major;
use rustix::io::Errno;

/// How long the end of an attempt may search the output directory: a file system may have millions of
/// files, or may not answer. There is no bound on the number of entries: a local disk
/// lists hundreds of thousands within this time.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// The same, where the scheduler kills the supervisor soon: before that the end must be recorded.
const SHORTEST_LOOK: Duration = Duration::from_millis(500);

/// How long the end of an attempt may search.
pub(crate) fn patience(hurry: bool) -> Duration {
    if hurry { SHORTEST_LOOK } else { LONGEST_LOOK }
}

/// How many entries are looked at without a thread.
const GLANCE: usize = 256;

/// How far the clocks of two file servers may differ. Files behind links may be on another one than
/// the output directory, whose clock dates the start of the attempt.
const LARGEST_SKEW: Duration = Duration::from_secs(300);

/// A moment by the clock of the file system on which the output directory is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    device: u64,
    /// Seconds and nanoseconds since the Unix epoch.
    at: (i64, i64),
}

impl Moment {
    /// When the file at `path`, in the output directory, was changed last.
    pub fn of_change(path: &Path) -> io::Result<Self> {
        path.metadata().map(|found| Self {
            device: found.dev(),
            at: changed_at(&found),
        })
    }

    /// Whether its file system is on a disk of this machine: others have no device of their own, and may not
    /// answer.
    fn is_on_a_disk(self) -> bool {
        major(self.device) != 0
    }

    /// Whether a file of the same file system was changed since.
    fn is_before(self, found: &Metadata) -> bool {
        found.dev() == self.device && changed_at(found) >= self.at
    }
}

/// What an attempt found at its start, to be compared with what it leaves.
#[derive(Debug)]
pub(crate) struct Before {
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointId>,
    /// When the program was about to be started.
    pub start: io::Result<Moment>,
    /// Files to which we copy what it prints: they change whatever it does.
    pub copies: Vec<PathBuf>,
}

/// What an attempt leaves.
#[derive(Debug, PartialEq)]
pub(crate) struct Left {
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointId>,
    /// Whether anything changed.
    pub output_changed: OutputChange,
}

/// Where an attempt may leave something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub output_dir: &'a Path,
    /// Where the program starts, if that is another directory.
    pub working_directory: Option<&'a Path>,
}

/// What the attempt leaves. Takes at most about the time `patience`; what could not be looked at by
/// then is unknown.
pub(crate) fn look(places: Places<'_>, before: Before, patience: Duration) -> Left {
    if let Some(left) = glance(places.output_dir, &before) {
        return left;
    }
    let until = Instant::now() + patience;
    let (found, checkpoint) = mpsc::channel();
    let (told, changed) = mpsc::channel();
    let output_dir = places.output_dir.to_owned();
    let working_directory = places.working_directory.map(Path::to_owned);
    // In a thread of its own, which a file system that does not answer may hold for ever.
    let started = crate::spawn_thread("look", move || {
        let checkpoint = newest_checkpoint(&output_dir);
        // If nobody waits any longer, nobody needs it.
        let _ = found.send(checkpoint);
        let _ = told.send(match before.start {
            // A file of the output directory has been written, whatever else there is.
            _ if checkpoint > before.checkpoint => OutputChange::Changed,
            Ok(start) => Walk::new(&output_dir, working_directory, start, until)
                .without(&before.copies)
                .walk(),
            Err(error) => OutputChange::Unknown(format!(
                "the file system gave no time of its start: {error}"
            )),
        });
    });
    if let Err(error) = started {
        return Left {
            checkpoint: None,
            output_changed: OutputChange::Unknown(in_one_line(&error)),
        };
    }
    let left = |until: Instant| until.saturating_duration_since(Instant::now());
    // The walk itself ends in time, unless the file system does not answer.
    let until = until + patience / 10;
    Left {
        checkpoint: checkpoint.recv_timeout(left(until)).ok().flatten(),
        output_changed: changed
            .recv_timeout(left(until))
            .unwrap_or_else(|_| OutputChange::Unknown(too_long(patience))),
    }
}

/// Finds a change that shows at once, as after most attempts: a new checkpoint, or a file at the top of the output
/// directory. `None` if there is none, or the directory is not on a disk of this machine: then a thread searches.
fn glance(output_dir: &Path, before: &Before) -> Option<Left> {
    let start = before.start.as_ref().ok()?;
    if !start.is_on_a_disk() || !before.copies.is_empty() {
        return None;
    }
    let checkpoint = newest_checkpoint(output_dir);
    let is_changed = |entry: DirEntry| {
        // What else there is may be mounted from elsewhere, and is not looked at here.
        let is_file = entry.file_type().is_ok_and(|it| it.is_file());
        let is_theirs = !is_ours(&entry.file_name(), true);
        is_file && is_theirs && entry.metadata().is_ok_and(|it| start.is_before(&it))
    };
    let is_any_changed = || {
        let entries = std::fs::read_dir(output_dir).ok()?;
        let mut entries = entries.take(GLANCE).filter_map(io::Result::ok);
        Some(entries.any(is_changed))
    };
    let found = checkpoint > before.checkpoint || is_any_changed()?;
    found.then_some(Left {
        checkpoint,
        output_changed: OutputChange::Changed,
    })
}

/// Whether an entry of the output directory, perhaps at its top, is made by us.
fn is_ours(name: &OsStr, is_top: bool) -> bool {
    name.as_encoded_bytes().starts_with(OUR_PREFIX.as_bytes())
        || (is_top && name == "settings.json")
}

fn too_long(patience: Duration) -> String {
    format!("searching it took longer than {patience:?}")
}

/// A search for the first change since the start of the attempt.
///
/// What counts is the inode's own time, which no program can set: copying tools set the time of the
/// content into the past, and a time in the future says nothing about today. Links out of the directories
/// are followed, since programs write through them; links behind them are not.
///
/// The working directory is searched last. As a rule it is the user's project, in which others change
/// files all the time: directories on the way to the output directory are not entered from there, nor
/// those in [`is_left_out`].
struct Walk {
    start: Moment,
    until: Instant,
    patience: Duration,
    top: PathBuf,
    working_directory: Option<PathBuf>,
    home: Option<PathBuf>,
    /// Directories that need not be looked at, or not again: the way to the top and what was seen.
    seen: HashSet<(u64, u64)>,
    /// What we change ourselves.
    ours: HashSet<(u64, u64)>,
    directories: Vec<PathBuf>,
    /// What is searched once nothing else has changed, since it may be anywhere and large.
    links: Vec<PathBuf>,
    /// Why the answer is not known if no change is found: the first reason.
    doubt: Option<String>,
}

/// Where a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the output directory.
    Output,
    /// In the working directory.
    Work,
    /// Behind a link.
    Behind,
}

/// The walk is over.
struct Over(OutputChange);

impl Walk {
    fn new(
        output_dir: &Path,
        working_directory: Option<PathBuf>,
        start: Moment,
        until: Instant,
    ) -> Self {
        Self {
            start,
            until,
            patience: until.saturating_duration_since(Instant::now()),
            top: output_dir.to_owned(),
            working_directory,
            home: std::env::home_dir(),
            seen: HashSet::new(),
            ours: HashSet::new(),
            directories: vec![output_dir.to_owned()],
            links: Vec::new(),
            doubt: None,
        }
    }

    /// The same, but that these files, and the directories in which they are, say nothing by their own times.
    fn without(mut self, files: &[PathBuf]) -> Self {
        for file in files {
            let both = std::iter::once(file.as_path()).chain(file.parent());
            let found = both.filter_map(|path| path.metadata().ok());
            self.ours.extend(found.map(|found| identity(&found)));
        }
        self
    }

    fn walk(mut self) -> OutputChange {
        match self.search_all() {
            Err(Over(change)) => change,
            Ok(()) => match self.doubt {
                Some(reason) => OutputChange::Unknown(reason),
                None => OutputChange::Unchanged,
            },
        }
    }

    fn search_all(&mut self) -> Result<(), Over> {
        self.search(Place::Output)?;
        if self.links.is_empty() && self.working_directory.is_none() {
            return Ok(());
        }
        // What is around the output directory is written to by others.
        self.seen.extend(around(&self.top));
        self.follow_links()?;
        let Some(directory) = self.working_directory.take() else {
            return Ok(());
        };
        self.top.clone_from(&directory);
        if let Ok(found) = directory.metadata()
            && let Some(home) = &self.home
            && around(home).contains(&identity(&found))
        {
            // It may be huge, and below it file servers may be mounted that nobody should wake.
            self.doubt(format!(
                "the program works in {}, which is not searched: it is or holds the home directory",
                directory.display()
            ));
            return Ok(());
        }
        self.directories.push(directory);
        self.search(Place::Work)?;
        self.follow_links()
    }

    fn follow_links(&mut self) -> Result<(), Over> {
        for link in std::mem::take(&mut self.links) {
            let found = match link.metadata() {
                // It leads nowhere.
                Err(error) if is_nowhere(&error) => continue,
                Err(error) => {
                    self.doubt(format!("can't follow {}: {error}", link.display()));
                    continue;
                }
                Ok(found) => found,
            };
            self.take(link, &found)?;
            self.search(Place::Behind)?;
        }
        Ok(())
    }

    /// Searches all directories that were found.
    fn search(&mut self, place: Place) -> Result<(), Over> {
        while let Some(directory) = self.directories.pop() {
            let is_top = directory == self.top;
            let entries = match std::fs::read_dir(&directory) {
                // One that was removed just now changed the one in which it was.
                Err(error) if error.kind() == ErrorKind::NotFound && !is_top => continue,
                Err(error) => {
                    self.doubt(format!("can't list {}: {error}", directory.display()));
                    continue;
                }
                Ok(entries) => entries,
            };
            for entry in entries {
                if self.until <= Instant::now() {
                    return Err(Over(OutputChange::Unknown(too_long(self.patience))));
                }
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.doubt(format!("can't list {}: {error}", directory.display()));
                        break;
                    }
                };
                let name = entry.file_name();
                if is_ours(&name, is_top) || (place == Place::Work && is_left_out(&name)) {
                    continue;
                }
                match entry.metadata() {
                    Ok(found) if place != Place::Output && is_of_others(&entry.path(), &found) => {}
                    Ok(found) => {
                        if place != Place::Behind && found.is_symlink() {
                            self.links.push(entry.path());
                        }
                        self.take(entry.path(), &found)?;
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        self.doubt(format!("can't examine {}: {error}", entry.path().display()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks at one entry. Not at the top itself: our own files come and go there.
    fn take(&mut self, path: PathBuf, found: &Metadata) -> Result<(), Over> {
        let is_new = !found.is_dir() || self.seen.insert(identity(found));
        if !is_new {
            return Ok(());
        }
        let (seconds, nanoseconds) = self.start.at;
        let is_ours = self.ours.contains(&identity(found));
        let is_since = |skew: i64| {
            !is_ours && changed_at(found) >= (seconds.saturating_add(skew), nanoseconds)
        };
        let skew = match found.dev() == self.start.device {
            true => 0,
            false => i64::try_from(LARGEST_SKEW.as_secs()).unwrap_or(i64::MAX),
        };
        if is_since(skew) {
            return Err(Over(OutputChange::Changed));
        }
        if is_since(-skew) {
            self.doubt(format!(
                "{} is on another file system, whose clock may be off, and was changed at about the \
                 time of its start",
                path.display()
            ));
        }
        if found.is_dir() {
            self.directories.push(path);
        }
        Ok(())
    }

    fn doubt(&mut self, reason: String) {
        self.doubt.get_or_insert(reason);
    }
}

/// When the file or what is told of it was changed last.
fn changed_at(found: &Metadata) -> (i64, i64) {
    (found.ctime(), found.ctime_nsec())
}

/// A directory and those above it.
fn around(path: &Path) -> Vec<(u64, u64)> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().filter_map(|path| path.metadata().ok());
    found.map(|found| identity(&found)).collect()
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Whether an entry of a working directory changes whatever the program does: caches of Python, and what
/// version control keeps.
fn is_left_out(name: &OsStr) -> bool {
    ["__pycache__", ".git", ".hg", ".svn"]
        .iter()
        .any(|it| name == *it)
}

/// Whether a directory in or behind a working directory is another run, or holds an installation.
fn is_of_others(path: &Path, found: &Metadata) -> bool {
    let marks = ["run.sqlite", "pyvenv.cfg", "conda-meta"];
    found.is_dir() && marks.iter().any(|mark| path.join(mark).exists())
}

fn is_nowhere(error: &io::Error) -> bool {
    let is_loop = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    is_loop || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
