//! What would be handed to a cluster, and what the cluster says of it beforehand.

use std::path::PathBuf;

use crate::SubmissionName;

/// One call of the submit command that would be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// The submissions it would carry.
    pub names: Vec<SubmissionName>,
    /// The path of its file.
    pub path: PathBuf,
    /// The content of its file.
    pub text: String,
    /// The scheduler's answer to a trial, in its own words: that it would take the file, or why not.
    pub verdict: Result<String, String>,
}

impl Preview {
    /// A call for `names` by the file `path` with this text, and the scheduler's verdict on it.
    #[must_use]
    pub fn new(
        names: Vec<SubmissionName>,
        path: PathBuf,
        text: String,
        verdict: Result<String, String>,
    ) -> Self {
        Self {
            names,
            path,
            text,
            verdict,
        }
    }
}
