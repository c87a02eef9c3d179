//! What "done" is in the user's words (`resume.done_when`), with real processes.

use cu_tests::run::Run;
use serde_json::Value;

/// Stops each attempt after half a second.
const BY_TIME: &str = "[stop]\nafter = \"500ms\"\ngrace = \"20s\"\n";

/// The ends of the job's attempts, as `cu show --json` has them.
fn ends(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().expect("a list");
    let ends = attempts.iter().map(|it| it["end"].as_str());
    ends.map(|end| end.expect("it has ended")).collect()
}

fn bash(script: &str, config: &str) -> Run {
    Run::new(&["bash", "-c", script], config)
}

/// Runs to the end, which is a completed job whose attempts ended like this.
fn completes(run: &Run, expected: &[&str]) -> Value {
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job), expected, "{job:#}");
    job
}

/// Counts its attempts in `n`, and does one of `parts` in each.
fn in_parts(parts: &[&str]) -> String {
    let cases = parts.iter().enumerate();
    let cases: Vec<_> = cases.map(|(n, part)| format!("{n}) {part};;")).collect();
    format!(
        "n=$(cat n 2>/dev/null || echo 0); echo $((n+1)) > n; case $n in {} esac",
        cases.join(" ")
    )
}

#[test]
fn exit_0_without_the_file_is_not_done() {
    let config = "[resume]\ndone_when = { file = \"FINISHED\" }\n";
    let run = bash(
        &in_parts(&["exit 0", "exit 0", "touch FINISHED; exit 0"]),
        config,
    );
    let job = completes(&run, &["resume_requested", "resume_requested", "completed"]);
    let told = job["attempts"][0]["detail"].as_str().expect("a sentence");
    assert!(
        told.contains("not done") && told.contains("FINISHED"),
        "{told}"
    );
    assert!(!told.contains("asked to be resumed"), "{told}");
}

#[test]
fn exit_0_without_the_text_in_the_output_is_not_done() {
    let config = "[resume]\ndone_when = { output = \"Total wall time\" }\n";
    let run = bash(
        &in_parts(&["echo step 1", "echo Total wall time: 1 s >&2; seq 1000 >&2"]),
        config,
    );
    let _ = completes(&run, &["resume_requested", "completed"]);
}

#[test]
fn a_text_in_a_log_file_is_what_shows_that_it_is_done() {
    let config = "[resume]\ndone_when = { file = \"md.log\", contains = \"Total wall time\" }\n";
    let run = bash(
        &in_parts(&[
            "echo step 1 > md.log",
            "echo Total wall time: 1 s >> md.log",
        ]),
        config,
    );
    let _ = completes(&run, &["resume_requested", "completed"]);
}

#[test]
fn a_job_asked_in_its_last_second_is_done_if_it_says_so() {
    // Whatever its exit code: a launcher exits with 1 when it is asked.
    for code in [0, 1, 143] {
        let script = format!(
            "trap : TERM; while [ ! -e $CU_STOP_FILE ]; do sleep 0.05; done; \
             touch FINISHED; exit {code}"
        );
        let config = format!("{BY_TIME}[resume]\ndone_when.file = \"FINISHED\"\n");
        let _ = completes(&bash(&script, &config), &["completed"]);
    }
}

#[test]
fn a_file_of_an_earlier_run_does_not_complete_the_job() {
    let scratch = cu_tests::run::scratch();
    let place = scratch.path().display();
    std::fs::write(scratch.path().join("FINISHED"), "").expect("a file");
    let config =
        format!("working_directory = \"{place}\"\n[resume]\ndone_when.file = \"FINISHED\"\n");
    let run = bash(&in_parts(&["exit 0", "touch FINISHED"]), &config);
    let job = completes(&run, &["resume_requested", "completed"]);
    let told = job["attempts"][0]["detail"].as_str().expect("a sentence");
    assert!(told.contains("before the job began"), "{told}");
}

#[test]
fn a_job_never_done_fails_and_says_what_is_missing() {
    let run = bash("exit 0", "[resume]\ndone_when.file = \"FINISHED\"\n");
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(1), "{exit:?} {job:#}");
    assert_eq!(ends(&job), ["resume_requested"; 3], "{job:#}");
    let why = job["why"].as_str().expect("a sentence");
    assert!(
        why.contains("FINISHED") && why.contains("stuck_after"),
        "{why}"
    );
}

#[test]
fn a_failure_stays_a_failure_without_the_condition() {
    let run = bash(
        "touch x; exit 1",
        "[resume]\ndone_when.file = \"FINISHED\"\n",
    );
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert_eq!(ends(&run.show(0)), ["failed"]);
}

#[test]
fn the_condition_is_given_on_the_command_line_too() {
    let run = Run::new(&["true"], "");
    let script = in_parts(&["exit 0", "echo all done"]);
    let exit = run.cu(&[
        "run",
        "--name",
        "run",
        "--backend",
        "local",
        "--done-when-output",
        "all done",
        "--",
        "bash",
        "-c",
        &script,
    ]);
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
}

/// A program that saves where nobody looks, and prints this in each of its attempts.
fn saves_elsewhere(print: &str, config: &str) -> (cu_tests::run::Run, tempfile::TempDir) {
    let elsewhere = cu_tests::run::scratch();
    let place = elsewhere.path().display();
    let script = format!(
        "n=$(cat {place}/n 2>/dev/null || echo 0); {print}; echo $((n+1)) > {place}/n; \
         [ $n -ge 5 ] || exit 3"
    );
    (bash(&script, config), elsewhere)
}

#[test]
fn new_output_counts_where_nothing_else_can_be_seen() {
    let (run, _elsewhere) = saves_elsewhere("echo loaded; echo epoch $n", "");
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job).len(), 6, "{job:#}");
}

#[test]
fn a_program_that_prints_starting_each_time_is_stuck() {
    let (run, _elsewhere) = saves_elsewhere("echo starting", "");
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(1), "{exit:?} {job:#}");
    // The first attempt has printed something new.
    assert_eq!(ends(&job).len(), 4, "{job:#}");
    let why = job["why"].as_str().expect("a sentence");
    assert!(why.contains("gave up: 3 attempts in a row"), "{why}");
}

#[test]
fn exit_0_without_being_done_for_ever_is_warned_of() {
    let config = "[resume]\ndone_when.file = \"FINISHED\"\nmax_attempts = 7\n";
    let run = bash("date +%N > state; exit 0", config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let warning = "5 attempts in a row exited with code 0 within a few seconds and did not meet the condition for \"done\"";
    assert_eq!(exit.stderr.matches(warning).count(), 1, "{exit:?}");
}
