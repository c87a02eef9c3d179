//! What the program prints is also where its user looks for it.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::fs::{File, read_to_string};
use std::process::Command;

use common::{EXEC, JOB, Run, Supervisor};
use cu_protocol::Attempt;

/// Runs an attempt to its end, its streams in the files of the attempt.
fn attempt(run: &Run, number: u32, variables: &[(&str, &str)]) {
    let attempt = Attempt(number);
    std::fs::create_dir_all(run.dir.attempt(JOB, attempt)).unwrap();
    let newest = run.dir.newest_attempt(JOB);
    cu_run_dir::replace(&newest, number.to_string().as_bytes()).unwrap();
    let mut command = Command::new(EXEC);
    command
        .arg(run.dir.path())
        .args([JOB.to_string(), number.to_string()])
        .envs(variables.iter().copied())
        .stdout(File::create(run.dir.stdout(JOB, attempt)).unwrap())
        .stderr(File::create(run.dir.stderr(JOB, attempt)).unwrap());
    Supervisor::with_streams(command).wait();
}

#[test]
fn both_streams_are_copied_in_their_order_and_attempts_add_up() {
    let run =
        Run::script("echo out $CU_ATTEMPT; echo err >&2; echo ${CU_STDOUT_COPY-unset}; printf end");
    let copy = run.file("log");
    let copy = copy.to_str().unwrap();
    let variables = [("CU_STDOUT_COPY", copy), ("CU_STDERR_COPY", copy)];
    attempt(&run, 0, &variables);
    let first = "out 0\nerr\nunset\nend";
    assert_eq!(read_to_string(copy).unwrap(), first);
    // Also where `cu logs` reads.
    assert_eq!(
        read_to_string(run.dir.stdout(JOB, Attempt(0))).unwrap(),
        first
    );
    attempt(&run, 1, &variables);
    let second = first.replace('0', "1");
    assert_eq!(read_to_string(copy).unwrap(), format!("{first}{second}"));
}

#[test]
fn streams_with_a_file_each_stay_apart() {
    let run = Run::script("echo out; echo err >&2");
    let (out, err) = (run.file("out"), run.file("err"));
    let variables = [
        ("CU_STDOUT_COPY", out.to_str().unwrap()),
        ("CU_STDERR_COPY", err.to_str().unwrap()),
    ];
    attempt(&run, 0, &variables);
    assert_eq!(read_to_string(out).unwrap(), "out\n");
    assert!(read_to_string(err).unwrap().starts_with("err\n"));
}

#[test]
fn a_copy_that_fails_costs_the_program_nothing() {
    let run = Run::script("echo out; echo done > result");
    attempt(&run, 0, &[("CU_STDOUT_COPY", "/proc/nowhere/log")]);
    assert_eq!(run.text("result"), "done\n");
    let said = read_to_string(run.dir.stderr(JOB, Attempt(0))).unwrap();
    assert!(said.contains("can't be copied to"), "{said}");
}
