//! A FUSE file system, which stands for NFS and Lustre: several machines could mount it, so runs
//! there use a rollback journal. bindfs shows a directory in memory through it.
//!
//! Only root can mount it. Without that right its tests fail, unless `CU_TESTS_UNPRIVILEGED=1`
//! leaves them out.

use std::path::Path;
use std::process::Command;

use cu_test_privileges::leave_out;
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use crate::run::scratch;

/// The mounted file system, unmounted when dropped.
#[derive(Debug)]
pub struct Fuse {
    mounted: TempDir,
    _behind: TempDir,
}

impl Fuse {
    /// Mounts an empty file system. `None` only if `CU_TESTS_UNPRIVILEGED=1` leaves this part out.
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

    /// Its mount point.
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
