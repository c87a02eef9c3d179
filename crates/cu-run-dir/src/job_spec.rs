//! What the supervisors of a job are told: written once by the main process, read by each attempt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cu_protocol::{JobId, RunId};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, json_file};

/// `attempts/{id}/job.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The version of this file: [`JobSpec::VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// The job.
    pub job: JobId,
    /// Program and arguments, run without a shell.
    pub command: Vec<String>,
    /// Where the program starts; the output directory if `None`.
    pub working_directory: Option<PathBuf>,
    /// Added to the environment.
    pub environment: BTreeMap<String, String>,
    /// The exit code that by itself is a resume request.
    pub resume_exit_code: i32,
    /// When the program is asked to stop, and how.
    pub stop: StopPolicy,
}

impl JobSpec {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;

    /// Reads the file.
    ///
    /// # Errors
    /// If it can't be read, is not this user's alone, is damaged or of another version, or has no command.
    pub fn read(path: &Path) -> Result<Self> {
        let spec: Self = json_file::read_own(path, Self::VERSION)?
            .ok_or_else(|| Error::file("read", path)(std::io::ErrorKind::NotFound.into()))?;
        if spec.command.is_empty() {
            return Err(Error::content(path, "its command is empty"));
        }
        Ok(spec)
    }
}

/// When the program is asked to stop, and how. Times are in seconds in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopPolicy {
    /// After so much time.
    #[serde(with = "optional_seconds")]
    pub after: Option<Duration>,
    /// So long before the time limit, where that is known.
    #[serde(with = "optional_seconds")]
    pub before_limit: Option<Duration>,
    /// When this file exists; relative to the output directory.
    pub file: Option<PathBuf>,
    /// The signal to those processes of the program's group that handle it, without `SIG`: HUP, INT,
    /// TERM, USR1 or USR2. If none does, HUP, INT and TERM go to all of them, USR1 and USR2 to none.
    pub signal: String,
    /// How long after the signal SIGTERM follows, and how long after that SIGKILL.
    #[serde(with = "seconds")]
    pub grace: Duration,
}

impl StopPolicy {
    /// Whether its signal is one to stop with.
    #[must_use]
    pub fn has_a_known_signal(&self) -> bool {
        matches!(
            self.signal.as_str(),
            "HUP" | "INT" | "TERM" | "USR1" | "USR2"
        )
    }
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self {
            after: None,
            before_limit: None,
            file: None,
            signal: "USR1".to_owned(),
            grace: Duration::from_secs(30),
        }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(value.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}

mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&value.as_secs_f64()),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(deserializer)?
            .map(Duration::try_from_secs_f64)
            .transpose()
            .map_err(serde::de::Error::custom)
    }
}
