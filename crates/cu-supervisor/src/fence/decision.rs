//! `started.json`: an attempt is started at most once, by whoever creates this file.

use std::io::Write;
use std::path::Path;

use cu_protocol::Timestamp;
use cu_system::files;
use cu_system::machine::Place;
use cu_system::process::ProcessId;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// `started.json`: whoever created it decided what becomes of the attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub version: u32,
    /// The host of the supervisor that decided.
    pub host: String,
    /// That supervisor's process id.
    pub supervisor: u32,
    /// When.
    pub at: Timestamp,
    /// Where that process is to be looked for.
    #[serde(default)]
    pub place: Option<Place>,
    /// That process, never confused with a later one.
    #[serde(default)]
    pub process: Option<ProcessId>,
}

impl Decision {
    pub const VERSION: u32 = 1;
}

/// Creates the file that decides; `false` if it is there.
pub(super) fn decide(path: &Path, here: &Place) -> Result<bool> {
    let mut file = match files::new_file().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        file => file.map_err(Error::file("create", path))?,
    };
    let decision = Decision {
        version: Decision::VERSION,
        host: here.host.clone(),
        supervisor: std::process::id(),
        at: std::time::SystemTime::now().into(),
        place: Some(here.clone()),
        process: ProcessId::of(std::process::id()),
    };
    // That it exists decides. What it holds is for people.
    let text = serde_json::to_vec(&decision).map_err(|error| Error::content(path, error))?;
    let _ = file.write_all(&text);
    Ok(true)
}
