//! The exit codes of `cu`: one table of numbers and meanings, which the README and `cu --help` show, and
//! the code of each kind of error. Never 3, with which a job's program asks to be resumed, and never
//! 101, a Rust panic.

use std::fmt::Write;

use super::no_room::NoRoom;
use super::{Error, hint};

/// Declares the exit codes. The comment of each is its line of the table.
macro_rules! exit_codes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $number:literal,)+) => {
        /// How `cu` ends. `cu exec` and `cu job` have codes of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum ExitCode {
            $($(#[doc = $meaning])+ $name = $number,)+
        }

        impl ExitCode {
            /// Every code with its meaning.
            const ALL: &[(Self, &[&str])] = &[$((Self::$name, &[$($meaning),+]),)+];
        }
    };
}

exit_codes! {
    /// done; `cu run`, `cu resume`, `cu wait` and `cu watch`: all jobs are completed, or with
    /// `cu grid-search` and `cu hp-optimization`: a job has results
    Done = 0,
    /// every job has ended, and at least one failed or was cancelled
    JobsFailed = 1,
    /// bad usage or config; nothing was done
    Usage = 2,
    /// another main process works on the run
    InUse = 4,
    /// the scheduler did not answer for as long as `backend.patience` allows, or the backend has
    /// ended
    SchedulerUnreachable = 5,
    /// there is no such run, or it can't be read, is damaged or of a newer version
    NoRun = 6,
    /// a file or directory can't be written, or this machine has no threads, file descriptors or
    /// memory left
    CantWrite = 7,
    /// the main process refused a request or does not answer
    Refused = 8,
    /// `cu doctor` found a problem: jobs will not run
    ProblemFound = 9,
    /// an error in `cu` itself
    Internal = 70,
    /// `cu wait` and `cu stop`: the run had not ended after `--timeout`
    TimedOut = 124,
    /// interrupted or detached before every job had ended
    Interrupted = 130,
}

impl ExitCode {
    /// The table for `cu --help`.
    pub fn help() -> String {
        let mut text = String::from("Exit codes:");
        for (code, meaning) in Self::ALL {
            let lines = meaning.join("\n     ");
            // Writing to a String can't fail.
            let _ = write!(text, "\n  {:<3}{lines}", *code as u8);
        }
        text
    }

    fn of_run(error: &cu_core::Error) -> Self {
        use cu_core::Error as Run;
        match error {
            Run::RunExists { .. }
            | Run::NoJob { .. }
            | Run::Plan(_)
            | Run::Copy { .. }
            | Run::HasAttempts { .. } => Self::Usage,
            Run::InUse { .. } => Self::InUse,
            Run::NoMainProcess { .. } | Run::NoAnswer { .. } => Self::Refused,
            Run::SchedulerUnreachable { .. } | Run::BackendEnded { .. } => {
                Self::SchedulerUnreachable
            }
            Run::Read { source, .. } if hint::limit(source).is_some() => Self::CantWrite,
            Run::NoRun { .. }
            | Run::NewerVersion { .. }
            | Run::Damaged { .. }
            | Run::Read { .. } => Self::NoRun,
            Run::Record { .. }
            | Run::File { .. }
            | Run::NoLocks { .. }
            | Run::Untrusted(_)
            | Run::System { .. } => Self::CantWrite,
            _ => Self::Internal,
        }
    }

    fn of_backend(error: &cu_scheduler::Error) -> Self {
        use cu_scheduler::Error as Backend;
        match error {
            Backend::InUse { .. } => Self::InUse,
            Backend::State { .. } | Backend::System { .. } => Self::CantWrite,
            _ => Self::SchedulerUnreachable,
        }
    }
}

impl Error {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        let code = match self {
            _ if NoRoom::behind(self).is_some() => ExitCode::CantWrite,
            Self::Usage { .. } | Self::Config(_) | Self::Git { .. } => ExitCode::Usage,
            Self::NoRun { .. } | Self::Read { .. } => ExitCode::NoRun,
            Self::Write { .. } | Self::System { .. } => ExitCode::CantWrite,
            Self::Refused { .. } => ExitCode::Refused,
            Self::Internal { .. } => ExitCode::Internal,
            Self::Backend { source, .. } => ExitCode::of_backend(source),
            Self::Run(error) => ExitCode::of_run(error),
            Self::NotReady { code, .. } => return *code,
        };
        code as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_this_table() {
        let mut table = String::from("| code | meaning |\n| --- | --- |\n");
        for (code, meaning) in ExitCode::ALL {
            let meaning = meaning.concat();
            writeln!(table, "| {} | {} |", *code as u8, meaning.trim()).expect("a String");
        }
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&table), "README.md lacks:\n{table}");
    }

    #[test]
    fn no_code_is_one_of_a_job_or_a_panic() {
        let taken = |(code, _): &&(ExitCode, _)| [3, 101].contains(&(*code as u8));
        assert_eq!(ExitCode::ALL.iter().find(taken), None);
    }

    #[test]
    fn unreadable_is_no_run_and_unwritable_is_a_failure_to_write() {
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let path = || "/results/a/run.sqlite".into();
        let (source, path_read) = (denied(), path());
        let read = cu_core::Error::Read {
            path: path_read,
            source,
        };
        assert_eq!(ExitCode::of_run(&read), ExitCode::NoRun);
        let write = cu_core::Error::File {
            what: "write",
            path: path(),
            source: denied(),
        };
        assert_eq!(ExitCode::of_run(&write), ExitCode::CantWrite);
        let threads = cu_core::Error::Read {
            path: path(),
            source: rustix::io::Errno::MFILE.into(),
        };
        assert_eq!(ExitCode::of_run(&threads), ExitCode::CantWrite);
    }
}
