//! `started.json`: the supervisor that creates this file decides whether its attempt starts.

use std::io::Write;
use std::path::Path;

use cu_protocol::Timestamp;
use cu_system::files;
use cu_system::machine::Place;
use cu_system::process::ProcessId;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, json_file};

/// `started.json`: the supervisor that created it decided whether the attempt starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedFile {
    /// The version of this file: [`StartedFile::VERSION`].
    pub version: u32,
    /// The host of the supervisor that decided.
    pub host: String,
    /// That supervisor's process id.
    pub supervisor: u32,
    /// When it decided.
    pub at: Timestamp,
    /// Where the number of that process is valid.
    #[serde(default)]
    pub place: Option<Place>,
    /// That process, never confused with a later one.
    #[serde(default)]
    pub process: Option<ProcessId>,
}

impl StartedFile {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;

    /// Reads the file; `None` if nobody has decided yet.
    ///
    /// # Errors
    /// If it is there and can't be read, or is damaged or of a newer version.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        json_file::read(path, Self::VERSION)
    }

    /// Creates the file, and so decides for this process; `false` if it is there.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn create(path: &Path, here: &Place) -> Result<bool> {
        let mut file = match files::new_file().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
            file => file.map_err(Error::file("create", path))?,
        };
        let decision = Self {
            version: Self::VERSION,
            host: here.host.clone(),
            supervisor: std::process::id(),
            at: std::time::SystemTime::now().into(),
            place: Some(here.clone()),
            process: ProcessId::of(std::process::id()),
        };
        // Only its existence matters. A content that was not written is not an error.
        let text = serde_json::to_vec(&decision).map_err(|error| Error::content(path, error))?;
        let _ = file.write_all(&text);
        Ok(true)
    }
}
