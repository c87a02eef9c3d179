//! The main process ends when all is done or on request, whichever file can't be read. A command
//! that waits for a silent main process says so.

#[path = "../../crates/cu-core/tests/support/stuck.rs"]
mod stuck;

use std::process::Command;
use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_tests::process::{Process, kill};
use cu_tests::run::Run;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stuck::Stuck;

const JOB: JobId = JobId(0);

/// Runs until the file `go` is there.
const WAIT: &str = "echo $$ > pid.$CU_ATTEMPT; while [ ! -e go ]; do sleep 0.02; done";

fn waiting() -> Run {
    Run::new(&["sh", "-c", WAIT], "")
}

fn signal(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    kill_process(process.expect("a number"), signal).expect("it lives");
}

#[test]
fn a_file_that_never_opens_does_not_keep_cu_from_ending() {
    let run = waiting();
    let main_process = run.start();
    run.await_file(&run.output(0, "pid.0"));
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let program = run.until("the first program's number", || {
        read(run.output(0, "pid.0")).trim().parse().ok()
    });
    let supervisor = run.until("the number of its supervisor", || {
        let started: Value =
            serde_json::from_str(&read(run.dir().started(JOB, Attempt(0)))).ok()?;
        u32::try_from(started["supervisor"].as_u64()?).ok()
    });
    // Its record never comes, and the main process looks for it as long as the run continues.
    let record = run.dir().exit_record(JOB, Attempt(0));
    std::fs::write(&record, "").expect("a record");
    kill(supervisor);
    kill(program);
    run.await_file(&run.output(0, "pid.1"));
    let Some(stuck) = Stuck::mark(&record, false) else {
        return;
    };
    let readers = stuck.wait();
    std::fs::write(run.output(0, "go"), "").expect("it goes");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    drop(readers);
}

#[test]
fn commands_name_a_main_process_that_is_stopped() {
    let run = waiting();
    let main_process = run.start();
    run.await_file(&run.output(0, "pid.0"));
    signal(main_process.id(), Signal::STOP);
    let exit = run
        .spawn(&["stop"])
        .with_patience(Duration::from_secs(45))
        .wait();
    signal(main_process.id(), Signal::CONT);
    assert_eq!(exit.code, Some(8), "{exit:?}");
    let process = format!("process {} on ", main_process.id());
    let hint = format!("`kill -CONT {}`", main_process.id());
    for words in [
        "waiting for the main process",
        &process,
        &hint,
        "was not handed over",
    ] {
        assert!(exit.stderr.contains(words), "{words}: {exit:?}");
    }
    // As the message says, nothing is left of the request.
    std::fs::write(run.output(0, "go"), "").expect("it goes");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

/// As on a second login node from which no network leads to the first.
#[test]
fn a_main_process_out_of_reach_is_named_with_its_host() {
    let run = waiting();
    let main_process = run.start();
    run.await_file(&run.output(0, "pid.0"));
    let path = run.dir().server_file();
    let text = std::fs::read_to_string(&path).expect("an address");
    let mut server: Value = serde_json::from_str(&text).expect("JSON");
    server["host"] = "login1".into();
    server["addresses"] = ["127.0.0.1:1"].into();
    std::fs::write(&path, server.to_string()).expect("it is ours");
    let exit = run.cu(&["pause"]);
    std::fs::write(&path, text).expect("it is ours");
    assert_eq!(exit.code, Some(8), "{exit:?}");
    let process = format!("process {} on login1", main_process.id());
    let hint = format!(
        "type the command on login1, where process {}",
        main_process.id()
    );
    for words in [&*process, &hint, "127.0.0.1:1", "was not handed over"] {
        assert!(exit.stderr.contains(words), "{words}: {exit:?}");
    }
    std::fs::write(run.output(0, "go"), "").expect("it goes");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn without_file_descriptors_cu_says_so_and_resumes_whole() {
    let run = Run::new(&["true"], "");
    // With a few more the run opens, and its attempts fail.
    for descriptors in 6..=20 {
        let (verb, what) = match run.dir().store().exists() {
            true => ("resume", run.dir().path().to_owned()),
            false => ("run", run.config()),
        };
        let cu = run.command(&[verb, what.to_str().expect("UTF-8")]);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}:{descriptors}"));
        command.arg(cu.get_program()).args(cu.get_args());
        command.envs(
            cu.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let exit = Process::start(command, &run.path("")).wait();
        assert_eq!(exit.code, Some(7), "{descriptors}: {exit:?}");
        assert!(!exit.stderr.contains("panicked"), "{exit:?}");
    }
    let exit = run.go_on().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}
