//! What to do about an error, for each kind of error that reaches a person. A hint is imperative, and
//! names the command to type.

use std::io;
use std::path::Path;

use cu_core::{Distrust, Reader, RunDir, RunState, Silence, Untrusted};
use cu_system::files::Refusal;
use cu_system::users;

use crate::shell_word::shell_word;

/// An error that may know what to do about it.
pub trait Hint {
    /// What to do, if that can be said.
    fn hint(&self) -> Option<String>;
}

impl Hint for cu_core::Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::RunExists { path } => run_exists(path),
            Self::NoRun { .. } => "`cu list` shows the runs of a results directory".to_owned(),
            Self::InUse { path, .. } => format!(
                "`cu watch {0}` shows the run until it ends; `cu stop` and `cu pause` ask its main \
                 process",
                shell_word(path)
            ),
            Self::HasAttempts { path, .. } => {
                format!("`cu stop all {}` cancels them", shell_word(path))
            }
            Self::NoLocks { .. } => "choose a directory on another file system with \
                 `--results-dir DIR`, or ask its administrator for locks (Lustre: the mount option \
                 `flock`)"
                .to_owned(),
            Self::NoMainProcess { path, .. } => {
                format!("`cu resume {}` starts one", shell_word(path))
            }
            Self::NoAnswer { path, silence } => no_answer(path, silence),
            Self::NewerVersion { .. } => "use the newer version of cu".to_owned(),
            Self::Damaged { .. } => {
                "restore the file from a copy; the jobs' output directories in \
                 working_directories/ are not affected"
                    .to_owned()
            }
            // Without the store there is nothing to continue.
            Self::Record { path, .. } if !path.exists() => return None,
            Self::Record { path, .. } => format!(
                "make room or correct the permissions, then continue with `cu resume {}`",
                shell_word(path.parent().unwrap_or(path))
            ),
            Self::Untrusted(untrusted) => return untrusted.hint(),
            Self::Copy { original, .. } => format!(
                "`cu resume {}` continues the original; if the copy is to replace it, move the \
                 original away",
                shell_word(original)
            ),
            Self::Read { source, .. } | Self::File { source, .. } => {
                return of_file(source.kind()).or_else(|| of_system(source));
            }
            Self::System { source, .. } => return of_system(source),
            Self::SchedulerUnreachable { .. } => {
                "the jobs stay as they are; run `cu resume` when the scheduler answers again"
                    .to_owned()
            }
            Self::BackendEnded { .. } => {
                "running attempts continue; `cu resume` continues the run".to_owned()
            }
            _ => return None,
        })
    }
}

impl Hint for cu_scheduler::Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::System { source, .. } => of_system(source),
            Self::InUse { .. } => Some("wait until that process has ended, or end it".to_owned()),
            _ => Some(
                "`cu doctor` examines the cluster; `cu resume` continues a run that exists already"
                    .to_owned(),
            ),
        }
    }
}

impl Hint for Untrusted {
    fn hint(&self) -> Option<String> {
        let run = shell_word(&self.run_dir);
        let path = shell_word(&self.path);
        // Together with what the first command leaves for the next complaint.
        let secret = shell_word(&RunDir::new(&self.run_dir).secret());
        Some(match self.reason {
            Distrust::Refused(Refusal::Foreign(_)) if self.path.is_symlink() => {
                format!("name the directory to which the link {path} leads")
            }
            Distrust::Refused(Refusal::Foreign(owner)) => {
                let reads = format!("`cu status {run}` reads it");
                match users::login_name(owner).filter(|_| users::own() == 0) {
                    Some(owner) => format!("{reads}; `sudo -u {owner} cu …` acts for its owner"),
                    None => {
                        format!("{reads}; only its owner can do more, so make a run of your own")
                    }
                }
            }
            Distrust::Refused(Refusal::OpenToOthers(_)) => format!(
                "if nobody else has changed anything there, keep others out with \
                 `chmod -R go-w {run} && chmod 600 {secret}`"
            ),
            Distrust::Readable(_) => {
                format!("if nobody else has read it, keep others out with `chmod 600 {path}`")
            }
            Distrust::Refused(Refusal::Link) => {
                format!("replace the link {path} by the file or directory itself")
            }
            _ => format!("move {path} away"),
        })
    }
}

/// About a run in the place of the one to be made.
fn run_exists(run: &Path) -> String {
    let status = Reader::open(&RunDir::new(run)).and_then(|reader| reader.status());
    let run = shell_word(run);
    let what = match status.map(|status| status.state) {
        Ok(RunState::Running) => format!("it is running: `cu status {run}` shows it"),
        Ok(RunState::Interrupted) => format!("`cu resume {run}` continues it"),
        Ok(RunState::Completed | RunState::Failed | RunState::Stopped) => {
            format!("it has ended: `cu jobs {run}` shows it, `cu rm {run}` removes it")
        }
        Err(_) => "move it away".to_owned(),
    };
    format!("{what}, or choose another name with `--name NAME`")
}

/// About a main process that does not answer.
fn no_answer(run: &Path, silence: &Silence) -> String {
    let run = shell_word(run);
    match &silence.process {
        Some((process, host)) if *host == cu_system::machine::host() => format!(
            "if it is suspended, `kill -CONT {process}` wakes it; else `kill -KILL {process}`, then \
             continue the run with `cu resume {run}`"
        ),
        Some((process, host)) => format!(
            "type the command on {host}, where process {process} works on the run; if the process does not \
             answer there either, end it, then continue the run with `cu resume {run}`"
        ),
        None => {
            format!("try again; once it has ended, continue the run with `cu resume {run}`")
        }
    }
}

/// About a file of the run that can't be used.
fn of_file(kind: io::ErrorKind) -> Option<String> {
    use io::ErrorKind::{PermissionDenied, ResourceBusy};
    let hint = match kind {
        PermissionDenied => "correct the permissions, and try again",
        ResourceBusy => "another process has held it for long: try again",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// About a limit of the system that is reached.
pub fn of_system(error: &io::Error) -> Option<String> {
    limit(error).map(|limit| {
        format!(
            "this machine's limit on {limit} is reached: end something, or raise it; `cu resume` \
             continues a run that exists already"
        )
    })
}

/// The limit that `error` shows to be reached.
pub fn limit(error: &io::Error) -> Option<&'static str> {
    use rustix::io::Errno;
    Some(match Errno::from_io_error(error)? {
        Errno::AGAIN => "processes and threads (`ulimit -u`, `pids.max` of a cgroup)",
        Errno::MFILE | Errno::NFILE => "open files (`ulimit -n`)",
        Errno::NOMEM => "memory",
        _ => return None,
    })
}
