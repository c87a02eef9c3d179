//! The errors, grouped by what the caller can do about them, and the kinds of damage to a checkpoint.

use std::io;
use std::path::{Path, PathBuf};

use crate::generation::Generation;
use crate::header::Form;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why saving or loading failed. Each variant needs another reaction of the caller.
///
/// If [`save`](crate::Checkpoints::save) or a `commit` fails, all earlier checkpoints are still
/// there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room is left: free some, or raise the quota, and save again.
    #[error("no space left to write {}: free some or raise the quota; earlier checkpoints are intact", path.display())]
    NoSpace {
        /// The file that was being written.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },

    /// The permissions forbid it, or the file system is mounted read-only.
    #[error("not permitted to {action} {}: check its owner, its mode and whether its file system is mounted read-only", path.display())]
    NotPermitted {
        /// The attempted operation, as a verb: `create`, `read`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },

    /// The file system failed in another way. This is never taken for damage when loading, since it
    /// may pass: try again. If it does not pass, move the file away; then the checkpoint before it
    /// loads.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The attempted operation, as a verb: `create`, `read`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },

    /// The value cannot be written in this format: change its type.
    #[error("cannot encode the value for a checkpoint in {}", directory.display())]
    Encode {
        /// The intended path.
        directory: PathBuf,
        /// The part without an encoding.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The newest checkpoint is intact, but is not a value of this type: load it as the type that
    /// was saved, or move it away to continue without it.
    #[error("{} is intact, but is not of the type it is loaded as: has the type changed since it was saved?", path.display())]
    Decode {
        /// The checkpoint.
        path: PathBuf,
        /// The place where decoding stopped.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The newest checkpoint was written in another form: call the function that loads that form.
    #[error("the newest checkpoint, {}, is a {found}, not a {wanted}", path.display())]
    OtherForm {
        /// The checkpoint.
        path: PathBuf,
        /// Its form.
        found: Form,
        /// The form that was to be loaded.
        wanted: Form,
    },

    /// The newest checkpoint was written by a newer version of this crate: use that version.
    #[error("{} was written by a newer version of cu-checkpoint (format {version}): update the program that reads it", path.display())]
    NewerFormat {
        /// The checkpoint.
        path: PathBuf,
        /// The version of its format.
        version: u16,
    },

    /// There are checkpoints, but every one is damaged. Restore one, or move them away to start
    /// from the beginning: this crate does not decide that for you.
    #[error("every checkpoint in {} is damaged: {}; restore one, or move them away to start afresh", directory.display(), list(skipped))]
    AllDamaged {
        /// Their directory.
        directory: PathBuf,
        /// The damaged checkpoints, newest first.
        skipped: Vec<Skipped>,
    },

    /// Something in a checkpoint directory is neither a file nor a directory, or has a name that is
    /// reserved: remove it from what is committed.
    #[error("{} cannot be part of a checkpoint: {why}", path.display())]
    NotCommittable {
        /// The offending entry.
        path: PathBuf,
        /// The defect.
        why: &'static str,
    },

    /// The directory of a checkpoint lost its manifest before the commit: a library has removed it, or made
    /// it anew. Have that library write to a directory below it.
    #[error("{} was removed while the checkpoint was being written; a library that makes or clears its directory needs one below it", manifest.display())]
    ManifestRemoved {
        /// The manifest, which was made with the directory.
        manifest: PathBuf,
    },

    /// No number is left for another checkpoint of this attempt, because another program wrote a
    /// file with an absurdly high number: remove that file.
    #[error("no checkpoint number is left for attempt {attempt} in {}: remove the file with an absurdly high one", directory.display())]
    NoNumberLeft {
        /// The directory of the checkpoints.
        directory: PathBuf,
        /// The attempt whose numbers are used up.
        attempt: u32,
    },
}

impl Error {
    /// Sorts the system's errors by what the caller can do about them.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotPermitted {
                    action,
                    path,
                    source,
                }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// The system's error, for callers that name the file themselves; this error itself if the
    /// system did not cause it.
    #[must_use]
    pub fn into_source(self) -> io::Error {
        match self {
            Self::NoSpace { source, .. }
            | Self::NotPermitted { source, .. }
            | Self::Io { source, .. } => source,
            other => other.into(),
        }
    }

    /// The `std::io` kind of this error.
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NoSpace { source, .. }
            | Self::NotPermitted { source, .. }
            | Self::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        }
    }
}

impl From<Error> for io::Error {
    /// Keeps the kind, and this error as the inner one.
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

/// A checkpoint that was passed over while looking for the newest intact one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {damage}", path.display())]
#[non_exhaustive]
pub struct Skipped {
    /// Its generation, according to its name.
    pub generation: Generation,
    /// Its path.
    pub path: PathBuf,
    /// The defect.
    pub damage: Damage,
}

/// The damage to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Its first bytes are not those of a checkpoint.
    #[error("does not start like a checkpoint")]
    NotACheckpoint,
    /// It is shorter than a header.
    #[error("ends within its header")]
    HeaderCut,
    /// The header does not have the checksum it states.
    #[error("wrong checksum of the header")]
    HeaderChecksum,
    /// Its header names another generation than its file name.
    #[error("was written as generation {0}")]
    OtherGeneration(Generation),
    /// It is a file that should be a directory, or the other way round.
    #[error("its header is that of a {0}, which does not belong here")]
    Misplaced(Form),
    /// It is longer or shorter than it should be.
    #[error("{found} bytes long instead of {expected}")]
    Length {
        /// In bytes, with the header.
        expected: u64,
        /// In bytes, with the header.
        found: u64,
    },
    /// The payload does not have the checksum that the header states.
    #[error("wrong checksum")]
    Checksum,
    /// It is neither a file nor a directory.
    #[error("neither a file nor a directory")]
    WrongKind,
    /// A directory without its manifest.
    #[error("the manifest is missing")]
    NoManifest,
    /// A manifest that cannot be understood.
    #[error("the manifest is malformed")]
    MalformedManifest,
    /// A file or directory that the manifest names is damaged.
    #[error("{}: {damage}", path.display())]
    Inside {
        /// Its path within the directory.
        path: PathBuf,
        /// The defect.
        damage: Box<Damage>,
    },
    /// A file or directory that the manifest names is not there.
    #[error("missing")]
    Missing,
}

fn list(skipped: &[Skipped]) -> String {
    let each: Vec<_> = skipped.iter().map(ToString::to_string).collect();
    each.join("; ")
}
