//! What the program is started with: what the job says, with all of it filled in for this attempt.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::PathBuf;

use cu_protocol::{Attempt, JobId};
use cu_run_dir::{Activation, JobSpec, Part, Template};
use cu_system::files;

use crate::output_copies::{Wanted, is_for_us};
use crate::{Error, Result, RunDir};

/// What the program is started with.
#[derive(Debug)]
pub(crate) struct Launch {
    pub command: Vec<String>,
    pub working_directory: PathBuf,
    pub environment: BTreeMap<String, String>,
    pub activation: Activation,
    /// Where else what it prints goes.
    pub output: Wanted,
    stdin: Option<PathBuf>,
    /// The working directory is another one for each job or attempt, so that nobody made it before.
    has_directory_of_its_own: bool,
}

impl Launch {
    /// What `spec` means for an attempt. Relative paths start at the output directory. `several` arguments
    /// take the place of [`Part::ClusterUtils`].
    pub fn of(
        spec: &JobSpec,
        run: &RunDir,
        (job, attempt): (JobId, Attempt),
        several: &[String],
    ) -> Self {
        let output_dir = run.output_dir(job);
        let fill = |text: &Template| text.fill(&output_dir, job, attempt);
        let directory = spec.working_directory.as_ref();
        let environment = spec.environment.iter();
        let environment: BTreeMap<String, String> = environment
            .map(|(name, value)| (name.clone(), fill(value)))
            .collect();
        Self {
            command: spec
                .command
                .iter()
                .flat_map(|argument| match argument.parts() {
                    [Part::ClusterUtils] => several.to_vec(),
                    _ => vec![fill(argument)],
                })
                .collect(),
            activation: spec.activation.clone(),
            output: Wanted::new(&environment, attempt),
            environment: environment
                .into_iter()
                .filter(|(name, _)| !is_for_us(name))
                .collect(),
            stdin: spec.stdin.as_ref().map(|path| output_dir.join(fill(path))),
            has_directory_of_its_own: directory.is_some_and(|it| it.as_text().is_none()),
            working_directory: spec.start_directory(run, attempt),
        }
    }

    /// Makes the working directory if it is one of this job or attempt alone.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn make_directory(&self) -> Result<()> {
        if !self.has_directory_of_its_own {
            return Ok(());
        }
        let path = &self.working_directory;
        let made = DirBuilder::new().recursive(true).create(path);
        made.map_err(Error::file("make the directory", path))
    }

    /// The file that is the program's standard input.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn open_stdin(&self) -> Result<Option<File>> {
        let open = |path: &PathBuf| {
            files::open(path, OpenOptions::new().read(true)).map_err(|error| {
                let reason = match error.kind() {
                    io::ErrorKind::NotFound => "there is no such file".to_owned(),
                    _ => error.to_string(),
                };
                let path = path.display();
                Error::Program(format!(
                    "the file {path} (stdin) can't be the program's standard input: {reason}"
                ))
            })
        };
        self.stdin.as_ref().map(open).transpose()
    }
}
