//! What to do about a file system that takes nothing: it is full, a quota is used up, or it is read-only. Any error
//! may have that cause, and the way out depends on the place alone.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cu_core::RunDir;

use super::Error;
use crate::shell_word::shell_word;

/// A file system that takes nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom {
    cause: Cause,
    /// A place on it.
    path: PathBuf,
    /// It is one for runs, which may be elsewhere.
    is_for_runs: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Cause {
    Full,
    Quota,
    ReadOnly,
}

impl NoRoom {
    /// The file system that is behind `error`, if one is.
    pub fn behind(error: &Error) -> Option<Self> {
        let cause = Cause::behind(error)?;
        let (path, is_for_runs) = match error {
            Error::Write { path, .. } => (path, false),
            Error::Run(
                cu_core::Error::File { path, .. }
                | cu_core::Error::Read { path, .. }
                | cu_core::Error::Record { path, .. },
            )
            | Error::Backend {
                source: cu_scheduler::Error::State { path, .. },
                ..
            } => (path, true),
            _ => return None,
        };
        Some(Self {
            cause,
            path: path.clone(),
            is_for_runs,
        })
    }

    /// The command to type.
    pub fn hint(&self) -> String {
        let run = run_of(&self.path);
        let then = match &run {
            Some(run) => format!("then continue with `cu resume {}`", shell_word(run)),
            None => "then type the same command again".to_owned(),
        };
        match self.cause {
            Cause::Full => {
                let there = self.path.ancestors().find(|it| it.is_dir());
                let there = shell_word(there.unwrap_or(&self.path));
                format!(
                    "make room on this file system (`df -h {there}` shows its space, `df -i {there}` \
                     its inodes), {then}"
                )
            }
            Cause::Quota => format!(
                "your quota is used up (`quota -s` shows it): remove files, or ask for more, {then}"
            ),
            Cause::ReadOnly => match run {
                Some(run) => format!(
                    "the run can be changed only where its file system can be written; `cu status {0}`, \
                     `cu jobs {0}` and `cu logs 0 {0}` read it here",
                    shell_word(&run)
                ),
                None if self.is_for_runs => {
                    "choose a directory that can be written with `--results-dir DIR`".to_owned()
                }
                None => "choose a place that can be written".to_owned(),
            },
        }
    }
}

impl Cause {
    fn behind(error: &(dyn StdError + 'static)) -> Option<Self> {
        let found = error.downcast_ref().and_then(Self::of);
        found.or_else(|| Self::behind(error.source()?))
    }

    fn of(error: &io::Error) -> Option<Self> {
        Some(match error.kind() {
            ErrorKind::StorageFull => Self::Full,
            ErrorKind::QuotaExceeded => Self::Quota,
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => return None,
        })
    }
}

/// The run in whose directory `path` is.
fn run_of(path: &Path) -> Option<PathBuf> {
    let mut above = path.ancestors();
    above
        .find(|it| RunDir::new(*it).store().exists())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(errno: i32, path: &Path) -> Option<String> {
        let source = io::Error::from_raw_os_error(errno);
        Error::write("write", path)(source).hint()
    }

    #[test]
    fn the_next_command_follows_from_the_place() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let run = scratch.path().join("results/a");
        std::fs::create_dir_all(&run).expect("made");
        std::fs::write(run.join("run.sqlite"), "").expect("written");
        let resume = format!("`cu resume {}`", run.display());
        let [full, quota, read_only] = [
            rustix::io::Errno::NOSPC,
            rustix::io::Errno::DQUOT,
            rustix::io::Errno::ROFS,
        ]
        .map(|errno| hint_of(errno.raw_os_error(), &run.join("main.log")).expect("a hint"));
        assert!(
            full.contains(&format!("`df -i {}`", run.display())),
            "{full}"
        );
        assert!(full.ends_with(&resume), "{full}");
        assert!(
            quota.contains("`quota -s`") && quota.ends_with(&resume),
            "{quota}"
        );
        assert!(
            read_only.contains(&format!("`cu status {}`", run.display())),
            "{read_only}"
        );
        let elsewhere = hint_of(
            rustix::io::Errno::NOSPC.raw_os_error(),
            &scratch.path().join("a.html"),
        );
        assert!(elsewhere.is_some_and(|hint| hint.ends_with("type the same command again")));
        assert_eq!(
            hint_of(rustix::io::Errno::ISDIR.raw_os_error(), scratch.path()),
            None
        );
    }
}
