//! The table of witnesses over all combinations: who is believed about an attempt's end, with any
//! of the witnesses missing or late.

use std::time::Duration;

use cu_core::AttemptEnd;
use cu_core::machine::{
    Active, Evidence, LONGEST_READING, Reading, SCHEDULER_GRACE, Verdict, judge,
};
use cu_protocol::{
    Attempt, ExitRecord, OutputChange, ProgramEnd, ResumeRequest, StopCause, Timestamp,
};
use cu_scheduler::{ClusterEnd, ClusterState, EndCause};

const GRACE: Duration = Duration::from_secs(5);
const HEARD: Timestamp = Timestamp::from_millis(1_000_000);
const RESUME: i32 = 3;

fn at_once() -> Timestamp {
    HEARD
}

/// Until when a better witness is waited for, if any is.
fn patience(evidence: &Evidence) -> Timestamp {
    HEARD.after(match (&evidence.record, evidence.reading) {
        (Some(_), _) => SCHEDULER_GRACE,
        (None, None) => GRACE,
        (None, Some(Reading::Begun(_))) => LONGEST_READING,
        (None, Some(Reading::NoRecord | Reading::Started)) => Duration::ZERO,
    })
}

fn record(end: ProgramEnd, stop: Option<StopCause>) -> ExitRecord {
    ExitRecord {
        end,
        stop,
        host: "n1".to_owned(),
        started: Some(Timestamp::from_millis(1)),
        ended: Timestamp::from_millis(2),
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Unchanged,
    }
}

fn ended(cause: EndCause) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause,
        at: None,
        text: "in its own words".to_owned(),
    })
}

fn program_ends() -> Vec<ProgramEnd> {
    vec![
        ProgramEnd::Exited(0),
        ProgramEnd::Exited(1),
        ProgramEnd::Exited(RESUME),
        ProgramEnd::Exited(127),
        ProgramEnd::Exited(128 + 15),
        ProgramEnd::Signaled(9),
        ProgramEnd::NotStarted("no such file".to_owned()),
        ProgramEnd::Fenced("attempt 2 lives".to_owned()),
    ]
}

fn stops() -> Vec<Option<StopCause>> {
    vec![
        None,
        Some(StopCause::Steps),
        Some(StopCause::TimeBudget),
        Some(StopCause::TimeLimit),
        Some(StopCause::StopFile),
        Some(StopCause::Signal(10)),
        Some(StopCause::Operator),
        Some(StopCause::Cancel),
    ]
}

fn readings() -> [Option<Reading>; 4] {
    [
        None,
        Some(Reading::Begun(HEARD)),
        Some(Reading::NoRecord),
        Some(Reading::Started),
    ]
}

fn cluster_states() -> Vec<Option<ClusterState>> {
    let mut states = vec![
        None,
        Some(ClusterState::Queued { reason: None }),
        Some(ClusterState::Held {
            reason: "disk".to_owned(),
        }),
        Some(ClusterState::Running { since: None }),
        Some(ClusterState::Gone),
        Some(ClusterState::Unknown {
            reason: "?".to_owned(),
        }),
    ];
    states.extend(causes().into_iter().map(|cause| Some(ended(cause))));
    states
}

fn causes() -> Vec<EndCause> {
    vec![
        EndCause::Exited(0),
        EndCause::Exited(1),
        EndCause::Exited(RESUME),
        EndCause::Exited(128 + 9),
        EndCause::Signaled(9),
        EndCause::TimeLimit,
        EndCause::Preempted,
        EndCause::NodeFailure,
        EndCause::OutOfMemory,
        EndCause::Cancelled,
        EndCause::NotStarted,
        EndCause::Unknown,
    ]
}

/// What only the scheduler can know.
fn outside(state: &ClusterState) -> Option<AttemptEnd> {
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

fn is_over(state: Option<&ClusterState>) -> bool {
    matches!(
        state,
        Some(ClusterState::Ended(_)) | Some(ClusterState::Gone)
    )
}

const TWICE_TWO: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Each combination, with what has been heard by then.
fn all_evidence() -> Vec<Active> {
    let mut all = Vec::new();
    let records = std::iter::once(None).chain(
        program_ends()
            .into_iter()
            .flat_map(|end| stops().into_iter().map(move |stop| (end.clone(), stop)))
            .map(|(end, stop)| Some((HEARD, record(end, stop)))),
    );
    for record in records {
        for state in cluster_states() {
            for results in [false, true] {
                for request in [None, Some(ResumeRequest::default())] {
                    for reading in readings() {
                        for (requeued, started) in TWICE_TWO {
                            let mut active =
                                Active::intended(Attempt(0), Timestamp::from_millis(0));
                            active.started = started.then_some(Timestamp::from_millis(1));
                            active.evidence = Evidence {
                                results,
                                request: request.clone(),
                                record: record.clone(),
                                cluster: state.clone().map(|state| (HEARD, state)),
                                reading,
                                requeued,
                                ..Evidence::default()
                            };
                            all.push(active);
                        }
                    }
                }
            }
        }
    }
    all
}

fn was_started(active: &Active) -> bool {
    active.started.is_some() || active.evidence.reading == Some(Reading::Started)
}

/// The table, written a second time: row by row, the first that fits.
fn expected(active: &Active, late: bool) -> Verdict {
    use AttemptEnd as End;
    let evidence = &active.evidence;
    let state = evidence.cluster.as_ref().map(|(_, state)| state);
    let until = Verdict::Until(patience(evidence));
    let lost = if evidence.requeued {
        End::Preempted
    } else {
        End::Lost
    };
    let Some((_, record)) = &evidence.record else {
        if !is_over(state) {
            return Verdict::Undecided;
        }
        match evidence.reading {
            None => return Verdict::Unread(patience(evidence)),
            Some(Reading::Begun(_)) if !late => return until,
            Some(_) => {}
        }
        let state = state.expect("it is over");
        return Verdict::Ended(match (evidence.results, &evidence.request) {
            (true, _) => End::Completed,
            (false, Some(_)) => End::ResumeRequested,
            (false, None) => outside(state).unwrap_or(match state {
                ClusterState::Ended(end) if was_started(active) => match end.cause {
                    EndCause::Exited(0) => End::Completed,
                    EndCause::Exited(RESUME) => End::ResumeRequested,
                    EndCause::Exited(1) => End::Failed,
                    _ => lost,
                },
                _ => lost,
            }),
        });
    };
    let wants_resume = record.end == ProgramEnd::Exited(RESUME) || evidence.request.is_some();
    let signal_before = matches!(record.stop, Some(StopCause::Signal(_)));
    let sure = match (&record.end, record.stop) {
        _ if evidence.results => Some(End::Completed),
        (ProgramEnd::NotStarted(_), _) => Some(End::Failed),
        (ProgramEnd::Fenced(_), _) => Some(lost),
        _ if wants_resume && !signal_before => Some(End::ResumeRequested),
        _ if wants_resume && state.and_then(outside) == Some(End::Cancelled) => {
            Some(End::Cancelled)
        }
        _ if wants_resume && (late || is_over(state)) => Some(End::ResumeRequested),
        _ if wants_resume => return until,
        (ProgramEnd::Exited(0), _) => Some(End::Completed),
        (ProgramEnd::Exited(1 | 127), _) => Some(End::Failed),
        (_, None | Some(StopCause::Signal(_))) => None,
        (_, Some(StopCause::TimeLimit)) => Some(End::TimeLimit),
        (_, Some(StopCause::Cancel)) => Some(End::Cancelled),
        (_, Some(_)) => Some(End::ResumeRequested),
    };
    let guess = match record.stop {
        Some(_) => End::ResumeRequested,
        None => End::Failed,
    };
    match (sure, state.and_then(outside)) {
        (Some(end), _) => Verdict::Ended(end),
        (None, Some(end)) => Verdict::Ended(end),
        (None, None) if late || is_over(state) => Verdict::Ended(guess),
        (None, None) => until,
    }
}

#[test]
fn every_combination_is_judged_as_the_table_says() {
    let all = all_evidence();
    assert_eq!(all.len(), (1 + 8 * 8) * (6 + 12) * 2 * 2 * 4 * 4);
    for active in all {
        let late = patience(&active.evidence);
        let just_before = Timestamp::from_millis(late.millis() - 1);
        for (late, at) in [(false, at_once()), (false, just_before), (true, late)] {
            let verdict = judge(&active, RESUME, GRACE, at);
            let expected = expected(&active, late);
            assert_eq!(verdict, expected, "late: {late}, {active:#?}");
        }
    }
}

#[test]
fn what_is_unknown_is_neither_a_failure_nor_a_success() {
    for active in all_evidence() {
        let unknown = matches!(
            active.evidence.cluster,
            None | Some((_, ClusterState::Unknown { .. }))
        );
        if active.evidence.record.is_none() && unknown {
            let much_later = HEARD.after(Duration::from_secs(1_000_000));
            let verdict = judge(&active, RESUME, GRACE, much_later);
            assert_eq!(verdict, Verdict::Undecided);
        }
    }
}

#[test]
fn where_nothing_was_started_no_exit_code_is_the_program_s() {
    for active in all_evidence() {
        let heard = &active.evidence;
        let silent = heard.record.is_none() && !heard.results && heard.request.is_none();
        if !silent || was_started(&active) {
            continue;
        }
        if let Verdict::Ended(end) = judge(&active, RESUME, GRACE, patience(heard)) {
            let of_the_program = [
                AttemptEnd::Completed,
                AttemptEnd::Failed,
                AttemptEnd::ResumeRequested,
            ];
            assert!(!of_the_program.contains(&end), "{active:#?}");
        }
    }
}

#[test]
fn that_no_record_came_in_time_proves_nothing() {
    for active in all_evidence() {
        if active.evidence.record.is_some() || active.evidence.reading.is_some() {
            continue;
        }
        let much_later = HEARD.after(Duration::from_secs(1_000_000));
        let verdict = judge(&active, RESUME, GRACE, much_later);
        assert!(!matches!(verdict, Verdict::Ended(_)), "{active:#?}");
    }
}

#[test]
fn every_wait_has_an_end() {
    for active in all_evidence() {
        let end = patience(&active.evidence);
        match judge(&active, RESUME, GRACE, end) {
            Verdict::Until(_) => panic!("{active:#?}"),
            // Then they are read.
            Verdict::Unread(due) => assert_eq!(due, end),
            Verdict::Undecided | Verdict::Ended(_) => {}
        }
    }
}

#[test]
fn results_are_never_turned_into_anything_but_success() {
    for active in all_evidence() {
        let end = patience(&active.evidence);
        if active.evidence.results
            && let Verdict::Ended(end) = judge(&active, RESUME, GRACE, end)
        {
            assert_eq!(end, AttemptEnd::Completed, "{active:#?}");
        }
    }
}
