//! `attempts/{id}/holder.json`: the supervisor that runs a job's program now.

use std::path::{Path, PathBuf};

use cu_protocol::Attempt;
use cu_system::machine::Place;
use cu_system::process::ProcessId;
use cu_system::reuse;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, json_file};

/// The longest record that is read.
const MOST_BYTES: u64 = 1024 * 1024;
/// A record is filled up with spaces to a multiple of this length, in bytes.
const LENGTH: usize = 1024;

/// `attempts/{id}/holder.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    version: u32,
    /// The attempt that holds the job.
    pub attempt: Attempt,
    /// Where its processes are.
    pub place: Place,
    /// The supervisor.
    pub supervisor: ProcessId,
    /// The program, once it runs.
    pub program: Option<ProcessId>,
    /// The directory of its door, once the program runs. Left behind by a supervisor that was killed
    /// with SIGKILL.
    #[serde(default)]
    pub door: Option<PathBuf>,
    /// Those of the supervisor's descendants that it saw last; after its end, those that it could not
    /// kill.
    #[serde(default)]
    pub seen: Vec<ProcessId>,
    /// When it saw them, and the program had not ended: in clock ticks since the boot.
    #[serde(default)]
    pub seen_at: u64,
    /// Counts, so that a renewed record differs from the one before.
    pub renewals: u64,
}

impl Holder {
    const VERSION: u32 = 1;

    /// A record of this process, which is to run the attempt here.
    #[must_use]
    pub fn new(attempt: Attempt, place: Place) -> Self {
        let pid = std::process::id();
        let supervisor = ProcessId::of(pid).unwrap_or(ProcessId {
            pid,
            start_ticks: 0,
        });
        Self {
            version: Self::VERSION,
            attempt,
            place,
            supervisor,
            program: None,
            door: None,
            seen: Vec::new(),
            seen_at: 0,
            renewals: 0,
        }
    }

    /// Reads the file, to be [parsed](Self::parse); `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Content`](crate::Error::Content) if something else than a file lies there;
    /// [`Error::File`](crate::Error::File) if it can't be read now.
    pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
        json_file::content(path, MOST_BYTES)
    }

    /// Returns `None` for a record that is damaged or of another version. The fence then only watches
    /// whether it changes.
    #[must_use]
    pub fn parse(record: &[u8]) -> Option<Self> {
        let holder: Self = serde_json::from_slice(record).ok()?;
        (holder.version == Self::VERSION).then_some(holder)
    }

    /// Replaces the record. It need not survive a power failure, since the holder does not either.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File).
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec(self).map_err(|error| Error::content(path, error))?;
        // Most records of a job are then of one length, and are written over each other.
        json.resize(json.len().next_multiple_of(LENGTH), b' ');
        let written = reuse::overwrite(path, &json).or_else(|_| reuse::replace(path, &json));
        written
            .map_err(Error::file("write", path))
            .or_else(|error| {
                // Over a quota no file can be made, but the old one has room; and a record that is not
                // renewed counts as dead. A reader that finds it half-written waits.
                json_file::overwrite(path, self).map_err(|_| error)
            })
    }

    /// Removes the record if this holder has written it. `is_sole`: no other process can have written
    /// there, so a damaged record is this holder's, too.
    pub fn remove(&self, path: &Path, is_sole: bool) {
        let Ok(Some(record)) = Self::read(path) else {
            return;
        };
        let is_mine = match Self::parse(&record) {
            Some(found) => found.place == self.place && found.supervisor == self.supervisor,
            None => is_sole,
        };
        if is_mine {
            // If the record stays, the next attempt finds the lock free, or waits until it is stale.
            let _ = reuse::remove(path).or_else(|_| std::fs::remove_file(path));
        }
    }
}
