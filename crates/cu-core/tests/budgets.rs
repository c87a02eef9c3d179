//! Budgets of ends without progress, bounds on a job, and the warning of a chain that only pretends.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::machine::{Event, Order};
use cu_core::{JobState, Limit, Policy};
use cu_protocol::{ExitRecord, ProgramEnd, StopCause};
use world::{JOB, World, exits, started};

/// The first attempt that runs ends with this record, an hour after its start.
fn ends(world: &mut World, end: ProgramEnd, stop: Option<StopCause>, changed: bool) {
    world.pass(Duration::from_secs(600));
    let attempt = started(world, JOB);
    let started = Some(world.now);
    world.pass(Duration::from_secs(3600));
    let record = ExitRecord {
        stop,
        started,
        output_changed: changed.into(),
        ..world::record(world, end)
    };
    world.happens(JOB, &Event::RecordFound { attempt, record });
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
