//! What people do to a run from another terminal: follow, pause, stop, retry; with a main process
//! in the background, and without one.

use crate::support::{Bench, COUNT, WAIT};
use cu_core::machine::Event;
use cu_core::{Reader, RecordedEvent, RunDir};
use rustix::process::{Pid, getsid};
use serde_json::json;

#[test]
fn a_run_in_the_background_is_followed_to_its_end() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    let started = bench.cu(&["run", "--detach", "--", "./wait.sh"]);
    assert_eq!(started.code, 0, "{started:?}");
    let run_dir = bench
        .path("results/wait")
        .canonicalize()
        .expect("it was made");
    let said = std::path::Path::new(started.stdout.trim_end()).canonicalize();
    assert_eq!(said.expect("stdout is the run directory"), run_dir);
    bench.wait_until_waiting("wait");

    // It outlives the terminal that it was started from: its session is its own.
    let server = bench.read("results/wait/server.json");
    let server: serde_json::Value = serde_json::from_str(&server).expect("JSON");
    let process = server["process"]
        .as_i64()
        .and_then(|id| i32::try_from(id).ok());
    let process = process.and_then(Pid::from_raw).expect("a process id");
    assert_eq!(getsid(Some(process)), Ok(process));

    let holder = format!("is in use by process {process}");
    let second = bench.cu(&["resume"]);
    assert_eq!(second.code, 4, "{second:?}");
    assert!(second.stderr.contains(&holder), "{second:?}");
    let second = bench.cu(&["resume", "--detach"]);
    assert_eq!(second.code, 4, "{second:?}");
    assert!(second.stderr.contains(&holder), "{second:?}");

    let followed = bench.start(&["logs", "0", "-f"]);
    bench.let_go("wait");
    let followed = followed.end();
    assert_eq!(followed.code, 0, "{followed:?}");
    let lines: Vec<_> = followed.stdout.lines().collect();
    // Its cluster job is recorded with what follows, and may not be known yet.
    assert!(lines[0].starts_with("--- attempt 0"), "{lines:?}");
    assert_eq!(lines[1..], ["waiting", "gone"]);
    bench.wait_until("the main process has ended", |bench| {
        bench.json(&["status", "--json"])["state"] == "completed"
    });
}

#[test]
fn a_detached_run_that_cannot_start_says_so() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    assert_eq!(bench.cu(&["run", "--", "./count.sh", "1"]).code, 0);
    bench.write("results/count/run.toml", "[stop]\naftr = \"1h\"\n");
    let ended = bench.cu(&["resume", "--detach", "--json"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let message = ended.json()["error"]["message"].to_string();
    assert!(message.contains("unknown key `stop.aftr`"), "{message}");
}

#[test]
fn logs_are_joined_over_attempts() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    assert_eq!(bench.cu(&["run", "--", "./count.sh", "2"]).code, 0);
    let logs = bench.cu(&["logs", "0"]).stdout;
    let lines: Vec<_> = logs.lines().collect();
    assert_eq!(lines.len(), 4, "{logs}");
    assert!(
        lines[2].ends_with("; attempt 0 stopped to be resumed ---"),
        "{logs}"
    );
    assert_eq!((lines[1], lines[3]), ("attempt 1", "attempt 2"));
    assert_eq!(
        bench.cu(&["logs", "0", "--attempt", "1"]).stdout,
        "attempt 2\n"
    );
    let both = bench.cu(&["logs", "0", "--json"]).stdout;
    let last: serde_json::Value =
        serde_json::from_str(both.lines().last().expect("a line")).expect("an object");
    assert_eq!(
        (&last["attempt"], &last["line"]),
        (&1.into(), &"attempt 2".into())
    );
}

#[test]
fn a_paused_job_saves_and_waits_until_it_is_continued() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    assert_eq!(bench.cu(&["run", "--detach", "--", "./wait.sh"]).code, 0);
    bench.wait_until_waiting("wait");
    let paused = bench.cu(&["pause", "0"]);
    assert_eq!(paused.code, 0, "{paused:?}");
    bench.wait_until("the attempt has ended", |bench| {
        bench.json(&["status", "--json"])["jobs"]["waiting"] == 1
    });
    assert!(
        bench
            .path("results/wait/working_directories/0/asked")
            .exists()
    );
    let why = bench.json(&["show", "0", "--json"])["why"].to_string();
    assert!(why.contains("pause"), "{why}");
    // Nothing of it runs that could save.
    let asked = bench.cu(&["checkpoint"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    assert!(
        asked.stderr.contains("no job is running, job 0 "),
        "{asked:?}"
    );
    assert_eq!(bench.json(&["status", "--json"])["attempts"], 1);

    bench.let_go("wait");
    assert_eq!(bench.cu(&["continue", "0"]).code, 0);
    let followed = bench.cu(&["logs", "0", "-f"]);
    assert_eq!(followed.code, 0, "{followed:?}");
    let job = bench.json(&["show", "0", "--json"]);
    assert_eq!(job["state"], "completed");
    assert_eq!(job["attempts"][0]["end"], "resume_requested");
}

/// It settles the job at once, and so the main process ends at once, too.
#[test]
fn a_stop_that_ends_the_run_at_once_is_answered() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    assert_eq!(bench.cu(&["run", "--detach", "--", "./wait.sh"]).code, 0);
    bench.wait_until_waiting("wait");
    assert_eq!(bench.cu(&["pause", "0"]).code, 0);
    bench.wait_until("the attempt has ended", |bench| {
        bench.json(&["status", "--json"])["jobs"]["paused"] == 1
    });
    let stopped = bench.json(&["stop", "all", "--json"]);
    assert_eq!(stopped["jobs"], 1, "{stopped}");
}

#[test]
fn a_checkpoint_is_asked_for_and_the_job_goes_on() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    assert_eq!(bench.cu(&["run", "--detach", "--", "./wait.sh"]).code, 0);
    bench.wait_until_waiting("wait");
    let asked = bench.cu(&["checkpoint"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    bench.wait_until("the next attempt runs", |bench| {
        bench.json(&["status", "--json"])["attempts"] == 2
    });
    bench.let_go("wait");
    assert_eq!(bench.cu(&["logs", "0", "-f"]).code, 0);
    assert_eq!(bench.json(&["show", "0", "--json"])["state"], "completed");
}

#[test]
fn stopped_jobs_are_cancelled_and_can_be_retried() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    bench.write(
        "run.toml",
        "name = \"wait\"\ncommand = [\"./wait.sh\"]\n[grid]\nx = [1, 2]\n[backend.local]\ncpus = 2\n",
    );
    let run = bench.start(&["run", "run.toml"]);
    bench.wait_until_waiting("wait");
    let stopped = bench.json(&["stop", "0", "--json"]);
    assert_eq!(stopped["jobs"], 1);
    bench.wait_until("the job is cancelled", |bench| {
        bench.json(&["status", "--json"])["jobs"]["cancelled"] == 1
    });
    assert_eq!(bench.json(&["stop", "all", "wait", "--json"])["jobs"], 1);
    let ended = run.end();
    assert_eq!(ended.code, 1, "not all jobs are completed: {ended:?}");
    assert_eq!(bench.json(&["status", "--json"])["state"], "stopped");

    // Nobody works on the run any more: the request is recorded, and `cu resume` finds it.
    bench.let_go("wait");
    let retried = bench.cu(&["retry", "0"]);
    assert_eq!(retried.code, 0, "{retried:?}");
    let said = "running 1 job again (";
    assert!(retried.stderr.contains(said), "{retried:?}");
    assert!(retried.stderr.contains("cu resume"), "{retried:?}");
    assert_eq!(bench.json(&["status", "--json"])["state"], "interrupted");
    let job = bench.json(&["show", "0", "--json"]);
    assert_eq!(job["state"], "waiting");
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
    let again = bench.json(&["retry", "0", "--json"]);
    assert_eq!(again["jobs"], 0, "{again}");
    let why = "no job has failed or was cancelled, job 0 is waiting";
    assert_eq!(again["why"], why, "{again}");
    let resumed = bench.cu(&["resume", "--json"]);
    assert_eq!(resumed.json()["jobs"]["completed"], 1, "{resumed:?}");
    assert_eq!(
        resumed.code, 1,
        "the other one stays cancelled: {resumed:?}"
    );
}

#[test]
fn a_request_that_concerns_no_job_says_why() {
    let bench = Bench::new();
    bench.write(
        "run.toml",
        "name = \"done\"\ncommand = [\"true\"]\n[grid]\nx = [1, 2]\n",
    );
    assert_eq!(bench.cu(&["run", "run.toml"]).code, 0);
    let log = bench.read("results/done/main.log");
    for (operation, why) in [
        ("stop", "there is nothing left to stop, 2 completed"),
        ("pause", "there is nothing left to pause, 2 completed"),
        ("continue", "no job is paused, 2 completed"),
        ("retry", "no job has failed or was cancelled, 2 completed"),
        ("checkpoint", "no job is running, 2 completed"),
    ] {
        let asked = bench.cu(&[operation]);
        assert_eq!(asked.code, 0, "{asked:?}");
        let expected = format!(
            "nothing to do in {}: {why}\n",
            bench.path("results/done").display()
        );
        assert_eq!(asked.stderr, expected);
        let asked = bench.json(&[operation, "1", "--json"]);
        assert_eq!(asked["jobs"], 0, "{asked}");
        let why = asked["why"].as_str().expect("a reason");
        assert!(why.ends_with(", job 1 is completed"), "{why}");
    }
    let same = bench.read("results/done/main.log");
    assert_eq!(same, log, "no main process was needed");
}

#[test]
fn without_a_main_process_the_jobs_concerned_are_counted() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    bench.write(
        "run.toml",
        "name = \"wait\"\ncommand = [\"./wait.sh\"]\n[grid]\nx = [1, 2]\n[backend.local]\ncpus = 2\n",
    );
    let run = bench.start(&["run", "run.toml"]);
    bench.wait_until_waiting("wait");
    bench.wait_until("both are known to run", |bench| {
        bench.json(&["status", "--json"])["jobs"]["running"] == 2
    });
    let busy = bench.cu(&["run", "run.toml"]);
    assert!(
        busy.stderr.contains("hint: it is running: `cu status "),
        "{busy:?}"
    );
    run.signal(rustix::process::Signal::KILL);
    assert_eq!(run.end().code, -1);
    let why = bench.json(&["show", "0", "--json"])["why"].to_string();
    let said = "no main process works on this run; `cu resume ";
    assert!(why.starts_with(&format!("\"{said}")), "{why}");
    assert!(
        why.contains("continues it; last recorded: attempt 0 "),
        "{why}"
    );
    let status = bench.cu(&["status"]).stdout;
    let said = "\nno main process works on this run; `cu resume ";
    assert!(status.contains(said), "{status}");
    let left = bench.cu(&["run", "run.toml"]);
    assert!(left.stderr.contains("hint: `cu resume "), "{left:?}");
    assert_eq!(bench.json(&["pause", "1", "--json"])["jobs"], 1);
    let both = bench.cu(&["pause"]);
    assert!(
        both.stderr
            .starts_with("pausing 1 job: a running program saves first, for at most 1 min ("),
        "{both:?}"
    );
    assert_eq!(bench.json(&["continue", "--json"])["jobs"], 2);
    assert_eq!(bench.json(&["stop", "1", "--json"])["jobs"], 1);
}

#[test]
fn a_submission_that_is_delayed_is_told_once() {
    let bench = Bench::new();
    bench.program("fail.sh", "#!/bin/sh\n[ \"$CU_ATTEMPT\" = 1 ]\n");
    assert_eq!(bench.cu(&["run", "--", "./fail.sh"]).code, 1);
    // No directory can be made there.
    bench.write("results/fail/attempts/0/1", "");
    assert_eq!(bench.cu(&["retry"]).code, 0);
    let run = bench.start(&["resume"]);
    let is_delay = |it: &RecordedEvent| matches!(it.event, Event::SubmitDelayed { .. });
    let delays = |bench: &Bench| {
        let run = RunDir::new(bench.path("results/fail"));
        let events = Reader::open(&run).and_then(|reader| reader.events());
        events
            .expect("a run")
            .iter()
            .filter(|it| is_delay(it))
            .count()
    };
    bench.wait_until("it was tried twice", |bench| delays(bench) >= 2);
    std::fs::remove_file(bench.path("results/fail/attempts/0/1")).expect("it is there");
    let ended = run.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = |text: &str| text.matches("can't be submitted now").count();
    assert_eq!(told(&ended.stderr), 1, "{ended:?}");
    let log = bench.read("results/fail/main.log");
    assert_eq!(told(&log), 1, "{log}");
}

#[test]
fn the_log_has_each_event_of_attempts_once() {
    for verbose in [&[][..], &["-v"]] {
        let bench = Bench::new();
        bench.program("fail.sh", "#!/bin/sh\nexit 7\n");
        let arguments = ["run", "--detach", "--", "./fail.sh"];
        let detached = bench.cu(&[verbose, &arguments].concat());
        assert_eq!(detached.code, 0, "{detached:?}");
        bench.wait_until("the end", |bench| {
            let log = bench.read("results/fail/main.log");
            log.contains("the main process ends")
        });
        let log = bench.read("results/fail/main.log");
        for line in [
            "INFO cu_core::log_changes: job 0: attempt 0 is submitted as local-",
            "INFO cu_core::log_changes: job 0: attempt 0 has started on ",
            "INFO cu_core::log_changes: job 0: attempt 0 failed (its program exited with code 7)",
            "ERROR cu_core::context: job 0: attempt 0 failed (its program exited with code 7)",
            "the main process ends: all jobs have ended",
        ] {
            assert_eq!(log.matches(line).count(), 1, "{line} in {log}");
        }
    }
}

#[test]
fn a_run_without_a_main_process_is_stopped_all_the_same() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    let run = bench.start(&["run", "--", "./wait.sh"]);
    bench.wait_until_waiting("wait");
    run.signal(rustix::process::Signal::KILL);
    assert_eq!(run.end().code, -1);
    let status = bench.json(&["status", "--json"]);
    assert_eq!(status["state"], "interrupted");
    let stopped = bench.cu(&["stop"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(
        stopped.stderr.contains("no main process works on this run"),
        "{stopped:?}"
    );
    let status = bench.json(&["status", "--json"]);
    assert_eq!(status["state"], "stopped");
    assert_eq!(status["jobs"]["cancelled"], json!(1));
}
