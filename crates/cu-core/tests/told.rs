//! What people read about the end of an attempt that was asked to stop by a rule of theirs.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use cu_core::machine::Event;
use cu_protocol::{ExitRecord, Message, ProgramEnd, Pushed, StopCause, StopRule, Stopped};
use world::{ATTEMPT, World, record};

fn pushed(signal: &str, after_milliseconds: u64) -> Pushed {
    Pushed {
        signal: signal.to_owned(),
        process: "sleep".to_owned(),
        others: 0,
        after_milliseconds,
    }
}

/// What is said about a program that was asked for the time limit, by this rule, and killed.
fn told_of_a_kill(rule: Option<StopRule>) -> String {
    let mut world = World::submitted();
    world.starts();
    world.says(Message::Stopped(Stopped {
        after_milliseconds: 1000,
        rule,
        grace_milliseconds: 500,
        pushes: vec![pushed("TERM", 0), pushed("KILL", 500)],
    }));
    let record = ExitRecord {
        stop: Some(StopCause::TimeLimit),
        ..record(&world, ProgramEnd::Signaled(9))
    };
    let attempt = ATTEMPT;
    world.hears(Event::RecordFound { attempt, record });
    world.why()
}

#[test]
fn a_program_killed_before_its_time_limit_has_not_reached_that() {
    let told = told_of_a_kill(Some(StopRule::BeforeLimit(60_000)));
    assert!(
        told.contains("was stopped 1 min before its time limit as planned"),
        "{told}"
    );
    assert!(!told.contains("reached its time limit"), "{told}");
}

#[test]
fn a_program_killed_at_its_time_limit_has_reached_that() {
    let told = told_of_a_kill(None);
    assert!(told.contains("reached its time limit"), "{told}");
}
