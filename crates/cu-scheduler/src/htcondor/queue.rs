//! The commands that ask: condor_q for the queue, condor_history for what left it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::ad::{self, Ad};
use super::event::Id;
use crate::cluster::{Command, Failure, Output};
use crate::{Error, SubmissionName};

/// The most ids or names in one question. Each is compared with each job of the queue.
const MOST_NAMED: usize = 100;

/// The words, on standard error, about an access point that did not answer.
const NOT_FETCHED: &str = "Failed to fetch ads";

/// HTCondor's commands for one pool.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    /// Their directory; `PATH` is searched if `None`.
    pub directory: Option<PathBuf>,
    /// The directory in which they start. It exists as long as the backend does.
    pub start_in: PathBuf,
    /// The name of the pool in errors.
    pub pool: String,
    /// The access point whose queue is meant; the one that commands speak to by themselves if `None`.
    pub schedd: Option<String>,
}

impl Commands {
    /// The command `name`, not yet started.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.directory.as_deref(), name).start_in(&self.start_in)
    }

    /// The command `name` about the queue of the access point, not yet started.
    pub fn at_schedd(&self, name: &str) -> Command {
        let named = self.schedd.iter().flat_map(|schedd| ["-name", schedd]);
        self.command(name).arguments(named)
    }

    /// The output of a command that must succeed.
    pub async fn answer(&self, command: Command) -> Result<Output, Error> {
        self.succeeded(command.run().await)
    }

    fn succeeded(&self, answer: Result<Output, Failure>) -> Result<Output, Error> {
        match answer {
            // It may go on to say that the queue is empty.
            Ok(output) if output.stderr.contains(NOT_FETCHED) => {
                Err(self.unavailable(first_lines(&output)))
            }
            Ok(output) if output.code == 0 => Ok(output),
            Ok(output) => Err(self.unavailable(first_lines(&output))),
            Err(failure) => Err(self.failed(&failure)),
        }
    }

    /// Asks condor_q for the jobs `ids`. Returns those that are in the queue.
    pub async fn ask_queue(&self, ids: &[Id], runs: &BTreeSet<String>) -> Result<Vec<Ad>, Error> {
        let command = self.at_schedd("condor_q").argument("-json");
        let command = command.arguments(["-attributes", ad::ATTRIBUTES]);
        let command = if ids.len() > MOST_NAMED && !runs.is_empty() {
            command.arguments(["-constraint", &of_runs(runs)])
        } else {
            command.arguments(ids.iter().map(Id::to_string))
        };
        self.ads(command).await
    }

    /// Asks condor_q for jobs that were submitted under `names`, and returns those in the queue.
    pub async fn ask_queue_for(&self, names: &[SubmissionName]) -> Result<Vec<Ad>, Error> {
        let command = self.at_schedd("condor_q").argument("-json");
        let command = command.arguments(["-attributes", ad::ATTRIBUTES]);
        self.ads(command.arguments(["-constraint", &named(names)]))
            .await
    }

    /// Asks condor_history for the jobs `ids`. Returns those that left the queue, as far as the access
    /// point remembers. It reads a file, and answers even when the queue does not.
    pub async fn ask_history(&self, ids: &[Id]) -> Result<Vec<Ad>, Error> {
        let command = self.history(Some(ids.len()));
        self.ads(command.arguments(ids.iter().map(Id::to_string)))
            .await
    }

    /// Asks condor_history for jobs that were submitted under `names`.
    pub async fn ask_history_for(&self, names: &[SubmissionName]) -> Result<Vec<Ad>, Error> {
        let most = (names.len() <= MOST_NAMED).then_some(names.len());
        let command = self.history(most);
        self.ads(command.arguments(["-constraint", &named(names)]))
            .await
    }

    fn history(&self, most: Option<usize>) -> Command {
        let command =
            self.at_schedd("condor_history")
                .arguments(["-json", "-attributes", ad::ATTRIBUTES]);
        match most {
            // It reads backwards, and stops when it has found this many.
            Some(most) => command.arguments(["-limit", &most.to_string()]),
            None => command,
        }
    }

    async fn ads(&self, command: Command) -> Result<Vec<Ad>, Error> {
        let output = match command.run().await {
            // The access point keeps no history, and will never answer otherwise.
            Ok(output) if output.stderr.contains("HISTORY is unset") => return Ok(Vec::new()),
            answer => self.succeeded(answer)?,
        };
        ad::parse(&output.stdout).map_err(|answer| Error::Misunderstood {
            scheduler: self.pool.clone(),
            answer,
        })
    }

    /// The error with these words of the pool.
    pub fn unavailable(&self, reason: String) -> Error {
        Error::Unavailable {
            scheduler: self.pool.clone(),
            reason,
        }
    }

    /// The error for a command that did not run to its end.
    pub fn failed(&self, failure: &Failure) -> Error {
        self.unavailable(failure.to_string())
    }
}

/// The first lines of a complaint, which say what is wrong: HTCondor adds paragraphs of advice.
pub(super) fn first_lines(output: &Output) -> String {
    let words = output.words();
    let said: Vec<&str> = words
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Extra Info:"))
        .filter(|line| !line.is_empty())
        .take(4)
        .collect();
    said.join(" ")
}

/// True of the jobs of `runs`. A run's name holds no character with a meaning.
fn of_runs(runs: &BTreeSet<String>) -> String {
    any(runs.iter().map(|run| equal(super::attributes::RUN, run)))
}

/// True of the jobs submitted under `names`; where they are many, of all jobs of their runs.
fn named(names: &[SubmissionName]) -> String {
    if names.len() > MOST_NAMED {
        let runs = names.iter().map(|name| name.run().to_owned()).collect();
        return of_runs(&runs);
    }
    any(names
        .iter()
        .map(|name| equal(super::attributes::NAME, &name.to_string())))
}

fn equal(attribute: &str, value: &str) -> String {
    format!("{attribute} =?= \"{value}\"")
}

fn any(conditions: impl Iterator<Item = String>) -> String {
    conditions.collect::<Vec<_>>().join(" || ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn an_access_point_that_keeps_no_history_remembers_nothing() {
        let directory = tempfile::tempdir().unwrap();
        // It is one file, never written by this process, so that it can be executed at any time.
        let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stubs/command");
        symlink(stub, directory.path().join("condor_history")).unwrap();
        let says = |script: &str| {
            std::fs::write(directory.path().join("condor_history.sh"), script).unwrap();
        };
        let commands = Commands {
            directory: Some(directory.path().to_path_buf()),
            start_in: directory.path().to_path_buf(),
            pool: "HTCondor".into(),
            schedd: None,
        };
        let id = [Id {
            cluster: 7,
            proc: 0,
        }];
        says(
            "echo '['; echo 'Error: No passed search file and configuration key HISTORY is unset.' \
             >&2; exit 1",
        );
        assert_eq!(commands.ask_history(&id).await.unwrap(), []);
        says("echo '['; echo 'Error: it can not be read' >&2; exit 1");
        let silent = commands.ask_history(&id).await;
        assert!(
            matches!(silent, Err(Error::Unavailable { .. })),
            "{silent:?}"
        );
    }
}
