//! Decisions of the machine about a job, one case at a time.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::machine::{Action, Event, LateWord, Order, Outcome, Phase, why};
use cu_core::{JobState, Limit, Policy};
use cu_protocol::{
    Attempt, JobId, LeftBehind, Message, Metrics, OutputChange, ProgramEnd, ResumeRequest,
    Sequence, StopCause,
};
use cu_scheduler::{ClusterState, EndCause};
use world::{World, cluster_job, ended, exits, held, observed, record, started, warns};

#[test]
fn a_resume_needs_the_request_and_the_end() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let request = Event::Said {
        attempt,
        sequence: Sequence(1),
        message: Message::ResumeRequest(ResumeRequest::default()),
    };
    world.happens(id, &request);
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.job(id).active().expect("it runs").attempt, attempt);
    exits(&mut world, id, attempt, 3, true);
    let actions = world.pass(Duration::ZERO);
    let submitted = actions.iter().any(
        |action| matches!(action, Action::Submit { job, attempt, .. } if *job == id && attempt.0 == 1),
    );
    assert!(submitted, "{actions:?}");
}

#[test]
fn resumes_without_progress_end_after_three() {
    let mut world = World::with_room();
    let id = JobId(0);
    for number in 0..3 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        assert_eq!(attempt, Attempt(number));
        exits(&mut world, id, attempt, 3, false);
    }
    let job = world.job(id);
    assert_eq!(job.state(), JobState::Failed);
    let Phase::Settled { why, .. } = &job.phase else {
        panic!("it has failed")
    };
    assert!(
        why.contains("gave up: 3 attempts in a row changed no file"),
        "{why}"
    );
}

#[test]
fn an_unknown_change_of_the_output_counts_as_progress() {
    let mut world = World::with_room();
    let id = JobId(0);
    for _ in 0..20 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        let unknown = OutputChange::Unknown("looking through it took longer than 5s".to_owned());
        exits(&mut world, id, attempt, 3, unknown);
        let Phase::Waiting { reason, .. } = &world.job(id).phase else {
            panic!("{:?}", world.job(id).phase)
        };
        let words = "could not tell whether its output directory changed: looking through it took";
        assert!(reason.contains(words), "{reason}");
    }
    // Nor does an end without a record count as one without progress.
    for _ in 0..20 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        let request = Event::Said {
            attempt,
            sequence: Sequence(1),
            message: Message::ResumeRequest(ResumeRequest::default()),
        };
        world.happens(id, &request);
        world.happens(id, &observed(attempt, ClusterState::Gone));
        world.pass(Duration::from_secs(600));
        world.pass(Duration::from_secs(600));
        assert!(
            !world.job(id).state().is_settled(),
            "{:?}",
            world.job(id).phase
        );
    }
    for _ in 0..3 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        exits(&mut world, id, attempt, 3, false);
    }
    assert_eq!(world.job(id).state(), JobState::Failed);
}

#[test]
fn resumes_with_progress_never_end() {
    let mut world = World::with_room();
    let id = JobId(0);
    for number in 0..200 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        assert_eq!(attempt, Attempt(number));
        exits(&mut world, id, attempt, 3, true);
    }
    assert_eq!(world.job(id).state(), JobState::Waiting);
}

#[test]
fn the_cap_of_an_hour_holds_even_with_progress() {
    let mut world = World::with_room();
    let id = JobId(0);
    for _ in 0..20 {
        world.pass(Duration::ZERO);
        let attempt = started(&mut world, id);
        exits(&mut world, id, attempt, 3, true);
    }
    let actions = world.pass(Duration::from_secs(3000));
    let submits = |actions: &[Action]| {
        actions
            .iter()
            .any(|action| matches!(action, Action::Submit { job, .. } if *job == id))
    };
    assert!(!submits(&actions), "the 21st of the hour was submitted");
    assert!(submits(&world.pass(Duration::from_secs(700))));
}

/// The grace passes, and the files that are read then hold no record.
fn has_no_record(world: &mut World, id: JobId, attempt: Attempt) {
    world.pass(Duration::from_secs(5));
    let begun = world.now;
    let read = Event::RecordsRead {
        attempt,
        begun,
        started: false,
        last_words: None,
    };
    world.happens(id, &read);
}

/// Attempt 0 counts as lost, and the intent to submit attempt 1 is recorded.
fn given_up(world: &mut World, id: JobId) -> Attempt {
    let attempt = started(world, id);
    world.happens(id, &observed(attempt, ClusterState::Gone));
    has_no_record(world, id, attempt);
    world.pass(Duration::from_secs(600));
    attempt
}

fn says(attempt: Attempt, message: Message) -> Event {
    Event::Said {
        attempt,
        sequence: Sequence(9),
        message,
    }
}

fn delayed(attempt: Attempt) -> Event {
    Event::SubmitDelayed {
        attempt,
        reason: "too many".to_owned(),
        retry_after: None,
    }
}

fn rejected(attempt: Attempt) -> Event {
    Event::SubmitRejected {
        attempt,
        reason: "no such partition".to_owned(),
        is_final: false,
    }
}

fn cancels(actions: &[Action], attempt: Attempt) -> bool {
    let cluster_job = cluster_job(attempt);
    actions.contains(&Action::Cancel { cluster_job })
}

#[test]
fn a_late_success_completes_the_job_after_cancelling_the_next() {
    let mut world = World::with_room();
    let id = JobId(0);
    let first = given_up(&mut world, id);
    let second = started(&mut world, id);
    let actions = world.happens(id, &says(first, Message::Results(Metrics::new())));
    assert!(cancels(&actions, second), "{actions:?}");
    assert_eq!(world.job(id).state(), JobState::Queued, "it may run");
    // It is repeated until it has an effect.
    let actions = world.pass(Duration::from_secs(60));
    assert!(cancels(&actions, second), "{actions:?}");
    exits(&mut world, id, second, 143, false);
    let Phase::Settled { outcome, why, .. } = &world.job(id).phase else {
        panic!("{:?}", world.job(id))
    };
    assert_eq!(*outcome, Outcome::Completed);
    assert!(
        why.starts_with("attempt 0, which had been given up"),
        "{why}"
    );
}

#[test]
fn a_late_success_waits_for_the_answer_to_a_submission() {
    let mut world = World::with_room();
    let id = JobId(0);
    let first = given_up(&mut world, id);
    let results = Metrics::from([("loss".to_owned(), 0.5.into())]);
    world.happens(id, &says(first, Message::Results(results.clone())));
    assert_eq!(world.job(id).state(), JobState::Queued);
    let early = Metrics::from([("loss".to_owned(), 0.9.into())]);
    let second = first.next();
    let cluster_job = cluster_job(second);
    let submitted = Event::Submitted {
        attempt: second,
        cluster_job,
    };
    let actions = world.happens(id, &submitted);
    assert!(cancels(&actions, second), "{actions:?}");
    world.happens(id, &says(second, Message::EarlyMetrics(early)));
    exits(&mut world, id, second, 143, false);
    assert_eq!(world.job(id).state(), JobState::Completed);
    assert_eq!(*world.job(id).metrics, results);
}

#[test]
fn a_late_success_completes_the_job_if_the_next_was_refused() {
    for answer in [delayed(Attempt(1)), rejected(Attempt(1))] {
        let mut world = World::with_room();
        let id = JobId(0);
        let first = given_up(&mut world, id);
        world.happens(id, &says(first, Message::Results(Metrics::new())));
        world.happens(id, &answer);
        assert_eq!(world.job(id).state(), JobState::Completed, "{answer:?}");
    }
}

#[test]
fn a_cancellation_by_a_person_ends_the_chain() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let cancelled = ended(EndCause::Cancelled);
    world.happens(id, &observed(attempt, cancelled));
    has_no_record(&mut world, id, attempt);
    assert_eq!(world.job(id).state(), JobState::Cancelled);
}

#[test]
fn a_removal_by_the_cluster_resumes_within_its_budget() {
    for (most, allowed) in [(3, ", 3 are allowed; "), (1, ", 1 is allowed; ")] {
        let mut world = World::with(Policy::default().with(|policy| {
            policy.stuck_after = NonZeroU32::new(100).expect("above 0");
            policy.removals = most;
        }));
        let id = JobId(0);
        for number in 0..=most {
            world.pass(Duration::from_secs(600));
            let attempt = started(&mut world, id);
            assert_eq!(attempt, Attempt(number));
            // It asked to be resumed after the signal of the removal, and had saved nothing new.
            let mut asked = record(&world, ProgramEnd::Exited(3));
            asked.stop = Some(StopCause::Signal(15));
            asked.output_changed = OutputChange::Unchanged;
            let record = asked;
            world.happens(id, &Event::RecordFound { attempt, record });
            let actions = world.happens(id, &observed(attempt, ended(EndCause::Removed)));
            assert!(warns(&actions) || number == most, "{actions:?}");
        }
        let job = world.job(id);
        assert_eq!(job.state(), JobState::Failed);
        let why = why(job, world.machine.policy());
        assert_eq!(why.limit, Some(Limit::Removals(most)));
        let words = "the scheduler reports: in its own words";
        assert_eq!(why.sentence.matches(words).count(), 1, "{why:?}");
        assert!(why.sentence.contains(allowed), "{why:?}");
    }
}

#[test]
fn a_removal_that_always_finds_nothing_saved_ends() {
    let mut world = World::with_room();
    let id = JobId(0);
    for _ in 0..3 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        world.happens(id, &observed(attempt, ended(EndCause::Removed)));
        exits(&mut world, id, attempt, 143, false);
    }
    assert_eq!(world.job(id).state(), JobState::Failed);
}

#[test]
fn a_persons_hold_stays_until_released() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let mut record = record(&world, ProgramEnd::Exited(3));
    record.stop = Some(StopCause::Signal(15));
    world.happens(id, &Event::RecordFound { attempt, record });
    world.happens(id, &observed(attempt, held()));
    world.pass(Duration::from_secs(100_000));
    assert_eq!(world.job(id).active().map(|it| it.attempt), Some(attempt));
    let sentence = why(world.job(id), world.machine.policy()).sentence;
    assert!(sentence.contains("is held"), "{sentence}");
    world.happens(id, &observed(attempt, ended(EndCause::Preempted)));
    world.pass(Duration::from_secs(600));
    assert_eq!(started(&mut world, id), attempt.next());
}

#[test]
fn no_later_order_takes_a_cancellation_back() {
    for order in [
        Order::Continue,
        Order::Pause,
        Order::Checkpoint,
        Order::Retry,
    ] {
        let mut world = World::with_room();
        let id = JobId(0);
        let attempt = started(&mut world, id);
        world.happens(id, &Event::Ordered(Order::Stop));
        assert_eq!(world.happens(id, &Event::Ordered(order)), [], "{order:?}");
        exits(&mut world, id, attempt, 3, true);
        assert_eq!(world.job(id).state(), JobState::Cancelled, "{order:?}");
    }
}

#[test]
fn cancel_while_submitting_holds_whatever_the_answer() {
    for answer in [delayed(Attempt(0)), rejected(Attempt(0))] {
        let mut world = World::with_room();
        let id = JobId(0);
        world.happens(id, &Event::Ordered(Order::Stop));
        world.happens(id, &answer);
        assert_eq!(world.job(id).state(), JobState::Cancelled, "{answer:?}");
    }
}

#[test]
fn a_repeated_message_is_recorded_once() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let metrics = Metrics::from([("loss".to_owned(), f64::NAN.into())]);
    let said = says(attempt, Message::EarlyMetrics(metrics));
    for times in 1..3 {
        world.happens(id, &said);
        let recorded = world.recorded.iter().filter(|(.., event)| *event == said);
        assert_eq!(recorded.count(), 1, "said {times} times");
    }
}

#[test]
fn a_late_submission_answer_changes_nothing() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let before = world.job(id).clone();
    for late in [
        delayed(attempt),
        rejected(attempt),
        Event::NotFound { attempt },
    ] {
        world.happens(id, &late);
        assert_eq!(*world.job(id), before, "{late:?}");
    }
}

#[test]
fn a_retry_gives_a_failed_job_fresh_budgets() {
    let mut world = World::with_room();
    let id = JobId(0);
    for _ in 0..2 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        exits(&mut world, id, attempt, 1, false);
    }
    assert_eq!(world.job(id).state(), JobState::Failed);
    world.happens(id, &Event::Ordered(Order::Retry));
    world.pass(Duration::ZERO);
    let attempt = started(&mut world, id);
    assert_eq!(attempt, Attempt(2), "numbers go on");
    exits(&mut world, id, attempt, 0, false);
    assert_eq!(world.job(id).state(), JobState::Completed);
}

#[test]
fn only_files_that_may_hold_something_new_are_read() {
    let mut world = World::with_room();
    let id = JobId(0);
    let read = |world: &World| world.job(id).to_be_read().collect::<Vec<_>>();
    let first = given_up(&mut world, id);
    assert_eq!(read(&world), [first], "the second is being submitted");
    let second = started(&mut world, id);
    world.happens(id, &observed(second, ClusterState::Queued { reason: None }));
    assert_eq!(read(&world), [first], "the second waits in the queue");
    world.happens(id, &observed(second, ClusterState::Running { since: None }));
    assert_eq!(read(&world), [first, second]);
    exits(&mut world, id, first, 143, false);
    assert_eq!(read(&world), [second], "the first has said its last word");
    exits(&mut world, id, second, 0, false);
    assert_eq!(read(&world), []);
}

#[test]
fn processes_left_behind_are_reported_with_the_end() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let left = Message::LeftBehind(LeftBehind {
        host: "n1".to_owned(),
        processes: "7 (sleep)".to_owned(),
    });
    let actions = world.happens(id, &says(attempt, left));
    let is_reported = |action: &Action| matches!(action, Action::Notify { text, .. } if text.contains("7 (sleep)"));
    assert!(actions.iter().any(is_reported), "{actions:?}");
    exits(&mut world, id, attempt, 3, true);
    let Phase::Waiting { reason, .. } = &world.job(id).phase else {
        panic!("{:?}", world.job(id))
    };
    assert!(reason.contains("left processes behind on n1"), "{reason}");
}

#[test]
fn files_of_given_up_attempts_are_read_when_the_job_settles() {
    let mut world = World::with(Policy::default().with(|policy| {
        policy.losses = 20;
        policy.submissions_per_hour = 1000.try_into().expect("not 0");
        policy.max_submitted = None;
    }));
    let id = JobId(0);
    // More than are looked at now and then.
    let given_up: Vec<_> = (0..12)
        .map(|_| {
            world.pass(Duration::from_secs(3600));
            given_up(&mut world, id)
        })
        .collect();
    let last = started(&mut world, id);
    let record = exits(&mut world, id, last, 0, false);
    let read = Action::ReadLate {
        job: id,
        attempts: given_up.clone(),
    };
    assert!(record.contains(&read), "{record:?}");
    let before = world.job(id).clone();
    let results = Metrics::from([("loss".to_owned(), 0.5.into())]);
    world.happens(id, &says(given_up[0], Message::Results(results)));
    let job = world.job(id);
    assert_eq!(job.phase, before.phase, "it stays there");
    assert_eq!(job.metrics, before.metrics);
    let late = job.late.expect("it is recorded");
    assert_eq!((late.attempt, late.said), (given_up[0], LateWord::Results));
    // An attempt with a record reports nothing new.
    let mut after = job.clone();
    world.happens(id, &says(last, Message::Results(Metrics::new())));
    after.late = world.job(id).late;
    assert_eq!(world.job(id), &after);
    assert_eq!(world.job(id).late, Some(late));
}

#[test]
fn a_refusal_in_mid_chain_is_a_delay() {
    let mut world = World::with_room();
    let id = JobId(0);
    let first = started(&mut world, id);
    exits(&mut world, id, first, 3, true);
    world.pass(Duration::ZERO);
    let second = first.next();
    let actions = world.happens(id, &rejected(second));
    assert!(warns(&actions), "{actions:?}");
    for _ in 0..50 {
        world.pass(Duration::from_secs(600));
        let actions = world.happens(id, &rejected(second));
        assert!(!warns(&actions), "each time anew: {actions:?}");
        assert_eq!(world.job(id).state(), JobState::Waiting);
    }
    let why = why(world.job(id), world.machine.policy()).sentence;
    assert!(why.contains("no such partition"), "{why}");
    world.pass(Duration::from_secs(600));
    assert_eq!(started(&mut world, id), second);
    exits(&mut world, id, second, 0, true);
    assert_eq!(world.job(id).state(), JobState::Completed);
}

#[test]
fn a_refusal_that_lasts_is_final() {
    let mut world = World::with_room();
    let id = JobId(0);
    let first = started(&mut world, id);
    exits(&mut world, id, first, 3, true);
    let patience = world.machine.policy().scheduler_patience;
    let begun = world.now;
    while world.job(id).state() != JobState::Failed {
        assert!(world.now.since(begun) <= patience, "it goes on for ever");
        let due = world.machine.next_deadline().expect("it is tried again");
        world.pass(due.since(world.now));
        world.happens(id, &rejected(first.next()));
    }
    assert_eq!(world.now.since(begun), patience);
    let Phase::Settled { why, .. } = &world.job(id).phase else {
        panic!("{:?}", world.job(id))
    };
    assert!(why.contains("no such partition"), "{why}");
}

#[test]
fn a_refusal_by_this_machine_is_final() {
    let mut world = World::with_room();
    let id = JobId(0);
    let first = started(&mut world, id);
    exits(&mut world, id, first, 3, true);
    world.pass(Duration::ZERO);
    let refused = Event::SubmitRejected {
        attempt: first.next(),
        reason: "it asks for 2 CPUs, but this machine offers 1".to_owned(),
        is_final: true,
    };
    world.happens(id, &refused);
    assert_eq!(world.job(id).state(), JobState::Failed);
}

#[test]
fn a_refusal_of_the_first_submission_is_final() {
    let mut world = World::with_room();
    world.happens(JobId(0), &rejected(Attempt(0)));
    assert_eq!(world.job(JobId(0)).state(), JobState::Failed);
}
