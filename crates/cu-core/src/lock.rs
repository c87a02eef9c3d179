//! One main process per run: a lock on a file in the run directory that dies with its owner.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cu_system::files;
use cu_system::machine::host;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;

use crate::{Error, MainProcessSeen, Result, RunDir};

/// Readers hold the lock for an instant, so it is tried this often, with this pause.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// The longest that its text can be, in bytes.
const LONGEST: u64 = 4096;

/// The longest note about what its holder waits for, in characters.
const LONGEST_NOTE: usize = 900;

/// The lock of a run, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    named: Arc<Named>,
    /// The last holder, if it did not give the lock back: killed, crashed, or lost with its machine.
    pub predecessor: Option<String>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // So that the next holder does not take us for killed. If this fails, it does.
        let _ = self.named.cut(0);
    }
}

/// The locked file, and its line that names the holder.
#[derive(Debug)]
struct Named {
    file: File,
    line: String,
}

impl Named {
    /// Cuts the text to `length` bytes, if the line is still ours: a machine that does not see our lock
    /// may have taken the run over while we stood still. Returns whether it is ours.
    fn cut(&self, length: u64) -> std::io::Result<bool> {
        let mut line = vec![0; self.line.len()];
        let is_ours = self.file.read_exact_at(&mut line, 0).is_ok() && line == self.line.as_bytes();
        if is_ours {
            self.file.set_len(length)?;
        }
        Ok(is_ours)
    }
}

/// The lock, taken from whoever held it last, whose name the file still has.
#[derive(Debug)]
pub(crate) struct Taken {
    file: File,
    path: PathBuf,
    run_dir: PathBuf,
    /// Empty if it was given back.
    last_holder: String,
}

/// Takes the lock of a run.
///
/// # Errors
/// [`Error::InUse`], [`Error::File`].
pub(crate) fn take(run_dir: &RunDir) -> Result<Taken> {
    let path = run_dir.lock();
    let mut file = files::open_own(&path, files::new_file().read(true).write(true))
        .map_err(Error::file("open", &path))?;
    let mut outcome = try_lock(&file);
    for _ in 1..TRIES {
        if outcome != Err(Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(PAUSE);
        outcome = try_lock(&file);
    }
    let mut text = String::new();
    let _ = (&mut file).take(LONGEST).read_to_string(&mut text);
    let taken = Taken {
        file,
        path,
        run_dir: run_dir.path().to_owned(),
        last_holder: text.lines().next().unwrap_or_default().trim().to_owned(),
    };
    match outcome {
        Ok(()) if taken.was_removed() => {
            let removed = std::io::Error::other("it was removed just now; try again");
            Err(Error::file("lock", &taken.path)(removed))
        }
        Ok(()) => Ok(taken),
        Err(Errno::WOULDBLOCK) => Err(taken.in_use()),
        Err(error) => Err(refused(&taken.path, error)),
    }
}

/// Checks that a run in `directory` (absolute) can be locked: for its main process, and for its store, which
/// takes a lock of the other kind. Tries both on a file without a name in the nearest directory that
/// is there, and makes nothing.
///
/// # Errors
/// [`Error::NoLocks`] if its file system has no locks: Lustre without `flock`, for example. What else is
/// wrong with the directory is for others to report.
pub fn check_locks(directory: &Path) -> Result<()> {
    let Some(existing) = directory.ancestors().find(|path| path.is_dir()) else {
        return Ok(());
    };
    let Ok(file) = tempfile::tempfile_in(existing) else {
        return Ok(());
    };
    for outcome in [
        try_lock(&file),
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive),
    ] {
        let outcome = outcome.map_err(|error| refused(existing, error));
        // What else fails, such as an interrupted call, is reported by whoever takes the lock.
        if let Err(error @ Error::NoLocks { .. }) = outcome {
            return Err(error);
        }
    }
    Ok(())
}

/// The error for a lock on `path` that can't be had.
fn refused(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL => Error::NoLocks {
            path: path
                .parent()
                .filter(|_| !path.is_dir())
                .unwrap_or(path)
                .into(),
            source: errno.into(),
        },
        errno => Error::file("lock", path)(errno.into()),
    }
}

/// Takes the lock for a moment, without a name. The file keeps the name of the last holder: if that was
/// killed, its successor must see it.
///
/// # Errors
/// [`Error::InUse`] also if a main process on another machine, which does not see our lock, may work on
/// the run.
pub(crate) fn take_briefly(run_dir: &RunDir) -> Result<Taken> {
    let taken = take(run_dir)?;
    match taken.was_held_elsewhere() {
        true => Err(taken.in_use()),
        false => Ok(taken),
    }
}

impl Taken {
    /// Whether another holder has removed the file, with the run, since we opened it.
    fn was_removed(&self) -> bool {
        let ours = self.file.metadata().map(|it| (it.dev(), it.ino()));
        let there = self.path.metadata().map(|it| (it.dev(), it.ino()));
        ours.ok() != there.ok()
    }

    /// Whether the last holder was on another machine. On some file systems each machine keeps its own
    /// locks (Lustre mounted with `localflock`), so it may hold the lock still.
    pub fn was_held_elsewhere(&self) -> bool {
        is_elsewhere(&self.last_holder)
    }

    /// The last holder holds it still.
    pub fn in_use(&self) -> Error {
        in_use(&self.run_dir, &self.last_holder)
    }

    /// Writes into the file who holds the lock, for people, and for machines that don't see it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn name(self) -> Result<Lock> {
        let Self {
            mut file,
            path,
            last_holder,
            ..
        } = self;
        let line = format!("process {}{ON}{}\n", std::process::id(), host());
        let named = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(line.as_bytes()));
        named.map_err(Error::file("write", &path))?;
        Ok(Lock {
            named: Arc::new(Named { file, line }),
            predecessor: (!last_holder.is_empty()).then_some(last_holder),
        })
    }
}

impl Lock {
    /// For the holder to write what it waits for.
    pub fn note(&self) -> Note {
        Note {
            named: self.named.clone(),
            texts: Mutex::default(),
        }
    }
}

/// What holds the holder of the lock up, as readers of the run see it. It stands in the lock's file, since
/// what a killed main process waited for must not outlive it. The lock is held as long as this lives.
#[derive(Debug)]
pub(crate) struct Note {
    named: Arc<Named>,
    texts: Mutex<BTreeMap<HeldUp, String>>,
}

/// What can hold a main process up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HeldUp {
    /// Nothing can be recorded.
    ByTheStore,
    /// The scheduler does not answer.
    ByTheScheduler,
}

impl Note {
    /// Writes it, in one line; `None` if the holder is no longer held up by this.
    pub fn set(&self, by: HeldUp, text: Option<&str>) {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => texts.insert(by, text.to_owned()),
            None => texts.remove(&by),
        };
        let all: Vec<_> = texts.values().map(String::as_str).collect();
        let all: String = all.join("; ").chars().take(LONGEST_NOTE).collect();
        let Named { file, line } = &*self.named;
        let start = line.len() as u64;
        let said = self.named.cut(start).and_then(|is_ours| match is_ours {
            true => file.write_all_at(all.as_bytes(), start),
            false => Ok(()),
        });
        if let Err(error) = said {
            tracing::warn!(
                "can't write into the run's lock what the main process waits for: {error}"
            );
        }
    }
}

/// What the main process of a run waits for, if one lives and waits.
pub(crate) fn waits(run_dir: &RunDir) -> Option<String> {
    let text = files::read(&run_dir.lock(), LONGEST).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let waits = text.lines().nth(1)?;
    is_held(run_dir).then(|| waits.to_owned())
}

/// Whether a main process works on the run, as far as its lock shows.
pub(crate) fn main_process(run_dir: &RunDir) -> MainProcessSeen {
    let is_held = is_held(run_dir);
    let text = files::read(&run_dir.lock(), LONGEST).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let holder = text.lines().next().unwrap_or_default().trim().to_owned();
    match is_elsewhere(&holder) {
        _ if is_held => MainProcessSeen::Alive { holder },
        true => MainProcessSeen::Unclear { holder },
        false => MainProcessSeen::Absent,
    }
}

/// The error that `holder`, as the lock's text names it, holds the run.
pub(crate) fn in_use(run_dir: &Path, holder: &str) -> Error {
    Error::InUse {
        path: run_dir.to_owned(),
        holder: match holder {
            "" => "another main process".to_owned(),
            named => named.to_owned(),
        },
    }
}

fn try_lock(file: &File) -> rustix::io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// Whether the holder that the lock names runs on another machine than this.
fn is_elsewhere(holder: &str) -> bool {
    let named = holder.rsplit_once(ON);
    named.is_some_and(|(_, named)| named != host())
}

/// Stands before the host in the lock's text.
const ON: &str = " on ";

/// Whether a living process holds the lock of this run.
pub(crate) fn is_held(run_dir: &RunDir) -> bool {
    let Ok(file) = files::open(&run_dir.lock(), OpenOptions::new().read(true)) else {
        return false;
    };
    // A shared lock, given back at once, so that two readers don't see each other.
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_lock_keeps_only_the_name_of_a_usurper() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let run = RunDir::new(directory.path());
        let text = || std::fs::read_to_string(run.lock()).expect("the lock's text");
        assert_eq!(main_process(&run), MainProcessSeen::Absent);
        let lock = take(&run).and_then(Taken::name).expect("it is free");
        let holder = text().trim().to_owned();
        assert_eq!(main_process(&run), MainProcessSeen::Alive { holder });
        assert_eq!(waits(&run), None);
        let note = lock.note();
        note.set(HeldUp::ByTheStore, Some("a reader is waited for"));
        assert_eq!(waits(&run).as_deref(), Some("a reader is waited for"));
        note.set(HeldUp::ByTheScheduler, Some("it is silent"));
        note.set(HeldUp::ByTheStore, None);
        assert_eq!(waits(&run).as_deref(), Some("it is silent"));
        note.set(HeldUp::ByTheScheduler, None);
        assert_eq!(waits(&run), None);
        drop((lock, note));
        assert_eq!(text(), "");
        std::fs::write(run.lock(), "process 7 on login2\n").expect("it was killed");
        let holder = "process 7 on login2".to_owned();
        assert_eq!(main_process(&run), MainProcessSeen::Unclear { holder });
        let lock = take(&run).and_then(Taken::name).expect("it is free");
        assert_eq!(lock.predecessor.as_deref(), Some("process 7 on login2"));
        let other = "process 8 on login2\n";
        std::fs::write(run.lock(), other).expect("taken over, its lock unseen");
        lock.note()
            .set(HeldUp::ByTheStore, Some("a reader is waited for"));
        drop(lock);
        assert_eq!(text(), other);
    }
}
