//! Decisions of the machine on the scheduler's reports about an attempt, and the sentences for people.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use cu_core::machine::{Action, Event, LONGEST_READING, SCHEDULER_GRACE};
use cu_core::{JobState, Level, Policy};
use cu_protocol::{Attempt, ExitRecord, Failure, Message, OutputChange, ProgramEnd};
use cu_scheduler::{ClusterState, EndCause, Observation};
use world::{
    ATTEMPT, JOB, World, cluster_job, ended, held, observed, queued, record, running, warns,
};

#[test]
fn a_hold_is_reported_before_and_after_the_start() {
    for runs_before in [false, true] {
        let mut world = World::submitted();
        if runs_before {
            world.starts();
            assert_eq!(world.job(JOB).state(), JobState::Running);
        }
        assert!(warns(&world.is(held())));
        assert_eq!(world.job(JOB).state(), JobState::Queued);
        let why = world.why();
        assert!(
            why.contains("held by the scheduler (JobHeldAdmin); it waits until the hold ends"),
            "{why}"
        );
    }
}

#[test]
fn a_hold_that_is_heard_of_first_stays_one() {
    let mut world = World::submitted();
    world.is(held());
    world.starts();
    let record = killed(&world);
    world.says(Message::Ended(record));
    assert_eq!(world.job(JOB).state(), JobState::Queued);
    assert!(world.why().contains("is held"), "{}", world.why());
}

#[test]
fn a_return_to_the_queue_is_reported_once() {
    let mut world = World::submitted();
    world.starts();
    world.is(running());
    assert!(warns(&world.is(queued())));
    assert_eq!(world.job(JOB).state(), JobState::Queued);
    let why = world.why();
    assert!(
        why.contains("back into the queue by the scheduler (BeginTime)"),
        "{why}"
    );
    // A new reason is not a new notice.
    assert!(!warns(&world.is(ClusterState::Queued { reason: None })));
}

#[test]
fn a_late_queued_report_is_not_a_return_to_the_queue() {
    let mut world = World::submitted();
    world.starts();
    assert!(!warns(&world.is(queued())));
    assert_eq!(world.job(JOB).state(), JobState::Running);
    assert!(world.why().contains("runs on n1"), "{}", world.why());
}

#[test]
fn an_unknown_state_is_reported_and_changes_nothing() {
    let mut world = World::submitted();
    world.starts();
    let before = world.why();
    world.is(ClusterState::Unknown {
        reason: "SPECIAL_EXIT".to_owned(),
    });
    assert_eq!(world.job(JOB).state(), JobState::Running);
    let why = world.why();
    assert!(
        why.contains("can't tell") && why.contains("(SPECIAL_EXIT)"),
        "{why}"
    );
    world.pass(Duration::from_secs(1_000_000));
    assert_eq!(world.job(JOB).state(), JobState::Running);
    world.is(running());
    assert_eq!(world.why(), before);
}

fn warning(text: &str) -> Action {
    Action::Notify {
        job: JOB,
        level: Level::Warning,
        text: text.to_owned(),
        limit: None,
    }
}

fn killed(world: &World) -> ExitRecord {
    ExitRecord {
        started: Some(world.now),
        ..record(world, ProgramEnd::Signaled(9))
    }
}

#[test]
fn the_scheduler_is_asked_why_a_program_was_killed() {
    let mut world = World::submitted();
    world.starts();
    let record = killed(&world);
    let actions = world.says(Message::Ended(record));
    let (job, attempt) = (JOB, ATTEMPT);
    assert!(
        actions.contains(&Action::Observe { job, attempt }),
        "{actions:?}"
    );
    assert!(
        world
            .why()
            .contains("the scheduler may report why it ended"),
        "{}",
        world.why()
    );
    world.is(ended(EndCause::Preempted));
    assert_eq!(world.job(JOB).state(), JobState::Waiting);
}

#[test]
fn a_node_that_leaves_no_message_may_not_see_the_run_directory() {
    for (last_words, is_told) in [(None, true), (Some("module: not found".to_owned()), false)] {
        let mut world = World::submitted();
        world.hears(Event::Observed {
            attempt: ATTEMPT,
            observation: {
                let mut seen = Observation::new(cluster_job(ATTEMPT), ended(EndCause::Exited(1)));
                seen.host = Some("n7".to_owned());
                seen
            },
        });
        world.pass(Policy::default().record_grace);
        world.hears(Event::RecordsRead {
            attempt: ATTEMPT,
            begun: world.now,
            started: false,
            last_words,
        });
        let why = world.why();
        let words = "perhaps n7 does not see the run directory";
        assert_eq!(why.contains(words), is_told, "{why}");
    }
}

#[test]
fn a_suspended_attempt_is_told_as_that() {
    let mut world = World::submitted();
    world.starts();
    world.is(running());
    assert!(!warns(&world.is(ClusterState::Suspended)));
    let why = world.why();
    assert!(why.contains("is suspended on n1"), "{why}");
    assert_eq!(world.job(JOB).state(), JobState::Running);
    world.is(running());
    assert!(world.why().contains("runs on n1"), "{}", world.why());
}

fn unknown() -> ClusterState {
    ClusterState::Unknown {
        reason: "the controller is away".to_owned(),
    }
}

#[test]
fn a_kill_is_no_failure_while_the_scheduler_can_not_tell() {
    let mut world = World::submitted();
    world.starts();
    world.is(running());
    let record = killed(&world);
    world.says(Message::Ended(record));
    world.is(unknown());
    world.pass(SCHEDULER_GRACE * 100);
    assert_eq!(world.job(JOB).state(), JobState::Running);
    let why = world.why();
    assert!(
        why.contains("killed by SIGKILL") && why.contains("(the controller is away)"),
        "{why}"
    );
    // It is back, and has not heard of the end yet: it has all the time again.
    world.is(running());
    world.pass(SCHEDULER_GRACE - Duration::from_millis(1));
    assert_eq!(world.job(JOB).state(), JobState::Running);
    world.is(ended(EndCause::NodeFailure));
    assert!(world.why().contains("lost its node"), "{}", world.why());
}

#[test]
fn a_killed_program_whose_job_the_scheduler_forgot_is_lost() {
    let mut world = World::submitted();
    world.starts();
    let record = killed(&world);
    world.says(Message::Ended(record));
    world.is(ClusterState::Gone);
    assert_eq!(world.job(JOB).state(), JobState::Waiting);
    assert!(world.why().contains("was lost"), "{}", world.why());
}

#[test]
fn a_time_limit_without_a_record_is_not_stuck() {
    let mut world = World::submitted();
    for number in 0..10 {
        let attempt = Attempt(number);
        world.hears(Event::Submitted {
            attempt,
            cluster_job: cluster_job(attempt),
        });
        world.hears(observed(attempt, ended(EndCause::TimeLimit)));
        world.pass(Policy::default().record_grace);
        let begun = world.now;
        world.hears(Event::RecordsRead {
            attempt,
            begun,
            started: false,
            last_words: None,
        });
        world.pass(Policy::default().backoff_max);
        assert_eq!(
            world.job(JOB).next_attempt,
            Attempt(number + 2),
            "{}",
            world.why()
        );
    }
}

const READ: Action = Action::ReadRecords {
    job: JOB,
    attempt: ATTEMPT,
};

#[test]
fn files_are_read_before_a_missing_record_counts() {
    let grace = Policy::default().record_grace;
    let mut world = World::submitted();
    world.starts();
    let before = world.now;
    assert!(world.is(ended(EndCause::NodeFailure)).contains(&READ));
    // An earlier reading does not count: they are read again.
    world.hears(Event::RecordsRead {
        attempt: ATTEMPT,
        begun: world.now,
        started: true,
        last_words: None,
    });
    assert!(
        world.why().contains("then its files are read"),
        "{}",
        world.why()
    );
    assert!(world.pass(grace * 10).contains(&READ));
    assert!(world.why().contains("are being read"), "{}", world.why());
    world.hears(Event::RecordsRead {
        attempt: ATTEMPT,
        begun: before,
        started: true,
        last_words: None,
    });
    assert!(
        world.job(JOB).active().is_some(),
        "that reading began too early"
    );
    let mut record = killed(&world);
    record.end = ProgramEnd::Exited(0);
    world.hears(Event::RecordFound {
        attempt: ATTEMPT,
        record,
    });
    assert_eq!(world.job(JOB).state(), JobState::Completed);
}

#[test]
fn a_hung_reading_of_files_does_not_block_the_job() {
    let mut world = World::submitted();
    world.is(ended(EndCause::NodeFailure));
    world.pass(Policy::default().record_grace);
    world.pass(LONGEST_READING - Duration::from_millis(1));
    assert!(world.job(JOB).active().is_some());
    world.pass(Duration::from_millis(1));
    assert!(world.why().contains("lost its node"), "{}", world.why());
}

#[test]
fn a_traceback_is_one_line_in_why_and_whole_in_history() {
    let mut world = World::submitted();
    world.starts();
    let text = "Traceback (most recent call last):\n  File \"train.py\", line 1\nValueError: no\n";
    world.says(Message::Failed(Failure {
        text: text.to_owned(),
    }));
    let record = record(&world, ProgramEnd::Exited(1));
    world.hears(Event::RecordFound {
        attempt: ATTEMPT,
        record,
    });
    let expected =
        "attempt 0 failed (its program exited with code 1, after it reported: ValueError: no)";
    assert_eq!(world.why(), expected);
    let detail = world.ended[0].detail.as_deref().expect("a detail");
    let whole = format!("after it reported: {})", text.trim_end());
    assert!(detail.ends_with(&whole), "{detail}");
}

#[test]
fn a_refusal_of_several_lines_becomes_one_line() {
    let mut world = World::submitting(Policy::default());
    world.hears(Event::SubmitRejected {
        attempt: ATTEMPT,
        reason: "sbatch: error: no\n  sbatch: error: never\n".to_owned(),
        is_final: false,
    });
    let expected =
        "attempt 0 was refused by the scheduler: sbatch: error: no / sbatch: error: never";
    assert_eq!(world.why(), expected);
}

#[test]
fn a_delay_is_reported_once_per_submission() {
    let mut world = World::submitting(Policy::default());
    let delayed = |reason: &str| Event::SubmitDelayed {
        attempt: ATTEMPT,
        reason: reason.to_owned(),
        retry_after: None,
    };
    let notice = warning("attempt 0 can't be submitted now: a; it is tried again");
    assert_eq!(world.hears(delayed("a")), [notice]);
    for _ in 0..3 {
        world.pass(Duration::from_secs(600));
        assert_eq!(world.hears(delayed("b")), []);
    }
    world.pass(Duration::from_secs(600));
    world.hears(Event::Submitted {
        attempt: ATTEMPT,
        cluster_job: cluster_job(ATTEMPT),
    });
    world.is(ended(EndCause::Preempted));
    world.pass(Duration::from_secs(600));
    world.hears(Event::RecordsRead {
        attempt: ATTEMPT,
        begun: world.now,
        started: true,
        last_words: None,
    });
    world.pass(Duration::from_secs(600));
    let later = Event::SubmitDelayed {
        attempt: Attempt(1),
        reason: "c".to_owned(),
        retry_after: None,
    };
    assert!(warns(&world.hears(later)));
}

#[test]
fn repeatedly_lost_submission_backs_off_and_keeps_its_error() {
    let mut world = World::submitting(Policy::default());
    let mut told = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..4 {
        told.extend(world.hears(Event::SubmitUncertain {
            attempt: ATTEMPT,
            reason: "sbatch: Segmentation fault".to_owned(),
        }));
        assert!(
            world.why().contains("Segmentation fault"),
            "{}",
            world.why()
        );
        told.extend(world.hears(Event::NotFound { attempt: ATTEMPT }));
        assert!(
            world.why().contains("Segmentation fault"),
            "{}",
            world.why()
        );
        let due = world.machine.next_deadline().expect("it is tried again");
        waits.push(due.since(world.now).as_secs());
        world.pass(due.since(world.now));
    }
    assert_eq!(waits, [0, 2, 4, 8]);
    told.retain(|action| matches!(action, Action::Notify { .. }));
    let expected =
        warning("attempt 0 was not submitted: sbatch: Segmentation fault; it is tried again");
    assert_eq!(told, [expected]);
}

#[test]
fn not_found_after_the_end_is_ignored() {
    let mut world = World::submitting(Policy::default());
    world.hears(Event::SubmitUncertain {
        attempt: ATTEMPT,
        reason: "timed out".to_owned(),
    });
    world.starts();
    let record = ExitRecord {
        end: ProgramEnd::Exited(3),
        output_changed: OutputChange::Changed,
        ..killed(&world)
    };
    world.says(Message::Ended(record));
    assert_eq!(world.job(JOB).state(), JobState::Waiting, "{}", world.why());
    assert_eq!(world.hears(Event::NotFound { attempt: ATTEMPT }), []);
}
