//! The manifest of a directory checkpoint: each file with its length and checksum, each directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// One line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// Relative to the directory.
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
}

/// The kind of file at an entry's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    Directory,
    File { length: u64, checksum: u32 },
}

const DIRECTORY: u8 = 0;
const FILE: u8 = 1;

pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Entry { path, content } in entries {
        let (kind, length, checksum) = match *content {
            Content::Directory => (DIRECTORY, 0, 0),
            Content::File { length, checksum } => (FILE, length, checksum),
        };
        let path = path.as_os_str().as_bytes();
        let path_length =
            u32::try_from(path.len()).expect("the system's paths are far shorter than 4 GiB");
        bytes.push(kind);
        bytes.extend(length.to_le_bytes());
        bytes.extend(checksum.to_le_bytes());
        bytes.extend(path_length.to_le_bytes());
        bytes.extend(path);
    }
    bytes
}

/// `None` if this is not a manifest, or if one of its paths leads out of the directory.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let [kind] = take(&mut bytes)?;
        let length = u64::from_le_bytes(take(&mut bytes)?);
        let checksum = u32::from_le_bytes(take(&mut bytes)?);
        let path_length = u32::from_le_bytes(take(&mut bytes)?);
        let (path, rest) = bytes.split_at_checked(usize::try_from(path_length).ok()?)?;
        bytes = rest;
        let path = PathBuf::from(OsStr::from_bytes(path));
        let content = match kind {
            DIRECTORY => Content::Directory,
            FILE => Content::File { length, checksum },
            _ => return None,
        };
        if !stays_inside(&path) {
            return None;
        }
        entries.push(Entry { path, content });
    }
    Some(entries)
}

fn take<const LENGTH: usize>(bytes: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn stays_inside(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && path
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let content = prop_oneof![
            Just(Content::Directory),
            any::<(u64, u32)>().prop_map(|(length, checksum)| Content::File { length, checksum }),
        ];
        ("[a-z]{1,4}(/[ -.:-~ä]{3,9}){0,2}", content).prop_map(|(path, content)| Entry {
            path: path.into(),
            content,
        })
    }

    proptest! {
        #[test]
        fn decodes_to_what_was_encoded(entries in proptest::collection::vec(entry(), 0..6)) {
            prop_assert_eq!(decode(&encode(&entries)), Some(entries));
        }

        #[test]
        fn any_bytes_are_a_manifest_or_not(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn paths_out_of_the_directory_are_refused() {
        for path in ["", "/etc/passwd", "../secret", "a/../../b"] {
            let entry = Entry {
                path: path.into(),
                content: Content::Directory,
            };
            assert_eq!(decode(&encode(&[entry])), None, "{path:?} was accepted");
        }
    }
}
