//! File systems that take nothing: read-only ones, and small ones that fill up. They need root, and are unmounted
//! when dropped.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use cu_test_privileges::leave_out;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

/// A mounted directory.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// Makes `directory` read-only. `None` only if `CU_TESTS_UNPRIVILEGED=1` leaves this part out.
    #[must_use]
    pub fn read_only(directory: &Path) -> Option<Self> {
        let mounted = mount_bind(directory, directory)
            .and_then(|()| mount_remount(directory, MountFlags::BIND | MountFlags::RDONLY, c""));
        Self::of(directory, "a read-only medium", mounted)
    }

    /// Mounts a small file system, such as `size=64k` or `nr_inodes=8`, over `directory`. `None` as for
    /// [`read_only`](Self::read_only).
    ///
    /// # Panics
    /// If `options` has a zero byte.
    #[must_use]
    pub fn small(directory: &Path, options: &str) -> Option<Self> {
        let options = CString::new(options).unwrap();
        let flags = MountFlags::empty();
        let mounted = mount("tmpfs", directory, "tmpfs", flags, options.as_c_str());
        Self::of(directory, "full disks", mounted)
    }

    fn of(directory: &Path, what: &str, mounted: rustix::io::Result<()>) -> Option<Self> {
        match mounted {
            Err(error) => {
                leave_out(what, format!("mounting fails: {error}"));
                None
            }
            Ok(()) => Some(Self(directory.to_owned())),
        }
    }

    /// Makes room on a small one.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn make_room(&self) {
        mount_remount(&self.0, MountFlags::empty(), c"size=64m,nr_inodes=10000").unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
