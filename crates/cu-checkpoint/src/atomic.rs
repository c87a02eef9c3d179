//! Replaces small files as a whole: a reader finds the old content or the new, never a mixture.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::{File, FileSystem, RealFileSystem};
use crate::layout::parent;
use crate::temporary::Temporary;

/// The failures that a committed file survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// A power failure, as well as the death of any process: the file and its directory are synced.
    #[default]
    PowerFailure,
    /// The death of any process, but not a power failure, after which the file may be old, new or
    /// empty. For files that are written often and may be lost.
    ProcessDeath,
}

/// How to write an [`AtomicFile`].
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// # let directory = scratch.path();
/// use cu_checkpoint::{AtomicOptions, Durability};
///
/// AtomicOptions::new().mode(0o600).write(directory.join("secret"), b"hush")?;
/// AtomicOptions::new()
///     .durability(Durability::ProcessDeath)
///     .write(directory.join("heartbeat"), b"17")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct AtomicOptions {
    fs: Arc<dyn FileSystem>,
    mode: u32,
    durability: Durability,
}

impl Default for AtomicOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl AtomicOptions {
    /// The default: mode 0666 less the umask, and the file survives a power failure.
    pub fn new() -> Self {
        Self::new_on(Arc::new(RealFileSystem))
    }

    /// As [`new`](Self::new), on another file system: the seam for tests of this crate.
    #[doc(hidden)]
    pub fn new_on(fs: Arc<dyn FileSystem>) -> Self {
        Self {
            fs,
            mode: 0o666,
            durability: Durability::default(),
        }
    }

    /// The file's mode, less the umask, as for every file that is created. The mode of a replaced
    /// file does not count.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The failures that the file survives once it is committed.
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Starts to write a file that replaces the one at `path`, if there is one. A symbolic link at
    /// `path` is replaced, not followed.
    ///
    /// # Errors
    /// If no file can be created in the directory of `path`. That directory must exist.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<AtomicFile> {
        let target = path.as_ref().to_owned();
        let (temporary, file) = Temporary::file(&self.fs, parent(&target), None, self.mode)
            .map_err(|error| Error::io("write", &target, error))?;
        let Self { fs, durability, .. } = self.clone();
        Ok(AtomicFile {
            fs,
            file,
            temporary,
            target,
            durability,
            broken: false,
        })
    }

    /// Writes a file at once.
    ///
    /// # Errors
    /// Those of [`create`](Self::create) and [`AtomicFile::commit`].
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
        let mut file = self.create(path)?;
        file.file
            .write_all(content.as_ref())
            .map_err(|error| Error::io("write", &file.target, error))?;
        file.commit()
    }
}

/// Writes a file at once, so that it survives a power failure and is never seen half written.
///
/// The directory of `path` must exist. A process that dies in the middle leaves a file named
/// `.cu-tmp-…` there; [`remove_stale_temporaries`](crate::remove_stale_temporaries) removes it.
///
/// # Errors
/// If writing fails. The old file is then still there, except if only the final sync of the
/// directory failed: then it may be the old or the new one.
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// # let directory = scratch.path();
/// let path = directory.join("metrics.csv");
/// cu_checkpoint::atomic_write(&path, "accuracy\n0.92\n")?;
/// assert_eq!(std::fs::read_to_string(&path)?, "accuracy\n0.92\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn atomic_write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<()> {
    AtomicOptions::new().write(path, content)
}

/// A file that appears under its name with [`commit`](Self::commit), or not at all.
///
/// Each write is a system call; wrap it in a [`BufWriter`](io::BufWriter) for small pieces, and
/// take it out with `into_inner` to commit.
#[derive(Debug)]
#[must_use = "a file that is not committed is removed"]
pub struct AtomicFile {
    fs: Arc<dyn FileSystem>,
    file: Box<dyn File>,
    temporary: Temporary,
    target: PathBuf,
    durability: Durability,
    broken: bool,
}

impl AtomicFile {
    /// Starts to write a file with the default [options](AtomicOptions).
    ///
    /// # Errors
    /// Those of [`AtomicOptions::create`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        AtomicOptions::new().create(path)
    }

    /// Moves the file to its place.
    ///
    /// # Errors
    /// Those of [`atomic_write`]. Also fails if an earlier write has failed.
    pub fn commit(mut self) -> Result<()> {
        let failed = |error| Error::io("write", &self.target, error);
        if self.broken {
            return Err(failed(io::Error::other("an earlier write to it failed")));
        }
        if self.durability == Durability::PowerFailure {
            self.file.sync().map_err(failed)?;
        }
        self.fs
            .rename(self.temporary.path(), &self.target)
            .map_err(failed)?;
        self.temporary.renamed();
        if self.durability == Durability::PowerFailure {
            self.fs
                .sync_directory(parent(&self.target))
                .map_err(failed)?;
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        let is_failure = |error: &io::Error| error.kind() != io::ErrorKind::Interrupted;
        self.broken |= written.as_ref().is_err_and(is_failure);
        written.map_err(|error| Error::io("write", &self.target, error).into())
    }

    /// Does nothing, since nobody reads the file before it is committed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
