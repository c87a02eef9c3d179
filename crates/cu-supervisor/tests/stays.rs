//! An attempt that is over stays at its place until the main process has submitted the next one.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::time::{Duration, Instant};

use common::Run;
use common::main_process::MainProcess;
use cu_protocol::Message;

/// For how long an attempt stays at most.
const LONGEST: Duration = Duration::from_secs(2);

fn is_end(message: &Message) -> bool {
    matches!(message, Message::Ended(_))
}

#[test]
fn an_attempt_that_nobody_sends_away_leaves_by_itself() {
    let run = Run::script("exit 3");
    let main_process = MainProcess::start(&run, true);
    main_process.ask_to_stay();
    let begun = Instant::now();
    let mut supervisor = run.start(0);
    main_process.next_such(is_end);
    assert_eq!(supervisor.code(), 3);
    assert!(begun.elapsed() >= LONGEST, "it stayed for less");
    assert!(run.outbox(0).is_empty(), "all was acknowledged");
}

#[test]
fn the_next_attempt_does_not_wait_for_one_that_stays() {
    let run = Run::script("echo $CU_ATTEMPT >> started");
    let main_process = MainProcess::start(&run, true);
    main_process.ask_to_stay();
    let mut first = run.start(0);
    main_process.next_such(is_end);
    let mut second = run.start(1);
    main_process.next_such(is_end);
    assert_eq!((first.code(), second.code()), (0, 0));
    assert_eq!(run.text("started"), "0\n1\n");
    for said in [first.said(), second.said()] {
        assert_eq!(said, "", "neither waited for the other");
    }
}

#[test]
fn an_attempt_that_was_asked_to_end_does_not_stay() {
    let script = "trap 'exit 3' TERM; echo $$ > pid; while :; do sleep 0.01; done";
    let run = Run::script(script);
    let main_process = MainProcess::start(&run, true);
    main_process.ask_to_stay();
    let mut supervisor = run.start(0);
    run.await_pid("pid");
    supervisor.signal(rustix::process::Signal::TERM);
    main_process.next_such(is_end);
    let ended = Instant::now();
    assert_eq!(supervisor.code(), 3);
    assert!(ended.elapsed() < LONGEST, "its place is wanted");
}
