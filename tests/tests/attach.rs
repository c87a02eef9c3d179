//! `cu wait` and `cu watch`: they follow a run that another process works on, end as `cu run` would have, and
//! change nothing.

use std::fs;

use cu_tests::cu::cu_binary;
use cu_tests::process::Process;
use cu_tests::run::Run;
use cu_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};

/// Waits for the file `go` in its output directory, then exits with the code in it.
const GATE: &str = "touch here; while [ ! -e go ]; do sleep 0.05; done; exit $(cat go)";

/// A run of one job that waits, whose main process works in the background.
fn detached() -> Run {
    let run = Run::new(&["sh", "-c", GATE], "");
    let exit = run.cu(&["run", run.config().to_str().expect("UTF-8"), "--detach"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.contains("`cu watch "), "{exit:?}");
    run.await_file(&run.output(0, "here"));
    run
}

fn let_go(run: &Run, code: u8) {
    let go = run.output(0, "go.new");
    fs::write(&go, code.to_string()).expect("a file");
    fs::rename(&go, run.output(0, "go")).expect("the gate opens");
}

fn signal(process: &Process, signal: Signal) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process"), signal).expect("it lives");
}

#[test]
fn wait_ends_with_the_run_and_with_its_code() {
    for (code, expected) in [(0, 0), (7, 1)] {
        let run = detached();
        let wait = run.spawn(&["wait"]);
        let watch = run.spawn(&["watch", "run"]);
        until("the first line", || {
            watch
                .stderr()
                .contains("0 of 1 jobs completed")
                .then_some(())
        });
        let_go(&run, code);
        for process in [wait, watch] {
            let exit = process.wait();
            assert_eq!(exit.code, Some(expected), "{exit:?}");
            let state = if code == 0 { "completed" } else { "failed" };
            assert!(exit.stdout.contains(&format!("run: {state}, ")), "{exit:?}");
        }
        // A run that has ended is not waited for.
        let exit = run.cu(&["wait", "--json"]);
        assert_eq!(exit.code, Some(expected), "{exit:?}");
        assert_eq!(run.status()["attempts"], 1);
    }
}

#[test]
fn a_wait_with_a_timeout_ends_by_itself() {
    let run = detached();
    let exit = run.cu(&["wait", "--timeout", "50ms"]);
    assert_eq!(exit.code, Some(124), "{exit:?}");
    assert!(exit.stderr.contains("had not ended after"), "{exit:?}");
    assert_eq!(run.status()["state"], "running");
    let_go(&run, 0);
    assert_eq!(run.cu(&["wait"]).code, Some(0));
}

#[test]
fn ctrl_c_ends_the_watching_and_not_the_run() {
    let run = detached();
    let watch = run.spawn(&["watch"]);
    until("the first line", || {
        watch
            .stderr()
            .contains("0 of 1 jobs completed")
            .then_some(())
    });
    signal(&watch, Signal::INT);
    let exit = watch.wait();
    assert_eq!(exit.code, Some(130), "{exit:?}");
    assert!(exit.stderr.contains("the run continues"), "{exit:?}");
    until("the running job", || {
        (run.status()["jobs"]["running"] == 1).then_some(())
    });
    assert_eq!(run.status()["state"], "running");
    let_go(&run, 0);
    assert_eq!(run.cu(&["wait"]).code, Some(0));
    assert_eq!(run.status()["attempts"], 1, "nothing was disturbed");
}

#[test]
fn a_run_without_a_main_process_is_not_waited_for_in_vain() {
    let run = Run::new(&["sh", "-c", GATE], "");
    let mut main_process = run.start();
    run.await_file(&run.output(0, "here"));
    let wait = run.spawn(&["wait"]);
    let watch = run.spawn(&["watch"]);
    until("the first line", || {
        watch
            .stderr()
            .contains("0 of 1 jobs completed")
            .then_some(())
    });
    let _ = main_process.kill();
    for process in [wait, watch] {
        let exit = process.wait();
        assert_eq!(exit.code, Some(130), "{exit:?}");
        assert!(
            exit.stderr
                .contains("no main process works on this run; `cu resume "),
            "{exit:?}"
        );
    }
    let_go(&run, 0);
    let resumed = run.go_on().wait();
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
}

#[test]
fn a_run_that_is_resumed_meanwhile_is_waited_for() {
    let run = Run::new(&["sh", "-c", GATE], "");
    let mut main_process = run.start();
    run.await_file(&run.output(0, "here"));
    let _ = main_process.kill();
    let resumed = run.go_on();
    let wait = run.spawn(&["wait"]);
    let_go(&run, 0);
    assert_eq!(resumed.wait().code, Some(0));
    let exit = wait.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn resume_of_a_living_run_names_the_command_that_shows_it() {
    let run = detached();
    let exit = run.cu(&["resume"]);
    assert_eq!(exit.code, Some(4), "{exit:?}");
    assert!(exit.stderr.contains("`cu watch "), "{exit:?}");
    let_go(&run, 0);
    assert_eq!(run.cu(&["wait"]).code, Some(0));
    let missing = run.cu(&["wait", "nothing"]);
    assert_eq!(
        missing.code,
        Some(6),
        "{} {missing:?}",
        cu_binary().display()
    );
}
