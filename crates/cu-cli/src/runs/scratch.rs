//! A scratch directory for what is only tried. Paths that a run will have later exist below it for a
//! while; it is removed again, and texts for people have the later paths.

use std::io;
use std::path::{Path, PathBuf};

use cu_protocol::RunId;
use cu_system::files;

use crate::error::{Error, Result};

/// The directory.
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

    /// The path below the scratch directory that stands for `path` (absolute).
    pub fn within(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// `text` with the scratch paths replaced by the real ones.
    pub fn restore_paths(&self, text: &str) -> String {
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

/// Makes a private directory, with those above it.
///
/// # Errors
/// If it can't be made.
pub fn make(path: &Path) -> Result<()> {
    files::make_dir(path).map_err(Error::write("make the directory", path))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it can't be removed, its name says whose it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_leaves_nothing() {
        let parent = tempfile::tempdir().expect("a directory");
        let scratch = Scratch::new(parent.path()).expect("a directory");
        let meant = Path::new("/results/a b/attempts");
        let there = scratch.within(meant);
        make(&there).expect("a directory");
        assert!(there.is_dir());
        let text = format!("cd '{}' && ls", there.display());
        assert_eq!(
            scratch.restore_paths(&text),
            "cd '/results/a b/attempts' && ls"
        );
        drop(scratch);
        assert_eq!(
            std::fs::read_dir(parent.path())
                .expect("a directory")
                .count(),
            0
        );
    }
}
