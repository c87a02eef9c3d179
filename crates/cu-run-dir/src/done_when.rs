//! What shows that a job is done, in the user's words; and `found_before.json`, by which a file of an earlier
//! run is told from one of this job.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Result, json_file};

/// What shows that a job is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoneWhen {
    /// This file is there, and has been made or changed since the job began.
    File {
        /// Relative to the directory in which the program starts, or to the output directory.
        path: PathBuf,
        /// A text that the file must contain.
        contains: Option<String>,
    },
    /// The program prints this text, to its standard output or its standard error.
    Output(String),
}

/// `found_before.json`: what lay at the paths of [`DoneWhen::File`] when the job's first attempt started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundBefore {
    /// The version of this file: [`FoundBefore::VERSION`].
    pub version: u32,
    /// The files that were there.
    pub found: Vec<FoundFile>,
}

/// A file as it was found. No clock is asked: a file that differs in this has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its inode.
    pub inode: u64,
    /// When its inode was changed last, by the clock of its file system: seconds since the Unix epoch.
    pub changed: i64,
    /// Nanoseconds in addition.
    pub changed_nanoseconds: i64,
}

impl FoundFile {
    /// The file at `path`, of which the system says this.
    #[must_use]
    pub fn new(path: &Path, found: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            inode: found.ino(),
            changed: found.ctime(),
            changed_nanoseconds: found.ctime_nsec(),
        }
    }
}

impl FoundBefore {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;

    /// Reads the file; `None` if no attempt of the job has looked yet.
    ///
    /// # Errors
    /// If it is there and can't be read, or is damaged or of another version.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        json_file::read_own(path, Self::VERSION)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File).
    pub fn write(&self, path: &Path) -> Result<()> {
        json_file::write_quickly(path, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_made_anew_differs_from_the_one_found_before() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, record) = (scratch.path().join("a"), scratch.path().join("record"));
        assert_eq!(FoundBefore::read(&record).unwrap(), None);
        std::fs::write(&file, "").unwrap();
        let found = FoundFile::new(&file, &file.metadata().unwrap());
        let before = FoundBefore {
            version: FoundBefore::VERSION,
            found: vec![found.clone()],
        };
        before.write(&record).unwrap();
        assert_eq!(FoundBefore::read(&record).unwrap(), Some(before));
        std::fs::rename(&file, scratch.path().join("b")).unwrap();
        std::fs::write(&file, "").unwrap();
        assert_ne!(FoundFile::new(&file, &file.metadata().unwrap()), found);
    }
}
