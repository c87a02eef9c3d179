//! Remembers the config that a run was made from, so that `cu resume` notices what was edited since.

use std::path::{Path, PathBuf};

use cu_core::{Change, RunDir};
use cu_system::files;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::keys::{differing, flat};
use crate::config::Format;
use crate::error::{Error, Result};

const VERSION: u32 = 1;
const MOST_BYTES: u64 = 16 << 20;

/// `origin.json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Origin {
    version: u32,
    path: PathBuf,
    /// Its content when the run was made, or when it was applied last.
    text: String,
}

impl Origin {
    /// The config in the file `path`, as it is now; `None` if it can't be read.
    pub fn now(path: &Path) -> Option<Self> {
        Some(Self {
            version: VERSION,
            path: path.to_owned(),
            text: std::fs::read_to_string(path).ok()?,
        })
    }

    /// Keeps it with the run.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn keep(&self, run: &RunDir) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(Error::internal("write the config as JSON"))?;
        Ok(cu_run_dir::replace(&run.origin(), &text).map_err(cu_core::Error::from)?)
    }

    /// The config that the run was made from. A run of an earlier version, or one that was made from words, has none.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(run: &RunDir) -> Result<Option<Self>> {
        let path = run.origin();
        let text = match files::read_own(&path, MOST_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::read("read", &path))?,
        };
        let origin: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::read("read", &path)(std::io::Error::other(error)))?;
        Ok((origin.version == VERSION).then_some(origin))
    }

    /// Where it was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was edited since, for people. A file that is gone was not edited.
    ///
    /// # Errors
    /// If it is not valid any more.
    pub fn changes(&self) -> Result<Vec<Change>> {
        let Some((before, now)) = self.tables()? else {
            return Ok(Vec::new());
        };
        Ok(differing(&before, &now))
    }

    /// The keys that were edited since, with their new values; those that were taken out have none.
    ///
    /// # Errors
    /// As [`changes`](Self::changes).
    pub fn edits(&self) -> Result<Vec<(String, Option<Value>)>> {
        let Some((before, now)) = self.tables()? else {
            return Ok(Vec::new());
        };
        let (before, mut now) = (flat(&before), flat(&now));
        let gone = before.keys().filter(|key| !now.contains_key(*key));
        let gone: Vec<_> = gone.map(|key| (key.clone(), None)).collect();
        now.retain(|key, value| before.get(key) != Some(value));
        let new = now.into_iter().map(|(key, value)| (key, Some(value)));
        Ok(gone.into_iter().chain(new).collect())
    }

    fn tables(&self) -> Result<Option<(Table, Table)>> {
        let Some(now) = Self::now(&self.path).filter(|now| now.text != self.text) else {
            return Ok(None);
        };
        let table = |text: &str| {
            let read = Format::of(&self.path).table(text);
            read.map_err(|mistake| {
                Error::read("read", &self.path)(std::io::Error::other(mistake.reason))
            })
        };
        Ok(Some((table(&self.text)?, table(&now.text)?)))
    }
}
