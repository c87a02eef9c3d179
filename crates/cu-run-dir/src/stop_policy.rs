//! When a program is asked to stop, and how.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When the program is asked to stop, and how. Times are in seconds in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopPolicy {
    /// After this time.
    #[serde(with = "optional_seconds")]
    pub after: Option<Duration>,
    /// This long before the time limit, where that is known.
    #[serde(with = "optional_seconds")]
    pub before_limit: Option<Duration>,
    /// When this file is made or changed; relative to the output directory.
    pub file: Option<PathBuf>,
    /// The file that is made to ask the program, and removed before the next attempt starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<CreateFile>,
    /// How the processes of the program that handle a signal are asked.
    pub signal: StopSignal,
    /// How long after the signal SIGTERM follows, and how long after that SIGKILL. If no process could
    /// be asked, SIGTERM follows at once.
    #[serde(with = "seconds")]
    pub grace: Duration,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self {
            after: None,
            before_limit: None,
            file: None,
            create: None,
            signal: StopSignal::default(),
            grace: Duration::from_secs(30),
        }
    }
}

/// A file by which a program of another's making is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateFile {
    /// Where, relative to the directory in which the program starts.
    pub path: PathBuf,
    /// What the program reads there.
    pub content: String,
}

/// The signal that asks a program to stop, or how it is chosen.
///
/// ```
/// use cu_run_dir::StopSignal;
///
/// assert_eq!("TERM".parse(), Ok(StopSignal::Term));
/// assert_eq!("SIGTERM".parse(), Ok(StopSignal::Term));
/// assert!("KILL".parse::<StopSignal>().is_err());
/// assert_eq!(StopSignal::default().to_string(), "auto");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// For each process the signal that suits it, of those that it handles.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// No signal: the stop file alone.
    #[serde(rename = "none")]
    None,
    /// SIGHUP.
    Hup,
    /// SIGINT.
    Int,
    /// SIGTERM.
    Term,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl StopSignal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Auto,
        Self::None,
        Self::Hup,
        Self::Int,
        Self::Term,
        Self::Usr1,
        Self::Usr2,
    ];

    /// The name as the file has it: a signal's without `SIG`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A text that does not name a [`StopSignal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auto, none, or one of the signals HUP, INT, TERM, USR1, USR2 is expected")]
pub struct NotAStopSignal;

/// By its name, with or without `SIG`.
impl FromStr for StopSignal {
    type Err = NotAStopSignal;

    fn from_str(text: &str) -> Result<Self, NotAStopSignal> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        let mut all = Self::ALL.into_iter();
        all.find(|signal| signal.name() == name)
            .ok_or(NotAStopSignal)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_names_of_signals() {
        for signal in StopSignal::ALL {
            let json = serde_json::to_string(&signal).unwrap();
            assert_eq!(json, format!("\"{signal}\""));
            assert_eq!(serde_json::from_str::<StopSignal>(&json).unwrap(), signal);
            assert_eq!(format!("SIG{signal}").parse(), Ok(signal));
        }
    }
}
