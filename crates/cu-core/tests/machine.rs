//! Any order, loss and repetition of events keeps the promise; and whatever has happened, an honest
//! world brings every job to an end.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

#[path = "support/moves.rs"]
mod moves;

use cu_core::machine::{Action, Effects, Event, Job};
use moves::{Move, moves};
use proptest::prelude::*;
use world::World;

/// Makes all of `moves`. Each event reaches the machine as `passed_on` returns it.
fn make(world: &mut World, moves: &[Move], passed_on: fn(&Event) -> Event) -> Vec<Action> {
    let mut actions = Vec::new();
    for next in moves {
        actions.extend(match next {
            Move::Happens(job, event) => world.happens(*job, &passed_on(event)),
            Move::TimePasses(duration) => world.pass(*duration),
        });
    }
    actions
}

fn stored_and_read(event: &Event) -> Event {
    let stored = serde_json::to_string(event).expect("an event is plain data");
    serde_json::from_str(&stored).expect("what we wrote")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 20_000 }))]

    #[test]
    fn any_events_in_any_order_keep_the_promise(moves in moves()) {
        let mut world = World::new();
        make(&mut world, &moves, Event::clone);
        world.is_honest_from_now_on();
    }

    #[test]
    fn the_same_events_give_the_same_run(moves in moves()) {
        let run = || {
            let mut world = World::new();
            let actions = make(&mut world, &moves, Event::clone);
            (actions, world.machine.jobs().to_vec())
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn jobs_follow_from_their_events(moves in moves()) {
        let mut world = World::new();
        make(&mut world, &moves, Event::clone);
        let mut replayed = world::machine(world::JOBS, world.machine.policy().clone());
        for (at, job, event) in &world.recorded {
            replayed.step(*at, *job, event, &mut Effects::default());
        }
        prop_assert_eq!(world.machine.jobs(), replayed.jobs());
    }

    #[test]
    fn a_job_survives_being_stored(moves in moves()) {
        let mut world = World::new();
        make(&mut world, &moves, stored_and_read);
        for job in world.machine.jobs() {
            let stored = serde_json::to_string(job).expect("a job is plain data");
            let mut read: Job = serde_json::from_str(&stored).expect("what we wrote");
            // They are stored by themselves.
            read.metrics = job.metrics.clone();
            prop_assert_eq!(job, &read);
        }
    }
}
