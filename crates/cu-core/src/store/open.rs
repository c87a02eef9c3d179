//! Opens the database: which journal suits its file system, which format it has, what is wrong
//! with it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::FORMAT;
use crate::{Error, Result, RunDir};

/// How long a writer waits for a reader, and a reader for a writer.
const BUSY: Duration = Duration::from_secs(30);

/// File systems that other machines share, by the magic number that statfs tells. SQLite's
/// write-ahead log needs shared memory and must not lie on one of these.
const SHARED: [i64; 12] = [
    0x6969,      // NFS
    0x0BD0_0BD0, // Lustre
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0x00C3_6400, // Ceph
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB 2
    0x5346_414F, // AFS
    0x6573_5546, // FUSE: sshfs and many others
    0x0102_1997, // 9P
    0x7461_636F, // OCFS2
    0x0116_1970, // GFS2
];

pub(super) fn for_writing(run_dir: &RunDir) -> Result<Connection> {
    let path = run_dir.store();
    let connection = open(run_dir, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check(&connection, &path)?;
    let journal = if is_shared(run_dir.path()) {
        "TRUNCATE"
    } else {
        "WAL"
    };
    let set_up = || {
        connection.pragma_update(None, "journal_mode", journal)?;
        connection.pragma_update(None, "synchronous", "FULL")
    };
    set_up().map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => Error::Record {
            path: path.clone(),
            reason: error.to_string(),
        },
        _ => damaged(&path, error),
    })?;
    Ok(connection)
}

/// Looks for damage before anything is written: afterwards it would spread.
fn check(connection: &Connection, path: &Path) -> Result<()> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| damaged(path, error))?;
    match found.as_str() {
        "ok" => Ok(()),
        reason => Err(Error::Damaged {
            path: path.to_owned(),
            reason: reason.to_owned(),
        }),
    }
}

pub(super) fn for_reading(run_dir: &RunDir) -> Result<Connection> {
    open(run_dir, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(run_dir: &RunDir, flags: OpenFlags) -> Result<Connection> {
    let path = run_dir.store();
    if !path.exists() {
        return Err(Error::NoRun {
            path: run_dir.path().to_owned(),
        });
    }
    let connection = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| damaged(&path, error))?;
    connection
        .busy_timeout(BUSY)
        .map_err(|error| damaged(&path, error))?;
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| damaged(&path, error))?;
    match found {
        FORMAT => Ok(connection),
        newer if newer > FORMAT => Err(Error::NewerVersion {
            path: run_dir.path().to_owned(),
            found: newer,
            known: FORMAT,
        }),
        other => Err(Error::Damaged {
            path,
            reason: format!("it says that its format is {other}, which never was one of ours"),
        }),
    }
}

pub(super) fn damaged(path: &Path, error: rusqlite::Error) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Whether other machines may share `path`; if nobody can tell, they may.
fn is_shared(path: &Path) -> bool {
    rustix::fs::statfs(path).map_or(true, |stat| {
        // The kernel's magic numbers are 32 bits wide; the field is wider and signed.
        SHARED.contains(&(stat.f_type & 0xFFFF_FFFF))
    })
}
