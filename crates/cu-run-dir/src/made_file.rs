//! `made.json`: the file by which a supervisor asked its program to stop, until that is removed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{CreateFile, Error, Result, json_file};

/// `attempts/{id}/made.json`: there is a file of ours, or there is about to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFile {
    /// The version of this file: [`MadeFile::VERSION`].
    pub version: u32,
    /// The file, with an absolute path.
    #[serde(flatten)]
    pub file: CreateFile,
}

impl MadeFile {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;

    /// Reads the file; `None` if there is none.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// use cu_run_dir::MadeFile;
    ///
    /// assert_eq!(MadeFile::read(&scratch.path().join("made.json"))?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If it is there and can't be read, or is damaged, of another version or another user's.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        json_file::read_own(path, Self::VERSION)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<()> {
        json_file::write_quickly(path, self)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn forget(path: &Path) -> Result<()> {
        std::fs::remove_file(path).map_err(Error::file("remove", path))
    }
}
