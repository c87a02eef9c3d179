//! Directories, and a folder for what is only tried: paths that will exist later exist below it now.
//! It is removed again, and nothing of it is left in what is shown.

use std::io;
use std::path::{Path, PathBuf};

use cu_protocol::RunId;
use cu_system::files;

use crate::error::{Error, Result};

/// The folder.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one in `parent`.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn new(parent: &Path) -> Result<Self> {
        let scratch = Self(parent.join(format!("cu-{}", new_id()?)));
        make(&scratch.0)?;
        Ok(scratch)
    }

    /// What stands for `path` (absolute).
    pub fn within(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// `text` with the paths that are meant in the place of those that stand for them.
    pub fn forget_in(&self, text: &str) -> String {
        text.replace(&*self.0.to_string_lossy(), "")
    }
}

/// A name that nothing else has.
///
/// # Errors
/// If the system gives no randomness.
pub fn new_id() -> Result<RunId> {
    RunId::generate().map_err(|error| Error::system("find randomness")(io::Error::other(error)))
}

/// Makes a directory that is nobody else's business, with those above it.
///
/// # Errors
/// If it can't be made.
pub fn make(path: &Path) -> Result<()> {
    files::make_dir(path).map_err(Error::write("make the directory", path))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed says by its name whose it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_leaves_nothing() {
        let parent = tempfile::tempdir().expect("a folder");
        let scratch = Scratch::new(parent.path()).expect("a folder");
        let meant = Path::new("/results/a b/attempts");
        let there = scratch.within(meant);
        make(&there).expect("a folder");
        assert!(there.is_dir());
        let text = format!("cd '{}' && ls", there.display());
        assert_eq!(scratch.forget_in(&text), "cd '/results/a b/attempts' && ls");
        drop(scratch);
        assert_eq!(
            std::fs::read_dir(parent.path()).expect("a folder").count(),
            0
        );
    }
}
