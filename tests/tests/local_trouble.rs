//! This machine is in trouble, or a directory of a job is gone: no job fails through no fault of
//! its own, and `cu show` says what happened.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cu_tests::process::Process;
use cu_tests::run::Run;
use serde_json::Value;

/// Attempt 0 waits for `gate` and asks to be resumed; the others complete the job.
const RESUMED_ONCE: &str = r#"touch "$CU_TESTS_SCRATCH/begun"
    while [ ! -e "$CU_TESTS_SCRATCH/gate" ] && [ -d "$CU_TESTS_SCRATCH" ]; do sleep 0.02; done
    [ "$CU_ATTEMPT" -gt 0 ] || exit 3
    touch "$CU_OUTPUT_DIR/done""#;

fn script(text: &str, config: &str) -> Run {
    Run::new(&["sh", "-c", text], config)
}

fn open_gate(run: &Run) {
    fs::write(run.path("gate"), "").unwrap();
}

fn attempts(job: &Value) -> &[Value] {
    job["attempts"].as_array().unwrap()
}

fn assert_completes(run: &Run, main_process: Process) -> Value {
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(run.output(0, "done").exists());
    run.show(0)
}

#[test]
fn a_supervisor_that_cannot_be_loaded_fails_no_job() {
    let run = script(RESUMED_ONCE, "");
    let libraries = run.path("libraries");
    fs::create_dir(&libraries).unwrap();
    let mut command = run.command(&["run", run.config().to_str().unwrap()]);
    command.env("LD_LIBRARY_PATH", &libraries);
    let main_process = Process::start(command, &run.path(""));
    run.await_file(&run.path("begun"));
    let damaged = libraries.join("libgcc_s.so.1");
    fs::write(&damaged, "no library").unwrap();
    run.kill_standbys();
    open_gate(&run);
    let job = run.until("three attempts that can't be loaded", || {
        let job = run.show(0);
        (attempts(&job).len() > 3).then_some(job)
    });
    fs::remove_file(damaged).unwrap();
    let lost = &attempts(&job)[1];
    assert_eq!(lost["end"], "lost", "{lost}");
    let detail = lost["detail"].as_str().unwrap();
    for word in ["127", "libgcc_s.so.1"] {
        assert!(detail.contains(word), "{detail}");
    }
    assert_completes(&run, main_process);
}

#[test]
fn deleted_directories_are_made_again() {
    let run = script(RESUMED_ONCE, "settings.rate = 7");
    let main_process = run.start();
    run.await_file(&run.path("begun"));
    let output = run.output(0, "settings.json").parent().unwrap().to_owned();
    let attempts_of_job = run.dir().path().join("attempts/0");
    fs::remove_dir_all(&output).unwrap();
    fs::remove_dir_all(&attempts_of_job).unwrap();
    open_gate(&run);
    let job = assert_completes(&run, main_process);
    let settings = fs::read_to_string(output.join("settings.json")).unwrap();
    assert!(settings.contains('7'), "{settings}");
    for directory in [&output, &attempts_of_job] {
        let mode = fs::metadata(directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", directory.display());
    }
    assert!(attempts(&job).len() <= 3, "{job}");
    let last = attempts(&job).last().unwrap();
    let detail = last["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("made anew"), "{job}");
    let log = fs::read_to_string(run.dir().log()).unwrap();
    assert!(log.contains("made anew"), "{log}");
}

#[test]
fn a_file_in_place_of_an_output_directory_is_named_and_delays() {
    let run = script(RESUMED_ONCE, "");
    let main_process = run.start();
    run.await_file(&run.path("begun"));
    let output = run.output(0, "x").parent().unwrap().to_owned();
    fs::remove_dir_all(&output).unwrap();
    fs::write(&output, "in the way").unwrap();
    open_gate(&run);
    run.until("a reason that names the file", || {
        let job = run.show(0);
        let why = job["why"].as_str().unwrap();
        let is_named =
            why.contains(output.to_str().unwrap()) && why.contains("a file is in its place");
        (is_named && job["state"] == "waiting").then_some(())
    });
    fs::remove_file(&output).unwrap();
    assert_completes(&run, main_process);
}

#[test]
fn too_few_descriptors_cost_no_job_an_attempt() {
    for limit in [40, 24] {
        let seeds: Vec<_> = (0..50).collect();
        let config = format!("grid.seed = {seeds:?}\n[backend.local]\ncpus = 50");
        let run = script("touch \"$CU_OUTPUT_DIR/done\"", &config);
        let mut command = std::process::Command::new("sh");
        let started = run.command(&["run", run.config().to_str().unwrap()]);
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
        command.arg(started.get_program()).args(started.get_args());
        for (name, value) in started.get_envs() {
            command.env(name, value.unwrap());
        }
        command.current_dir(started.get_current_dir().unwrap());
        let main_process = Process::start(command, &run.path(""));
        assert_completes(&run, main_process);
        let status = run.status();
        assert_eq!(status["jobs"]["completed"], 50, "{status}");
        assert_eq!(status["attempts"], 50, "with {limit}: {status}");
    }
}
