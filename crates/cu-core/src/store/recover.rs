//! Makes a store readable whose writer was killed within a transaction.
//!
//! Such a writer leaves a rollback journal, or a write-ahead log without its index, beside the database.
//! It must be played back before anything is read, and SQLite does not let a reader do that. So the first
//! process that needs it plays it back in place, under the run's lock, which a living main process holds.
//! If we may not write, as in a run of another user or on a read-only medium, or can't know that no other
//! process does, a private copy is played back and read instead, and the run stays untouched.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_protocol::RunId;
use cu_system::causes::in_one_line;
use cu_system::files;
use rusqlite::{Connection, OpenFlags, ffi};

use super::open::{self, BUSY, FILES_BESIDE};
use crate::{Error, Result, RunDir, lock};

/// The wait between two looks at a store that another process is about to play back.
const PAUSE: Duration = Duration::from_millis(20);
/// At most this many copies are tried of a store that changes meanwhile.
const COPIES: u32 = 5;

/// Opens for reading what may have to be played back first.
///
/// # Errors
/// Those of [`open::read_only`]; [`Error::Read`] if the store can't be played back, with the reasons.
pub(super) fn readable(run_dir: &RunDir) -> Result<Connection> {
    let until = Instant::now() + BUSY;
    let mut was_recovered = false;
    loop {
        let unreadable = match open::read_only(run_dir) {
            Err(error) => match lock::check_locks(run_dir.path()) {
                // A copy elsewhere may have what this file system lacks.
                Err(no_locks) => return copy_instead(run_dir, &error).map_err(|_| no_locks),
                Ok(()) if is_needed(&error) => error,
                Ok(()) => return Err(error),
            },
            opened => return opened,
        };
        if was_recovered {
            return copy_instead(run_dir, &unreadable);
        }
        match in_place(run_dir) {
            Ok(()) => was_recovered = true,
            // The main process plays it back before it does anything else.
            Err(Error::InUse { .. }) if lock::is_held(run_dir) && Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            Err(Error::InUse { holder, .. }) if lock::is_held(run_dir) => {
                let reason = format!(
                    "a main process was killed while it recorded, and {holder} has not played back \
                     its journal"
                );
                let busy = std::io::Error::new(std::io::ErrorKind::ResourceBusy, reason);
                return Err(Error::read(&run_dir.store())(busy));
            }
            Err(why) => return copy_instead(run_dir, &why),
        }
    }
}

/// Whether `error` means that the store must be played back before it can be read.
pub(super) fn is_needed(error: &Error) -> bool {
    let Error::Read { source, .. } = error else {
        return false;
    };
    let refusal = source.get_ref().and_then(|source| source.downcast_ref());
    let Some(rusqlite::Error::SqliteFailure(refusal, _)) = refusal else {
        return false;
    };
    match refusal.extended_code {
        // No memory that readers could share, as on network file systems, for the index of a
        // write-ahead log that was begun elsewhere.
        ffi::SQLITE_IOERR_SHMOPEN
        | ffi::SQLITE_IOERR_SHMSIZE
        | ffi::SQLITE_IOERR_SHMLOCK
        | ffi::SQLITE_IOERR_SHMMAP => true,
        code => match code & 0xff {
            ffi::SQLITE_READONLY => true,
            // Its index can't be made; unless it is the store itself that can't be read.
            ffi::SQLITE_CANTOPEN => source.kind() != std::io::ErrorKind::PermissionDenied,
            _ => false,
        },
    }
}

/// Plays the store back in place.
///
/// # Errors
/// [`Error::InUse`] if a main process works on the run, or may do so; others if that can't be known,
/// or the store is not ours or can't be written.
fn in_place(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.store();
    let owner = path.metadata().map_err(Error::read(&path))?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        let reason = format!("it belongs to another user (id {owner})");
        return Err(Error::file("write", &path)(std::io::Error::other(reason)));
    }
    let _lock = lock::take_briefly(run_dir)?;
    play_back(&path, BUSY)
        .and_then(|played_back| played_back.close().map_err(|(_, error)| error))
        .map_err(|error| open::unusable(&path, error))
}

/// Opening it for writing plays it back, with the first look into it.
fn play_back(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy)?;
    connection.pragma_query_value(None, "user_version", |_| Ok(()))?;
    Ok(connection)
}

/// Opens a copy, since the store itself can't be read: `why`.
fn copy_instead(run_dir: &RunDir, why: &Error) -> Result<Connection> {
    let path = run_dir.store();
    let temporary = std::env::temp_dir();
    let copied = path
        .canonicalize()
        .and_then(|path| copied(&path, &temporary));
    copied.map_err(|error| {
        let reason = format!(
            "its last writer was killed, and what that left must be played back; here that fails \
             ({}), and so it does in a copy in {} (TMPDIR can name another directory): {error}",
            in_one_line(why),
            temporary.display()
        );
        Error::read(&path)(std::io::Error::other(reason))
    })
}

/// A copy of the store, played back. Its files have been unlinked, and vanish when it is closed.
fn copied(store: &Path, temporary: &Path) -> std::io::Result<Connection> {
    let directory = Temporary::new(temporary)?;
    let copy = directory.0.join("run.sqlite");
    for _ in 0..COPIES {
        let before = Seen::of(store)?;
        for beside in [""].into_iter().chain(FILES_BESIDE) {
            copy_file(
                &cu_run_dir::beside(store, beside),
                &cu_run_dir::beside(&copy, beside),
            )?;
        }
        if Seen::of(store)? == before {
            // Nobody else has it.
            let opened = play_back(&copy, Duration::ZERO).and_then(|played_back| {
                // Else more files would be made for it, by their names, while it is read.
                played_back.pragma_update(None, "journal_mode", "DELETE")?;
                Ok(played_back)
            });
            return opened.map_err(std::io::Error::other);
        }
    }
    let reason = "it changes all the time";
    Err(std::io::Error::other(reason))
}

/// Copies a file, if it is there. No other connection of this process may have it open: when we close
/// it, their locks on it end.
fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    match files::open(from, OpenOptions::new().read(true)) {
        Ok(mut from) => std::io::copy(&mut from, &mut File::create(to)?).map(drop),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match std::fs::remove_file(to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }
        Err(error) => Err(std::io::Error::new(
            error.kind(),
            format!("{}: {error}", from.display()),
        )),
    }
}

/// By what a change of the store would show: inode, length and time of each of its files.
#[derive(PartialEq, Eq)]
struct Seen(Vec<Option<[i64; 4]>>);

impl Seen {
    fn of(store: &Path) -> std::io::Result<Self> {
        let seen = |beside| match cu_run_dir::beside(store, beside).metadata() {
            Ok(found) => Ok(Some([
                found.ino() as i64,
                found.size() as i64,
                found.mtime(),
                found.mtime_nsec(),
            ])),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let files = [""].into_iter().chain(FILES_BESIDE);
        files.map(seen).collect::<std::io::Result<_>>().map(Self)
    }
}

/// A directory of our own, removed with what is in it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(parent: &Path) -> std::io::Result<Self> {
        let name = RunId::generate().map_err(std::io::Error::other)?;
        let path = parent.join(format!("cu-read-{name}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Its name shows what it belongs to.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
