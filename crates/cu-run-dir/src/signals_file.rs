//! `signals.json`: the signals that a supervisor sent to the processes of its attempt.

use std::path::{Path, PathBuf};

use cu_protocol::{Stopped, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Result, json_file};

/// A signal that was sent to a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentSignal {
    /// When, by the clock of the host.
    pub at: Timestamp,
    /// The name without `SIG`.
    pub signal: String,
    /// The number of the process.
    pub pid: u32,
    /// The name of the process at that time, as the kernel has it.
    pub name: String,
    /// The purpose.
    pub reason: SignalReason,
}

/// Why a signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalReason {
    /// To ask it to save and exit.
    Asked,
    /// To end it: it was asked and did not end in time, or no process could be asked.
    Ended,
    /// To end it: the program had ended and left it behind.
    LeftBehind,
}

/// `attempts/{id}/{attempt}/signals.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalsFile {
    /// The version of this file: [`SignalsFile::VERSION`].
    version: u32,
    /// The first signals, at most [`SignalsFile::MOST`].
    pub sent: Vec<SentSignal>,
    /// The number of signals beyond these.
    #[serde(default)]
    pub more: usize,
    /// The file that the supervisor made to ask the program, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<PathBuf>,
    /// What was done to stop the program, if it was stopped. Written at its end.
    #[serde(default)]
    pub stopped: Option<Stopped>,
}

impl SignalsFile {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;
    /// At most this many signals are recorded; a program may have thousands of processes.
    pub const MOST: usize = 100;

    /// Reads the file; an empty one if it is missing.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// use cu_protocol::{Attempt, JobId};
    /// use cu_run_dir::{RunDir, SignalsFile};
    ///
    /// let run = RunDir::new(scratch.path());
    /// let file = SignalsFile::read(&run.signals(JobId(7), Attempt(0)))?;
    /// assert_eq!(file.sent, []);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If it can't be read, or is damaged or of a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(json_file::read(path, Self::VERSION)?.unwrap_or_default())
    }

    /// Adds signals, as far as there is room.
    pub fn add(&mut self, sent: &[SentSignal]) {
        let room = Self::MOST.saturating_sub(self.sent.len());
        self.more += sent.len().saturating_sub(room);
        self.sent.extend(sent.iter().take(room).cloned());
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File).
    pub fn write(&mut self, path: &Path) -> Result<()> {
        self.version = Self::VERSION;
        json_file::write_quickly(path, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_beyond_the_bound_are_counted() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("signals.json");
        let signal = SentSignal {
            at: Timestamp::from_millis(1),
            signal: "TERM".to_owned(),
            pid: 7,
            name: "sh".to_owned(),
            reason: SignalReason::LeftBehind,
        };
        let mut file = SignalsFile::default();
        for _ in 0..3 {
            file.add(&vec![signal.clone(); 40]);
        }
        file.write(&path).unwrap();
        assert_eq!(SignalsFile::read(&path).unwrap(), file);
        assert_eq!((file.sent.len(), file.more), (SignalsFile::MOST, 20));
    }
}
