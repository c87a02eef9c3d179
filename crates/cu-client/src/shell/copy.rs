//! Copies directories and moves them to their place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The manifest of a directory checkpoint, which is not part of the saved files.
const MANIFEST: &str = ".cu-manifest";

/// Copies all files and directories in `from` into the existing directory `to`.
pub(crate) fn tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(Error::file("list", from))? {
        let entry = entry.map_err(Error::file("list", from))?;
        let source = entry.path();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().map_err(Error::file("read", &source))?;
        if kind.is_dir() {
            fs::create_dir(&target).map_err(Error::file("create", &target))?;
            tree(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(Error::file("copy", &source))?;
        } else {
            let why = "it is neither a file nor a directory";
            return Err(cu_checkpoint::Error::NotCommittable { path: source, why }.into());
        }
    }
    Ok(())
}

/// Replaces `target` by a copy of the directory checkpoint `saved`.
pub(crate) fn replace(saved: &Path, target: &Path) -> Result<()> {
    let fresh = beside(target, "new");
    let old = beside(target, "old");
    // A process that was killed in the middle may have left these.
    remove(&fresh)?;
    remove(&old)?;
    fs::create_dir(&fresh).map_err(Error::file("create", &fresh))?;
    tree(saved, &fresh)?;
    let manifest = fresh.join(MANIFEST);
    fs::remove_file(&manifest).map_err(Error::file("remove", &manifest))?;
    match fs::rename(target, &old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.map_err(Error::file("replace", target)),
    }?;
    fs::rename(&fresh, target).map_err(Error::file("create", target))?;
    remove(&old)
}

/// A name in the same directory. Only one process of a job loads at a time, so the name need not be
/// unique, and the next process finds the leftovers.
fn beside(target: &Path, role: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(format!(".cu-{role}-"));
    name.push(target.file_name().unwrap_or_default());
    target.with_file_name(name)
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::file("remove", path)),
    }
}
