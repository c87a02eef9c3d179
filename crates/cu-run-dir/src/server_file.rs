//! Where the main process listens: read anew at every connect, for it changes when the main
//! process is restarted.

use std::path::Path;

use cu_protocol::RunId;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, json_file};

/// `server.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFile {
    /// The version of this file: [`ServerFile::VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// `IP:port`, to be tried in this order.
    pub addresses: Vec<String>,
    /// The abstract name of a Unix socket, for processes of this user on this machine: to be tried first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// The main process's host.
    pub host: String,
    /// The main process's id on that host.
    pub process: u32,
}

impl ServerFile {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;

    /// Reads the file.
    ///
    /// # Errors
    /// If it can't be read, is not this user's alone, or is not of our version.
    pub fn read(path: &Path) -> Result<Self> {
        json_file::read_own(path, Self::VERSION)?
            .ok_or_else(|| Error::read(path)(std::io::ErrorKind::NotFound.into()))
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<()> {
        json_file::write_for_people(path, self)
    }
}
