//! Opens the database: chooses the journal that suits the file system, checks the format, and finds what
//! is wrong.
//!
//! The index of a write-ahead log, `run.sqlite-shm`, is memory that readers share with the main process.
//! Truncating it kills a living main process by SIGBUS: without a message, but as harmlessly as any other
//! signal. The next main process reports that, and makes the index anew. Without the index there could be
//! no readers.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use cu_run_dir::{SQLITE_SUFFIXES, beside};
use cu_system::files;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{FORMAT, others};
use crate::{Error, FileSystem, Result, RunDir, lock};

/// How long a writer waits for a reader, and a reader for a writer.
pub(super) const BUSY: Duration = Duration::from_secs(30);
/// SQLite takes a file system without locks (ENOLCK) for one whose locks others hold. So after this time it
/// is tried whether there are any.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The most that SQLite makes a file beside the database longer by, in bytes: the index of a write-ahead log.
const INDEX_SIZE: usize = 32 << 10;

/// The suffixes of the files that SQLite keeps beside a database. The index `-shm` is not among them: it
/// is made anew from the write-ahead log, and no copy needs it.
pub(super) const FILES_BESIDE: [&str; 2] = ["-journal", "-wal"];

pub(super) fn for_writing(run_dir: &RunDir) -> Result<Connection> {
    let path = run_dir.store();
    let opened = open(run_dir, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|connection| check(&connection, &path).map(|()| connection));
    let connection = opened.map_err(|error| for_a_writer(&path, error))?;
    // The write-ahead log needs memory that all readers share.
    let journal = match FileSystem::of(run_dir.path()).is_local() {
        true => "WAL",
        false => "TRUNCATE",
    };
    let set_up = || {
        connection.pragma_update(None, "journal_mode", journal)?;
        connection.pragma_update(None, "synchronous", "FULL")
    };
    set_up().map_err(|error| unwritable(&path, error))?;
    Ok(connection)
}

/// Looks for damage before anything is written, since writing would spread it.
fn check(connection: &Connection, path: &Path) -> Result<()> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| unusable(path, error))?;
    match found.as_str() {
        "ok" => Ok(()),
        reason => Err(Error::Damaged {
            path: path.to_owned(),
            reason: reason.to_owned(),
        }),
    }
}

/// Opens it for reading, if that needs no recovery.
pub(super) fn read_only(run_dir: &RunDir) -> Result<Connection> {
    open(run_dir, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Begins a transaction for reading, which sees the store as it is when this returns.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    let transaction = connection.unchecked_transaction()?;
    transaction.pragma_query_value(None, "user_version", |_| Ok(()))?;
    Ok(transaction)
}

/// Checks that a run exists. An unreadable directory is [`Error::File`], not [`Error::NoRun`].
pub(crate) fn must_exist(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.store();
    match path.metadata() {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(Error::NoRun {
                path: run_dir.path().to_owned(),
            })
        }
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Checks that SQLite is given only regular files: it would wait for a FIFO, or read a device to its end.
/// The check does not open them: closing a database file would release SQLite's locks on it.
fn must_be_regular(database: &Path) -> Result<()> {
    files::examine(database).map_err(Error::read(database))?;
    // The files of a database are beside the database itself, not beside a link to it.
    let database = database.canonicalize().map_err(Error::read(database))?;
    for suffix in SQLITE_SUFFIXES {
        let path = beside(&database, suffix);
        match files::examine(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::read(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn open(run_dir: &RunDir, flags: OpenFlags) -> Result<Connection> {
    must_exist(run_dir)?;
    let path = run_dir.store();
    must_be_regular(&path)?;
    let connection = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| unusable(&path, error))?;
    let first_look = |busy| {
        connection.busy_timeout(busy)?;
        connection.pragma_query_value(None, "user_version", |row| row.get(0))
    };
    let found: rusqlite::Result<i64> = match first_look(FIRST_WAIT) {
        Err(error) if others::are_in_the_way(&error) => {
            lock::check_locks(run_dir.path())?;
            first_look(BUSY)
        }
        found => found,
    };
    let found = found.map_err(|error| unusable(&path, error))?;
    connection
        .busy_timeout(BUSY)
        .map_err(|error| unusable(&path, error))?;
    match found {
        1..=FORMAT => Ok(connection),
        newer if newer > FORMAT => Err(Error::NewerVersion {
            path: run_dir.path().to_owned(),
            found: newer,
            known: FORMAT,
        }),
        other => Err(Error::Damaged {
            path,
            reason: format!("its format is {other}, which no version has written"),
        }),
    }
}

/// The meaning of `error` for a write to the store in `path`.
pub(super) fn unwritable(path: &Path, error: rusqlite::Error) -> Error {
    match unusable(path, error) {
        Error::Read { source, .. } if source.kind() == ErrorKind::ResourceBusy => {
            Error::file("write", path)(source)
        }
        Error::Read { source, .. } => without_room(path).unwrap_or_else(|| Error::Record {
            path: path.to_owned(),
            source,
        }),
        other => other,
    }
}

/// The meaning of `error`, which a writer met before it wrote anything.
pub(super) fn unopened(path: &Path, error: rusqlite::Error) -> Error {
    for_a_writer(path, unusable(path, error))
}

fn for_a_writer(path: &Path, error: Error) -> Error {
    match &error {
        // A reader would say so, too.
        Error::Read { source, .. } if source.kind() != ErrorKind::ResourceBusy => {
            without_room(path).unwrap_or(error)
        }
        _ => error,
    }
}

/// The error for what could not be recorded in the store in `path`, whatever the reason.
pub(super) fn not_recorded(path: &Path, error: rusqlite::Error) -> Error {
    without_room(path).unwrap_or_else(|| {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => ErrorKind::StorageFull,
            _ => ErrorKind::Other,
        };
        Error::Record {
            path: path.to_owned(),
            source: std::io::Error::new(kind, error),
        }
    })
}

/// The error for a store whose file system takes no more, if that is so: SQLite calls that an I/O error, or a file
/// that can't be opened, unless it is the database itself that has no room.
fn without_room(path: &Path) -> Option<Error> {
    let directory = path.parent().unwrap_or(path);
    let tried = tempfile::tempfile_in(directory).and_then(|mut file| {
        file.write_all(&[0; INDEX_SIZE])?;
        file.sync_all()
    });
    let source = tried.err()?;
    let is_reason = matches!(
        source.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    );
    is_reason.then(|| Error::Record {
        path: path.to_owned(),
        source,
    })
}

/// The meaning of `error` for the store in `path`. Only its content can show damage: a disk that is full or
/// fails, or a file that can't be opened, are not a reason to restore anything.
pub(super) fn unusable(path: &Path, error: rusqlite::Error) -> Error {
    if others::are_in_the_way(&error) {
        let reason = format!("it is held by {}", others::holders(path));
        let busy = std::io::Error::new(ErrorKind::ResourceBusy, reason);
        return Error::read(path)(busy);
    }
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ErrorKind::StorageFull,
        Some(ErrorCode::CannotOpen) => hindrance(path, Access::READ_OK),
        Some(ErrorCode::ReadOnly) => hindrance(path, Access::READ_OK | Access::WRITE_OK),
        Some(ErrorCode::PermissionDenied) => ErrorKind::PermissionDenied,
        Some(ErrorCode::OutOfMemory) => ErrorKind::OutOfMemory,
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::OperationInterrupted,
        ) => ErrorKind::Other,
        _ => {
            return Error::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            };
        }
    };
    Error::read(path)(std::io::Error::new(kind, error))
}

/// Why the database or its directory can't be accessed, which SQLite does not report.
fn hindrance(path: &Path, access: Access) -> ErrorKind {
    let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS);
    let directory = path.parent().unwrap_or(path);
    match may(path, access).and_then(|()| may(directory, access | Access::EXEC_OK)) {
        Err(error) => std::io::Error::from(error).kind(),
        Ok(()) => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn an_unreadable_store_is_not_reported_as_missing() {
        let directory = tempfile::tempdir().unwrap();
        let run = RunDir::new(directory.path());
        let opened = read_only(&run);
        assert!(matches!(opened, Err(Error::NoRun { .. })), "{opened:?}");
        let not_even_a_directory = RunDir::new(directory.path().join("file"));
        std::fs::write(not_even_a_directory.path(), "").unwrap();
        let opened = read_only(&not_even_a_directory);
        assert!(matches!(opened, Err(Error::NoRun { .. })), "{opened:?}");
        // A link to itself stops even root, as another user's directory stops others.
        std::os::unix::fs::symlink(run.store(), run.store()).unwrap();
        let opened = read_only(&run);
        assert!(matches!(opened, Err(Error::Read { .. })), "{opened:?}");
    }

    #[test]
    fn only_content_counts_as_damage() {
        let path = Path::new("/results/a/run.sqlite");
        for (code, is_damage) in [
            (ffi::SQLITE_CORRUPT, true),
            (ffi::SQLITE_NOTADB, true),
            (ffi::SQLITE_ERROR, true), // A table that should be there is not.
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_IOERR, false),
            (ffi::SQLITE_CANTOPEN, false),
            (ffi::SQLITE_READONLY, false),
            (ffi::SQLITE_BUSY, false),
            (ffi::SQLITE_PERM, false),
        ] {
            let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = unusable(path, failure);
            let found = matches!(error, Error::Damaged { .. });
            assert_eq!(found, is_damage, "{error}");
        }
        let full = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None);
        assert!(
            matches!(unusable(path, full), Error::Read { source, .. } if source.kind() == ErrorKind::StorageFull)
        );
    }
}
