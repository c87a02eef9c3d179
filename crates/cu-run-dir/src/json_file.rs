//! Small files of JSON with a `version`: read with clear errors, replaced as a whole.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use cu_checkpoint::Durability;
use cu_system::files::{self, Refusal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, private};

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The longest file that is read. A message has at most 1 MiB in the form in which it is sent, a program's
/// arguments and environment at most 6 MiB, and each is longer in JSON.
const MOST_BYTES: u64 = 16 << 20;

/// Reads the value in a file of this version; `None` if there is no such file. Something that is not a
/// regular file, or is too long, counts as damaged; it is neither waited for nor read.
///
/// # Errors
/// Those of [`content`]; [`Error::Content`] if it is damaged or of another version.
pub fn read<T: DeserializeOwned>(path: &Path, version: u32) -> Result<Option<T>> {
    parse(path, content(path, MOST_BYTES)?, version)
}

/// As [`read`], but the file must be this user's alone: for files that we act on.
///
/// # Errors
/// As [`read`]; [`Error::File`] for a link, and for a file that others may write to.
pub fn read_own<T: DeserializeOwned>(path: &Path, version: u32) -> Result<Option<T>> {
    parse(path, own_content(path, MOST_BYTES)?, version)
}

fn parse<T: DeserializeOwned>(
    path: &Path,
    text: Option<Vec<u8>>,
    version: u32,
) -> Result<Option<T>> {
    let Some(text) = text else {
        return Ok(None);
    };
    // The version first: the rest of a newer file can't be understood.
    let found: Versioned =
        serde_json::from_slice(&text).map_err(|error| Error::content(path, error))?;
    if found.version != version {
        let reason = format!(
            "version {} was found, version {version} expected",
            found.version
        );
        return Err(Error::content(path, reason));
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::content(path, error))
}

/// Reads a file that others could have put there; `None` if there is none.
///
/// # Errors
/// [`Error::Content`] if something else than a file lies there; [`Error::File`] if it can't be read now.
pub fn content(path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>> {
    if_there(path, files::read(path, most_bytes))
}

/// As [`content`], but the file must be this user's alone.
///
/// # Errors
/// As [`content`]; [`Error::File`] for a link, and for a file that others may write to.
pub fn own_content(path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>> {
    if_there(path, files::read_own(path, most_bytes))
}

fn if_there(path: &Path, content: std::io::Result<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match content {
        Ok(content) => Ok(Some(content)),
        // Nor is there a file if something else lies in the place of a directory above.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(match files::refusal(&error) {
            Some(refusal @ (Refusal::NotRegular(_) | Refusal::TooLong(_))) => {
                Error::content(path, refusal)
            }
            _ => Error::read(path)(error),
        }),
    }
}

/// Replaces a file, so that the new one survives a power failure.
///
/// # Errors
/// [`Error::File`].
pub fn write_durably<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, value, Durability::PowerFailure)
}

/// Replaces a file, so that the new one survives the death of any process: for content that does not
/// matter after a power failure.
///
/// # Errors
/// [`Error::File`].
pub fn write_quickly<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, value, Durability::ProcessDeath)
}

/// As [`write_quickly`], with a line for each field.
///
/// # Errors
/// [`Error::File`].
pub fn write_for_people<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Error::content(path, error))?;
    text.push(b'\n');
    private::replace(path, &text)
}

/// Writes into the file that is there, and makes none. A reader may find it half-written.
///
/// # Errors
/// [`Error::File`].
pub fn overwrite<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let json = to_json(path, value)?;
    let overwrite = || {
        let mut file = files::open(path, OpenOptions::new().write(true))?;
        file.write_all(&json)?;
        file.set_len(json.len() as u64)
    };
    overwrite().map_err(Error::file("overwrite", path))
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::content(path, error))
}

fn write<T: Serialize>(path: &Path, value: &T, durability: Durability) -> Result<()> {
    private::write(path, &to_json(path, value)?, durability)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_or_huge_file_is_damaged_and_never_blocks() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, path("fifo"), FileType::Fifo, mode, 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        // Without a single byte on the disk.
        let huge = std::fs::File::create(path("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        for name in ["fifo", "endless", "directory", "socket", "huge"] {
            let read = read::<u32>(&path(name), 1);
            assert!(
                matches!(read, Err(Error::Content { .. })),
                "{name}: {read:?}"
            );
        }
        let below_a_file = path("huge/file");
        assert!(matches!(read::<u32>(&below_a_file, 1), Ok(None)));
    }

    #[test]
    fn an_error_quotes_the_system() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("no/such/directory");
        let error = write_durably(&path, &1).unwrap_err();
        let error = cu_system::causes::in_one_line(&error);
        assert!(
            error.ends_with("No such file or directory (os error 2)"),
            "{error}"
        );
    }
}
