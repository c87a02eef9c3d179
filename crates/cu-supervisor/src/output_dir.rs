//! What an attempt finds and leaves in the job's output directory and in its working directory: the
//! newest checkpoint, and whether anything changed.

use std::collections::HashSet;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cu_protocol::{CheckpointId, OutputChange};
use cu_run_dir::{OUR_PREFIX, newest_checkpoint};
use cu_system::causes::in_one_line;
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
}

/// What an attempt found at its start, to be compared with what it leaves.
#[derive(Debug)]
pub(crate) struct Before {
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointId>,
    /// When the program was about to be started.
    pub start: io::Result<Moment>,
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
            Ok(start) => Walk::new(&output_dir, working_directory, start, until).walk(),
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

fn too_long(patience: Duration) -> String {
    format!("searching it took longer than {patience:?}")
}

/// A search for the first change since the start of the attempt.
///
/// What counts is the inode's own time, which no program can set: copying tools set the time of the
/// content into the past, and a time in the future says nothing about today. Links out of the directory
/// are followed, since programs write through them; links behind them are not.
///
/// The working directory is searched last. The run lies in it as a rule, with files that others change
/// all the time: directories on the way to the output directory are not entered from there.
struct Walk {
    start: Moment,
    until: Instant,
    patience: Duration,
    top: PathBuf,
    working_directory: Option<PathBuf>,
    /// Directories that need not be looked at, or not again: the way to the top and what was seen.
    seen: HashSet<(u64, u64)>,
    directories: Vec<PathBuf>,
    links: Vec<PathBuf>,
    /// Why the answer is not known if no change is found: the first reason.
    doubt: Option<String>,
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
        // What is around the output directory is written to by others.
        let around = output_dir.canonicalize();
        let around = around.as_deref().unwrap_or(output_dir).ancestors();
        let around = around.filter_map(|path| path.metadata().ok());
        Self {
            start,
            until,
            patience: until.saturating_duration_since(Instant::now()),
            top: output_dir.to_owned(),
            working_directory,
            seen: around.map(|found| (found.dev(), found.ino())).collect(),
            directories: vec![output_dir.to_owned()],
            links: Vec::new(),
            doubt: None,
        }
    }

    fn walk(mut self) -> OutputChange {
        if let Err(Over(change)) = self.search(true) {
            return change;
        }
        // Afterwards, since there may be anything behind them.
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
            let searched = self.take(link, &found).and_then(|()| self.search(false));
            if let Err(Over(change)) = searched {
                return change;
            }
        }
        if let Some(directory) = self.working_directory.take() {
            self.top.clone_from(&directory);
            self.directories.push(directory);
            if let Err(Over(change)) = self.search(false) {
                return change;
            }
        }
        match self.doubt {
            Some(reason) => OutputChange::Unknown(reason),
            None => OutputChange::Unchanged,
        }
    }

    /// Searches all directories that were found.
    fn search(&mut self, takes_links: bool) -> Result<(), Over> {
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
                let is_ours = name.as_encoded_bytes().starts_with(OUR_PREFIX.as_bytes())
                    || (is_top && name == "settings.json");
                if is_ours {
                    continue;
                }
                match entry.metadata() {
                    Ok(found) => {
                        if takes_links && found.is_symlink() {
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
        let is_new = !found.is_dir() || self.seen.insert((found.dev(), found.ino()));
        if !is_new {
            return Ok(());
        }
        let (seconds, nanoseconds) = self.start.at;
        let is_since = |skew: i64| changed_at(found) >= (seconds.saturating_add(skew), nanoseconds);
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

fn is_nowhere(error: &io::Error) -> bool {
    let is_loop = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    is_loop || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    use cu_protocol::Attempt;

    use super::*;

    #[test]
    fn the_newest_checkpoint_is_the_one_of_the_newest_attempt() {
        let output = tempfile::tempdir().unwrap();
        assert_eq!(newest_checkpoint(output.path()), None);
        let checkpoints = output.path().join("checkpoints");
        fs::create_dir(&checkpoints).unwrap();
        for name in [
            "2.10.checkpoint",
            "10.2.checkpoint",
            "99.checkpoint",
            "junk",
        ] {
            fs::write(checkpoints.join(name), "").unwrap();
        }
        let expected = CheckpointId {
            attempt: Attempt(10),
            counter: 2,
        };
        assert_eq!(newest_checkpoint(output.path()), Some(expected));
    }

    /// The start of an attempt, as its holder's record dates it.
    fn begun(output: &Path) -> Moment {
        let holder = output.join(".cu-holder.json");
        fs::write(&holder, "{}").unwrap();
        Moment::of_change(&holder).unwrap()
    }

    /// A start before, or after, everything that the test does.
    fn shifted(start: Moment, seconds: i64) -> Moment {
        Moment {
            at: (start.at.0 + seconds, start.at.1),
            ..start
        }
    }

    /// A program that starts in the output directory.
    fn only(output_dir: &Path) -> Places<'_> {
        Places {
            output_dir,
            working_directory: None,
        }
    }

    fn changed(output: &Path, start: Moment) -> OutputChange {
        let before = Before {
            checkpoint: None,
            start: Ok(start),
        };
        super::look(only(output), before, Duration::from_secs(60)).output_changed
    }

    #[test]
    fn a_nested_file_is_a_change_and_our_own_files_are_not() {
        let output = tempfile::tempdir().unwrap();
        let before = shifted(begun(output.path()), -5);
        fs::write(output.path().join("settings.json"), "{}").unwrap();
        fs::write(output.path().join(".cu-lock"), "").unwrap();
        assert_eq!(changed(output.path(), before), OutputChange::Unchanged);

        let nested = output.path().join("a/b");
        fs::create_dir_all(&nested).unwrap();
        fs::write(nested.join("log"), "step 1").unwrap();
        assert_eq!(changed(output.path(), before), OutputChange::Changed);
        let later = shifted(before, 1000);
        assert_eq!(changed(output.path(), later), OutputChange::Unchanged);
    }

    #[test]
    fn one_changed_file_is_found_among_more_than_20000() {
        let output = tempfile::tempdir().unwrap();
        let old = output.path().join("old");
        fs::create_dir(&old).unwrap();
        fs::write(old.join("0"), "").unwrap();
        for number in 1..21_000 {
            fs::hard_link(old.join("0"), old.join(number.to_string())).unwrap();
        }
        let later = shifted(begun(output.path()), 1000);
        assert_eq!(changed(output.path(), later), OutputChange::Unchanged);
        // All but this one are older: their time is that of the last link.
        let new = output.path().join("zz");
        fs::write(&new, "").unwrap();
        let start = Moment::of_change(&new).unwrap();
        assert_eq!(changed(output.path(), start), OutputChange::Changed);
    }

    #[test]
    fn a_search_that_takes_too_long_is_unknown() {
        let output = tempfile::tempdir().unwrap();
        fs::write(output.path().join("log"), "step 1").unwrap();
        let later = shifted(begun(output.path()), 1000);
        let look = |start, patience| {
            let before = Before {
                checkpoint: None,
                start,
            };
            super::look(only(output.path()), before, patience).output_changed
        };
        let unknown = look(Ok(later), Duration::ZERO);
        assert!(matches!(unknown, OutputChange::Unknown(reason) if reason.contains("longer")));
        let missing = Err(ErrorKind::NotFound.into());
        let unknown = look(missing, Duration::from_secs(60));
        assert!(matches!(unknown, OutputChange::Unknown(reason) if reason.contains("start")));
    }

    #[test]
    fn a_newer_checkpoint_is_a_change_however_long_a_look_takes() {
        let output = tempfile::tempdir().unwrap();
        let generation = |counter| CheckpointId {
            attempt: Attempt(1),
            counter,
        };
        fs::create_dir(output.path().join("checkpoints")).unwrap();
        fs::write(output.path().join("checkpoints/1.5.checkpoint"), "").unwrap();
        let later = shifted(begun(output.path()), 1000);
        for (before, expected) in [(4, OutputChange::Changed), (5, OutputChange::Unchanged)] {
            let before = Before {
                checkpoint: Some(generation(before)),
                start: Ok(later),
            };
            let left = super::look(only(output.path()), before, Duration::from_secs(60));
            assert_eq!(left.checkpoint, Some(generation(5)));
            assert_eq!(left.output_changed, expected);
        }
    }

    #[test]
    fn a_write_behind_a_link_is_a_change() {
        let output = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let inner = elsewhere.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let file = inner.join("state");
        fs::write(&file, "0").unwrap();
        symlink(elsewhere.path(), output.path().join("directory")).unwrap();
        symlink(&file, output.path().join("file")).unwrap();
        // To itself, to nowhere, and to what is around it.
        symlink("loop", output.path().join("loop")).unwrap();
        symlink("nothing", output.path().join("dangling")).unwrap();
        symlink(output.path().parent().unwrap(), output.path().join("up")).unwrap();
        let start = shifted(begun(output.path()), 1000);
        assert_eq!(changed(output.path(), start), OutputChange::Unchanged);
        let written = Moment::of_change(&file).unwrap();
        assert_eq!(changed(output.path(), written), OutputChange::Changed);
    }

    #[test]
    fn a_write_in_the_working_directory_is_a_change() {
        let project = tempfile::tempdir().unwrap();
        let output = project.path().join("results/run/working_directories/0");
        fs::create_dir_all(&output).unwrap();
        let look = |start| {
            let before = Before {
                checkpoint: None,
                start: Ok(start),
            };
            let places = Places {
                output_dir: &output,
                working_directory: Some(project.path()),
            };
            super::look(places, before, Duration::from_secs(60)).output_changed
        };
        // What others write into the run, and into other runs, is not this attempt's.
        let before = shifted(begun(&output), -5);
        fs::write(project.path().join("results/run/main.log"), "line").unwrap();
        fs::create_dir(project.path().join("results/another")).unwrap();
        assert_eq!(look(before), OutputChange::Unchanged);
        let source = project.path().join("src");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("state"), "1").unwrap();
        assert_eq!(look(before), OutputChange::Changed);
        assert_eq!(look(shifted(before, 1000)), OutputChange::Unchanged);
    }

    #[test]
    fn a_link_that_cannot_be_followed_leaves_it_unknown() {
        let output = tempfile::tempdir().unwrap();
        // No file has a name so long: to look for it fails, for everybody.
        symlink("x".repeat(300), output.path().join("link")).unwrap();
        let start = shifted(begun(output.path()), 1000);
        let unknown = changed(output.path(), start);
        assert!(matches!(unknown, OutputChange::Unknown(reason) if reason.contains("link")));
        let missing = changed(&output.path().join("gone"), start);
        assert!(matches!(missing, OutputChange::Unknown(reason) if reason.contains("can't list")));
    }

    #[test]
    fn another_file_system_may_have_another_clock() {
        let output = tempfile::tempdir().unwrap();
        fs::write(output.path().join("log"), "step 1").unwrap();
        let start = begun(output.path());
        let skew = i64::try_from(LARGEST_SKEW.as_secs()).unwrap();
        for (seconds, here, elsewhere) in [
            (-skew - 9, OutputChange::Changed, "changed"),
            (-skew + 9, OutputChange::Changed, "unknown"),
            (skew - 9, OutputChange::Unchanged, "unknown"),
            (skew + 9, OutputChange::Unchanged, "unchanged"),
        ] {
            let here_start = shifted(start, seconds);
            assert_eq!(changed(output.path(), here_start), here, "{seconds}");
            let elsewhere_start = Moment {
                device: start.device + 1,
                ..here_start
            };
            let found = match changed(output.path(), elsewhere_start) {
                OutputChange::Unchanged => "unchanged",
                OutputChange::Changed => "changed",
                OutputChange::Unknown(_) => "unknown",
            };
            assert_eq!(found, elsewhere, "{seconds}");
        }
    }

    #[test]
    fn times_that_programs_set_are_not_believed() {
        let output = tempfile::tempdir().unwrap();
        let path = output.path().join("restored");
        let file = fs::File::create(&path).unwrap();
        let start = begun(output.path());
        let now = SystemTime::now();
        // As `touch --date` does, and a file server whose clock was wrong for a while.
        file.set_modified(now + Duration::from_secs(86_400))
            .unwrap();
        let later = shifted(start, 1000);
        assert_eq!(changed(output.path(), later), OutputChange::Unchanged);
        // As `rsync --times --inplace` does.
        file.set_modified(now - Duration::from_secs(86_400))
            .unwrap();
        assert_eq!(changed(output.path(), start), OutputChange::Changed);
    }
}
