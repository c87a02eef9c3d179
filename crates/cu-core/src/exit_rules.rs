//! What the exit codes of a job's program mean, as the user says it.

use cu_protocol::ResumeExitCode;
use cu_run_dir::DoneWhen;
use serde::{Deserialize, Serialize};

/// What the exit codes of a job's program mean.
///
/// ```
/// use cu_core::ExitRules;
///
/// let rules = ExitRules::default();
/// assert!(rules.asks_to_resume(3) && !rules.asks_to_resume(1));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExitRules {
    /// The exit code that by itself is a resume request.
    pub resume_exit_code: ResumeExitCode,
    /// Further exit codes with the same meaning.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_resume_exit_codes: Vec<ResumeExitCode>,
    /// The meaning of exit code 0 after the program was asked to stop.
    pub exit_0_when_stopped: ExitZero,
    /// What shows that the job is done. Then exit code 0 does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_when: Option<DoneWhen>,
}

/// What exit code 0 means after a program was asked to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitZero {
    /// It has saved, and continues with the next attempt.
    #[default]
    Resume,
    /// The job is done.
    Completed,
}

impl ExitRules {
    /// The default rules with these changes.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whether a program that exits with `code` asks by that to be resumed.
    #[must_use]
    pub fn asks_to_resume(&self, code: i32) -> bool {
        let more = self.more_resume_exit_codes.iter();
        let mut codes = std::iter::once(&self.resume_exit_code).chain(more);
        codes.any(|known| known.code() == code)
    }
}
