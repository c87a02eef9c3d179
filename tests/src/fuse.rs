//! A file system that more than one machine could have: FUSE, where runs are recorded as on NFS or
//! Lustre, with a rollback journal. It shows a directory in memory, by bindfs.
//!
//! Only root can mount it. Without that right its tests fail, unless `CU_TESTS_UNPRIVILEGED=1` says
//! that they are not expected to run.

use std::path::Path;
use std::process::Command;

use cu_test_privileges::leave_out;
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use crate::run::scratch;

/// It, unmounted when dropped.
#[derive(Debug)]
pub struct Fuse {
    mounted: TempDir,
    _behind: TempDir,
}

impl Fuse {
    /// A new and empty one. `None` only if the tester has said that this part need not run.
    ///
    /// # Panics
    /// If it can't be mounted.
    #[must_use]
    pub fn mount() -> Option<Self> {
        let (mounted, behind) = (scratch(), scratch());
        let mut bindfs = Command::new("bindfs");
        bindfs.arg(behind.path()).arg(mounted.path());
        let failed = match bindfs.output() {
            Ok(output) if output.status.success() => {
                return Some(Self {
                    mounted,
                    _behind: behind,
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        leave_out(
            "runs on FUSE",
            format!("bindfs is missing, or can't mount: {failed}"),
        );
        None
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let _ = unmount(self.mounted.path(), UnmountFlags::DETACH);
    }
}
