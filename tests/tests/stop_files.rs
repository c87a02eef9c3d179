//! Files that ask to stop: one that people make and `cu` reads (`stop.file`), and one that `cu` makes for the
//! program (`stop.create`).

use cu_tests::run::Run;
use serde_json::Value;

fn bash(script: &str, config: &str) -> Run {
    Run::new(&["bash", "-c", script], config)
}

/// The ends of the job's attempts, as `cu show --json` has them.
fn ends(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().expect("a list");
    let ends = attempts.iter().map(|it| it["end"].as_str());
    ends.map(|end| end.expect("it has ended")).collect()
}

#[test]
fn a_stop_file_that_stays_stops_one_attempt_only() {
    let script = "if [ -e state ]; then touch FINISHED; sleep 2; exit 0; fi; \
                  trap 'touch state; exit 0' TERM; touch ready; while :; do sleep 0.05; done";
    let run = bash(script, "[stop]\nfile = \"please_stop\"\ngrace = \"20s\"\n");
    let main_process = run.start();
    run.await_file(&run.output(0, "ready"));
    std::fs::write(run.output(0, "please_stop"), "").expect("a file");
    let exit = main_process.wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
    let logs = run.cu(&["logs", "0", "--stderr"]);
    for words in [
        "please_stop asks the program to stop",
        "was there before this attempt",
    ] {
        assert!(logs.stdout.contains(words), "{words}: {logs:?}");
    }
}

/// A code that is stopped by the file EXIT in its directory and handles no signal. It goes on from `state`.
const CODE: &str = "if [ -e EXIT ]; then echo stale > stale; fi; \
                    if [ -e state ]; then exit 0; fi; \
                    while [ ! -e EXIT ]; do sleep 0.05; done; cp EXIT seen; touch state; exit 0";

#[test]
fn a_code_is_stopped_by_a_file_of_its_own() {
    for (create, content) in [
        ("\"EXIT\"", ""),
        (
            "{ file = \"EXIT\", content = \"LSTOP = .TRUE.\\n\" }",
            "LSTOP = .TRUE.\n",
        ),
    ] {
        let config = format!("[stop]\nafter = \"500ms\"\ngrace = \"50s\"\ncreate = {create}\n");
        let run = bash(CODE, &config);
        let exit = run.start().wait();
        let job = run.show(0);
        assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
        assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
        let seen = std::fs::read_to_string(run.output(0, "seen")).expect("it saw the file");
        assert_eq!(seen, content);
        assert!(
            !run.output(0, "stale").exists(),
            "the next attempt found it"
        );
        assert!(!run.output(0, "EXIT").exists(), "it was left");
        // It was asked by the file, so nothing was sent.
        let attempt = &job["attempts"][0];
        assert_eq!(attempt["signals"], serde_json::json!([]), "{job:#}");
        let made = attempt["stop_file"].as_str().expect("the file");
        assert!(made.ends_with("/EXIT"), "{made}");
        let shown = run.cu(&["show", "0"]);
        assert!(shown.stdout.contains("/EXIT"), "{shown:?}");
    }
}

#[test]
fn the_file_lies_where_the_program_starts() {
    let scratch = cu_tests::run::scratch();
    let place = scratch.path().display();
    let config = format!(
        "working_directory = \"{place}\"\n[stop]\nafter = \"500ms\"\ngrace = \"50s\"\ncreate = \"EXIT\"\n"
    );
    let run = bash(CODE, &config);
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
    assert!(!scratch.path().join("EXIT").exists(), "it was left");
}

#[test]
fn a_file_of_the_users_own_is_neither_changed_nor_removed() {
    let script = "echo mine > EXIT; while [ ! -e $CU_STOP_FILE ]; do sleep 0.05; done; exit 3";
    let config = "[stop]\nafter = \"500ms\"\ngrace = \"50s\"\ncreate = \"EXIT\"\n\
                  [resume]\nmax_attempts = 1\n";
    let run = bash(script, config);
    let _ = run.start().wait();
    let mine = std::fs::read_to_string(run.output(0, "EXIT")).expect("it is still there");
    assert_eq!(mine, "mine\n");
}

#[test]
fn the_file_of_a_killed_supervisor_is_removed() {
    // The program kills its supervisor once it is asked. The next attempt must not find the file.
    let script = "if [ -e EXIT ]; then echo stale > stale; fi; if [ -e state ]; then exit 0; fi; \
                  touch state; while [ ! -e EXIT ]; do sleep 0.05; done; kill -9 $PPID; sleep 1000";
    let config = "[stop]\nafter = \"500ms\"\ngrace = \"1s\"\ncreate = \"EXIT\"\n";
    let run = bash(script, config);
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert!(
        !run.output(0, "stale").exists(),
        "the next attempt found it"
    );
    assert!(!run.output(0, "EXIT").exists(), "it was left");
}

#[test]
fn a_file_that_stops_several_jobs_is_warned_of() {
    let run = bash(
        "true",
        "working_directory = \"/tmp\"\n[stop]\ncreate = \"EXIT\"\n[grid]\nseed = [1, 2]\n",
    );
    let exit = run.start().wait();
    assert!(exit.stderr.contains("stop.create = \"EXIT\""), "{exit:?}");
}
