//! Ctrl-C, SIGTERM and SIGKILL to a main process: what they end, and what goes on.

use crate::support::{Bench, Running, Terminal, WAIT};
use rustix::process::Signal;

fn waiting(bench: &Bench, options: &[&str]) -> Running {
    bench.program("wait.sh", WAIT);
    let arguments = [&["run"][..], options, &["--", "./wait.sh"]].concat();
    let run = bench.start(&arguments);
    bench.wait_until_waiting("wait");
    run
}

/// The attempt of before the interruption ends the job: nothing was lost or started twice.
fn goes_on(bench: &Bench) {
    assert_eq!(bench.json(&["status", "--json"])["state"], "interrupted");
    bench.let_go("wait");
    let resumed = bench.cu(&["resume"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let status = bench.json(&["status", "--json"]);
    assert_eq!(
        (&status["state"], &status["attempts"]),
        (&"completed".into(), &1.into())
    );
}

#[test]
fn ctrl_c_ends_the_main_process_and_attempts_go_on() {
    let bench = Bench::new();
    let run = waiting(&bench, &[]);
    run.signal(Signal::INT);
    let ended = run.end();
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(
        ended.stderr.contains(
            "1 attempt of the run continues; nothing is resubmitted until you run `cu resume "
        ),
        "{ended:?}"
    );
    goes_on(&bench);
}

#[test]
fn a_termination_does_the_same_whatever_ctrl_c_does() {
    let bench = Bench::new();
    let run = waiting(&bench, &["--on-interrupt", "stop"]);
    run.signal(Signal::TERM);
    let ended = run.end();
    assert_eq!(ended.code, 130, "{ended:?}");
    goes_on(&bench);
}

#[test]
fn a_kill_loses_nothing() {
    let bench = Bench::new();
    let run = waiting(&bench, &[]);
    run.signal(Signal::KILL);
    assert_eq!(run.end().code, -1);
    goes_on(&bench);
}

#[test]
fn ctrl_c_stops_the_jobs_if_that_is_wanted() {
    let bench = Bench::new();
    let run = waiting(&bench, &["--on-interrupt", "stop", "--grace", "1s"]);
    run.signal(Signal::INT);
    let ended = run.end();
    // All jobs have ended, so this is not an interrupted run.
    assert_eq!(ended.code, 1, "{ended:?}");
    let status = bench.json(&["status", "--json"]);
    assert_eq!(status["state"], "stopped", "{ended:?}");
}

#[test]
fn a_stop_after_ctrl_c_exits_as_a_run_that_has_ended() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    let mut terminal = Terminal::open();
    let run = bench.start_on(&terminal, &["run", "--grace", "1s", "--", "./wait.sh"]);
    bench.wait_until_waiting("wait");
    run.signal(Signal::INT);
    terminal.wait_for("s: stop all jobs");
    terminal.type_line("s");
    let ended = run.end();
    // All jobs have ended. 130 would say that some have not.
    assert_eq!(ended.code, 1, "{ended:?}");
    let status = bench.json(&["status", "--json"]);
    assert_eq!(
        (&status["state"], &status["jobs"]["cancelled"]),
        (&"stopped".into(), &1.into())
    );
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let bench = Bench::new();
    bench.program(
        "stubborn.sh",
        "#!/bin/sh\ntrap '' USR1 TERM\necho waiting\nwhile [ ! -e go ]; do sleep 0.05; done\n",
    );
    let run = bench.start(&["run", "--on-interrupt", "stop", "--", "./stubborn.sh"]);
    bench.wait_until_waiting("stubborn");
    run.signal(Signal::INT);
    bench.wait_until("the wish to stop is recorded", |bench| {
        bench.json(&["show", "0", "--json"])["why"]
            .to_string()
            .contains("cancel")
    });
    run.signal(Signal::INT);
    let ended = run.end();
    assert_eq!(ended.code, 130, "{ended:?}");
    assert!(ended.stderr.contains("ended at once"), "{ended:?}");
    bench.let_go("stubborn");
}

#[test]
fn ctrl_c_on_a_terminal_asks() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    let mut terminal = Terminal::open();
    let run = bench.start_on(&terminal, &["run", "--", "./wait.sh"]);
    bench.wait_until_waiting("wait");
    run.signal(Signal::INT);
    terminal.wait_for("d: detach");
    // An empty answer means to go on; the next Ctrl-C asks again.
    terminal.type_line("");
    terminal.wait_for("0 of 1 done");
    run.signal(Signal::INT);
    terminal.wait_for("d: detach");
    terminal.type_line("d");
    let ended = run.end();
    assert_eq!(ended.code, 130, "{ended:?}");
    goes_on(&bench);
}
