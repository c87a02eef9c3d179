//! `job.json`: what the supervisors of a job need to know. The main process writes it, each attempt reads
//! it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cu_protocol::{Attempt, JobId, RunId};
use serde::{Deserialize, Serialize};

use crate::{Activation, DoneWhen, Error, Result, RunDir, StopPolicy, Template, json_file};

/// `attempts/{id}/job.json`. Unknown fields are ignored: the first release also wrote `resume_exit_code`,
/// which no supervisor needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The version of this file: [`JobSpec::VERSION`].
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// The job.
    pub job: JobId,
    /// Program and arguments, run without a shell.
    pub command: Vec<Template>,
    /// Where the program starts; the output directory if `None`. A relative path starts there, too.
    pub working_directory: Option<Template>,
    /// The file that is the program's standard input; nothing if `None`.
    #[serde(default)]
    pub stdin: Option<Template>,
    /// Added to the environment.
    pub environment: BTreeMap<String, Template>,
    /// What a shell does before the program starts.
    #[serde(default, skip_serializing_if = "Activation::is_empty")]
    pub activation: Activation,
    /// When the program is asked to stop, and how.
    pub stop: StopPolicy,
    /// What shows that the job is done; if `None`, the program's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_when: Option<DoneWhen>,
}

impl JobSpec {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;

    /// The directory in which the program of `attempt` starts. A relative one starts at the output directory.
    #[must_use]
    pub fn start_directory(&self, run: &RunDir, attempt: Attempt) -> PathBuf {
        let output_dir = run.output_dir(self.job);
        match &self.working_directory {
            Some(directory) => output_dir.join(directory.fill(&output_dir, self.job, attempt)),
            None => output_dir,
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it can't be read, is not this user's alone, is damaged or of another version, or has no command.
    pub fn read(path: &Path) -> Result<Self> {
        let spec: Self = json_file::read_own(path, Self::VERSION)?
            .ok_or_else(|| Error::read(path)(std::io::ErrorKind::NotFound.into()))?;
        if spec.command.is_empty() {
            return Err(Error::content(path, "its command is empty"));
        }
        Ok(spec)
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path) -> Result<()> {
        json_file::write_for_people(path, self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::StopSignal;

    /// Written by version 0.1.0; later ones must still read it.
    const FIRST: &str = r#"{
  "version": 1,
  "run": "00112233445566778899aabbccddeeff",
  "job": 7,
  "command": ["./train", "--steps", "10"],
  "working_directory": null,
  "environment": {"OMP_NUM_THREADS": "4"},
  "resume_exit_code": 85,
  "stop": {"after": 1.5, "before_limit": null, "file": "stop", "signal": "TERM", "grace": 30.0}
}"#;

    fn read(content: &str) -> Result<JobSpec> {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("job.json");
        std::fs::write(&path, content).unwrap();
        JobSpec::read(&path)
    }

    #[test]
    fn the_first_version_is_read() {
        let expected = JobSpec {
            version: 1,
            run: "00112233445566778899aabbccddeeff".parse().unwrap(),
            job: JobId(7),
            command: ["./train", "--steps", "10"].map(Template::from).into(),
            working_directory: None,
            stdin: None,
            environment: [("OMP_NUM_THREADS".to_owned(), "4".into())].into(),
            activation: Activation::default(),
            stop: StopPolicy {
                after: Some(Duration::from_millis(1500)),
                before_limit: None,
                file: Some("stop".into()),
                create: None,
                signal: StopSignal::Term,
                grace: Duration::from_secs(30),
            },
            done_when: None,
        };
        assert_eq!(read(FIRST).unwrap(), expected);
        let expected = JobSpec {
            activation: Activation {
                modules: vec!["cuda/12.4".to_owned()],
                script: Some("/home/ada/venv/bin/activate".into()),
            },
            done_when: Some(DoneWhen::Output("Total wall time".to_owned())),
            ..expected
        };
        let written = serde_json::to_string(&expected).unwrap();
        assert_eq!(read(&written).unwrap(), expected);
    }

    #[test]
    fn a_spec_that_starts_nothing_or_stops_by_no_signal_is_damaged() {
        for (whole, damaged) in [
            (r#"["./train", "--steps", "10"]"#, "[]"),
            ("TERM", "KILL"),
            ("grace", "grase"),
            ("30.0", "-30.0"),
            ("\"version\": 1", "\"version\": 2"),
        ] {
            let read = read(&FIRST.replace(whole, damaged));
            assert!(matches!(read, Err(Error::Content { .. })), "{read:?}");
        }
    }
}
