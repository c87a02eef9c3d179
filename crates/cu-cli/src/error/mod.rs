//! What can go wrong at the command line: which exit code it has, and what to do about it.

mod exit_code;
pub mod render;

use std::path::{Path, PathBuf};

use cu_core::{Distrust, Reader, RunDir, RunState, Silence, Untrusted};
use cu_system::users;

use crate::backend::kind::Kind;
use crate::config;
use crate::shell_word::shell_word;

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

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        use cu_core::Error as Run;
        let code = match self {
            Self::Usage { .. } | Self::Config(_) => ExitCode::Usage,
            Self::NoRun { .. } | Self::Read { .. } => ExitCode::NoRun,
            Self::Write { .. } | Self::System { .. } => ExitCode::CantWrite,
            Self::Refused { .. } => ExitCode::Refused,
            Self::Backend { source, .. } => match source {
                cu_scheduler::Error::State { .. } | cu_scheduler::Error::System { .. } => {
                    ExitCode::CantWrite
                }
                _ => ExitCode::SchedulerUnreachable,
            },
            Self::NotReady { code, .. } => return *code,
            Self::Run(error) => match error {
                Run::RunExists { .. } | Run::NoJob { .. } | Run::Plan(_) | Run::Copy { .. } => {
                    ExitCode::Usage
                }
                Run::InUse { .. } => ExitCode::InUse,
                Run::NoMainProcess { .. } | Run::NoAnswer { .. } => ExitCode::Refused,
                Run::SchedulerUnreachable { .. } | Run::BackendEnded { .. } => {
                    ExitCode::SchedulerUnreachable
                }
                Run::NoRun { .. } | Run::NewerVersion { .. } | Run::Damaged { .. } => {
                    ExitCode::NoRun
                }
                Run::File { source, .. } if system_hint(source).is_some() => ExitCode::CantWrite,
                Run::File { what, .. } if what.starts_with("read") => ExitCode::NoRun,
                Run::Record { .. } | Run::File { .. } | Run::Untrusted(_) | Run::System { .. } => {
                    ExitCode::CantWrite
                }
                _ => ExitCode::Internal,
            },
        };
        code as u8
    }

    /// What to do about it, if that can be said.
    pub fn hint(&self) -> Option<String> {
        use cu_core::Error as Run;
        Some(match self {
            Self::Usage { hint, .. } => return hint.clone(),
            Self::Config(error) => return error.hint(),
            Self::NoRun { hint, .. } => hint.clone(),
            Self::Run(error) => match error {
                Run::RunExists { path: run } => exists_hint(run),
                Run::NoRun { .. } => "`cu list` shows the runs of a results directory".to_owned(),
                Run::InUse { path: run, .. } => format!(
                    "`cu status {0}` shows what it does; `cu pause` and `cu stop` talk to it",
                    shell_word(run)
                ),
                Run::NoMainProcess { path: run, .. } => {
                    format!("`cu resume {}` starts one", shell_word(run))
                }
                Run::NoAnswer { path: run, silence } => silence_hint(run, silence),
                Run::NewerVersion { .. } => "use the newer version of cu".to_owned(),
                Run::Damaged { .. } => {
                    "restore the file from a copy; the jobs' output directories \
                     in working_directories/ are not affected"
                        .to_owned()
                }
                // Without the store there is nothing to go on with.
                Run::Record { path, .. } if !path.exists() => return None,
                Run::Record { .. } => {
                    "make room or mend the permissions, then `cu resume` goes on".to_owned()
                }
                Run::Untrusted(untrusted) => untrusted_hint(untrusted),
                Run::Copy { original, .. } => format!(
                    "`cu resume {}` goes on with the original; if this is to take its place, move \
                     that one away",
                    shell_word(original)
                ),
                Run::File { source, .. } => {
                    return file_hint(source.kind()).or_else(|| system_hint(source));
                }
                Run::System { source, .. } => return system_hint(source),
                Run::SchedulerUnreachable { .. } => {
                    "the jobs are as they were: `cu resume` when the scheduler answers again"
                        .to_owned()
                }
                Run::BackendEnded { .. } => {
                    "attempts that run go on, and `cu resume` takes the run up again".to_owned()
                }
                _ => return None,
            },
            Self::System { source, .. }
            | Self::Backend {
                source: cu_scheduler::Error::System { source, .. },
                ..
            } => return system_hint(source),
            Self::Backend { .. } => {
                "`cu doctor` tells more; `cu resume` goes on with a run that is made".to_owned()
            }
            _ => return None,
        })
    }
}

/// What to do about a run where another is to be made.
fn exists_hint(run: &Path) -> String {
    let status = Reader::open(&RunDir::new(run)).and_then(|reader| reader.status());
    let run = shell_word(run);
    let what = match status.map(|status| status.state) {
        Ok(RunState::Running) => format!("it is running, and `cu status {run}` shows it"),
        Ok(RunState::Interrupted) => format!("`cu resume {run}` goes on with it"),
        Ok(RunState::Completed | RunState::Failed | RunState::Stopped) => {
            format!(
                "it has ended, and `cu show 0 {run}` tells of its first job; remove the directory"
            )
        }
        Err(_) => "move it away".to_owned(),
    };
    format!("{what}, or make another with `--name NAME`")
}

/// What to do about a run that is not this user's alone.
fn untrusted_hint(untrusted: &Untrusted) -> String {
    use cu_system::files::Refusal;
    let run = shell_word(&untrusted.run_dir);
    let path = shell_word(&untrusted.path);
    // Also what the first command leaves to be complained of next.
    let secret = shell_word(&RunDir::new(&untrusted.run_dir).secret());
    match untrusted.reason {
        Distrust::Refused(Refusal::Foreign(_)) if untrusted.path.is_symlink() => {
            format!("name the directory to which the link {path} leads")
        }
        Distrust::Refused(Refusal::Foreign(owner)) => {
            let reads = format!("`cu status {run}` reads it");
            match users::login_name(owner).filter(|_| users::own() == 0) {
                Some(owner) => format!("{reads}; `sudo -u {owner} cu …` acts for its owner"),
                None => format!("{reads}; only its owner can do more, so make a run of your own"),
            }
        }
        Distrust::Refused(Refusal::OpenToOthers(_)) => format!(
            "if nobody else has changed anything there, `chmod -R go-w {run} && chmod 600 {secret}` \
             keeps others from it"
        ),
        Distrust::Readable(_) => {
            format!("if nobody else has read it, `chmod 600 {path}` keeps others from it")
        }
        Distrust::Refused(Refusal::Link) => {
            format!("put the file or directory itself in the place of the link {path}")
        }
        _ => format!("move {path} away"),
    }
}

/// What to do about a main process that says nothing.
fn silence_hint(run: &Path, silence: &Silence) -> String {
    let run = shell_word(run);
    match &silence.process {
        Some((process, host)) if *host == cu_system::machine::host() => format!(
            "if it was stopped, `kill -CONT {process}` lets it go on; else `kill -KILL {process}`, \
             and `cu resume {run}` goes on with the run"
        ),
        Some((process, host)) => format!(
            "see what process {process} does on {host}; once it has ended, `cu resume {run}` goes on \
             with the run"
        ),
        None => format!("try again; once it has ended, `cu resume {run}` goes on with the run"),
    }
}

/// What to do about a file of the run that can't be used.
fn file_hint(kind: std::io::ErrorKind) -> Option<String> {
    use std::io::ErrorKind::{
        PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
    };
    let hint = match kind {
        StorageFull | QuotaExceeded => "make room on this file system, and try again",
        PermissionDenied => "mend the permissions, and try again",
        ReadOnlyFilesystem => "copy the run to where you may write, and try again there",
        ResourceBusy => "another process has held it for long: try again",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What to do about something that the system has run out of.
fn system_hint(error: &std::io::Error) -> Option<String> {
    use rustix::io::Errno;
    let limits = match Errno::from_io_error(error)? {
        Errno::AGAIN => "of processes and threads (`ulimit -u`, `pids.max` of a cgroup)",
        Errno::MFILE | Errno::NFILE => "of open files (`ulimit -n`)",
        Errno::NOMEM => "of memory",
        _ => return None,
    };
    Some(format!(
        "a limit {limits} is reached here: end something or raise it; a run that was made goes on \
         with `cu resume`"
    ))
}
