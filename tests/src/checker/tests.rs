//! A good history has no violation, and the checker finds and names every forgery.

use cu_core::machine::Event;
use cu_core::{AttemptEnd, AttemptReport, JobReport, JobState, RecordedEvent};
use cu_protocol::{Attempt, Envelope, JobId, Message, Metrics, ResumeRequest, Sequence, Timestamp};
use cu_scheduler::ClusterJobId;

use super::{Violation, check};
use crate::history::History;
use crate::steps::{Entry, Kind};

const JOB: JobId = JobId(7);
const STEPS: u64 = 2;

fn entry(kind: Kind, attempt: u32, number: u64, begin: u64) -> Entry {
    Entry {
        kind,
        attempt,
        number,
        begin,
        end: begin + 10,
    }
}

fn event(event: Event) -> RecordedEvent {
    RecordedEvent {
        at: Timestamp::from_millis(0),
        job: JOB,
        event,
    }
}

fn said(attempt: u32, message: Message) -> RecordedEvent {
    event(Event::Said {
        attempt: Attempt(attempt),
        sequence: Sequence(1),
        message,
    })
}

fn submitted(attempt: u32, id: &str) -> RecordedEvent {
    event(Event::Submitted {
        attempt: Attempt(attempt),
        cluster_job: ClusterJobId(id.to_owned()),
    })
}

fn report(attempt: u32, end: AttemptEnd, exit_code: i32) -> AttemptReport {
    let mut report = AttemptReport::new(Attempt(attempt), Timestamp::from_millis(0));
    (report.end, report.exit_code) = (Some(end), Some(exit_code));
    report
}

fn metrics(sum: i64) -> Metrics {
    Metrics::from([("sum".to_owned(), sum.into())])
}

/// One job with two steps and two attempts, without a violation.
fn good() -> History {
    let mut job = JobReport::new(JOB, JobState::Completed);
    job.metrics = metrics(3);
    job.attempts = vec![
        report(0, AttemptEnd::ResumeRequested, 3),
        report(1, AttemptEnd::Completed, 0),
    ];
    let steps = vec![
        entry(Kind::Loaded, 0, 0, 0),
        entry(Kind::Step, 0, 1, 10),
        entry(Kind::Saved, 0, 1, 20),
        entry(Kind::Loaded, 1, 1, 40),
        entry(Kind::Step, 1, 2, 50),
        entry(Kind::Results, 1, 3, 60),
    ];
    History {
        events: vec![
            submitted(0, "local-1"),
            said(0, Message::ResumeRequest(ResumeRequest::default())),
            submitted(1, "local-2"),
            said(1, Message::Results(metrics(3))),
        ],
        jobs: vec![job],
        steps: [(JOB, steps)].into(),
        undelivered: Vec::new(),
    }
}

/// The messages of the checker after `forge`.
fn found(forge: impl FnOnce(&mut History)) -> Vec<String> {
    let mut history = good();
    forge(&mut history);
    let violations = check(&history, STEPS);
    violations.iter().map(Violation::to_string).collect()
}

fn steps(history: &mut History) -> &mut Vec<Entry> {
    history.steps.get_mut(&JOB).unwrap()
}

#[test]
fn a_good_history_has_no_violation() {
    assert_eq!(check(&good(), STEPS), []);
}

#[test]
fn overlapping_attempts_are_found() {
    let found = found(|history| steps(history)[3].begin = 25);
    assert_eq!(found, ["job 7: attempts 0 and 1 overlap by 5 ns"]);
}

#[test]
fn a_second_start_of_an_attempt_is_found() {
    let found = found(|history| {
        let again = entry(Kind::Loaded, 1, 1, 45);
        steps(history).insert(4, again);
    });
    assert_eq!(found, ["job 7: attempt 1 was started 2 times"]);
}

#[test]
fn a_second_submission_of_an_attempt_is_found() {
    let found = found(|history| history.events.push(submitted(1, "local-3")));
    let expected = "job 7: attempt 1 was submitted as local-2 and as local-3";
    assert_eq!(found, [expected]);
}

#[test]
fn a_lost_step_is_found() {
    let nobody = found(|history| {
        steps(history).remove(4);
    });
    assert_eq!(nobody, ["job 7: step 2 was lost: no attempt did it"]);
    let forgotten = found(|history| steps(history)[3].number = 0);
    assert_eq!(forgotten, ["job 7: step 1 was lost: it was skipped"]);
    let unsaved = found(|history| {
        steps(history).remove(2);
    });
    let expected = "job 7: step 1 was lost: it was loaded, but never saved";
    assert_eq!(unsaved, [expected]);
}

#[test]
fn a_step_done_twice_is_found() {
    let found = found(|history| {
        steps(history)[3].number = 0;
        let again = entry(Kind::Step, 1, 1, 45);
        steps(history).insert(4, again);
    });
    let expected = "job 7: attempt 1 repeated step 1, which a checkpoint contained";
    assert_eq!(found, [expected]);
}

#[test]
fn a_step_that_no_checkpoint_held_may_be_done_twice() {
    let found = found(|history| {
        steps(history).remove(2);
        steps(history)[2].number = 0;
        let again = entry(Kind::Step, 1, 1, 45);
        steps(history).insert(3, again);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_job_that_is_not_settled_exactly_once_is_found() {
    let not = "job 7 is not settled exactly once: ";
    let running = found(|history| history.jobs[0].state = JobState::Running);
    assert_eq!(running, [format!("{not}it is Running: ")]);
    let failed = found(|history| history.jobs[0].state = JobState::Failed);
    assert_eq!(failed, [format!("{not}attempt 1 completed it")]);
    let twice = found(|history| {
        history.jobs[0].attempts[0].end = Some(AttemptEnd::Completed);
    });
    assert_eq!(twice, [format!("{not}attempt 0 was not the last")]);
    let nobody = found(|history| {
        history.jobs[0].attempts[1].end = Some(AttemptEnd::Lost);
    });
    assert_eq!(nobody, [format!("{not}no attempt completed it")]);
    let open = found(|history| history.jobs[0].attempts[0].end = None);
    assert_eq!(open, [format!("{not}attempt 0 has no end")]);
    let missing = found(|history| {
        history.jobs[0].attempts.remove(0);
    });
    assert_eq!(missing, [format!("{not}attempt 0 is missing")]);
}

#[test]
fn a_lost_message_is_found() {
    let request = found(|history| {
        history.events.remove(1);
    });
    let expected = "job 7: the resume request of attempt 0: acknowledged, but recorded nowhere";
    assert_eq!(request, [expected]);
    let results = found(|history| {
        history.events.remove(3);
    });
    let expected = "job 7: the results of attempt 1: acknowledged, but recorded nowhere";
    assert_eq!(results, [expected]);
}

#[test]
fn a_message_in_the_outbox_is_not_lost() {
    let found = found(|history| {
        history.events.remove(1);
        history.undelivered.push(Envelope {
            job: JOB,
            attempt: Attempt(0),
            sequence: Sequence(1),
            message: Message::ResumeRequest(ResumeRequest::default()),
        });
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn results_that_differ_from_the_delivered_ones_are_found() {
    let recorded = found(|history| history.jobs[0].metrics = metrics(4));
    let one = |found: &[String]| found.len() == 1 && found[0].ends_with("is recorded");
    assert!(one(&recorded), "{recorded:?}");
    let delivered = found(|history| steps(history)[5].number = 4);
    assert!(one(&delivered), "{delivered:?}");
}
