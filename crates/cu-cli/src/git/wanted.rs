//! The clone that a config asks for with its table `[git]`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use cu_core::RunDir;

use super::record::{Record, without_password};
use crate::config::{InClone, Parsed};
use crate::error::{Error, Result};
use crate::git_command::{Failure, ask};

/// A clone that is to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What is cloned: a URL, or the path of a repository on this machine.
    pub repository: String,
    /// Whether that is a path.
    pub is_path: bool,
    /// The branch or tag whose newest commit is meant, unless a commit is named.
    pub branch: Option<String>,
    /// The commit; in full, or its first digits.
    pub commit: Option<String>,
    /// The branch that is to be at this commit in the clone.
    pub local_branch: Option<String>,
    /// How many commits are fetched, if that is not all.
    pub depth: Option<NonZeroU32>,
    /// Whether it has its submodules.
    pub submodules: bool,
    /// The config's directory within the repository; empty if it is elsewhere.
    inside: PathBuf,
}

impl Wanted {
    /// The clone that `parsed` asks for; `None` if it asks for none.
    ///
    /// # Errors
    /// If its repository is a path without a repository, or a key makes no sense without another.
    pub fn of(parsed: &Parsed) -> Result<Option<Self>> {
        let keys = &parsed.file.git;
        let given = |key| -> Result<Option<Self>> {
            let reason = "it needs `git.repository`, which is \".\" for the repository that the config is in";
            Err(parsed.wrong(key, reason).into())
        };
        let Some(repository) = &keys.repository else {
            return match (&keys.branch, &keys.commit) {
                (Some(_), _) => given("git.branch"),
                (_, Some(_)) => given("git.commit"),
                _ => Ok(None),
            };
        };
        let mut wanted = Self {
            repository: repository.0.clone(),
            is_path: false,
            branch: keys.branch.as_ref().map(|branch| branch.0.clone()),
            commit: keys.commit.as_ref().map(|commit| commit.0.clone()),
            local_branch: None,
            depth: keys.depth,
            submodules: keys.submodules.unwrap_or(true),
            inside: PathBuf::new(),
        };
        if !is_url(&repository.0) {
            wanted.is_path = true;
            wanted.find(parsed, Path::new(&repository.0))?;
        }
        Ok(Some(wanted))
    }

    /// The repository around `path`, and the branch in it.
    fn find(&mut self, parsed: &Parsed, path: &Path) -> Result<()> {
        let wrong = |reason: String| parsed.wrong("git.repository", reason);
        let found = path.canonicalize();
        let path = found.map_err(|error| {
            wrong(format!(
                "{}: {error}; a repository on another machine is https://HOST/PATH, ssh://HOST/PATH or HOST:PATH",
                path.display()
            ))
        })?;
        if !path.is_dir() {
            // It may be a bundle.
            self.repository = path.display().to_string();
            return Ok(());
        }
        let top = ask(&path, ["rev-parse", "--show-toplevel"])
            .or_else(|_| ask(&path, ["rev-parse", "--absolute-git-dir"]));
        self.repository = match top {
            Ok(top) => top,
            Err(Failure::Failed(said)) => {
                let shown = path.display();
                return Err(wrong(format!("{shown} is not in a git repository: {said}")).into());
            }
            Err(failure) => return Err(self.failed("examine")(failure)),
        };
        let here = parsed.config_directory().canonicalize();
        let inside = here.ok().and_then(|here| {
            let inside = here.strip_prefix(&self.repository);
            inside.ok().map(Path::to_owned)
        });
        self.inside = inside.unwrap_or_default();
        self.find_branch(&path);
        Ok(())
    }

    /// A branch that only the origin of the repository has, as far as this has heard of it.
    fn find_branch(&mut self, path: &Path) {
        let commit_of = |name: String| {
            let name = format!("{name}^{{commit}}");
            ask(path, ["rev-parse", "--verify", "--quiet", &name]).ok()
        };
        let Some(branch) = self.branch.clone().filter(|_| self.commit.is_none()) else {
            return;
        };
        let here = ["heads", "tags"].map(|kind| commit_of(format!("refs/{kind}/{branch}")));
        let there = || commit_of(format!("refs/remotes/origin/{branch}"));
        if here == [None, None]
            && let Some(commit) = there()
        {
            self.commit = Some(commit);
            self.local_branch = self.branch.take();
        }
    }

    /// `parsed` in the clone of `run`, which may be made already. The same directory stands for that of the config, or
    /// the top of a repository that the config is not in.
    pub fn place(&self, parsed: &Parsed, run: &RunDir, is_made: bool) -> Parsed {
        let top = run.clone_dir();
        // Without a slash at its end.
        let project = match self.inside.as_os_str().is_empty() {
            true => top.clone(),
            false => top.join(&self.inside),
        };
        parsed.clone().in_clone(InClone {
            top,
            project,
            is_made,
        })
    }

    /// `parsed` before its clone is made, if it asks for one.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn before(parsed: &Parsed, run: &RunDir) -> Result<Parsed> {
        Ok(match Self::of(parsed)? {
            Some(wanted) => wanted.place(parsed, run, false),
            None => parsed.clone(),
        })
    }

    /// The commit that `record` has, and no newer one.
    #[must_use]
    pub fn pinned(mut self, record: &Record) -> Self {
        self.branch = None;
        self.commit = Some(record.commit.clone());
        self.local_branch.clone_from(&record.branch);
        self
    }

    /// The repository for people.
    pub fn shown(&self) -> String {
        without_password(&self.repository)
    }

    /// The error that git could not do this with the repository.
    pub fn failed(&self, what: &'static str) -> impl FnOnce(Failure) -> Error {
        let (repository, shown) = (self.repository.clone(), self.shown());
        move |failure| Error::Git {
            what,
            source: match failure {
                Failure::Failed(said) => Failure::Failed(said.replace(&repository, &shown)),
                other => other,
            },
            repository: shown,
        }
    }
}

/// Whether git takes `repository` for an address: it has a scheme, or the name of a host before a colon.
fn is_url(repository: &str) -> bool {
    let first = repository.split('/').next().unwrap_or_default();
    repository.contains("://") || first.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths_as_git_does() {
        for (repository, expected) in [
            ("https://example.org/a.git", true),
            ("file:///srv/a.git", true),
            ("git@example.org:a.git", true),
            ("example.org:srv/a", true),
            ("/srv/a:b", false),
            ("./a:b", false),
            ("code", false),
        ] {
            assert_eq!(is_url(repository), expected, "{repository}");
        }
    }
}
