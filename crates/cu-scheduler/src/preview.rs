//! What would be handed to a cluster, and what the cluster says of it beforehand.

use std::path::PathBuf;

use crate::SubmissionName;

/// One call of the submit command that would be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The submissions it would carry.
    pub names: Vec<SubmissionName>,
    /// Where its file would lie.
    pub path: PathBuf,
    /// What the file would hold.
    pub text: String,
    /// What the scheduler says of it without taking it, in its own words: that it would take it, or
    /// why not.
    pub verdict: Result<String, String>,
}
