//! `cu status --json` and `cu show JOB --json`: the names and types that scripts depend on, in the
//! middle of a run, after it, and in a copy of it elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cu_tests::cu::cu_binary;
use cu_tests::process::Process;
use cu_tests::run::{Run, scratch};
use cu_tests::wait::until;
use serde_json::Value;

/// Two jobs that wait at a barrier in their first attempt.
fn waiting() -> (Run, Process) {
    let config = "settings.behaviour = \"waits\"\nsettings.barrier = \"barrier\"\n\
                  grid.parameter = [0.5, \"text\"]\n";
    let run = Run::new(&[env!("CARGO_BIN_EXE_tiny_job")], config);
    let main_process = run.start();
    for job in 0..2 {
        run.await_file(&run.output(job, "here"));
        until("the start of the job in the store", || {
            let started = &run.show(job)["attempts"][0]["started"];
            started.is_string().then_some(())
        });
    }
    (run, main_process)
}

fn let_go(run: &Run, main_process: Process) {
    for job in 0..2 {
        fs::write(run.output(job, "barrier"), "").expect("the barrier");
    }
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

/// RFC 3339 with milliseconds, in UTC.
fn is_moment(value: &Value) -> bool {
    let pattern = "0000-00-00T00:00:00.000Z";
    value.as_str().is_some_and(|text| {
        text.len() == pattern.len()
            && text
                .chars()
                .zip(pattern.chars())
                .all(|(given, wanted)| given == wanted || wanted == '0' && given.is_ascii_digit())
    })
}

fn counts(status: &Value) -> Vec<(&str, u64)> {
    let names = "total waiting queued running completed failed cancelled";
    let count = |name| status["jobs"][name].as_u64().expect("a number");
    names.split(' ').map(|name| (name, count(name))).collect()
}

fn some(expected: [(&'static str, u64); 2]) -> Vec<(&'static str, u64)> {
    let names = "total waiting queued running completed failed cancelled";
    let known = |name| expected.iter().find(|(known, _)| *known == name);
    names
        .split(' ')
        .map(|name| (name, known(name).map_or(0, |(_, count)| *count)))
        .collect()
}

#[test]
fn json_in_the_middle_of_a_run_has_the_documented_form() {
    let (run, main_process) = waiting();
    let status = run.status();
    assert_eq!(status["run_dir"], run.dir().path().to_str().expect("UTF-8"));
    assert_eq!(status["name"], "run");
    assert_eq!(status["state"], "running");
    assert!(
        status["backend"]
            .as_str()
            .is_some_and(|name| !name.is_empty())
    );
    assert_eq!(counts(&status), some([("total", 2), ("running", 2)]));
    assert_eq!(
        (&status["attempts"], &status["resumes"]),
        (&2.into(), &0.into())
    );

    let job = run.show(1);
    assert_eq!((&job["job"], &job["state"]), (&1.into(), &"running".into()));
    let output_dir = run.output(1, "");
    let told = job["output_dir"].as_str().expect("text");
    assert_eq!(Path::new(told).components(), output_dir.components());
    assert!(job["metrics"].is_object(), "{job}");
    let why = job["why"].as_str().expect("text");
    assert!(why.contains("attempt 0"), "{why}");
    let attempts = job["attempts"].as_array().expect("a list");
    let [attempt] = &attempts[..] else {
        panic!("one attempt: {job}");
    };
    assert_eq!(attempt["attempt"], 0);
    assert!(
        attempt["cluster_job_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("local-"))
    );
    assert!(attempt["host"].is_string(), "{attempt}");
    assert!(
        is_moment(&attempt["submitted"]) && is_moment(&attempt["started"]),
        "{attempt}"
    );
    for name in ["ended", "end", "exit_code", "signal"] {
        assert!(
            attempt.get(name).is_some_and(Value::is_null),
            "{name}: {attempt}"
        );
    }
    let_go(&run, main_process);
}

fn assert_completed(status: &Value, job: &Value) {
    assert_eq!(
        (&status["name"], &status["state"]),
        (&"run".into(), &"completed".into())
    );
    assert_eq!(counts(status), some([("total", 2), ("completed", 2)]));
    assert_eq!(
        (&status["attempts"], &status["resumes"]),
        (&8.into(), &6.into())
    );

    assert_eq!(
        (&job["job"], &job["state"]),
        (&0.into(), &"completed".into())
    );
    assert_eq!(
        (&job["metrics"]["steps"], &job["metrics"]["sum"]),
        (&8.into(), &36.into())
    );
    assert_eq!(job["parameters"]["parameter"], 0.5);
    let why = job["why"].as_str().expect("text");
    assert!(why.contains("attempt 3"), "{why}");
    let attempts = job["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 4, "{job}");
    let mut before = String::new();
    for (number, attempt) in attempts.iter().enumerate() {
        let (end, code) = if number < 3 {
            ("resume_requested", 3)
        } else {
            ("completed", 0)
        };
        assert_eq!(attempt["attempt"], number);
        assert_eq!(
            (&attempt["end"], &attempt["exit_code"]),
            (&end.into(), &code.into())
        );
        assert!(
            attempt["signal"].is_null() && attempt["host"].is_string(),
            "{attempt}"
        );
        for name in ["submitted", "started", "ended"] {
            assert!(is_moment(&attempt[name]), "{name}: {attempt}");
        }
        // Only moments of one clock have an order: the main process notes when it submits.
        let submitted = attempt["submitted"].as_str().expect("text");
        assert!(before.as_str() <= submitted, "{job}");
        submitted.clone_into(&mut before);
    }
}

#[test]
fn json_after_a_run_is_the_same_in_a_copy() {
    let (run, main_process) = waiting();
    let_go(&run, main_process);
    assert_completed(&run.status(), &run.show(0));

    let elsewhere = run.path("elsewhere");
    copy(run.dir().path(), &elsewhere);
    fs::remove_dir_all(run.dir().path()).expect("removed");
    let copy = elsewhere.to_str().expect("UTF-8");
    let status = run.json(&["status", copy]);
    assert_eq!(status["run_dir"], copy);
    let job = run.json(&["show", "0", copy]);
    assert_completed(&status, &job);
    let output_dir = job["output_dir"].as_str().expect("text");
    assert!(output_dir.starts_with(copy), "{output_dir}");
}

#[test]
fn json_of_a_read_only_copy_is_the_same() {
    let (run, main_process) = waiting();
    let_go(&run, main_process);
    let public = scratch();
    let copied = public.path().join("run");
    copy(run.dir().path(), &copied);
    for_all(&copied, &|path| {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    });
    fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let cu = public.path().join("cu");
    // A child of another test, between fork and exec, would inherit a file that this process has
    // open for writing, and such a file can't be executed. So another process makes the copy.
    let mut copy_program = Command::new("cp");
    copy_program.arg(cu_binary()).arg(&cu);
    let copied_program = Process::start(copy_program, public.path()).wait();
    assert_eq!(copied_program.code, Some(0), "{copied_program:?}");
    let ask = |arguments: &[&str]| -> Value {
        let mut command = Command::new(&cu);
        command.args(arguments).arg(&copied).arg("--json");
        command.current_dir(public.path());
        if rustix::process::getuid().is_root() {
            // Root may write whatever the mode.
            command.uid(NOBODY).gid(NOBODY);
        }
        let exit = Process::start(command, &run.path("")).wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        serde_json::from_str(&exit.stdout).expect("JSON")
    };
    assert_completed(&ask(&["status"]), &ask(&["show", "0"]));
    // So that others can remove it.
    for_all(&copied, &|path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    });
}

/// The user `nobody`, which owns no files.
const NOBODY: u32 = 65534;

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn for_all(path: &Path, change: &dyn Fn(&Path)) {
    change(path);
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            for_all(&entry.path(), change);
        }
    }
}
