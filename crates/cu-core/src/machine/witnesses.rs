//! Decides which witness is believed about an attempt's end.
//!
//! | record | messages before | scheduler | verdict |
//! | --- | --- | --- | --- |
//! | any | results | any | completed |
//! | not started, since its environment could not be activated | | any | not activated |
//! | not started, else | | any | failed |
//! | fenced | | has put it back into the queue before | preempted |
//! | fenced, else | | any | lost |
//! | exited with a resume code, or with another after a request; a signal from outside before | | cancelled, removed | cancelled, removed |
//! | … | | held, unknown | undecided |
//! | … | | any other end, or none within the grace | resume requested |
//! | exited with a resume code, else | | any | resume requested |
//! | any other | request | any | resume requested |
//! | met the user's condition for "done", else | | any | completed |
//! | exited 0, no condition, nobody asked it to stop, or the user says that 0 means done even then | | any | completed |
//! | exited 0, with a condition that is not met or could not be looked at, nobody asked it to stop | | any | resume requested |
//! | exited 1 to 127, nobody asked it to stop | | any | failed |
//! | any other, after a cancel | | any | cancelled |
//! | exited 0 to 127 after we asked it to stop | | any | resume requested |
//! | killed, or exited ≥ 128, after we asked it to stop at the time limit itself | | any | time limit |
//! | …, after we asked it to stop for another reason | | any | resume requested |
//! | any other, after a signal from outside | | time limit, preempted, node failure, out of memory, cancelled, removed | as the scheduler reports |
//! | … | | held, unknown | undecided |
//! | … | | any other end, or none within the grace | resume requested |
//! | killed, or exited ≥ 128, nobody asked it to stop | | time limit, preempted, node failure, out of memory, cancelled, removed | as the scheduler reports |
//! | … | | held, unknown | undecided |
//! | killed by SIGKILL, or exited 137, nobody asked it to stop | | gone | lost |
//! | killed, or exited ≥ 128, nobody asked it to stop | | any other end, or none within the grace | failed |
//! | none | | queued, held, running, unknown | undecided |
//! | none within the grace, nor in the files after it | results | over | completed |
//! | … | request | over | resume requested |
//! | … | it was started | over: exited 0 without a condition for "done", a resume code, another | completed, resume requested, failed |
//! | … | | time limit, preempted, node failure, out of memory, cancelled, removed | as the scheduler reports |
//! | … | | over, in any other way, or gone, after it was put back | preempted |
//! | … | | over, in any other way, or gone, else | lost |
//!
//! A program that was asked to stop and exits with 0 has saved, as far as anybody knows: a finished job
//! that is started once more ends at once, unasked, while half a job that counts as completed is lost.
//! An error code after that is how launchers and many simulation codes end when they are asked. Whether
//! it was a failure shows in the progress (`end.rs`). `docs/ends.md` has these rules for users.
//!
//! A condition of the user's for "done" takes the place of exit code 0. Only the program's own request to be
//! resumed is believed more: it knows best that it is not done.
//!
//! A supervisor exits as its program did, so the scheduler's exit code counts if the record is missing. A
//! signal is the supervisor's own death then, and the end of the program is not known. The code counts
//! only if a message or `started.json` shows that the program was started. Otherwise it is the code of a
//! wrapper, of a loader that lacked a library, or of a node without the file system.
//!
//! A hold is a person's word: whoever held the job decides when it goes on. So an attempt that a signal from
//! outside ended waits for its release, and no other attempt is submitted beside the held job.
//!
//! A scheduler that can't tell, or does not answer, has not said that nobody else ended the program. So no
//! guess is made meanwhile. Nor is a SIGKILL a failure of the program if the scheduler has lost the job:
//! a controller that forgets its jobs has their processes killed.
//!
//! A missing record proves nothing by itself: its files may not have been read, or reading them may take
//! longer. So the scheduler's report decides only after a reading that began after the grace has found no
//! record, or has not returned within [`LONGEST_READING`].

use std::time::Duration;

use cu_protocol::{Condition, ExitRecord, ProgramEnd, StopCause, Timestamp};
use cu_scheduler::{ClusterState, EndCause};

use super::job::{Active, Evidence, Reading};
use crate::{AttemptEnd, ExitRules, ExitZero};

/// The verdict on the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No witness reports that it is over.
    Undecided,
    /// It is over, and its record is missing. Its files are to be read for it at this time.
    Unread(Timestamp),
    /// It is over. The cause is decided when a better witness reports it, or at this time.
    Until(Timestamp),
    /// It is over, with this end.
    Ended(AttemptEnd),
}

/// How long to wait for the scheduler's report of the cause, where it may know better than the attempt's
/// own record. It is asked at once, but a cluster calls a job running until it has cleared it away.
pub const SCHEDULER_GRACE: Duration = Duration::from_secs(60);

/// How long the last reading of an attempt's files may take. A network file system that is away for
/// longer blocks much else, too.
pub const LONGEST_READING: Duration = Duration::from_secs(600);

/// Judges the evidence about `active` at the time `at`. After the scheduler reports that the attempt is
/// over, its record may arrive for `grace`; then its files are read. After a record, and after the
/// scheduler's last news, the scheduler may report the cause for [`SCHEDULER_GRACE`], or for `grace` if that
/// is longer.
#[must_use]
pub fn judge(active: &Active, rules: &ExitRules, grace: Duration, at: Timestamp) -> Verdict {
    let evidence = &active.evidence;
    let cluster = evidence.cluster.as_ref();
    if let Some((since, record)) = &evidence.record {
        let heard = cluster.and_then(|(_, state)| outside_cause(state));
        let over = cluster.is_some_and(|(_, state)| is_over(state));
        let (guess, better) = match by_record(record, evidence, rules) {
            Word::Final(end) => return Verdict::Ended(end),
            Word::UnlessCancelled(end) => {
                let ended = |heard: &AttemptEnd| {
                    matches!(heard, AttemptEnd::Cancelled | AttemptEnd::Removed)
                };
                (end, heard.filter(ended))
            }
            Word::Guess(end) => (end, heard),
        };
        let heard_at = cluster.map_or(*since, |(heard, _)| *heard);
        let until = heard_at.max(*since).after(grace.max(SCHEDULER_GRACE));
        return match better {
            Some(end) => Verdict::Ended(end),
            None if is_held(cluster) || active.unknown.is_some() => Verdict::Undecided,
            None if over || at >= until => Verdict::Ended(guess),
            None => Verdict::Until(until),
        };
    }
    match cluster {
        Some((since, state)) if is_over(state) => {
            let given_up = match evidence.reading {
                None => return Verdict::Unread(since.after(grace)),
                Some(Reading::Begun(begun)) => begun.after(LONGEST_READING),
                Some(Reading::NoRecord | Reading::Started) => at,
            };
            if at < given_up {
                return Verdict::Until(given_up);
            }
            Verdict::Ended(by_scheduler(state, active, rules))
        }
        _ => Verdict::Undecided,
    }
}

/// How much weight the record has.
enum Word {
    /// No other witness counts.
    Final(AttemptEnd),
    /// This is the end, unless the scheduler reports a cancellation or a removal.
    UnlessCancelled(AttemptEnd),
    /// The best guess; the scheduler may know better.
    Guess(AttemptEnd),
}

fn by_record(record: &ExitRecord, evidence: &Evidence, rules: &ExitRules) -> Word {
    if evidence.results {
        return Word::Final(AttemptEnd::Completed);
    }
    match &record.end {
        ProgramEnd::NotStarted(_) if record.noticed.not_activated => {
            return Word::Final(AttemptEnd::NotActivated);
        }
        ProgramEnd::NotStarted(_) => return Word::Final(AttemptEnd::Failed),
        ProgramEnd::Fenced(_) if evidence.requeued => return Word::Final(AttemptEnd::Preempted),
        ProgramEnd::Fenced(_) => return Word::Final(AttemptEnd::Lost),
        _ => {}
    }
    if asked_for_resume(record, evidence, rules) {
        return match record.stop {
            Some(StopCause::Signal(_)) => Word::UnlessCancelled(AttemptEnd::ResumeRequested),
            _ => Word::Final(AttemptEnd::ResumeRequested),
        };
    }
    if record.condition == Some(Condition::Met) {
        return Word::Final(AttemptEnd::Completed);
    }
    let has_condition = rules.done_when.is_some() || record.condition.is_some();
    match (&record.end, record.stop) {
        (ProgramEnd::Exited(0), None) if has_condition => Word::Final(AttemptEnd::ResumeRequested),
        (ProgramEnd::Exited(0), None) => Word::Final(AttemptEnd::Completed),
        (ProgramEnd::Exited(0), Some(_))
            if rules.exit_0_when_stopped == ExitZero::Completed && !has_condition =>
        {
            Word::Final(AttemptEnd::Completed)
        }
        (ProgramEnd::Exited(..128), None) => Word::Final(AttemptEnd::Failed),
        (ProgramEnd::Signaled(9) | ProgramEnd::Exited(137), None)
            if matches!(evidence.cluster, Some((_, ClusterState::Gone))) =>
        {
            Word::Guess(AttemptEnd::Lost)
        }
        (_, None) => Word::Guess(AttemptEnd::Failed),
        (_, Some(StopCause::Cancel)) => Word::Final(AttemptEnd::Cancelled),
        (_, Some(StopCause::Signal(_))) => Word::Guess(AttemptEnd::ResumeRequested),
        (ProgramEnd::Exited(..128), Some(StopCause::TimeLimit)) => {
            Word::Final(AttemptEnd::ResumeRequested)
        }
        // It has not reached the limit.
        (_, Some(StopCause::TimeLimit)) if asked_by_rule(evidence) => {
            Word::Final(AttemptEnd::ResumeRequested)
        }
        (_, Some(StopCause::TimeLimit)) => Word::Final(AttemptEnd::TimeLimit),
        (
            _,
            Some(
                StopCause::Steps
                | StopCause::TimeBudget
                | StopCause::StopFile
                | StopCause::Operator,
            ),
        ) => Word::Final(AttemptEnd::ResumeRequested),
    }
}

/// Whether a rule of the user's asked for the program's end.
pub(crate) fn asked_by_rule(evidence: &Evidence) -> bool {
    let stopped = evidence.stopped.as_ref();
    stopped.is_some_and(|stopped| stopped.rule.is_some())
}

/// Whether the program itself asked to be resumed, by its exit code or by a request.
pub(crate) fn asked_for_resume(
    record: &ExitRecord,
    evidence: &Evidence,
    rules: &ExitRules,
) -> bool {
    let by_code = matches!(record.end, ProgramEnd::Exited(code) if rules.asks_to_resume(code));
    by_code || evidence.request.is_some()
}

fn by_scheduler(state: &ClusterState, active: &Active, rules: &ExitRules) -> AttemptEnd {
    let evidence = &active.evidence;
    if evidence.results {
        return AttemptEnd::Completed;
    }
    if evidence.request.is_some() {
        return AttemptEnd::ResumeRequested;
    }
    if let Some(end) = outside_cause(state) {
        return end;
    }
    let nobody_knows = match evidence.requeued {
        true => AttemptEnd::Preempted,
        false => AttemptEnd::Lost,
    };
    match state {
        ClusterState::Ended(end) if active.was_started() => match end.cause {
            // Nobody has looked whether it is done.
            EndCause::Exited(0) if rules.done_when.is_some() => nobody_knows,
            EndCause::Exited(0) => AttemptEnd::Completed,
            EndCause::Exited(code) if rules.asks_to_resume(code) => AttemptEnd::ResumeRequested,
            EndCause::Exited(code) if code < 128 => AttemptEnd::Failed,
            _ => nobody_knows,
        },
        _ => nobody_knows,
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
        EndCause::Removed => Some(AttemptEnd::Removed),
        _ => None,
    }
}

/// Whether a person is waited for: as long as that takes.
fn is_held(cluster: Option<&(Timestamp, ClusterState)>) -> bool {
    matches!(cluster, Some((_, ClusterState::Held { .. })))
}

pub(crate) fn is_over(state: &ClusterState) -> bool {
    matches!(state, ClusterState::Ended(_) | ClusterState::Gone)
}
