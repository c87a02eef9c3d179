//! Ids of runs, jobs, attempts, messages and checkpoints. Each is a type of its own, so that the
//! compiler refuses one in place of another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode};
use crate::hexadecimal;

/// A run: a set of jobs with one run directory. 128 random bits, written as 32 hexadecimal digits.
///
/// ```
/// use cu_protocol::RunId;
///
/// let run = RunId([0xab; 16]);
/// assert_eq!(run.to_string(), "abababababababababababababababab");
/// assert_eq!(run.to_string().parse(), Ok(run));
/// assert!("latest".parse::<RunId>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct RunId(pub [u8; 16]);

impl RunId {
    /// Generates a random id.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the system has none.
    pub fn generate() -> crate::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(std::io::Error::from)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal::Digits(&self.0).fmt(out)
    }
}

/// A text that is not a run id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a run id: expected 32 hexadecimal digits")]
pub struct InvalidRunId(String);

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        hexadecimal::parse(text)
            .map(Self)
            .ok_or_else(|| InvalidRunId(text.chars().take(64).collect()))
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize,
            Deserialize, Encode, Decode,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The next number; the last number is followed by itself.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number!(
    /// A job of a run: one unit of work with fixed settings and one output directory. Numbered
    /// from 0.
    JobId(u32)
);
number!(
    /// One submission of a job to the scheduler, numbered from 0; a job is a chain of attempts.
    Attempt(u32)
);
number!(
    /// The number of a message within its attempt, from 1; 0 stands for no message yet. A repeated
    /// message keeps its number, so that the receiver recognises it.
    Sequence(u64)
);

/// Names a checkpoint by the attempt that wrote it and its number within that attempt. Ordered by
/// age: the newest is the greatest, and every checkpoint of an older attempt is older than all of a
/// newer one. Written `attempt.counter`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[serde(deny_unknown_fields)]
pub struct CheckpointId {
    /// The attempt that wrote it.
    pub attempt: Attempt,
    /// Counts the checkpoints of that attempt from 0.
    pub counter: u64,
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.attempt, self.counter)
    }
}
