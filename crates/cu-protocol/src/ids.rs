//! Names of things: runs, jobs, attempts, messages, checkpoints. Newtypes, so that none can be
//! taken for another.

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
    /// A new one, from the operating system's randomness.
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

/// A text that names no run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no run id: 32 hexadecimal digits are expected")]
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
            /// The one after this; the last has no other than itself.
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
    /// The place of a message among those of its attempt, numbered from 1; 0 stands for none yet.
    /// A repeated message keeps its number, which is how repeats are recognised.
    Sequence(u64)
);

/// Which checkpoint: the attempt that wrote it and how many that attempt had written before.
/// Ordered by age: the newest is the greatest, and whatever an older attempt still writes is older
/// than all of a newer one. Written `attempt.counter`.
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
