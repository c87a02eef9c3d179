//! Temporary files and directories: created under a name of their own, removed unless they are
//! published, and swept once their writer is dead.
//!
//! A writer holds a lock on its temporary, which the system drops when the writer dies. So a
//! process that gets the lock may remove the temporary, and need not rely on a process id, host or
//! clock.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::{File, FileSystem, Kind, RealFileSystem};
use crate::layout::{self, MANIFEST};

/// A temporary file or directory that is removed on drop, unless it was renamed away.
#[derive(Debug)]
pub(crate) struct Temporary {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    kind: Kind,
    renamed: bool,
}

impl Temporary {
    /// Creates and locks a file in `directory`.
    pub(crate) fn file(
        fs: &Arc<dyn FileSystem>,
        directory: &Path,
        attempt: Option<u32>,
        mode: u32,
    ) -> io::Result<(Self, Box<dyn File>)> {
        under_new_name(directory, attempt, |path| {
            let file = fs.create_file(path, mode)?;
            let temporary = Self::new(fs, path, Kind::File);
            hold(file.as_ref())?;
            Ok((temporary, file))
        })
    }

    /// Creates a directory in `directory`, and the locked file in it that becomes its manifest.
    pub(crate) fn directory(
        fs: &Arc<dyn FileSystem>,
        directory: &Path,
        attempt: u32,
    ) -> io::Result<(Self, Box<dyn File>)> {
        under_new_name(directory, Some(attempt), |path| {
            fs.create_directory(path)?;
            let temporary = Self::new(fs, path, Kind::Directory);
            let manifest = match fs.create_file(&path.join(MANIFEST), 0o666) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(taken_by_a_sweeper()),
                manifest => manifest,
            }?;
            hold(manifest.as_ref())?;
            Ok((temporary, manifest))
        })
    }

    fn new(fs: &Arc<dyn FileSystem>, path: &Path, kind: Kind) -> Self {
        let (fs, path) = (Arc::clone(fs), path.to_owned());
        Self {
            fs,
            path,
            kind,
            renamed: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it: it has its final name.
    pub(crate) fn renamed(&mut self) {
        self.renamed = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // If this fails, the next writer sweeps it.
            let _ = remove(self.fs.as_ref(), &self.path, self.kind);
        }
    }
}

/// Calls `create` with names in `directory` until one is free.
fn under_new_name<T>(
    directory: &Path,
    attempt: Option<u32>,
    create: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<T> {
    // tempfile chooses the names and tries again as long as `create` returns `AlreadyExists`. We
    // remove the file, since tempfile would not use our file system traits.
    tempfile::Builder::new()
        .prefix(&layout::temporary_prefix(attempt))
        .rand_bytes(8)
        .disable_cleanup(true)
        .make_in(directory, create)
        .map(|created| created.into_parts().0)
}

/// Locks a temporary that was just created. A sweeper may have been faster: before it is locked,
/// the temporary looks like a dead writer's.
fn hold(file: &dyn File) -> io::Result<()> {
    match file.try_lock() {
        Ok(true) if file.is_linked()? => Ok(()),
        Ok(_) => Err(taken_by_a_sweeper()),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(error) => Err(error),
    }
}

/// The error that makes [`under_new_name`] try again.
fn taken_by_a_sweeper() -> io::Error {
    io::ErrorKind::AlreadyExists.into()
}

/// Removes the leftovers of dead writers in `directory`: files and directories named `.cu-tmp-…`
/// that no process holds locked. Returns their number.
///
/// Checkpoints are swept by the first save of each [`Checkpoints`](crate::Checkpoints); this is for
/// directories that are written with [`AtomicFile`](crate::AtomicFile). Leaves alone the files that
/// living processes are writing. On a file system without locks it removes nothing, since it can't
/// distinguish them.
///
/// # Errors
/// If the directory cannot be listed, or if a leftover cannot be removed; the others are removed
/// all the same. A directory that does not exist has no leftovers.
pub fn remove_stale_temporaries(directory: impl AsRef<Path>) -> Result<usize> {
    sweep(&RealFileSystem, directory.as_ref(), None)
}

/// As [`remove_stale_temporaries`], for a writer of `attempt`. Where files cannot be locked, the
/// temporaries of earlier attempts count as stale, since only the last attempt of a job continues.
/// It leaves those of later attempts alone: if there are some, this process is the outdated one,
/// and it may not see the lock of a writer on another host.
pub(crate) fn sweep(fs: &dyn FileSystem, directory: &Path, attempt: Option<u32>) -> Result<usize> {
    let entries = match fs.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(|error| Error::io("list", directory, error))?,
    };
    let mut removed = 0;
    let mut first_failure = None;
    for (name, kind) in entries {
        let Some(owner) = layout::parse_temporary(&name) else {
            continue;
        };
        let age = owner.zip(attempt).map(|(owner, own)| owner.cmp(&own));
        if age == Some(Ordering::Greater) {
            continue;
        }
        let owner_is_past = age == Some(Ordering::Less);
        let path = directory.join(name);
        match sweep_one(fs, &path, kind, owner_is_past) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(error) => {
                first_failure.get_or_insert(Error::io("remove", &path, error));
            }
        }
    }
    first_failure.map_or(Ok(removed), Err)
}

/// Removes one temporary if its writer is dead. Returns whether it did.
fn sweep_one(
    fs: &dyn FileSystem,
    path: &Path,
    kind: Kind,
    owner_is_past: bool,
) -> io::Result<bool> {
    let lock = match kind {
        Kind::Directory => open_or_create(fs, &path.join(MANIFEST)),
        _ => fs.open_to_lock(path),
    };
    let lock = match lock {
        // It was published or removed meanwhile, or its writer is just creating the manifest.
        Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::AlreadyExists => {
            return Ok(false);
        }
        lock => lock?,
    };
    let is_stale = match lock.try_lock() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => owner_is_past,
        locked => locked?,
    };
    if is_stale {
        // Keep the lock meanwhile: a writer that has just created it must notice.
        remove(fs, path, kind)?;
    }
    Ok(is_stale)
}

/// A directory whose removal was interrupted has lost its manifest. The process that creates the
/// manifest again owns the directory.
fn open_or_create(fs: &dyn FileSystem, manifest: &Path) -> io::Result<Box<dyn File>> {
    match fs.open_to_lock(manifest) {
        Err(error) if is_gone(&error) => fs.create_file(manifest, 0o666),
        opened => opened,
    }
}

/// Removes a checkpoint. A directory gets the name of a temporary first, so that a reader finds it
/// whole or not at all, never damaged.
pub(crate) fn discard(
    fs: &dyn FileSystem,
    directory: &Path,
    attempt: u32,
    path: &Path,
    kind: Kind,
) -> io::Result<()> {
    if kind != Kind::Directory {
        return fs.remove_file(path);
    }
    let trash = under_new_name(directory, Some(attempt), |trash| {
        fs.rename_to_new(path, trash)?;
        Ok(trash.to_owned())
    })?;
    remove(fs, &trash, kind)
}

/// Removes a file, or a directory with its content. A missing one is not a failure.
fn remove(fs: &dyn FileSystem, path: &Path, kind: Kind) -> io::Result<()> {
    let removed = if kind == Kind::Directory {
        remove_directory(fs, path)
    } else {
        fs.remove_file(path)
    };
    match removed {
        Err(error) if is_gone(&error) => Ok(()),
        removed => removed,
    }
}

fn remove_directory(fs: &dyn FileSystem, path: &Path) -> io::Result<()> {
    for (name, kind) in fs.list(path)? {
        remove(fs, &path.join(name), kind)?;
    }
    fs.remove_directory(path)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
