//! What can go wrong for a program, by what its author can do about it.

use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call of a program could not be fulfilled.
///
/// Announcements (progress, early results) never fail a program: what can't be delivered is said
/// once on standard error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable that the supervisor sets has a value that it never sets.
    #[error(
        "the environment variable {name} is `{value}`, {expected} is expected; is it set by hand?"
    )]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The settings don't fit what the program expects.
    #[error("settings from {origin}: {}{reason}", at_key(key))]
    Settings {
        /// The file, or where else they should have come from.
        origin: String,
        /// The dotted name of the setting, empty for the settings as a whole.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("can't {action} {}", path.display())]
    File {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A checkpoint could not be saved or loaded.
    #[error(transparent)]
    Checkpoint(#[from] cu_checkpoint::Error),
    /// Signals can't be noted.
    #[error("can't note signals")]
    Signals {
        /// Why not.
        source: std::io::Error,
    },
    /// Metrics are names with values, and these are something else.
    #[error("these metrics can't be written: {reason}")]
    Metrics {
        /// What they are instead.
        reason: String,
    },
    /// A word of a command line is not what it should be.
    #[error("`{word}` is not {expected}")]
    Word {
        /// The word.
        word: String,
        /// What is expected, with its article and an example.
        expected: &'static str,
    },
    /// The supervisor was told, and does not accept it.
    #[error("the supervisor refused {what}: {reason}")]
    Refused {
        /// What it was told.
        what: &'static str,
        /// Its words.
        reason: String,
    },
    /// The supervisor did not take note: it is gone, or did not answer in time.
    #[error("the supervisor at {} did not take note of {what}", socket.display())]
    Unheard {
        /// What it was told.
        what: &'static str,
        /// Where it should listen.
        socket: PathBuf,
        /// What happened instead.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

fn at_key(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("`{key}`: ")
    }
}

/// An error and its causes, as one line for people.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Many errors repeat their cause in their own text.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
