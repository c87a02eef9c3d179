//! The errors of this crate, with a variant for each thing that the program's author can do about
//! them.

use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// Announcements (progress, early results) never fail: the first one that can't be delivered is
/// reported on standard error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable has a value that the supervisor never sets.
    #[error(
        "the environment variable {name} is `{value}`, but should be {expected}; unset it if you have set it by hand"
    )]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The kind of value that it should have.
        expected: &'static str,
    },
    /// The settings are not those that the program expects.
    #[error("settings from {origin}: {}{reason}", at_key(key))]
    Settings {
        /// The file, or the place where the settings were looked for.
        origin: String,
        /// The dotted name of the setting, empty for the settings as a whole.
        key: String,
        /// The reason.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("can't {action} {}", path.display())]
    File {
        /// The attempted operation, as a verb: `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A checkpoint could not be saved or loaded.
    #[error(transparent)]
    Checkpoint(#[from] cu_checkpoint::Error),
    /// The signal handlers can't be installed.
    #[error("can't install the signal handlers")]
    Signals {
        /// The error of the system.
        source: std::io::Error,
    },
    /// The metrics are not names with values.
    #[error("these metrics can't be written: {reason}")]
    Metrics {
        /// What is wrong with them.
        reason: String,
    },
    /// An argument is not of the expected form.
    #[error("`{word}` is not {expected}")]
    Word {
        /// The argument.
        word: String,
        /// The expected form, with its article and an example.
        expected: &'static str,
    },
    /// The supervisor refused a message.
    #[error("the supervisor refused {what}: {reason}")]
    Refused {
        /// The message.
        what: &'static str,
        /// The supervisor's reason.
        reason: String,
    },
    /// The supervisor did not confirm a message: it is gone, or did not answer in time.
    #[error("the supervisor at {} did not confirm {what}", socket.display())]
    Unheard {
        /// The message.
        what: &'static str,
        /// The supervisor's socket.
        socket: PathBuf,
        /// The error of the connection.
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
        // Errors of programs often repeat their cause in their own text.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
