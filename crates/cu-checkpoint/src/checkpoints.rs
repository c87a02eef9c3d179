//! The handle on a directory of checkpoints: the attempt that saves, and how many are kept.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::background::Background;
use crate::error::{Error, Result};
use crate::fs::{FileSystem, Kind, RealFileSystem};
use crate::generation::Generation;
use crate::layout;

const KEEP_BY_DEFAULT: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

/// The checkpoints in one directory.
///
/// Opening and loading write nothing. The first save creates the directory, and removes the
/// leftovers of writers that died in the middle of a save.
///
/// One attempt must have one writer at a time; a run of cluster-utils ensures that. If there are two
/// all the same, neither replaces a checkpoint of the other on file systems that can rename without
/// replacing (all local ones).
///
/// A clone is an independent handle on the same directory.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) directory: PathBuf,
    pub(crate) attempt: u32,
    pub(crate) keep: NonZeroUsize,
    /// The last number that this handle has used, since its file may be gone.
    pub(crate) last_counter: Option<u64>,
    /// Whether the directory exists and was swept.
    pub(crate) is_prepared: bool,
}

impl Checkpoints {
    /// The checkpoints in `directory`, which need not exist yet.
    ///
    /// # Errors
    /// If the path is not a directory, or can't be examined.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(Arc::new(RealFileSystem), directory)
    }

    /// As [`open`](Self::open), on another file system: the seam for tests of this crate.
    #[doc(hidden)]
    pub fn open_on(fs: Arc<dyn FileSystem>, directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let kind = match fs.kind(directory) {
            Ok(Kind::Directory) => Ok(()),
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        kind.map_err(|error| Error::io("open", directory, error))?;
        Ok(Self {
            fs,
            directory: directory.to_owned(),
            attempt: 0,
            keep: KEEP_BY_DEFAULT,
            last_counter: None,
            is_prepared: false,
        })
    }

    /// Saves as attempt number `attempt`, counted from 0. Without this, all saves belong to attempt
    /// 0, which is right for a program that is simply started again and again.
    #[must_use]
    pub fn for_attempt(self, attempt: u32) -> Self {
        Self {
            attempt,
            last_counter: None,
            ..self
        }
    }

    /// Keeps the newest `count` checkpoints; 2 by default. Older ones are removed once a new one is
    /// durable. Keep at least 2: if the newest is damaged, the one before it is loaded.
    ///
    /// A save counts only checkpoints that are not newer than itself, so that a process of an older
    /// attempt never removes a checkpoint of a newer one.
    #[must_use]
    pub fn keep_last(self, count: NonZeroUsize) -> Self {
        Self {
            keep: count,
            ..self
        }
    }

    /// Saves in a thread of its own from now on, one save at a time.
    pub fn in_background(self) -> Background {
        Background::new(self)
    }

    /// The directory they lie in.
    pub fn directory_path(&self) -> &Path {
        &self.directory
    }

    /// The generations that have a file or directory here, newest first. This looks at the names
    /// only; loading checks whether they are intact.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn generations(&self) -> Result<Vec<Generation>> {
        let candidates = layout::candidates(self.fs.as_ref(), &self.directory)?;
        Ok(candidates
            .iter()
            .map(|candidate| candidate.generation)
            .collect())
    }
}
