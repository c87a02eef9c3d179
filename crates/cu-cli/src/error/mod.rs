//! What can go wrong at the command line. An error shows its own part only; its source shows the rest.
//! `exit_code.rs` has the exit code of each kind, `hint.rs` what to do about it, `no_room.rs` what to do about a file
//! system that takes nothing.

mod exit_code;
mod hint;
mod no_room;
pub mod render;

use std::path::{Path, PathBuf};

use crate::backend::kind::Kind;
use crate::{config, git_command};
use hint::Hint;
use no_room::NoRoom;

pub use exit_code::ExitCode;

/// A result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The arguments make no sense.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// There is no run where one was looked for.
    #[error("{message}")]
    NoRun {
        /// What was looked for.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The run can't be made, read or continued.
    #[error(transparent)]
    Run(#[from] cu_core::Error),
    /// The backend can't be had.
    #[error("can't use {kind}")]
    Backend {
        /// Which.
        kind: Kind,
        /// Why not.
        source: cu_scheduler::Error,
    },
    /// The clone of a run can't be made.
    #[error("can't {what} {repository}")]
    Git {
        /// What was tried.
        what: &'static str,
        /// With what.
        repository: String,
        /// Why not.
        source: git_command::Failure,
    },
    /// A file or stream can't be read.
    #[error("can't {what} {}", path.display())]
    Read {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or stream can't be written.
    #[error("can't {what} {}", path.display())]
    Write {
        /// What was tried.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something of the operating system that should always work does not.
    #[error("can't {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in this program that should always work does not.
    #[error("can't {what}")]
    Internal {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The main process did not do what was asked.
    #[error("the main process refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The main process that was started in the background ended; it has said why.
    #[error("the main process ended before it was ready")]
    NotReady {
        /// Its exit code.
        code: u8,
        /// What it said.
        said: String,
    },
}

impl Error {
    /// Bad usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// Bad usage, and what to do instead.
    pub fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Failed to write `path`.
    pub fn write(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { what, path, source }
    }

    /// Failed to read `path`.
    pub fn read(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { what, path, source }
    }

    /// Failed at something of the operating system.
    pub fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// Failed at something that should always work.
    pub fn internal<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Internal {
            what,
            source: Box::new(source),
        }
    }

    /// What to do about it, if that can be said.
    pub fn hint(&self) -> Option<String> {
        if let Some(no_room) = NoRoom::behind(self) {
            return Some(no_room.hint());
        }
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::NoRun { hint, .. } => Some(hint.clone()),
            Self::Config(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::Backend { source, .. } => source.hint(),
            Self::Git { source, .. } => source.hint(),
            Self::System { source, .. } => hint::of_system(source),
            Self::Read { .. }
            | Self::Write { .. }
            | Self::Internal { .. }
            | Self::Refused { .. }
            | Self::NotReady { .. } => None,
        }
    }
}
