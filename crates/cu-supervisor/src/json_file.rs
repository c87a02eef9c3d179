//! Small files of JSON with a `version`: read with clear errors, replaced as a whole.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use cu_checkpoint::{AtomicOptions, Durability};
use cu_system::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// No file of ours is longer, in bytes.
const LONGEST: u64 = 64 << 20;
/// Nobody else's business, whatever the umask.
const MODE: u32 = 0o600;

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The value in a file of this version; `None` if there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, version: u32) -> Result<Option<T>> {
    parse(path, std::fs::read(path), version)
}

/// The value in a file of this version that is ours alone, for what is acted on.
pub(crate) fn read_own<T: DeserializeOwned>(path: &Path, version: u32) -> Result<Option<T>> {
    parse(path, files::read_own(path, LONGEST), version)
}

fn parse<T: DeserializeOwned>(
    path: &Path,
    text: std::io::Result<Vec<u8>>,
    version: u32,
) -> Result<Option<T>> {
    let text = match text {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::file("read", path))?,
    };
    // The version first: of a newer one, nothing else is understood.
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

/// Writes it so that it survives a power failure.
pub(crate) fn write_durably<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, value, Durability::PowerFailure)
}

/// Writes it so that it survives the death of any process, for what no longer matters after a
/// power failure.
pub(crate) fn write_quickly<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, value, Durability::ProcessDeath)
}

/// Writes it into the file that is there, and makes none. A reader may find it half-written.
pub(crate) fn overwrite<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let json = to_json(path, value)?;
    let overwrite = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(&json)?;
        file.set_len(json.len() as u64)
    };
    overwrite().map_err(Error::file("overwrite", path))
}

fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::content(path, error))
}

fn write<T: Serialize>(path: &Path, value: &T, durability: Durability) -> Result<()> {
    let json = to_json(path, value)?;
    AtomicOptions::new()
        .mode(MODE)
        .durability(durability)
        .write(path, json)
        .map_err(|error| Error::file("write", path)(error.into_source()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_said_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("no/such/directory");
        let error = write_durably(&path, &1).unwrap_err().to_string();
        assert!(
            error.ends_with("No such file or directory (os error 2)"),
            "{error}"
        );
    }
}
