//! `git.json`: the commit that a run's programs come from. It is found out when the run is made; what git can't tell
//! soon is left out, and never an error.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_core::RunDir;
use cu_system::files;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::git_command::ask_within;

const VERSION: u32 = 1;
const MOST_BYTES: u64 = 1 << 20;

/// How long git may take for all that is recorded of a working tree.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a run says of its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The repository: its URL without a password, or the path of its working tree.
    pub repository: String,
    /// Where that has its commits from, if it is a path.
    pub origin: Option<String>,
    /// The branch; none if the commit was checked out by itself.
    pub branch: Option<String>,
    /// The commit.
    pub commit: String,
    /// Whether files of the commit were changed in the working tree; none if that is not known.
    pub dirty: Option<bool>,
    /// The clone from which the programs run, if they do.
    pub clone: Option<PathBuf>,
}

impl Record {
    /// What runs from the clone in `clone`.
    pub fn of_clone(
        clone: &Path,
        repository: &str,
        branch: Option<String>,
        commit: String,
    ) -> Self {
        Self {
            version: VERSION,
            repository: without_password(repository),
            origin: None,
            branch,
            commit,
            dirty: Some(false),
            clone: Some(clone.to_owned()),
        }
    }

    /// The working tree around `directory` as it is now; `None` if there is none, or git can't tell.
    pub fn of_tree(directory: &Path) -> Option<Self> {
        // Most directories need no git to see this.
        directory.ancestors().find(|it| it.join(".git").exists())?;
        let deadline = Instant::now() + PATIENCE;
        let ask = |arguments: &[&str]| {
            let left = deadline.saturating_duration_since(Instant::now());
            ask_within(left, directory, arguments)
        };
        let top = ask(&["rev-parse", "--show-toplevel"])?;
        let commit = ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?;
        let branch = ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]);
        let origin = ask(&["config", "--get", "remote.origin.url"]);
        let changes = ask(&["status", "--porcelain", "--untracked-files=no"]);
        Some(Self {
            version: VERSION,
            repository: top,
            origin: origin.map(|url| without_password(&url)),
            branch,
            commit,
            dirty: changes.map(|changes| !changes.is_empty()),
            clone: None,
        })
    }

    /// What `run` says; `None` if that is nothing, or can't be read.
    pub fn read(run: &RunDir) -> Option<Self> {
        let text = files::read(&run.git(), MOST_BYTES).ok()?;
        let record: Self = serde_json::from_slice(&text).ok()?;
        (record.version == VERSION).then_some(record)
    }

    /// Keeps it with the run.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn keep(&self, run: &RunDir) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(Error::internal("write the commit as JSON"))?;
        Ok(cu_run_dir::replace(&run.git(), &text).map_err(cu_core::Error::from)?)
    }

    /// `commit 0123456789ab (branch main) of /home/ada/code, with uncommitted changes`
    pub fn in_words(&self) -> String {
        let short = self.commit.get(..12).unwrap_or(&self.commit);
        let branch = self.branch.as_ref();
        let branch = branch.map(|branch| format!(" (branch {branch})"));
        let state = match (&self.clone, self.dirty) {
            (Some(_), Some(true)) => ", in a clone without the uncommitted changes there",
            (Some(_), _) => ", in a clone",
            (None, Some(true)) => ", with uncommitted changes",
            (None, Some(false)) => "",
            (None, None) => "; whether it had uncommitted changes is not known",
        };
        let branch = branch.unwrap_or_default();
        format!("commit {short}{branch} of {}{state}", self.repository)
    }
}

/// The URL with `***` in the place of a password or token.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        // A user without a password may be a token.
        Some((user, host)) if scheme.starts_with("http") => {
            let user = user.split_once(':').map(|(user, _)| user);
            let user = user.map(|user| format!("{user}:")).unwrap_or_default();
            format!("{scheme}://{user}***@{host}{path}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_not_recorded() {
        for (url, shown) in [
            (
                "https://ada:s3cret@example.org/a.git",
                "https://ada:***@example.org/a.git",
            ),
            (
                "https://t0ken@example.org/a.git",
                "https://***@example.org/a.git",
            ),
            ("https://example.org/a@b.git", "https://example.org/a@b.git"),
            ("ssh://git@example.org/a.git", "ssh://git@example.org/a.git"),
            ("git@example.org:a.git", "git@example.org:a.git"),
            ("/home/a@b", "/home/a@b"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn the_words_say_what_ran() {
        let commit = "0123456789abcdef".to_owned();
        let mut record = Record::of_clone(
            Path::new("/r/clone"),
            "/code",
            Some("main".to_owned()),
            commit,
        );
        assert_eq!(
            record.in_words(),
            "commit 0123456789ab (branch main) of /code, in a clone"
        );
        record.dirty = Some(true);
        assert!(
            record
                .in_words()
                .ends_with(", in a clone without the uncommitted changes there")
        );
        record.clone = None;
        record.branch = None;
        assert_eq!(
            record.in_words(),
            "commit 0123456789ab of /code, with uncommitted changes"
        );
        record.dirty = None;
        assert!(
            record
                .in_words()
                .ends_with("; whether it had uncommitted changes is not known")
        );
    }
}
