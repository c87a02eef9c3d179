//! The files that SQLite keeps beside a database.

use std::path::{Path, PathBuf};

/// What the names of these files add to the database's own: a rollback journal, a write-ahead log, and
/// the index of that log, which SQLite makes anew.
pub const SQLITE_SUFFIXES: [&str; 3] = ["-journal", "-wal", "-shm"];

/// The file beside `database` whose name adds `suffix` to its own.
///
/// ```
/// # use std::path::Path;
/// let log = cu_run_dir::beside(Path::new("/results/digits/run.sqlite"), "-wal");
/// assert_eq!(log, Path::new("/results/digits/run.sqlite-wal"));
/// ```
#[must_use]
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
