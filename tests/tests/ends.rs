//! How an attempt's end is understood, with real processes: programs that end in their own way when they
//! are asked to stop (docs/ends.md).

use cu_tests::process::{Exit, Process};
use cu_tests::run::Run;
use serde_json::Value;

/// Stops each attempt after half a second. Machines under load start slowly, and a real hang ends by the
/// patience of the test.
const BY_TIME: &str = "[stop]\nafter = \"500ms\"\ngrace = \"20s\"\n";

/// A program that works until it has a state to continue from, and then finishes: only an attempt that
/// finds `state` makes the file FINISHED. `on_term` is what it does when it gets SIGTERM.
fn program(on_term: &str, config: &str) -> Run {
    let script = format!(
        "if [ -e state ]; then touch FINISHED; exit 0; fi\n\
         trap '{on_term}' TERM\n\
         touch ready; while :; do sleep 0.05; done"
    );
    Run::new(&["bash", "-c", &script], config)
}

/// The ends of the job's attempts, as `cu show --json` has them.
fn ends(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().expect("a list");
    let ends = attempts.iter().map(|it| it["end"].as_str());
    ends.map(|end| end.expect("it has ended")).collect()
}

/// The job is resumed at least once, and completed only when its work is done.
fn is_chained_to_the_end(run: &Run) {
    is_chained(run, run.start());
}

fn is_chained(run: &Run, main_process: Process) {
    let exit = main_process.wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert!(run.output(0, "FINISHED").exists(), "half the work: {job:#}");
    let ends = ends(&job);
    assert!(ends.len() >= 2, "it was never stopped: {job:#}");
    let (last, before) = ends.split_last().expect("attempts");
    assert_eq!(*last, "completed");
    assert!(
        before.iter().all(|end| *end == "resume_requested"),
        "{job:#}"
    );
    assert!(!job.to_string().contains("asked to be resumed"), "{job:#}");
}

/// The job has failed, after this many attempts.
fn has_failed_after(run: &Run, attempts: usize) -> (Exit, Value) {
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(1), "{exit:?} {job:#}");
    assert_eq!(ends(&job).len(), attempts, "{job:#}");
    (exit, job)
}

#[test]
fn exit_0_after_a_request_to_stop_is_not_done() {
    is_chained_to_the_end(&program("touch state; exit 0", BY_TIME));
}

#[test]
fn an_error_code_of_a_launcher_that_saved_is_no_failure() {
    for code in [1, 2, 127] {
        is_chained_to_the_end(&program(&format!("touch state; exit {code}"), BY_TIME));
    }
}

#[test]
fn a_launcher_whose_worker_saves_in_another_session_is_resumed() {
    let worker = "if [ -e state ]; then touch FINISHED; exit 0; fi; \
                  trap 'touch state; exit 3' TERM; touch ready; while :; do sleep 0.05; done";
    let launcher = format!(
        "import subprocess, sys\n\
         worker = subprocess.Popen(['bash', '-c', {worker:?}], start_new_session=True)\n\
         if worker.wait() != 0: raise RuntimeError('a worker has died')\n"
    );
    // Asked once the worker can hear it: on a busy machine Python starts slowly.
    let config = "[stop]\nfile = \"please_stop\"\ngrace = \"20s\"\n";
    let run = Run::new(&["python3", "-c", &launcher], config);
    let main_process = run.start();
    run.await_file(&run.output(0, "ready"));
    std::fs::write(run.output(0, "please_stop"), "").expect("a file");
    is_chained(&run, main_process);
}

#[test]
fn exit_0_after_the_stop_file_is_not_done() {
    let config = "[stop]\nfile = \"please_stop\"\ngrace = \"20s\"\n";
    let run = program("touch state; rm -f please_stop; exit 0", config);
    let main_process = run.start();
    run.await_file(&run.output(0, "ready"));
    std::fs::write(run.output(0, "please_stop"), "").expect("a file");
    let exit = main_process.wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
}

#[test]
fn exit_0_after_an_operators_wish_is_not_done() {
    let run = program("touch state; exit 0", "[stop]\ngrace = \"20s\"\n");
    let main_process = run.start();
    run.await_file(&run.output(0, "ready"));
    // The main process hears of the start a moment later, and asks only what runs.
    run.until("a running job", || {
        (run.show(0)["state"] == "running").then_some(())
    });
    let asked = run.cu(&["checkpoint"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let exit = main_process.wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
}

#[test]
fn a_program_that_nobody_asked_is_believed() {
    for (code, expected) in [(0, "completed"), (1, "failed"), (127, "failed")] {
        let run = Run::new(&["bash", "-c", &format!("echo x > state; exit {code}")], "");
        let _ = run.start().wait();
        let job = run.show(0);
        assert_eq!(ends(&job), [expected], "{job:#}");
    }
}

#[test]
fn a_real_failure_after_a_request_fails_after_stuck_after() {
    // It changes nothing, so each attempt is one without progress.
    let script = "trap 'exit 1' TERM; while :; do sleep 0.05; done";
    let run = Run::new(&["bash", "-c", script], BY_TIME);
    let (_, job) = has_failed_after(&run, 3);
    let why = job["why"].as_str().expect("a sentence");
    for words in [
        "was stopped after 500 ms as planned",
        "exited with code 1",
        "resume.stuck_after = 3",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
}

#[test]
fn a_cancelled_program_that_saves_and_exits_with_0_is_cancelled() {
    let run = program("touch state; exit 0", "[stop]\ngrace = \"20s\"\n");
    let main_process = run.start();
    run.await_file(&run.output(0, "ready"));
    let stopped = run.cu(&["stop"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let _ = main_process.wait();
    let job = run.show(0);
    assert_eq!(job["state"], "cancelled", "{job:#}");
}

#[test]
fn a_user_may_say_that_0_means_done_after_a_request() {
    let config = format!("{BY_TIME}[resume]\nexit_0_when_stopped = \"completed\"\n");
    let run = program("touch state; exit 0", &config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(ends(&run.show(0)), ["completed"]);
}

#[test]
fn asked_in_its_last_second_it_is_done_one_attempt_later() {
    // It is asked, hears it, and is done: it never saves half a state.
    let script = "[ -e FINISHED ] && exit 0; trap : TERM; \
                  while [ ! -e $CU_STOP_FILE ]; do sleep 0.05; done; touch FINISHED; exit 0";
    let run = Run::new(&["bash", "-c", script], BY_TIME);
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
}

#[test]
fn several_exit_codes_may_ask_for_a_resume() {
    let script = "n=$(cat n 2>/dev/null || echo 0); echo $((n+1)) > n; \
                  case $n in 0) exit 3;; 1) exit 85;; 2) exit 0;; esac";
    let run = Run::new(&["bash", "-c", script], "[resume]\nexit_code = [3, 85]\n");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let expected = ["resume_requested", "resume_requested", "completed"];
    assert_eq!(ends(&run.show(0)), expected);
}

#[test]
fn exit_code_0_as_resume_code_is_refused_with_a_way_out() {
    let run = Run::new(&["true"], "");
    let exit = run.cu(&["run", "--resume-exit-code", "0", "--", "true"]);
    assert_eq!(exit.code, Some(2), "{exit:?}");
    for words in ["--resume-exit-code 0", "resume.exit_0_when_stopped"] {
        assert!(exit.stderr.contains(words), "{words}: {exit:?}");
    }
}

#[test]
fn time_limits_of_a_program_that_goes_on_cost_nothing() {
    // More attempts than the budget allows, each killed at the limit.
    let script = "n=$(wc -l < state 2>/dev/null || echo 0); [ $n -ge 4 ] && exit 0; \
                  echo x >> state; exec sleep 1000";
    let config = "[resources]\ntime_limit = \"500ms\"\n[resume]\ntime_limits = 1\n";
    let run = Run::new(&["bash", "-c", script], config);
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job)[..4], ["time_limit"; 4], "{job:#}");
}

#[test]
fn a_chain_that_only_writes_a_log_is_bounded_and_warned_of() {
    let script = "echo x >> run.log; exit 3";
    let run = Run::new(&["bash", "-c", script], "[resume]\nmax_attempts = 8\n");
    let (exit, job) = has_failed_after(&run, 8);
    let why = job["why"].as_str().expect("a sentence");
    assert!(why.contains("resume.max_attempts = 8"), "{why}");
    let warning = "5 attempts in a row asked to be resumed within a few seconds";
    assert!(exit.stderr.contains(warning), "{exit:?}");
    let log = std::fs::read_to_string(run.dir().log()).expect("a log");
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

#[test]
fn a_chain_that_always_begins_anew_is_warned_of() {
    // It looks for its state in a directory that only this attempt has.
    let script = "state=out/$CU_ATTEMPT; mkdir -p $state; trap 'exit 0' TERM; n=0\n\
                  while :; do echo \"step $n\"; n=$((n + 1)); echo $n > $state/n; sleep 0.01; done";
    let config = "[resume]\nmax_attempts = 8\n[stop]\nafter = \"300ms\"\n";
    let run = Run::new(&["bash", "-c", script], config);
    let (exit, job) = has_failed_after(&run, 8);
    let warning = "5 attempts in a row printed the same as the one before";
    assert!(exit.stderr.contains(warning), "{exit:?} {job:#}");
    let log = std::fs::read_to_string(run.dir().log()).expect("a log");
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

#[test]
fn a_silent_chain_that_begins_anew_is_bounded() {
    // Nobody can tell it from one that goes on, so nobody is warned (docs/ends.md).
    let script = "trap 'exit 0' TERM; mkdir -p outputs/$CU_ATTEMPT; echo 0 > outputs/$CU_ATTEMPT/last.ckpt; \
                  while :; do sleep 0.05; done";
    for (bound, key) in [
        ("max_attempts = 6", "resume.max_attempts = 6"),
        ("max_time = \"1s\"", "resume.max_time = \"1s\""),
    ] {
        let config = format!("[resume]\n{bound}\n[stop]\nafter = \"500ms\"\n");
        let run = Run::new(&["bash", "-c", script], &config);
        let exit = run.start().wait();
        let job = run.show(0);
        assert_eq!(exit.code, Some(1), "{exit:?} {job:#}");
        let why = job["why"].as_str().expect("a sentence");
        assert!(why.contains(key), "{why}");
        assert!(!exit.stderr.contains("in a row"), "{exit:?}");
    }
}

#[test]
fn work_that_a_command_left_in_the_background_is_told_of() {
    for command in [
        "sleep 1000 &",
        "nohup sleep 1000 > /dev/null & echo started",
        "(setsid sleep 1000 &)",
    ] {
        let run = Run::new(&["bash", "-c", command], "");
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        for word in [
            "left processes running, which cu ended",
            "(sleep)",
            "`wait`",
        ] {
            assert!(exit.stderr.contains(word), "{command}: {word}: {exit:?}");
        }
        let job = run.show(0);
        let why = job["why"].as_str().expect("a sentence");
        assert!(why.contains("cu ended what it left running"), "{why}");
    }
    // A filter that reads its last lines is not such work, nor is a child that ends by itself.
    for command in ["exec > >(cat > log); echo done", "sleep 0.2 & true"] {
        let run = Run::new(&["bash", "-c", command], "");
        let exit = run.start().wait();
        assert!(
            !exit.stderr.contains("left processes"),
            "{command}: {exit:?}"
        );
    }
}

/// Programs in Python find the door in the repository.
fn python(script: &str, config: &str) -> Run {
    let door = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/cu-client/python");
    let config = format!("environment.PYTHONPATH = \"{door}\"\n{config}");
    Run::new(&["python3", "-c", script], &config)
}

#[test]
fn a_program_that_hangs_after_its_results_is_ended() {
    let script = "import cu_job, threading\n\
                  with cu_job.Job() as job:\n    \
                      threading.Thread(target=threading.Event().wait).start()\n    \
                      job.finalize({'n': 1})\n";
    let run = python(script, "");
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(job["metrics"]["n"], 1, "{job:#}");
}

#[test]
fn a_resume_request_after_results_is_refused_aloud() {
    let cu = cu_tests::cu::cu_binary().display();
    let script = format!("{cu} job finish n=1; {cu} job exit-for-resume 2> refusal; true");
    let run = Run::new(&["bash", "-c", &script], "");
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    let refusal = std::fs::read_to_string(run.output(0, "refusal")).expect("a file");
    assert!(refusal.contains("so the job is done"), "{refusal:?}");
}

#[test]
fn a_state_in_the_working_directory_is_progress() {
    let scratch = cu_tests::run::scratch();
    let state = scratch.path().display();
    let script = "echo x >> state; [ $(wc -l < state) -ge 6 ] || exit 3";
    let run = Run::new(
        &["bash", "-c", script],
        &format!("working_directory = \"{state}\"\n"),
    );
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job).len(), 6, "{job:#}");
}
