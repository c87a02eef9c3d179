//! The variables `CU_*`, by which the supervisor describes the job to its program.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cu_protocol::{Attempt, JobId};

use crate::{Error, Result};

/// The values of the variables. All are absent without a supervisor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `CU_JOB_ID`
    pub job: Option<JobId>,
    /// `CU_ATTEMPT`, 0 without a supervisor.
    pub attempt: Attempt,
    /// `CU_RUN_DIR`
    pub run_dir: Option<PathBuf>,
    /// `CU_OUTPUT_DIR`
    pub output_dir: Option<PathBuf>,
    /// `CU_SETTINGS`
    pub settings: Option<PathBuf>,
    /// `CU_SOCKET`, the supervisor's Unix socket.
    pub socket: Option<PathBuf>,
    /// `CU_STOP_FILE`
    pub stop_file: Option<PathBuf>,
    /// `CU_DEADLINE`
    pub deadline: Option<SystemTime>,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn of_this_process() -> Result<Self> {
        Self::read(|name| std::env::var_os(name))
    }

    /// Reads variables from any source. An empty variable counts as not set, as usual in shells.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let text = |name| variable(name).filter(|value| !value.is_empty());
        let path = |name| text(name).map(PathBuf::from);
        let number = |name, expected| {
            let Some(value) = text(name) else {
                return Ok(None);
            };
            let value = value.to_string_lossy();
            value.parse().map(Some).map_err(|_| Error::Environment {
                name,
                value: value.into_owned(),
                expected,
            })
        };
        Ok(Self {
            job: number("CU_JOB_ID", "the number of a job")?.map(JobId),
            attempt: number("CU_ATTEMPT", "the number of an attempt")?.map_or(Attempt(0), Attempt),
            run_dir: path("CU_RUN_DIR"),
            output_dir: path("CU_OUTPUT_DIR"),
            settings: path("CU_SETTINGS"),
            socket: path("CU_SOCKET"),
            stop_file: path("CU_STOP_FILE"),
            deadline: text("CU_DEADLINE").map(deadline).transpose()?,
        })
    }
}

/// Returns the user that owns the run of this process.
pub(crate) fn owner_of_the_run() -> Option<u32> {
    let run_dir = std::env::var_os("CU_RUN_DIR")?;
    Some(std::fs::metadata(run_dir).ok()?.uid())
}

/// Unix seconds, with a fraction or without. Read as a number of the settings is: a second reader of floats would be a
/// twenty-fifth of what the client adds to a program.
fn deadline(value: OsString) -> Result<SystemTime> {
    let text = value.to_string_lossy();
    let since_epoch = serde_json::from_slice(text.as_bytes())
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    since_epoch
        .and_then(|duration| UNIX_EPOCH.checked_add(duration))
        .ok_or_else(|| Error::Environment {
            name: "CU_DEADLINE",
            value: text.into_owned(),
            expected: "a time in Unix seconds",
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment> {
        Environment::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.into())
        })
    }

    #[test]
    fn without_variables_there_is_no_run() {
        let by_hand = read(&[("CU_ATTEMPT", "")]).unwrap();
        assert_eq!(by_hand.attempt, Attempt(0));
        assert_eq!((by_hand.job, by_hand.socket), (None, None));
    }

    #[test]
    fn reads_what_a_supervisor_sets() {
        let attempt = read(&[
            ("CU_JOB_ID", "7"),
            ("CU_ATTEMPT", "3"),
            ("CU_OUTPUT_DIR", "/run/working directories/7"),
            ("CU_DEADLINE", "1700000000.5"),
        ])
        .unwrap();
        assert_eq!((attempt.job, attempt.attempt), (Some(JobId(7)), Attempt(3)));
        assert_eq!(
            attempt.output_dir.unwrap().to_str(),
            Some("/run/working directories/7")
        );
        let deadline = attempt.deadline.unwrap().duration_since(UNIX_EPOCH);
        assert_eq!(deadline.unwrap(), Duration::from_millis(1_700_000_000_500));
    }

    #[test]
    fn nonsense_is_an_error_that_names_the_variable() {
        for (name, value) in [
            ("CU_ATTEMPT", "-1"),
            ("CU_JOB_ID", "seven"),
            ("CU_DEADLINE", "tomorrow"),
            ("CU_DEADLINE", "NaN"),
            ("CU_DEADLINE", "1e300"),
        ] {
            let message = read(&[(name, value)]).unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains(value),
                "{message}"
            );
        }
    }
}
