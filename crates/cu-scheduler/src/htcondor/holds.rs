//! Decides whether a hold waits for a person or is the end of a job.

use super::options::HoldPolicy;
use crate::EndCause;

/// The end that a hold with this code is; `None` for one that waits for a person.
///
/// The numbers are HTCondor's. A user's own hold (1), one by a policy of the job (3) or of the pool
/// (26), and all that may pass by itself wait.
pub(super) fn end(code: i32, policy: &HoldPolicy) -> Option<EndCause> {
    if policy.keep.contains(&code) {
        return None;
    }
    match code {
        // The program could not be executed; its output, input or working directory could not be
        // opened; its input could not be transferred.
        6 | 7 | 8 | 13 | 14 => Some(EndCause::NotStarted),
        34 => Some(EndCause::OutOfMemory),
        // allowed_job_duration, allowed_execute_duration.
        46 | 47 => Some(EndCause::TimeLimit),
        _ if policy.end.contains(&code) => Some(EndCause::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_overrules_the_table() {
        let policy = HoldPolicy {
            keep: vec![34],
            end: vec![3],
        };
        assert_eq!(end(34, &HoldPolicy::default()), Some(EndCause::OutOfMemory));
        assert_eq!(end(34, &policy), None);
        assert_eq!(end(3, &HoldPolicy::default()), None);
        assert_eq!(end(3, &policy), Some(EndCause::Unknown));
        assert_eq!(end(1, &policy), None);
    }
}
