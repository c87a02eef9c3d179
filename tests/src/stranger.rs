//! Another user of this machine, for tests that run as root.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cu_test_privileges::leave_out;
use tempfile::TempDir;

use crate::cu::cu_binary;
use crate::process::{Exit, Process};

/// The user and the group `nobody`, which own no files.
pub const STRANGER: u32 = 65_534;

/// Returns whether this process may act as other users. `false` only if `CU_TESTS_UNPRIVILEGED=1`
/// leaves these tests out.
///
/// # Panics
/// If it may not but should.
#[must_use]
pub fn can_be_played() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        leave_out("other users", "only root can act for them");
    }
    is_root
}

/// A directory that all users can enter, with a `cu` that all can start, and the files that `cu`
/// writes.
#[derive(Debug)]
pub struct Public(TempDir);

impl Public {
    /// Makes one among the temporary files.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn new() -> Self {
        let public = Self(tempfile::tempdir().unwrap());
        set_mode(public.0.path(), 0o755);
        // A child of another test, between fork and exec, would inherit a file that this process
        // has open for writing, and such a file can't be executed. So another process makes the
        // copy.
        let mut copy = Command::new("cp");
        copy.arg(cu_binary()).arg(public.path("cu"));
        let copied = Process::start(copy, public.0.path()).wait();
        assert_eq!(copied.code, Some(0), "{copied:?}");
        public
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a directory in it.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        set_mode(&path, mode);
        path
    }

    /// `cu` for this process's user, not started yet.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("cu"));
        command.args(arguments).current_dir(self.0.path());
        command.env_remove("CU_RESULTS_DIR");
        command
    }

    /// Runs `cu` to its end.
    #[must_use]
    pub fn cu(&self, arguments: &[&str]) -> Exit {
        Process::start(self.command(arguments), self.0.path()).wait()
    }

    /// Runs `cu` to its end as the stranger.
    #[must_use]
    pub fn cu_of_stranger(&self, arguments: &[&str]) -> Exit {
        let mut command = self.command(arguments);
        command.uid(STRANGER).gid(STRANGER);
        Process::start(command, self.0.path()).wait()
    }
}

impl Default for Public {
    fn default() -> Self {
        Self::new()
    }
}

/// # Panics
/// If the file is not ours.
pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Calls `look` with everything in `path`, also links and `path` itself.
///
/// # Panics
/// If a directory can't be read.
pub fn for_all(path: &Path, look: &mut dyn FnMut(&Path)) {
    look(path);
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            for_all(&entry.unwrap().path(), look);
        }
    }
}

/// Makes the stranger the owner of `path` and all in it.
///
/// # Panics
/// If this process is not root's.
pub fn give_away(path: &Path) {
    for_all(path, &mut |path| {
        lchown(path, Some(STRANGER), Some(STRANGER)).unwrap()
    });
}
