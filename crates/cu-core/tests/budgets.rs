//! Budgets of ends without progress, bounds on a job, and the warning of a chain that only pretends.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::machine::{Action, Event, Order};
use cu_core::{JobState, Limit, Policy};
use cu_protocol::{ExitRecord, Fraction, Message, Noticed, ProgramEnd, Sequence, StopCause};
use world::{JOB, World, exits, started};

/// The first attempt that runs ends with this record, an hour after its start.
fn ends(world: &mut World, end: ProgramEnd, stop: Option<StopCause>, changed: bool) {
    ends_noticed(world, end, stop, changed, Noticed::default());
}

/// The same, with what else the supervisor noticed. Returns what is done about it.
fn ends_noticed(
    world: &mut World,
    end: ProgramEnd,
    stop: Option<StopCause>,
    changed: bool,
    noticed: Noticed,
) -> Vec<Action> {
    world.pass(Duration::from_secs(600));
    let attempt = started(world, JOB);
    let started = Some(world.now);
    world.pass(Duration::from_secs(3600));
    let record = ExitRecord {
        stop,
        started,
        output_changed: changed.into(),
        noticed,
        ..world::record(world, end)
    };
    world.happens(JOB, &Event::RecordFound { attempt, record })
}

#[test]
fn time_limits_with_progress_cost_nothing() {
    let mut world = World::with_room();
    for _ in 0..72 {
        let limit = Some(StopCause::TimeLimit);
        ends(&mut world, ProgramEnd::Signaled(15), limit, true);
        assert_eq!(world.job(JOB).state(), JobState::Waiting);
    }
    assert_eq!(world.job(JOB).ends.len(), 0);
}

#[test]
fn progress_begins_the_count_of_time_limits_anew() {
    let mut world = World::with(Policy::default().with(|policy| {
        policy.stuck_after = NonZeroU32::new(100).expect("above 0");
        policy.time_limits = 2;
    }));
    let limit = || (ProgramEnd::Signaled(15), Some(StopCause::TimeLimit));
    for changed in [false, false, true, false, false] {
        let (end, stop) = limit();
        ends(&mut world, end, stop, changed);
        assert_eq!(world.job(JOB).state(), JobState::Waiting);
    }
    let (end, stop) = limit();
    ends(&mut world, end, stop, false);
    assert_eq!(world.job(JOB).state(), JobState::Failed);
}

#[test]
fn a_crash_costs_a_retry_whatever_it_has_written() {
    let mut world = World::with_room(); // One retry.
    ends(&mut world, ProgramEnd::Exited(1), None, true);
    assert_eq!(world.job(JOB).state(), JobState::Waiting);
    // A resume with progress begins the count anew.
    ends(&mut world, ProgramEnd::Exited(3), None, true);
    ends(&mut world, ProgramEnd::Exited(1), None, true);
    assert_eq!(world.job(JOB).state(), JobState::Waiting);
    ends(&mut world, ProgramEnd::Exited(1), None, true);
    assert_eq!(world.job(JOB).state(), JobState::Failed);
}

#[test]
fn a_failure_after_a_request_without_progress_ends_after_three() {
    for code in [0, 1, 127] {
        let mut world = World::with_room();
        for before in [JobState::Waiting, JobState::Waiting, JobState::Failed] {
            let budget = Some(StopCause::TimeBudget);
            ends(&mut world, ProgramEnd::Exited(code), budget, false);
            assert_eq!(world.job(JOB).state(), before, "{code}");
        }
    }
}

#[test]
fn a_bound_on_attempts_or_time_holds_despite_progress() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    for (attempts, time, limit) in [
        (NonZeroU32::new(3), None, Limit::MaxAttempts(3)),
        (None, hours(3), Limit::MaxTime(3 * 3600)),
    ] {
        let mut world = World::with(Policy::default().with(|policy| {
            policy.max_attempts = attempts;
            policy.max_time = time;
        }));
        for state in [JobState::Waiting, JobState::Waiting, JobState::Failed] {
            ends(&mut world, ProgramEnd::Exited(3), None, true);
            assert_eq!(world.job(JOB).state(), state);
        }
        let why = cu_core::machine::why(world.job(JOB), world.machine.policy());
        assert_eq!(why.limit, Some(limit), "{why:?}");
        world.happens(JOB, &Event::Ordered(Order::Retry));
        ends(&mut world, ProgramEnd::Exited(3), None, true);
        assert_eq!(world.job(JOB).state(), JobState::Waiting);
    }
}

#[test]
fn a_chain_of_brief_attempts_is_warned_of_once() {
    let mut world = World::with_room();
    let mut warned = Vec::new();
    for number in 0..12 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, JOB);
        let actions = exits(&mut world, JOB, attempt, 3, true);
        if world::warns(&actions) {
            warned.push(number);
        }
    }
    assert_eq!(warned, [4]);
}

#[test]
fn attempts_that_print_the_same_each_time_are_warned_of_once() {
    let stopped = Some(StopCause::TimeBudget);
    let warnings = |world: &mut World| {
        let mut warned = Vec::new();
        for number in 0..12 {
            let noticed = Noticed {
                printed_the_same: number > 0,
                ..Noticed::default()
            };
            let actions = ends_noticed(world, ProgramEnd::Exited(0), stopped, true, noticed);
            if world::warns(&actions) {
                warned.push(number);
            }
        }
        warned
    };
    assert_eq!(warnings(&mut World::with_room()), [5]);
    // What announces a fraction shows how far it is.
    let mut world = World::with_room();
    let attempt = started(&mut world, JOB);
    let half = Fraction::new(0.5).expect("a part");
    world.happens(
        JOB,
        &Event::Said {
            attempt,
            sequence: Sequence(9),
            message: Message::Progress(half),
        },
    );
    let record = world::record(&world, ProgramEnd::Exited(3));
    world.happens(JOB, &Event::RecordFound { attempt, record });
    assert!(!warnings(&mut world).contains(&5));
}

#[test]
fn a_command_that_leaves_its_work_behind_is_warned_of() {
    for (seconds, end, left, expected) in [
        (1, 0, true, true),
        (1, 0, false, false),
        (1, 3, true, false),
        // It did something else meanwhile.
        (60, 0, true, false),
    ] {
        let mut world = World::with_room();
        let attempt = started(&mut world, JOB);
        let started = Some(world.now);
        world.pass(Duration::from_secs(seconds));
        let noticed = Noticed {
            ended_processes: left.then(|| "7 (train)".to_owned()),
            ..Noticed::default()
        };
        let record = ExitRecord {
            started,
            noticed,
            output_changed: true.into(),
            ..world::record(&world, ProgramEnd::Exited(end))
        };
        let actions = world.happens(JOB, &Event::RecordFound { attempt, record });
        assert_eq!(
            world::warns(&actions),
            expected,
            "{seconds} s, {end}, {left}"
        );
    }
}

#[test]
fn an_environment_that_fails_on_one_node_fails_no_job() {
    let mut world = World::with_room();
    for state in [
        JobState::Waiting,
        JobState::Waiting,
        JobState::Waiting,
        JobState::Failed,
    ] {
        let noticed = Noticed {
            not_activated: true,
            ..Noticed::default()
        };
        let end = ProgramEnd::NotStarted("`module load gcc` failed on n1".to_owned());
        ends_noticed(&mut world, end, None, false, noticed);
        assert_eq!(world.job(JOB).state(), state);
    }
    let why = cu_core::machine::why(world.job(JOB), world.machine.policy());
    assert_eq!(why.limit, Some(Limit::ActivationRetries(3)), "{why:?}");
    // A program that can't be started fails its job at once.
    let mut world = World::with_room();
    let end = ProgramEnd::NotStarted("no such file".to_owned());
    ends(&mut world, end, None, false);
    ends(
        &mut world,
        ProgramEnd::NotStarted("no such file".to_owned()),
        None,
        false,
    );
    assert_eq!(world.job(JOB).state(), JobState::Failed);
}

/// The hosts that the next submission of [`JOB`] avoids.
fn avoided(world: &mut World) -> Vec<String> {
    let submitted = |action: Action| match action {
        Action::Submit {
            job, avoid_hosts, ..
        } if job == JOB => Some(avoid_hosts),
        _ => None,
    };
    let actions = world.pass(Duration::from_secs(600));
    actions.into_iter().find_map(submitted).expect("it is due")
}

/// The attempt under way ends on `host`, where its environment could not be activated, or was.
fn ends_on(world: &mut World, host: &str, not_activated: bool) {
    let attempt = started(world, JOB);
    let end = match not_activated {
        true => ProgramEnd::NotStarted("`module load gcc` failed".to_owned()),
        false => ProgramEnd::Exited(3),
    };
    let record = ExitRecord {
        host: host.to_owned(),
        output_changed: (!not_activated).into(),
        noticed: Noticed {
            not_activated,
            ..Noticed::default()
        },
        ..world::record(world, end)
    };
    world.happens(JOB, &Event::RecordFound { attempt, record });
}

#[test]
fn hosts_where_nothing_started_are_avoided_until_something_does() {
    let mut world = World::with_room();
    ends_on(&mut world, "n1", true);
    assert_eq!(avoided(&mut world), ["n1"]);
    ends_on(&mut world, "n2", true);
    assert_eq!(avoided(&mut world), ["n1", "n2"]);
    ends_on(&mut world, "n2", true);
    assert_eq!(avoided(&mut world), ["n1", "n2"]);
    ends_on(&mut world, "n3", false);
    assert!(avoided(&mut world).is_empty());
    // A scheduler that refuses the submission has perhaps no other host.
    ends_on(&mut world, "n1", true);
    assert_eq!(avoided(&mut world), ["n1"]);
    let attempt = world.job(JOB).active().expect("it is submitted").attempt;
    let refused = Event::SubmitRejected {
        attempt,
        reason: "Requested node configuration is not available".to_owned(),
        is_final: false,
    };
    world.happens(JOB, &refused);
    assert!(avoided(&mut world).is_empty());
    // So does an operator who lets it try again.
    for host in ["n4", "n5", "n6"] {
        ends_on(&mut world, host, true);
        world.pass(Duration::from_secs(600));
    }
    assert_eq!(world.job(JOB).state(), JobState::Failed);
    world.happens(JOB, &Event::Ordered(Order::Retry));
    assert!(avoided(&mut world).is_empty());
}
