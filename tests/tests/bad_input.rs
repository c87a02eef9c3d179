//! Wrong configs, foreign and damaged run directories, a second main process: each gives a clear
//! error and the documented exit code, and loses nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cu_tests::process::{Exit, Process};
use cu_tests::run::Run;

// The documented exit codes.
const DONE: i32 = 0;
const USAGE: i32 = 2;
const IN_USE: i32 = 4;
const NO_RUN: i32 = 6;
const CANT_WRITE: i32 = 7;

/// Checks the exit code, that all of `words` are on standard error, and that standard output is
/// empty.
#[track_caller]
fn assert_refused(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.code, Some(code), "{exit:?}");
    assert_eq!(exit.stdout, "");
    assert!(exit.stderr.starts_with("error: "), "{}", exit.stderr);
    for word in words {
        assert!(exit.stderr.contains(word), "{word}: {}", exit.stderr);
    }
}

fn of(config: &str) -> Run {
    Run::new(&["true"], config)
}

/// Makes a completed run.
fn completed() -> Run {
    let run = of("");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(DONE), "{exit:?}");
    run
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one() {
    let run = of("stop.grase = \"1s\"");
    let exit = run.start().wait();
    assert_refused(&exit, USAGE, &["grase", "grace", "config.toml"]);
    assert!(!run.path("results").exists());
}

#[test]
fn a_value_of_the_wrong_kind_is_named() {
    let run = of("stop.after = 5");
    let exit = run.start().wait();
    assert_refused(&exit, USAGE, &["stop.after", "config.toml"]);
    assert!(!run.path("results").exists());
}

#[test]
fn a_missing_command_is_reported() {
    let run = of("");
    fs::write(run.config(), "name = \"run\"\n").expect("the config");
    assert_refused(&run.start().wait(), USAGE, &["command"]);
    assert!(!run.path("results").exists());
}

/// Where a config's program starts if nothing is said of that.
const BESIDE_THE_CONFIG: &str = "working_directory = \".\"";

#[test]
fn a_missing_program_is_named() {
    let run = Run::new(&["./no-such-program"], BESIDE_THE_CONFIG);
    assert_refused(&run.start().wait(), USAGE, &["./no-such-program"]);
    assert!(!run.path("results").exists());
}

#[test]
fn a_program_without_the_right_to_execute_is_named() {
    let run = Run::new(&["./job"], BESIDE_THE_CONFIG);
    fs::write(run.path("job"), "#!/bin/sh\n").expect("a script");
    assert_refused(&run.start().wait(), USAGE, &["./job", "chmod +x"]);
}

#[test]
fn an_argument_that_is_not_text_is_refused() {
    let run = of("");
    let mut command = run.command(&["run", "--", "echo"]);
    command.arg(OsStr::from_bytes(b"\xff"));
    let exit = Process::start(command, &run.path("")).wait();
    assert_refused(&exit, USAGE, &["UTF-8"]);
    assert!(!run.path("results").exists());
}

#[test]
fn a_missing_config_is_named() {
    let run = of("");
    let exit = run.cu(&["run", "no-such.toml"]);
    assert_refused(&exit, USAGE, &["no-such.toml"]);
}

#[test]
fn a_results_directory_that_cannot_be_written_is_named() {
    let run = of("");
    fs::write(run.path("results"), "a file").expect("a file");
    assert_refused(&run.start().wait(), CANT_WRITE, &["results"]);
    let kept = fs::read_to_string(run.path("results")).expect("the file");
    assert_eq!(kept, "a file");
}

#[test]
fn an_output_directory_that_cannot_be_made_delays_its_job() {
    let run = of("");
    let directories = run.dir().path().join("working_directories");
    fs::create_dir_all(&directories).expect("a directory");
    fs::write(directories.join("0"), "a file").expect("a file");
    let main_process = run.start();
    run.until("the reason is told", || {
        let log = fs::read_to_string(run.dir().log()).unwrap_or_default();
        let told = log.contains("working_directories/0: a file is in its place: move it away");
        told.then_some(())
    });
    assert_eq!(
        fs::read_to_string(directories.join("0")).ok().as_deref(),
        Some("a file")
    );
    fs::remove_file(directories.join("0")).expect("removed");
    assert_eq!(main_process.wait().code, Some(DONE));
}

#[test]
fn a_config_that_cannot_be_kept_leaves_no_run() {
    let run = of("");
    // Without it nobody would know the backend. No file can replace a directory.
    fs::create_dir_all(run.dir().config()).expect("a directory");
    assert_refused(&run.start().wait(), CANT_WRITE, &["run.toml"]);
    assert!(!run.dir().store().exists());
}

#[test]
fn an_existing_run_is_not_replaced() {
    let run = completed();
    let before = fs::read(run.dir().store()).expect("the store");
    assert_refused(&run.start().wait(), USAGE, &["already", "hint:", "cu jobs"]);
    assert_eq!(fs::read(run.dir().store()).expect("the store"), before);
}

#[test]
fn a_missing_run_is_named() {
    let run = of("");
    for command in ["resume", "status", "stop"] {
        assert_refused(&run.cu(&[command, "nowhere"]), NO_RUN, &["nowhere"]);
    }
    assert_refused(&run.cu(&["show", "0", "nowhere"]), NO_RUN, &["nowhere"]);
    let told = run.cu(&["status", "nowhere", "--json"]);
    assert_eq!(told.code, Some(NO_RUN));
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    let words = told["error"]["message"].as_str().unwrap_or_default();
    assert!(words.contains("nowhere"), "{told}");
}

#[test]
fn a_missing_job_is_named() {
    let run = completed();
    assert_refused(&run.cu(&["show", "1"]), USAGE, &["no job 1"]);
}

/// Checks that every command that reads or continues the run refuses, and leaves the store
/// unchanged.
#[track_caller]
fn assert_left_alone(run: &Run, words: &[&str]) {
    let store = run.dir().store();
    let before = fs::read(&store).expect("the store");
    let files = entries(run.dir().path());
    let directory = run.dir().path().to_str().expect("UTF-8").to_owned();
    for arguments in [
        &["resume", &directory][..],
        &["status", &directory],
        &["show", "0", &directory],
        &["stop", &directory],
    ] {
        assert_refused(&run.cu(arguments), NO_RUN, words);
        assert_eq!(
            fs::read(&store).expect("the store"),
            before,
            "{arguments:?}"
        );
        assert_eq!(entries(run.dir().path()), files, "{arguments:?}");
    }
}

fn entries(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_run_of_a_newer_version_is_refused_unchanged() {
    let run = completed();
    let store = rusqlite::Connection::open(run.dir().store()).expect("a database");
    store.pragma_update(None, "user_version", 99).expect("set");
    store.close().expect("closed");
    assert_left_alone(&run, &["newer version", "99", "hint:"]);
}

#[test]
fn a_store_with_a_damaged_header_is_refused_unchanged() {
    let run = completed();
    let mut bytes = fs::read(run.dir().store()).expect("the store");
    bytes[..100].fill(0xA5);
    fs::write(run.dir().store(), bytes).expect("the store");
    assert_left_alone(&run, &["run.sqlite is damaged", "hint:"]);
}

#[test]
fn a_store_with_damaged_pages_is_refused_unchanged() {
    let run = completed();
    let mut bytes = fs::read(run.dir().store()).expect("the store");
    bytes[100..].fill(0xA5);
    fs::write(run.dir().store(), bytes).expect("the store");
    assert_left_alone(&run, &["run.sqlite is damaged", "hint:"]);
}

#[test]
fn a_truncated_store_is_refused_unchanged() {
    let run = completed();
    let bytes = fs::read(run.dir().store()).expect("the store");
    fs::write(run.dir().store(), &bytes[..bytes.len() / 2]).expect("the store");
    assert_left_alone(&run, &["run.sqlite is damaged", "hint:"]);
}

#[test]
fn a_second_main_process_is_refused() {
    let barrier = "test -e here || echo > here; while ! test -e barrier; do sleep 0.01; done";
    let run = Run::new(&["sh", "-c", barrier], "");
    let first = run.start();
    run.await_file(&run.output(0, "here"));
    let server = fs::read(run.dir().server_file()).expect("server.json");
    let process = first.id().to_string();
    let second = run.cu(&["resume", run.dir().path().to_str().expect("UTF-8")]);
    assert_refused(&second, IN_USE, &["in use", &process, "hint:"]);
    let kept = fs::read(run.dir().server_file()).expect("server.json");
    assert_eq!(kept, server);
    fs::write(run.output(0, "barrier"), "").expect("the barrier");
    let exit = first.wait();
    assert_eq!(exit.code, Some(DONE), "{exit:?}");
    assert_eq!(run.status()["attempts"], 1);
}
