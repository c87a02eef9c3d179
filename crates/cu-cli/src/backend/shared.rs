//! Parts of options and checks that several backends share.

use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::InvalidOption;

use super::kind::Kind;
use crate::config::{Error, File, Parsed};

/// The error about an option that a backend refuses, at the key that it comes from.
pub fn wrong_option(kind: Kind, parsed: &Parsed, wrong: InvalidOption) -> Error {
    parsed.wrong(&key_of(kind, wrong.option), wrong.reason)
}

/// The key from which an option of a backend comes: one of the same name in the backend's table, but for
/// the few that all backends share.
pub fn key_of(kind: Kind, option: &str) -> String {
    match option {
        "grace" => "stop.grace".to_owned(),
        "resume_exit_code" => "resume.exit_code".to_owned(),
        "state_dir" => "results_dir".to_owned(),
        option => kind.key(option),
    }
}

/// How long a supervisor that is asked to end may take, in whole seconds: one grace time to SIGTERM,
/// one more to SIGKILL, and then it writes how its program ended. No backend may kill it earlier.
pub fn supervisor_grace(file: &File) -> Duration {
    // No sum of times of a config can overflow: each is 100 years at most.
    let grace = 2 * file.stop_policy().grace + Duration::from_secs(5);
    Duration::from_secs(grace.as_secs() + u64::from(grace.subsec_nanos() > 0))
}

/// The name of a run at the cluster, for people.
pub fn label(run: &RunDir) -> String {
    let name = run.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
