//! The sentences that people read about a job, and the orders that they may give.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::machine::{Action, Event, Job, Machine, Order, orders, why};
use cu_core::{ExitRules, Limit, Policy};
use cu_protocol::{JobId, Message, OperatorRequest, Selection, Sequence, Timestamp, Waiting, Wish};
use world::{ATTEMPT, JOB, World, cluster_job, queued, running, warns};

fn five_an_hour() -> Policy {
    Policy::default().with(|policy| {
        policy.submissions_per_hour = NonZeroU32::new(5).expect("5 is not 0");
    })
}

#[test]
fn a_scheduler_limit_counts_neither_as_setback_nor_submission() {
    let mut world = World::submitting(five_an_hour());
    for _ in 0..20 {
        world.hears(Event::SubmitDelayed {
            attempt: ATTEMPT,
            reason: "QOSMaxSubmitJobPerUserLimit".to_owned(),
            retry_after: Some(Duration::from_secs(60)),
        });
        let due = world.machine.next_deadline().expect("it is tried again");
        assert_eq!(due.since(world.now).as_secs(), 60, "{}", world.why());
        world.pass(due.since(world.now));
    }
    assert_eq!(world.job(JOB).setbacks, 0);
    assert_eq!(world.job(JOB).window.submissions, 1);
}

#[test]
fn continue_before_the_start_withdraws_the_pause() {
    let wish = |world: &World| world.job(JOB).active().expect("an attempt").wish;
    let mut world = World::submitted();
    world.hears(Event::Ordered(Order::Pause));
    assert_eq!(wish(&world), Some(Wish::CheckpointAndExit));
    let expected = "attempt 0 is queued; it will be asked to save and exit as soon as it reports";
    assert_eq!(world.why(), expected);
    world.hears(Event::Ordered(Order::Continue));
    assert_eq!(wish(&world), None);
    // A running attempt has received the wish, which can't be taken back.
    world.starts();
    world.hears(Event::Ordered(Order::Pause));
    world.hears(Event::Ordered(Order::Continue));
    assert_eq!(wish(&world), Some(Wish::CheckpointAndExit));
}

#[test]
fn only_a_running_job_can_be_told_to_checkpoint() {
    let request = OperatorRequest::Checkpoint(Selection::All);
    let orders = |world: &World| orders(world.machine.jobs(), &request).expect("all exist");
    let mut world = World::submitted();
    world.is(queued());
    assert_eq!(orders(&world), []);
    world.starts();
    assert_eq!(orders(&world), [(JOB, Order::Checkpoint)]);
}

#[test]
fn waiting_for_room_names_the_limit() {
    let second = JobId(1);
    let sentence = |max_submitted| {
        let jobs = [JOB, second]
            .map(|id| Job::new(id, ExitRules::default()))
            .into();
        let policy = Policy::default().with(|policy| {
            policy.max_submitted = std::num::NonZeroU32::new(max_submitted);
        });
        let machine = Machine::new(jobs, policy);
        why(&machine.jobs()[1], machine.policy())
    };
    let next = "it has not been submitted yet; attempt 0 is submitted next";
    let unlimited = sentence(0);
    assert_eq!((unlimited.sentence.as_str(), unlimited.limit), (next, None));
    let room = "as soon as there is room: at most 1 may be queued or running at a time";
    let limited = sentence(1);
    assert_eq!(limited.sentence, format!("{next}, {room}"));
    assert_eq!(limited.limit, Some(Limit::MaxSubmitted(1)));
}

#[test]
fn cancel_before_the_submit_answer_claims_no_cluster_end() {
    let mut world = World::submitting(five_an_hour());
    world.hears(Event::Ordered(Order::Stop));
    let expected = "`cu stop` cancelled it; it is not known yet whether the scheduler has attempt 0; \
                    if it does, it is asked to end it";
    assert_eq!(world.why(), expected);
    let cancelled = world.hears(Event::Submitted {
        attempt: ATTEMPT,
        cluster_job: cluster_job(ATTEMPT),
    });
    assert!(matches!(
        cancelled[..],
        [
            Action::Tell { .. },
            Action::Withdraw { .. },
            Action::Cancel { .. }
        ]
    ));
    assert!(
        world
            .why()
            .contains("the scheduler was asked to end attempt 0"),
        "{}",
        world.why()
    );
}

#[test]
fn a_fenced_wait_is_reported_once_and_shown_until_the_start() {
    let waiting = |reason: &str| Event::Said {
        attempt: ATTEMPT,
        sequence: Sequence(0),
        message: Message::Waiting(Waiting {
            host: "n1".to_owned(),
            reason: reason.to_owned(),
            until: Timestamp::from_millis(1_700_000_900_000),
        }),
    };
    let mut world = World::submitted();
    world.is(running());
    assert!(warns(&world.hears(waiting("attempt 7 lives"))));
    assert!(!warns(&world.hears(waiting("attempt 7 lives"))));
    assert!(warns(&world.hears(waiting("attempt 8 lives"))));
    let why = world.why();
    for words in [
        "waits on n1",
        "attempt 8 lives",
        "not before 2023-11-14T22:28:20Z",
        "resumed",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    world.starts();
    assert!(world.why().contains("runs on n1"), "{}", world.why());
    // A late message of another supervisor of the same attempt.
    assert!(!warns(&world.hears(waiting("attempt 8 lives"))));
    assert!(world.why().contains("runs on n1"), "{}", world.why());
}
