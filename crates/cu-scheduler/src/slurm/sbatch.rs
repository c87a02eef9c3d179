//! What sbatch said, and what of it follows for the submissions it was given.

use super::client::{is_out_of_reach, is_unclear};
use crate::command::{Failure, Output};

/// The answer to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was taken under this id.
    Accepted(u32),
    /// It was refused, and would be again.
    Refused(String),
    /// It was refused because there are too many jobs; fewer may be taken.
    TooMany(String),
    /// Nothing was taken: Slurm is away, or does not take jobs now.
    Away(String),
    /// Nobody knows whether it was taken.
    Unclear(String),
}

/// Limits on how many jobs there may be, as Slurm names them or says them.
const LIMITS: [&str; 8] = [
    "MaxSubmitJob",
    "GrpSubmitJob",
    "MaxSubmitJobs",
    "GrpSubmitJobs",
    "job submit limit",
    "temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Job count limit",
];

/// Limits on what one job may ask for. In their company the general words, which name the submit
/// limit among others, mean that the job is too large.
const TOO_LARGE: [&str; 6] = [
    "MaxWall", "MaxTRES", "MaxNode", "MaxCpu", "MaxMem", "MinTRES",
];

/// What passes without our doing, though sbatch calls it a refusal.
const NOT_NOW: [&str; 6] = [
    "Required partition not available (inactive or drain)",
    "Requested partition configuration not available now",
    "Protocol authentication error",
    "Invalid authentication credential",
    "Unable to accept new jobs",
    "in standby mode",
];

/// Reads the answer of `sbatch --parsable`.
pub(super) fn read(answer: Result<Output, Failure>) -> Answer {
    let output = match answer {
        Ok(output) => output,
        Err(failure @ Failure::NotStarted { .. }) => return Answer::Away(failure.to_string()),
        Err(failure) => return Answer::Unclear(failure.to_string()),
    };
    let words = output.words();
    if output.code == 0 {
        return match id(&output.stdout) {
            Some(id) => Answer::Accepted(id),
            None => Answer::Unclear(format!("sbatch printed no job id: {words}")),
        };
    }
    // sbatch ends with 255 when an option is at fault, before it talks to anybody.
    if output.code == 255 {
        return Answer::Refused(words);
    }
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    if is_unclear(&words) {
        Answer::Unclear(words)
    } else if is_out_of_reach(&words) || says(&NOT_NOW) {
        Answer::Away(words)
    } else if says(&LIMITS) && !says(&TOO_LARGE) {
        Answer::TooMany(words)
    } else if words.contains("sbatch: ") {
        Answer::Refused(words)
    } else {
        Answer::Unclear(words)
    }
}

/// The id in `123` or `123;cluster`, on the last line: a site's wrapper may say something before.
fn id(stdout: &str) -> Option<u32> {
    let last = stdout.lines().rfind(|line| !line.trim().is_empty())?;
    last.split(';').next()?.trim().parse().ok()
}
