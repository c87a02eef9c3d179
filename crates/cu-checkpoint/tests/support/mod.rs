//! Shared by several tests: file systems that can be stopped, and the names in a directory.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod choices;
pub mod faulty;
pub mod peculiar;
pub mod simulated;

use std::path::Path;

use cu_checkpoint::fs::FileSystem;

/// The names in a directory, sorted.
pub fn names(fs: &dyn FileSystem, directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs
        .list(directory)
        .expect("the directory can be listed")
        .into_iter()
        .map(|(name, _)| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}
