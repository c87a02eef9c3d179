//! Who is believed about an attempt's end.
//!
//! | record | said before | scheduler | verdict |
//! | --- | --- | --- | --- |
//! | any | results | any | completed |
//! | not started | | any | failed |
//! | fenced | | any | lost |
//! | exited with the resume code | | any | resume requested |
//! | any other | request | any | resume requested |
//! | exited 0 | | any | completed |
//! | exited 1 to 127 | | any | failed |
//! | killed, or exited ≥ 128, after we asked it to stop | | any | what it was asked for |
//! | killed, or exited ≥ 128, else | | time limit, preempted, node failure, out of memory, cancelled | what the scheduler says |
//! | … after a signal from outside | | any other end, or none within the grace | resume requested |
//! | … without any | | any other end, or none within the grace | failed |
//! | none | | queued, held, running, unknown | undecided |
//! | none within the grace | results | over | completed |
//! | none within the grace | request | over | resume requested |
//! | none within the grace | | over: exited 0, the resume code, another | completed, resume requested, failed |
//! | none within the grace | | time limit, preempted, node failure, out of memory, cancelled | what the scheduler says |
//! | none within the grace | | over, in any other way, or gone | lost |
//!
//! A supervisor exits as its program did, which is why the scheduler's exit code counts where the
//! record is missing; a signal then is the supervisor's own death, and nobody knows of the program.

use std::time::Duration;

use cu_protocol::{ExitRecord, ProgramEnd, StopCause, Timestamp};
use cu_scheduler::{ClusterState, EndCause};

use super::job::Evidence;
use crate::AttemptEnd;

/// What follows from the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not over, or nobody says so.
    Undecided,
    /// It is over. How is decided when a better witness speaks, or then.
    Until(Timestamp),
    /// It is over, and ended so.
    Ended(AttemptEnd),
}

/// Judges `evidence` at the time `at`. A better witness is waited for `grace` long.
#[must_use]
pub fn judge(
    evidence: &Evidence,
    resume_exit_code: i32,
    grace: Duration,
    at: Timestamp,
) -> Verdict {
    let cluster = evidence.cluster.as_ref();
    if let Some((since, record)) = &evidence.record {
        let heard = cluster.and_then(|(_, state)| outside_cause(state));
        let over = cluster.is_some_and(|(_, state)| is_over(state));
        return match by_record(record, evidence, resume_exit_code) {
            Ok(end) => Verdict::Ended(end),
            Err(guess) => match heard {
                Some(end) => Verdict::Ended(end),
                None if over || at >= since.after(grace) => Verdict::Ended(guess),
                None => Verdict::Until(since.after(grace)),
            },
        };
    }
    match cluster {
        Some((since, state)) if is_over(state) => {
            if at < since.after(grace) {
                return Verdict::Until(since.after(grace));
            }
            Verdict::Ended(by_scheduler(state, evidence, resume_exit_code))
        }
        _ => Verdict::Undecided,
    }
}

/// What the record says: `Ok` if it needs nobody else, `Err` with the best guess if the scheduler
/// may know better.
fn by_record(
    record: &ExitRecord,
    evidence: &Evidence,
    resume_exit_code: i32,
) -> Result<AttemptEnd, AttemptEnd> {
    if evidence.results {
        return Ok(AttemptEnd::Completed);
    }
    match &record.end {
        ProgramEnd::NotStarted(_) => return Ok(AttemptEnd::Failed),
        ProgramEnd::Fenced(_) => return Ok(AttemptEnd::Lost),
        ProgramEnd::Exited(code) if *code == resume_exit_code => {
            return Ok(AttemptEnd::ResumeRequested);
        }
        _ => {}
    }
    if evidence.request.is_some() {
        return Ok(AttemptEnd::ResumeRequested);
    }
    match &record.end {
        ProgramEnd::Exited(0) => Ok(AttemptEnd::Completed),
        ProgramEnd::Exited(code) if *code < 128 => Ok(AttemptEnd::Failed),
        _ => match record.stop {
            Some(StopCause::TimeLimit) => Ok(AttemptEnd::TimeLimit),
            Some(StopCause::Cancel) => Ok(AttemptEnd::Cancelled),
            Some(
                StopCause::Steps
                | StopCause::TimeBudget
                | StopCause::StopFile
                | StopCause::Operator,
            ) => Ok(AttemptEnd::ResumeRequested),
            Some(StopCause::Signal(_)) => Err(AttemptEnd::ResumeRequested),
            None => Err(AttemptEnd::Failed),
        },
    }
}

fn by_scheduler(state: &ClusterState, evidence: &Evidence, resume_exit_code: i32) -> AttemptEnd {
    if evidence.results {
        return AttemptEnd::Completed;
    }
    if evidence.request.is_some() {
        return AttemptEnd::ResumeRequested;
    }
    if let Some(end) = outside_cause(state) {
        return end;
    }
    match state {
        ClusterState::Ended(end) => match end.cause {
            EndCause::Exited(0) => AttemptEnd::Completed,
            EndCause::Exited(code) if code == resume_exit_code => AttemptEnd::ResumeRequested,
            EndCause::Exited(code) if code < 128 => AttemptEnd::Failed,
            _ => AttemptEnd::Lost,
        },
        _ => AttemptEnd::Lost,
    }
}

/// The causes that only the scheduler can know.
fn outside_cause(state: &ClusterState) -> Option<AttemptEnd> {
    let ClusterState::Ended(end) = state else {
        return None;
    };
    match end.cause {
        EndCause::TimeLimit => Some(AttemptEnd::TimeLimit),
        EndCause::Preempted => Some(AttemptEnd::Preempted),
        EndCause::NodeFailure => Some(AttemptEnd::NodeFailure),
        EndCause::OutOfMemory => Some(AttemptEnd::OutOfMemory),
        EndCause::Cancelled => Some(AttemptEnd::Cancelled),
        _ => None,
    }
}

pub(super) fn is_over(state: &ClusterState) -> bool {
    matches!(state, ClusterState::Ended(_) | ClusterState::Gone)
}
