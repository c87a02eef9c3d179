//! A failure explains itself, and an attempt that was stopped says why, by which key, and who ended it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cu_tests::process::Exit;
use cu_tests::run::Run;

/// Both outputs, as a person sees them.
fn seen(exit: &Exit) -> String {
    format!("{}{}", exit.stderr, exit.stdout)
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

fn assert_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

/// Lines that are longer than 80 columns, but for those with a path.
fn assert_fits(text: &str) {
    let too_long = |line: &&str| line.chars().count() > 80 && !line.contains('/');
    let lines: Vec<_> = text.lines().skip(1).filter(too_long).collect();
    assert!(lines.is_empty(), "{lines:#?}\n{text}");
    let blanks: Vec<_> = text.lines().filter(|line| line.ends_with(' ')).collect();
    assert!(blanks.is_empty(), "{blanks:#?}");
}

#[test]
fn a_failure_is_told_once_with_its_reason_and_the_next_command() {
    let script = "echo starting >&2; echo 'ERROR: could not open GPU' >&2; exit 1";
    let run = Run::new(&["sh", "-c", script], "");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let text = seen(&exit);
    let heading = "job 0 failed (exit code 1): ERROR: could not open GPU";
    assert_all(&text, &[heading, "| starting", "see `cu logs 0`"]);
    assert_eq!(count(&text, "could not open GPU"), 1, "{text}");
    assert_eq!(count(&text, "exit code 1"), 1, "{text}");
}

#[test]
fn a_failure_shows_its_last_line_while_other_jobs_run() {
    let script = "[ {settings.fails} = 0 ] && while [ ! -e ../../../../go ]; do sleep 0.1; done; \
                  echo 'RuntimeError: no memory' >&2; exit {settings.fails}";
    let run = Run::new(&["sh", "-c", script], "grid.fails = [0, 1]");
    let process = run.start();
    run.until("the reason", || {
        let told = process.stderr();
        let line = told.lines().find(|line| line.starts_with("job 1: "))?;
        assert_all(
            line,
            &["; last line: RuntimeError: no memory; see `cu logs 1`"],
        );
        Some(())
    });
    fs::write(run.path("go"), "").expect("the gate opens");
    assert_eq!(process.wait().code, Some(1));
}

#[test]
fn the_last_line_is_what_a_person_saw() {
    let script = r"printf '\r 10%%|#    |\r 90%%|#### |\r\033[31mRuntimeError: no memory\033[0m' >&2; exit 1";
    let run = Run::new(&["sh", "-c", script], "");
    let text = seen(&run.start().wait());
    assert_all(&text, &["(exit code 1): RuntimeError: no memory"]);
    assert!(!text.contains("90%"), "{text}");
    let shown = run.cu(&["show", "0"]).stdout;
    assert_all(
        &shown,
        &["last line of its stderr: RuntimeError: no memory\n"],
    );
}

#[test]
fn equal_failures_are_one_paragraph() {
    let script = "echo \"ERROR: no GPU for job $CU_JOB_ID\" >&2; exit 1";
    let config = "[grid]\ni = [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24]";
    let run = Run::new(&["sh", "-c", script], config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let text = seen(&exit);
    assert_all(
        &text,
        &["25 jobs failed (exit code 1): ERROR: no GPU", "jobs 0-24"],
    );
    // At the end; the first that failed may have been told of while the others ran.
    assert_eq!(count(&exit.stdout, "no GPU"), 1, "{text}");
    assert!(text.lines().count() < 12, "{text}");
}

#[test]
fn a_run_is_given_up_after_max_failures() {
    let script = "test $CU_JOB_ID -lt 2 && exit 1; while :; do sleep 0.05; done";
    let config = "[grid]\ni = [0,1,2,3,4]\n[backend.local]\ncpus = 3\n[resume]\nmax_failures = 2";
    let run = Run::new(&["sh", "-c", script], config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let status = run.status();
    assert_eq!(status["state"], "failed", "{status}");
    assert_eq!(status["jobs"]["failed"], 2, "{status}");
    assert_eq!(status["jobs"]["cancelled"], 3, "{status}");
    for job in 2..5 {
        let why = run.show(job)["why"].to_string();
        assert_all(&why, &["2 jobs have failed", "resume.max_failures = 2"]);
    }
    // Nothing is left to do.
    let exit = run.cu(&["resume"]);
    assert_eq!(exit.code, Some(1), "{exit:?}");
    // A retry among failed jobs is not given up at once: only a further failure does that.
    let exit = run.cu(&["retry", "1"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let exit = run.cu(&["resume"]);
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert_eq!(run.show(1)["attempts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_planned_stop_is_called_by_its_key() {
    let script = "trap 'echo saved > state; exit 0' TERM; \
                  test $CU_ATTEMPT = 1 && exit 0; while :; do sleep 0.05; done";
    let config = "[stop]\nafter = \"1s\"\nsignal = \"TERM\"";
    let run = Run::new(&["bash", "-c", script], config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let shown = run.cu(&["show", "0"]).stdout;
    let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = [
        "was stopped after 1 s as planned (SIGTERM to bash; its program exited with code 0)",
        "(stop.after = 1s)",
    ];
    assert_all(&flat, &parts);
    assert!(!shown.contains("asked to be resumed"), "{shown}");
    assert_fits(&shown);
    let stopped = &run.show(0)["attempts"][0]["stopped"];
    assert_eq!(stopped["cause"], "time_budget", "{stopped}");
    assert_eq!(stopped["by"], "stop.after = 1s", "{stopped}");
    assert_eq!(stopped["killed"], false, "{stopped}");
    let log = fs::read_to_string(run.dir().log()).expect("a log");
    let line = "(stop.after = 1s)";
    assert_all(&log, &["attempt 0 was stopped after 1 s as planned", line]);
    assert!(!log.contains("asked to be resumed"), "{log}");
}

#[test]
fn a_program_killed_while_it_saves_names_the_grace_time() {
    let script = "trap 'while :; do sleep 0.05; done' TERM; while :; do sleep 0.05; done";
    let config = "[stop]\nafter = \"500ms\"\nsignal = \"TERM\"\ngrace = \"300ms\"\n\
                  [resume]\nstuck_after = 1";
    let run = Run::new(&["bash", "-c", script], config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let text = seen(&exit);
    let parts = [
        "killed by cu",
        "after SIGTERM, because twice its grace time of 300 ms was over",
        "2 × stop.grace (stop.grace = 300ms)",
        "--grace",
    ];
    assert_all(&text, &parts);
    assert!(!text.contains("asked to be resumed"), "{text}");
    let shown = run.cu(&["show", "0"]).stdout;
    let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_all(&flat, &["(stop.after = 500ms, stop.grace = 300ms)"]);
    assert_fits(&shown);
    let stopped = &run.show(0)["attempts"][0]["stopped"];
    assert_eq!(stopped["killed"], true, "{stopped}");
    let log = fs::read_to_string(run.dir().log()).expect("a log");
    assert_all(&log, &["(stop.after = 500ms, stop.grace = 300ms)"]);
}

#[test]
fn exit_codes_and_signals_have_hints() {
    for (script, heading, hint) in [
        ("exit 126", "(exit code 126)", "is not executable"),
        ("no-such-command", "(exit code 127)", "can't find a command"),
        ("timeout 0.1 sleep 60", "(exit code 124)", "`timeout`"),
        ("kill -9 $$", "(SIGKILL)", "memory ran out"),
        ("kill -11 $$", "(SIGSEGV)", "used memory"),
    ] {
        let run = Run::new(&["sh", "-c", script], "");
        let text = seen(&run.start().wait());
        assert_all(&text, &[heading, "hint: ", hint]);
        let shown = run.cu(&["show", "0"]).stdout;
        assert_all(&shown, &["hint: ", hint]);
    }
    let run = Run::new(&["sh", "-c", "exit 3"], "[resume]\nstuck_after = 2");
    let text = seen(&run.start().wait());
    assert_all(
        &text,
        &["gave up: 2 attempts in a row", "--resume-exit-code"],
    );
}

#[test]
fn half_a_file_of_a_killed_attempt_is_suspected() {
    // It takes the newest file, which SIGTERM cut off.
    let script = "[ -e restart ] && exit 1; echo half > restart; sleep 1000";
    let run = Run::new(&["sh", "-c", script], "[stop]\nafter = \"300ms\"");
    let text = seen(&run.start().wait());
    let hint = "attempt 0 was ended by SIGTERM, perhaps while it wrote a file";
    assert_all(&text, &["(exit code 1)", "hint: ", hint]);
    let shown = run.cu(&["show", "0"]).stdout;
    let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_all(&flat, &[hint]);
    // One that had time to save is not suspected.
    let script = "[ -e restart ] && exit 1; trap 'echo whole > restart; exit 0' TERM; \
                  while :; do sleep 0.05; done";
    let run = Run::new(&["sh", "-c", script], "[stop]\nafter = \"300ms\"");
    let text = seen(&run.start().wait());
    assert!(!text.contains("perhaps while"), "{text}");
}

#[test]
fn a_script_that_can_not_start_is_told_in_plain_words() {
    for (content, mode, expected) in [
        ("#!/bin/bash\r\necho\r\n", 0o755, "Windows line endings"),
        ("echo hello\n", 0o755, "#!/bin/sh"),
        ("#!/bin/sh\n", 0o644, "chmod +x"),
    ] {
        let run = Run::new(&["./x.sh"], "working_directory = \".\"");
        let path = run.path("x.sh");
        fs::write(&path, content).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert_all(&seen(&exit), &[expected, "hint"]);
        assert!(!run.dir().path().exists(), "{exit:?}");
    }
}

#[test]
fn a_missing_interpreter_is_named() {
    let run = Run::new(&["./x.sh"], "working_directory = \".\"");
    // A child of another test, between fork and exec, would inherit a file that this process has
    // open for writing, and such a file can't be executed. So another process writes it.
    let mut write = Command::new("sh");
    write.args(["-c", "echo '#!/no/such/python' > x.sh && chmod +x x.sh"]);
    let written = write.current_dir(run.path("")).status();
    assert!(written.expect("a shell").success());
    // A node may have it, so that only the attempt can know.
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let text = seen(&exit);
    assert_all(
        &text,
        &[
            "job 0 failed: the first line of",
            "asks for /no/such/python",
        ],
    );
    assert_eq!(count(&text, "/no/such/python"), 1, "{text}");
    let attempts = &run.show(0)["attempts"];
    assert_eq!(attempts.as_array().expect("a list").len(), 1, "{attempts}");
    assert_eq!(attempts[0]["end"], "failed", "{attempts}");
}
