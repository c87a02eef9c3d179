//! Programs and supervisors that are killed, fail, or hang: each attempt ends as the policy says,
//! `cu show` explains why, and none keeps the run from ending.

use std::time::Duration;

use cu_core::machine::Event;
use cu_protocol::{Attempt, Message, Started};
use cu_tests::checker::assert_kept;
use cu_tests::history::History;
use cu_tests::process::{Exit, Process, ends_within, kill};
use cu_tests::run::Run;
use cu_tests::wait::until;
use serde_json::Value;

const STEPS: u64 = 8;

/// A run of one `tiny_job` with this behaviour.
fn tiny_job(behaviour: &str, config: &str) -> Run {
    let config = format!("settings.behaviour = \"{behaviour}\"\n{config}");
    Run::new(&[env!("CARGO_BIN_EXE_tiny_job")], &config)
}

/// A run of one shell script. `config` is TOML.
fn script(text: &str, config: &str) -> Run {
    Run::new(&["sh", "-c", text], config)
}

/// Waits until attempt 0 has reached the point in its settings, and returns its processes.
fn await_first_attempt(run: &Run) -> Started {
    run.await_file(&run.output(0, "here"));
    until("the start of attempt 0 in the store", || {
        let events = run.reader().events().expect("events");
        events.into_iter().find_map(|event| match event.event {
            Event::Said {
                attempt: Attempt(0),
                message: Message::Started(started),
                ..
            } => Some(started),
            _ => None,
        })
    })
}

/// Checks that the run ends with job 0 completed, and with every promise kept.
fn assert_completes(run: &Run, main_process: Process) -> Value {
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_kept(&History::read(&run.dir()).expect("a history"), STEPS);
    let job = run.show(0);
    assert_eq!(job["state"], "completed", "{job}");
    job
}

/// Checks that the run ends with job 0 failed, for a reason with all of `words`. `cu run` reports it, too.
fn assert_fails(run: &Run, words: &[&str]) -> Value {
    let exit = run.start().wait();
    assert_failed(run, &exit, words)
}

fn assert_failed(run: &Run, exit: &Exit, words: &[&str]) -> Value {
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let job = run.show(0);
    assert_eq!(job["state"], "failed", "{job}");
    let why = job["why"].as_str().expect("text");
    for word in words {
        assert!(why.contains(word), "{word}: {why}");
    }
    assert!(exit.stdout.contains("job 0 failed"), "{exit:?}");
    job
}

/// How the attempts ended, in order.
fn ends(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().expect("attempts").iter();
    attempts
        .map(|attempt| attempt["end"].as_str().unwrap_or("none"))
        .collect()
}

#[test]
fn a_killed_program_fails_its_job() {
    let run = tiny_job("stays", "");
    let main_process = run.start();
    kill(await_first_attempt(&run).program);
    let exit = main_process.wait();
    let job = assert_failed(&run, &exit, &["attempt 0", "killed by SIGKILL"]);
    assert_eq!(job["attempts"][0]["signal"], 9);
    assert_kept(&History::read(&run.dir()).expect("a history"), STEPS);
}

#[test]
fn failure_retries_resumes_a_killed_program_from_its_checkpoint() {
    let run = tiny_job("stays", "resume.failure_retries = 1");
    let main_process = run.start();
    kill(await_first_attempt(&run).program);
    let job = assert_completes(&run, main_process);
    assert_eq!(ends(&job)[0], "failed", "{job}");
}

#[test]
fn a_program_without_supervisor_stops_before_the_next_attempt() {
    let run = tiny_job("stays", "settings.step_milliseconds = 100");
    let main_process = run.start();
    let first = await_first_attempt(&run);
    kill(first.supervisor);
    let job = assert_completes(&run, main_process);
    // Its log ends with the checkpoint that it saved on request, and nothing overlaps until then.
    assert!(ends_within(first.program, Duration::ZERO), "it lives on");
    assert_eq!(ends(&job)[0], "lost", "{job}");
}

#[test]
fn an_attempt_of_which_nothing_is_left_is_lost_and_resumed() {
    let run = tiny_job("stays", "");
    let main_process = run.start();
    let first = await_first_attempt(&run);
    kill(first.supervisor);
    kill(first.program);
    let job = assert_completes(&run, main_process);
    assert_eq!(ends(&job)[0], "lost", "{job}");
}

#[test]
fn attempts_that_are_always_lost_use_up_their_budget() {
    // The program kills its own supervisor.
    let run = script("kill -9 $PPID; exec sleep 1000", "resume.losses = 2");
    let job = assert_fails(&run, &["attempt 2", "lost", "resume.losses = 2"]);
    assert_eq!(ends(&job), ["lost"; 3]);
}

#[test]
fn exit_code_1_fails_the_job() {
    let run = script("exit 1", "");
    let job = assert_fails(&run, &["attempt 0", "exited with code 1"]);
    assert_eq!(job["attempts"][0]["exit_code"], 1);
    assert_eq!(ends(&job), ["failed"]);
}

#[test]
fn exit_code_1_is_retried_as_often_as_the_config_says() {
    let run = script("exit 1", "resume.failure_retries = 2");
    let words = ["attempt 2", "code 1", "resume.failure_retries = 2"];
    let job = assert_fails(&run, &words);
    assert_eq!(ends(&job), ["failed"; 3]);
}

#[test]
fn a_panic_is_the_reason() {
    let run = tiny_job("panics", "");
    assert_fails(&run, &["attempt 0", "the weights are not finite"]);
}

#[test]
fn exit_code_3_without_a_word_is_a_resume_request() {
    let run = script("echo >> turns; test $(wc -l < turns) = 3 || exit 3", "");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let job = run.show(0);
    let asked = "resume_requested";
    assert_eq!(ends(&job), [asked, asked, "completed"]);
}

#[test]
fn a_program_that_asks_to_be_resumed_but_stays_is_ended() {
    let run = tiny_job("asks_and_stays", "");
    let job = assert_completes(&run, run.start());
    assert_eq!(ends(&job)[0], "resume_requested", "{job}");
}

#[test]
fn resumes_without_progress_come_to_an_end() {
    let run = tiny_job("makes_no_progress", "");
    let words = [
        "attempt 2",
        "3 attempts in a row changed no file",
        "resume.stuck_after = 3",
    ];
    let job = assert_fails(&run, &words);
    assert_eq!(ends(&job), ["resume_requested"; 3]);
}

const DEAF: &str =
    "trap '' HUP INT TERM USR1 USR2; test -e here || echo > here; while :; do sleep 1; done";

#[test]
fn a_program_that_ignores_signals_is_killed_after_the_grace() {
    let run = script(DEAF, "stop.after = \"100ms\"\nresume.stuck_after = 1\n");
    let exit = run.start().wait();
    let job = run.show(0);
    // The file that it left is progress, so the killed program is resumed, and then does nothing
    // more.
    assert_eq!(exit.code, Some(1), "{exit:?} {job}");
    assert_eq!(ends(&job), ["resume_requested"; 2], "{job}");
    assert_eq!(job["attempts"][0]["signal"], 9, "{job}");
}

#[test]
fn a_program_that_ignores_signals_can_be_cancelled() {
    let run = script(DEAF, "");
    let main_process = run.start();
    run.await_file(&run.output(0, "here"));
    let stop = run.cu(&["stop"]);
    assert_eq!(stop.code, Some(0), "{stop:?}");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let job = run.show(0);
    assert_eq!(job["state"], "cancelled", "{job}");
    assert_eq!(job["attempts"][0]["signal"], 9, "{job}");
}
