//! How much room a directory takes: bytes, and files, of which quotas allow a number too.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use crate::text::{plural, size};

/// What lies in a directory and below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskUse {
    /// What the file system takes for it.
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

impl DiskUse {
    /// That of `directory`. Links are not followed; what can't be read counts as empty.
    pub fn of(directory: &Path) -> Self {
        Self::of_at_most(directory, u64::MAX).unwrap_or_default()
    }

    /// The same, or `None` if there are more files than `most`: counting them would take long.
    pub fn of_at_most(directory: &Path, most: u64) -> Option<Self> {
        let mut found = Self::default();
        let mut several_names = HashSet::new();
        let mut left = vec![directory.to_owned()];
        while let Some(directory) = left.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    left.push(entry.path());
                } else if metadata.nlink() > 1
                    && !several_names.insert((metadata.dev(), metadata.ino()))
                {
                    continue;
                }
                found.files += 1;
                found.bytes += metadata.blocks() * 512;
                if found.files > most {
                    return None;
                }
            }
        }
        Some(found)
    }

    /// `1.2 MiB in 34 files`
    pub fn in_words(self) -> String {
        format!("{} in {}", size(self.bytes), plural(self.files, "file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_counted_and_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("run/below")).expect("a directory");
        fs::write(path("run/below/data"), vec![1; 1 << 16]).expect("a file");
        let before = DiskUse::of(&path("run"));
        assert_eq!(before.files, 2);
        fs::write(path("elsewhere"), vec![1; 1 << 20]).expect("a file");
        std::os::unix::fs::symlink(directory.path(), path("run/up")).expect("a link");
        fs::hard_link(path("run/below/data"), path("run/again")).expect("a second name");
        let after = DiskUse::of(&path("run"));
        assert_eq!(after.files, 3);
        assert!(after.bytes < before.bytes + (1 << 16), "{after:?}");
        assert_eq!(DiskUse::of_at_most(&path("run"), 2), None);
    }
}
