//! What an examination of a cluster found, and what is wrong with an option.

use std::fmt;

/// One thing about a cluster that a person should know before relying on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, in a word or two: `accounting`, `preemption`.
    pub subject: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is so, with its numbers, and what of it will hurt.
    pub text: String,
    /// What to do about it, if something can be done.
    pub advice: Option<String>,
}

/// How bad a [`Finding`] is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Jobs may be lost, late or told wrongly.
    Warning,
    /// Jobs will not run.
    Problem,
}

impl Finding {
    /// A finding without advice.
    pub fn new(subject: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self {
            subject,
            level,
            text: text.into(),
            advice: None,
        }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// An option of a backend that can't be right on any cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{option}`: {reason}")]
pub struct InvalidOption {
    /// The name of the field.
    pub option: &'static str,
    /// What is wrong with its value, and what is expected.
    pub reason: String,
}
