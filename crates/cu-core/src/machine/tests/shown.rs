//! Tests of what people are shown, and of what they may ask for.

use super::*;

#[test]
fn a_limit_of_the_scheduler_is_no_setback_and_no_submission_of_the_hour() {
    let mut world = submitting();
    for _ in 0..20 {
        world.happens(Event::SubmitDelayed {
            attempt: ATTEMPT,
            reason: "QOSMaxSubmitJobPerUserLimit".to_owned(),
            retry_after: Some(Duration::from_secs(60)),
        });
        let due = world.machine.next_deadline().expect("it is tried again");
        assert_eq!(due.since(world.now).as_secs(), 60, "{}", world.why());
        world.passes(due.since(world.now));
    }
    assert_eq!(world.job().setbacks, 0);
    assert_eq!(world.job().window.submissions, 1);
}

#[test]
fn who_is_continued_before_its_attempt_has_started_is_not_asked_to_exit() {
    let wish = |world: &World| world.job().active().expect("an attempt").wish;
    let mut world = World::new();
    world.happens(Event::Ordered(Order::Pause));
    assert_eq!(wish(&world), Some(Wish::CheckpointAndExit));
    let expected = "attempt 0 is queued; as soon as it reports, it is asked to checkpoint and exit";
    assert_eq!(world.why(), expected);
    world.happens(Event::Ordered(Order::Continue));
    assert_eq!(wish(&world), None);
    // One that runs was told, and can't be told otherwise.
    world.starts();
    world.happens(Event::Ordered(Order::Pause));
    world.happens(Event::Ordered(Order::Continue));
    assert_eq!(wish(&world), Some(Wish::CheckpointAndExit));
}

#[test]
fn only_what_runs_can_save_and_exit_at_once() {
    let request = OperatorRequest::Checkpoint(Selection::All);
    let orders = |world: &World| orders(world.machine.jobs(), &request).expect("all exist");
    let mut world = World::new();
    world.is(queued());
    assert_eq!(orders(&world), []);
    world.starts();
    assert_eq!(orders(&world), [(JOB, Order::Checkpoint)]);
}

#[test]
fn who_waits_for_room_is_told_so() {
    let second = JobId(1);
    let sentence = |max_submitted| {
        let jobs = vec![Job::new(JOB, 3), Job::new(second, 3)];
        let policy = Policy {
            max_submitted: std::num::NonZeroU32::new(max_submitted),
            ..Policy::default()
        };
        let machine = Machine::new(jobs, policy);
        why(&machine.jobs()[1], machine.policy())
    };
    let next = "it has not been submitted yet; attempt 0 is submitted next";
    assert_eq!(sentence(0), next);
    let room = "as soon as there is room: 1 may be queued or running at a time";
    let expected = format!("{next}, {room} (backend.max_submitted)");
    assert_eq!(sentence(1), expected);
}

#[test]
fn who_is_cancelled_before_the_scheduler_has_answered_is_not_said_to_be_ended_by_it() {
    let mut world = submitting();
    world.happens(Event::Ordered(Order::Stop));
    let expected = "an operator cancelled it; whether the scheduler has attempt 0 is not known yet, \
                    and if it has, it is told to end it";
    assert_eq!(world.why(), expected);
    let cancelled = world.happens(Event::Submitted {
        attempt: ATTEMPT,
        cluster_job: ClusterJobId("812.0".to_owned()),
    });
    assert!(matches!(
        cancelled[..],
        [Action::Tell { .. }, Action::Cancel { .. }]
    ));
    assert!(
        world.why().contains("is being ended by the scheduler"),
        "{}",
        world.why()
    );
}

#[test]
fn what_an_attempt_waits_for_is_told_once_and_shown_until_it_starts() {
    let waiting = |reason: &str| Event::Said {
        attempt: ATTEMPT,
        sequence: Sequence(0),
        message: Message::Waiting(Waiting {
            host: "n1".to_owned(),
            reason: reason.to_owned(),
            until: Timestamp(1_700_000_900_000),
        }),
    };
    let mut world = World::new();
    world.is(running());
    assert!(warns(&world.happens(waiting("attempt 7 lives"))));
    assert!(!warns(&world.happens(waiting("attempt 7 lives"))));
    assert!(warns(&world.happens(waiting("attempt 8 lives"))));
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
    // Of another supervisor of the same attempt, which is late.
    assert!(!warns(&world.happens(waiting("attempt 8 lives"))));
    assert!(world.why().contains("runs on n1"), "{}", world.why());
}
