//! Finds the file system of a path, and whether other machines may share it.

use std::path::Path;

use rustix::fs::statfs;

/// A file system by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its name, for people: "NFS", "an overlay".
    pub name: String,
    /// Whether other machines share it, if that is known.
    pub sharing: Option<Sharing>,
}

/// Whether other machines share a type of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Other machines can share it.
    Shared,
    /// It belongs to one machine.
    Own,
    /// It belongs to one machine, and is lost when that is restarted.
    Memory,
}

/// By the magic number that statfs returns.
const KNOWN: [(u32, &str, Sharing); 27] = [
    (0x6969, "NFS", Sharing::Shared),
    (0x0BD0_0BD0, "Lustre", Sharing::Shared),
    (0x4750_4653, "GPFS", Sharing::Shared),
    (0x1983_0326, "BeeGFS", Sharing::Shared),
    (0x00C3_6400, "Ceph", Sharing::Shared),
    (0xFF53_4D42, "CIFS", Sharing::Shared),
    (0xFE53_4D42, "SMB", Sharing::Shared),
    (0x5346_414F, "AFS", Sharing::Shared),
    (0x6573_5546, "FUSE", Sharing::Shared),
    (0x0102_1997, "9P", Sharing::Shared),
    (0x7461_636F, "OCFS2", Sharing::Shared),
    (0x0116_1970, "GFS2", Sharing::Shared),
    (0xEF53, "ext4", Sharing::Own),
    (0x5846_5342, "XFS", Sharing::Own),
    (0x9123_683E, "Btrfs", Sharing::Own),
    (0x2FC1_2FC1, "ZFS", Sharing::Own),
    (0xF2F5_2010, "F2FS", Sharing::Own),
    (0xCA45_1A4E, "bcachefs", Sharing::Own),
    (0x3153_464A, "JFS", Sharing::Own),
    (0x5265_4973, "ReiserFS", Sharing::Own),
    (0x3434, "NILFS", Sharing::Own),
    (0x4D44, "FAT", Sharing::Own),
    (0x2011_BAB0, "exFAT", Sharing::Own),
    (0x7371_7368, "SquashFS", Sharing::Own),
    (0x794C_7630, "an overlay", Sharing::Own),
    (0x0102_1994, "tmpfs", Sharing::Memory),
    (0x8584_58F6, "ramfs", Sharing::Memory),
];

impl FileSystem {
    /// The file system of `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match statfs(path) {
            // The kernel's magic numbers are 32 bits wide; the field is wider and signed.
            Ok(stat) => Self::of_type((stat.f_type & 0xFFFF_FFFF) as u32),
            Err(error) => Self {
                name: format!("a file system of unknown type ({error})"),
                sharing: None,
            },
        }
    }

    fn of_type(magic: u32) -> Self {
        match KNOWN.iter().find(|(known, ..)| *known == magic) {
            Some((_, name, sharing)) => Self {
                name: (*name).to_owned(),
                sharing: Some(*sharing),
            },
            None => Self {
                name: format!("a file system of type {magic:#x}"),
                sharing: None,
            },
        }
    }

    /// Whether it is known to belong to one machine. An unknown file system may be shared.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.sharing, Some(Sharing::Own | Sharing::Memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_file_system_counts_as_shared() {
        for local in [0xEF53, 0x5846_5342, 0x0102_1994, 0x9123_683E] {
            assert!(FileSystem::of_type(local).is_local(), "{local:x}");
        }
        // NFS, Lustre, GPFS, BeeGFS, Ceph, CIFS, FUSE, 9P, WekaFS, and an unknown one.
        let shared = [
            0x6969,
            0x0BD0_0BD0,
            0x4750_4653,
            0x1983_0326,
            0x00C3_6400,
            0xFF53_4D42,
            0x6573_5546,
            0x0102_1997,
            0x1803_1977,
            0x1234_5678,
        ];
        for shared in shared {
            assert!(!FileSystem::of_type(shared).is_local(), "{shared:x}");
        }
        let unknown = FileSystem::of(Path::new("/no/such/place"));
        assert!(!unknown.is_local(), "{unknown:?}");
    }

    #[test]
    fn proc_has_a_type_of_its_own() {
        let proc = FileSystem::of(Path::new("/proc"));
        assert_eq!(proc.name, "a file system of type 0x9fa0");
    }
}
