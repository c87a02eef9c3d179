//! What can go wrong with a file of a run.

use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something in the directory of a run could not be done. There is no fifth kind: match all.
///
/// `Display` leaves out the cause, which `source()` returns; `cu_system::causes::in_one_line` shows both.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or directory could not be made, examined or written.
    #[error("can't {what} {}", path.display())]
    File {
        /// The operation, as in "can't write".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something of the run is not this user's alone.
    #[error(transparent)]
    Untrusted(#[from] crate::Untrusted),
    /// A file's content is not what we write there.
    #[error("{} is damaged or of a newer version: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(crate) fn content(path: &Path, reason: impl ToString) -> Self {
        Self::Content {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_shown_once() {
        let full = std::io::Error::other("the disk is full");
        let error = Error::file("write", Path::new("exit.json"))(full);
        assert_eq!(error.to_string(), "can't write exit.json");
        assert_eq!(
            cu_system::causes::in_one_line(&error),
            "can't write exit.json: the disk is full"
        );
    }
}
