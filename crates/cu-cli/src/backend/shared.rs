//! What the options and checks of several backends have in common.

#[cfg(any(feature = "slurm", feature = "htcondor"))]
use cu_core::RunDir;

#[cfg(any(feature = "slurm", feature = "htcondor"))]
use super::kind::Kind;
#[cfg(any(feature = "local", feature = "htcondor"))]
use crate::config::File;
#[cfg(any(feature = "slurm", feature = "htcondor"))]
use crate::config::{Error, Parsed};

/// The error about an option that a backend refuses, at the key that it comes from.
#[cfg(any(feature = "slurm", feature = "htcondor"))]
pub fn wrong_option(kind: Kind, parsed: &Parsed, wrong: cu_scheduler::InvalidOption) -> Error {
    let key = match wrong.option {
        "grace" => "stop.grace".to_owned(),
        "resume_exit_code" => "resume.exit_code".to_owned(),
        option => kind.key(option),
    };
    parsed.wrong(&key, wrong.reason)
}

/// How long a supervisor that is asked to end may take, in whole seconds: one grace time to SIGTERM,
/// one more to SIGKILL, and then it writes how its program ended. No backend must kill it before.
#[cfg(any(feature = "local", feature = "htcondor"))]
pub fn supervisor_grace(file: &File) -> std::time::Duration {
    use std::time::Duration;
    // No sum of times of a config can overflow: each is 100 years at most.
    let grace = 2 * file.stop_policy().grace + Duration::from_secs(5);
    Duration::from_secs(grace.as_secs() + u64::from(grace.subsec_nanos() > 0))
}

/// What people see of a run at the cluster.
#[cfg(any(feature = "slurm", feature = "htcondor"))]
pub fn label(run: &RunDir) -> String {
    let name = run.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
