//! A full disk and a read-only directory harm no earlier checkpoint.
//!
//! Both need a file system of their own, which only root can mount. Without the right to mount these
//! tests fail, unless `CU_TESTS_UNPRIVILEGED=1` leaves them out.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::Write;
use std::path::Path;

use cu_checkpoint::{Checkpoints, Error, atomic_write};
use cu_test_privileges::leave_out;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// A small file system in memory, unmounted on drop.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` only if `CU_TESTS_UNPRIVILEGED=1` leaves this part out.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match mount(
            "tmpfs",
            directory.path(),
            "tmpfs",
            MountFlags::empty(),
            Some(c"size=256k"),
        ) {
            Ok(()) => Some(Self(directory)),
            Err(error) => {
                leave_out(
                    "full and read-only disks",
                    format!("mounting fails: {error}"),
                );
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn set_read_only(&self, is_read_only: bool) {
        let flags = if is_read_only {
            MountFlags::RDONLY
        } else {
            MountFlags::empty()
        };
        mount_remount(self.path(), flags, c"size=256k").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

const TOO_MUCH: usize = 1 << 20;

fn save_directory(checkpoints: &mut Checkpoints, length: usize) -> Result<(), Error> {
    let files = checkpoints.directory()?;
    let first = fs::write(files.path().join("first"), "small");
    let second = fs::write(files.path().join("second"), vec![1; length]);
    if first.is_err() || second.is_err() {
        // As a program would: it drops the directory.
        return Ok(());
    }
    files.commit().map(drop)
}

/// Saves a checkpoint of each form in turn. Every later save fails, and that checkpoint still
/// loads.
fn nothing_gets_through(
    disk: &SmallDisk,
    mut spoil: impl FnMut(bool),
    is_expected: fn(&Error) -> bool,
) {
    let form = |name: &str| Checkpoints::open(disk.path().join(name)).unwrap();
    let (mut values, mut streams, mut directories) =
        (form("values"), form("streams"), form("directories"));
    let table = disk.path().join("table.csv");
    values.save(&1).unwrap();
    let mut writer = streams.writer().unwrap();
    writer.write_all(b"one").unwrap();
    writer.commit().unwrap();
    save_directory(&mut directories, 10).unwrap();
    atomic_write(&table, "old").unwrap();

    spoil(true);
    let refuse = |result: Result<(), Error>, name: &str| {
        let error = result.expect_err("there is no room");
        assert!(is_expected(&error), "{error:?}");
        assert!(error.to_string().contains(name), "{error} names no file");
    };
    for _ in 0..3 {
        refuse(values.save(&vec![7; TOO_MUCH]).map(drop), "values");
        refuse(values.save(&7).map(drop), "values");
        let written = streams.writer().and_then(|mut writer| {
            // It fits into the buffer, so only the commit notices that there is no room.
            writer.write_all(&[7; 1000]).unwrap();
            writer.commit().map(drop)
        });
        refuse(written, "streams");
        let _ = save_directory(&mut directories, TOO_MUCH);
        refuse(atomic_write(&table, vec![7; TOO_MUCH]), "table.csv");
    }
    assert_eq!(values.load::<i32>().unwrap().unwrap().value, 1);
    assert_eq!(streams.reader().unwrap().unwrap().value.length(), 3);
    let found = directories.load_directory().unwrap().unwrap();
    assert_eq!(fs::read(found.value.join("second")).unwrap().len(), 10);
    assert_eq!(fs::read_to_string(&table).unwrap(), "old");

    spoil(false);
    values.save(&2).unwrap();
    assert_eq!(values.load::<i32>().unwrap().unwrap().value, 2);
    save_directory(&mut directories, 11).unwrap();
    for name in ["values", "directories"] {
        let left = fs::read_dir(disk.path().join(name)).unwrap().count();
        assert_eq!(left, 2, "failed saves have left files in {name}");
    }
}

#[test]
fn a_full_disk_costs_only_the_new_checkpoint() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let filler = disk.path().join("filler");
    let spoil = |is_full| {
        if is_full {
            // No byte is free, so even a header has no room.
            let mut file = fs::File::create(&filler).unwrap();
            while file.write_all(&[0; 4096]).is_ok() {}
        } else {
            fs::remove_file(&filler).unwrap();
        }
    };
    nothing_gets_through(&disk, spoil, |error| matches!(error, Error::NoSpace { .. }));
}

#[test]
fn a_disk_full_during_a_save_costs_only_the_new_checkpoint() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut checkpoints = Checkpoints::open(disk.path().join("checkpoints")).unwrap();
    checkpoints.save(&vec![1_u8; 50_000]).unwrap();
    checkpoints.save(&vec![2_u8; 50_000]).unwrap();
    let error = checkpoints.save(&vec![3_u8; TOO_MUCH]).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    assert_eq!(checkpoints.generations().unwrap().len(), 2);
    assert_eq!(
        checkpoints.load::<Vec<u8>>().unwrap().unwrap().value,
        vec![2; 50_000]
    );
    // The space that the failed save had used is free again.
    checkpoints.save(&vec![4_u8; 100_000]).unwrap();
}

#[test]
fn a_read_only_directory_costs_only_the_new_checkpoint() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let spoil = |is_read_only| disk.set_read_only(is_read_only);
    nothing_gets_through(&disk, spoil, |error| {
        matches!(error, Error::NotPermitted { .. })
    });
}
