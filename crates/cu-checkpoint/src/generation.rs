//! The name of a checkpoint: the attempt that wrote it, and its number within that attempt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names a checkpoint by the attempt that wrote it and a counter within that attempt.
///
/// Generations are ordered by attempt first. A process of an older attempt that is still alive may
/// therefore save as often as it likes: its checkpoints are never newer than those of its successor.
///
/// ```
/// use cu_checkpoint::Generation;
///
/// let of_a_zombie = Generation::new(2, 977);
/// let newest = Generation::new(3, 0);
/// assert!(newest > of_a_zombie);
/// assert_eq!(newest.to_string(), "3.0");
/// assert_eq!("3.0".parse(), Ok(newest));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    // The order of the fields is the order of generations.
    attempt: u32,
    counter: u64,
}

impl Generation {
    /// The checkpoint number `counter` (from 0) of attempt number `attempt` (from 0).
    pub const fn new(attempt: u32, counter: u64) -> Self {
        Self { attempt, counter }
    }

    /// The attempt that wrote it, from 0.
    pub const fn attempt(self) -> u32 {
        self.attempt
    }

    /// Its number among the checkpoints of its attempt, from 0. Numbers may be missing: a save that
    /// failed late has used up its number.
    pub const fn counter(self) -> u64 {
        self.counter
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.attempt, self.counter)
    }
}

/// The text is not a [`Generation`] as it displays itself, such as `3.0`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a checkpoint generation; expected ATTEMPT.COUNTER, such as 3.0")]
pub struct ParseGenerationError {
    text: String,
}

impl FromStr for Generation {
    type Err = ParseGenerationError;

    /// Accepts exactly what `Display` writes: `03.0` and `+3.0` are refused, so that two different
    /// file names never mean the same generation.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('.').and_then(|(attempt, counter)| {
            Some(Self::new(attempt.parse().ok()?, counter.parse().ok()?))
        });
        parsed
            .filter(|generation| generation.to_string() == text)
            .ok_or_else(|| ParseGenerationError {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(attempt: u32, counter: u64) {
            let generation = Generation::new(attempt, counter);
            prop_assert_eq!(generation.to_string().parse(), Ok(generation));
        }

        #[test]
        fn parsed_generations_display_as_the_same_text(text in "[+0-9.]{0,8}") {
            if let Ok(generation) = text.parse::<Generation>() {
                prop_assert_eq!(generation.to_string(), text);
            }
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            ".",
            "3",
            "3.",
            ".0",
            "03.0",
            "3.00",
            "+3.0",
            "3.0.0",
            "4294967296.0",
            "-1.0",
        ] {
            assert!(text.parse::<Generation>().is_err(), "{text:?} was accepted");
        }
    }
}
