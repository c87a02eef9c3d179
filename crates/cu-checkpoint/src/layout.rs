//! The names of files: `3.0.checkpoint` is the checkpoint of generation 3.0, a file or a directory;
//! `.cu-tmp-…` is not finished yet, or about to be removed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::{FileSystem, Kind};
use crate::generation::Generation;

/// The name of the file in a directory checkpoint that lists its content.
pub(crate) const MANIFEST: &str = ".cu-manifest";

const SUFFIX: &str = ".checkpoint";
const TEMPORARY_PREFIX: &str = ".cu-tmp-";

/// An entry named like a checkpoint, not verified yet.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) generation: Generation,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

pub(crate) fn checkpoint_path(directory: &Path, generation: Generation) -> PathBuf {
    directory.join(format!("{generation}{SUFFIX}"))
}

/// The beginning of a temporary's name. It contains the attempt, so that a successor recognises the
/// temporaries of its predecessors even where files cannot be locked.
pub(crate) fn temporary_prefix(attempt: Option<u32>) -> String {
    match attempt {
        Some(attempt) => format!("{TEMPORARY_PREFIX}{attempt}-"),
        None => TEMPORARY_PREFIX.to_owned(),
    }
}

/// `None` if this is not the name of a temporary; otherwise the attempt in it, if there is one.
pub(crate) fn parse_temporary(name: &OsStr) -> Option<Option<u32>> {
    let rest = name.to_str()?.strip_prefix(TEMPORARY_PREFIX)?;
    Some(
        rest.split_once('-')
            .and_then(|(attempt, _)| attempt.parse().ok()),
    )
}

/// Lists the entries of `directory` that are named like a checkpoint, newest first. A directory
/// that does not exist has none.
pub(crate) fn candidates(fs: &dyn FileSystem, directory: &Path) -> Result<Vec<Candidate>> {
    let entries = match fs.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Error::io("list", directory, error))?,
    };
    let mut candidates: Vec<_> = entries
        .into_iter()
        .filter_map(|(name, kind)| {
            let generation = name.to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
            let path = directory.join(name);
            Some(Candidate {
                generation,
                path,
                kind,
            })
        })
        .collect();
    candidates.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.generation));
    Ok(candidates)
}

/// The directory that contains `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporaries_contain_their_attempt() {
        let parse = |name: &str| parse_temporary(OsStr::new(name));
        assert_eq!(
            parse(&format!("{}aZ3", temporary_prefix(Some(7)))),
            Some(Some(7))
        );
        assert_eq!(parse(&format!("{}aZ3", temporary_prefix(None))), Some(None));
        assert_eq!(parse("3.0.checkpoint"), None);
    }

    #[test]
    fn a_lone_name_lies_in_the_working_directory() {
        assert_eq!(parent(Path::new("a")), Path::new("."));
        assert_eq!(parent(Path::new("a/b")), Path::new("a"));
        assert_eq!(parent(Path::new("/a")), Path::new("/"));
    }
}
