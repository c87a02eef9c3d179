//! How programs end, and what the exit record says about it: codes, signals, wrappers, what is left
//! behind, what can't be started, arguments.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{Run, children_of, eventually, is_alive};
use cu_protocol::{Attempt, CheckpointId, OutputChange, ProgramEnd};
use cu_run_dir::{SignalReason, SignalsFile, StopPolicy};
use cu_supervisor::Outcome;
use proptest::prelude::*;
use rustix::process::Signal;

#[test]
fn exit_codes_are_recorded_and_passed_on() {
    for code in [0, 1, 3, 75, 137, 255] {
        let run = Run::script(&format!("exit {code}"));
        assert_eq!(run.start(0).code(), code);
        let record = run.record(0);
        assert_eq!(record.end, ProgramEnd::Exited(code));
        assert_eq!(
            (record.stop, record.output_changed),
            (None, OutputChange::Unchanged)
        );
        assert!(record.started.unwrap() <= record.ended);
        assert!(record.peak_memory_bytes.unwrap() > 100_000);
    }
}

#[test]
fn signals_are_recorded_and_become_128_and_their_number() {
    for signal in [6, 9, 11, 15] {
        let run = Run::script(&format!("kill -{signal} $$"));
        assert_eq!(run.start(0).code(), 128 + signal);
        assert_eq!(run.record(0).end, ProgramEnd::Signaled(signal));
    }
}

#[test]
fn times_beyond_all_time_harm_nothing() {
    let mut run = Run::script("exit 7");
    // No clock goes so far, and twice as much is not a duration.
    let beyond = Duration::from_secs(10_u64.pow(19));
    run.spec.stop = StopPolicy {
        after: Some(beyond),
        before_limit: Some(beyond),
        grace: beyond,
        ..StopPolicy::default()
    };
    run.write_spec();
    let far = [("CU_DEADLINE", "1e18"), ("CU_KILL_WAIT", "1e19")];
    assert_eq!(run.start_with(0, &far).code(), 7);
    assert_eq!(run.record(0).end, ProgramEnd::Exited(7));
}

#[test]
fn the_program_finds_its_place_in_the_environment() {
    let mut run = Run::script("env > environment");
    run.spec.environment = [("CU_ATTEMPT", "99"), ("GREETING", "a = 'b'\n$(c)")]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into();
    run.write_spec();
    let mut supervisor = run.start_with(2, &[("CU_DEADLINE", "4102444800")]);
    assert_eq!(supervisor.code(), 0);
    let environment = run.text("environment");
    let output = run.dir.output_dir(common::JOB);
    for expected in [
        "CU_JOB_ID=4".to_owned(),
        "CU_ATTEMPT=2".to_owned(),
        format!("CU_RUN_DIR={}", run.dir.path().display()),
        format!("CU_OUTPUT_DIR={}", output.display()),
        format!("CU_SETTINGS={}", run.dir.settings(common::JOB).display()),
        format!("PWD={}", output.display()),
        "CU_DEADLINE=4102444800".to_owned(),
        "GREETING=a = 'b'".to_owned(),
    ] {
        assert!(
            environment.lines().any(|line| line == expected),
            "{expected}\n{environment}"
        );
    }
    let socket = environment
        .lines()
        .find_map(|line| line.strip_prefix("CU_SOCKET="));
    assert!(
        !std::path::Path::new(socket.unwrap()).exists(),
        "the socket is removed"
    );
}

#[test]
fn a_program_may_start_elsewhere() {
    let mut run = Run::script("touch here");
    std::fs::create_dir(run.file("inner")).unwrap();
    run.spec.working_directory = Some("inner".into());
    run.write_spec();
    assert_eq!(run.run(0).output_changed, OutputChange::Changed);
    assert!(run.file("inner/here").exists());
}

#[test]
fn a_wrapper_s_background_child_is_ended_with_it() {
    let run = Run::script("sleep 1000 & echo $! > child; exit 0");
    let record = run.run(0);
    assert_eq!(record.end, ProgramEnd::Exited(0));
    assert!(!is_alive(run.await_pid("child")));
}

#[test]
fn a_stubborn_child_in_its_own_session_is_killed() {
    let policy = StopPolicy {
        grace: Duration::from_millis(300),
        ..StopPolicy::default()
    };
    let script = r#"
        setsid sh -c 'trap "" TERM HUP; echo $$ > fled; while :; do sleep 1; done' &
        while ! [ -s fled ]; do :; done
        exit 5"#;
    let run = Run::script_with(script, policy);
    assert_eq!(run.run(0).end, ProgramEnd::Exited(5));
    assert!(!is_alive(run.await_pid("fled")));
}

/// Adds the time to each line, slowly, and passes it on.
const FILTER: &str = r#"while read -r line; do echo "noon $line"; sleep 0.005; done"#;

#[test]
fn a_filter_that_still_reads_is_not_cut_off() {
    // Both of the program's own accord and when it is asked to stop.
    for (last, after, code) in [("exit 4", None, 4), ("sleep 600", Some(1), 143)] {
        let stop = StopPolicy {
            after: after.map(Duration::from_secs),
            grace: Duration::from_secs(600),
            ..StopPolicy::default()
        };
        let script = format!("exec > >({FILTER} | tee log); seq 1 500; echo RESULT; {last}");
        let mut run = Run::of(["bash", "-c", &script]);
        run.spec.stop = stop;
        run.write_spec();
        let mut supervisor = run.start(0);
        assert_eq!(supervisor.code(), code);
        let log = run.text("log");
        assert_eq!(log.lines().count(), 501);
        assert!(log.ends_with("noon RESULT\n"), "{log}");
        // Nobody had to be ended, so nothing is said.
        assert_eq!(supervisor.said(), "");
    }
}

#[test]
fn a_filter_that_never_ends_is_ended() {
    let policy = StopPolicy {
        grace: Duration::from_millis(300),
        ..StopPolicy::default()
    };
    let script = "exec > >(trap '' TERM; cat; echo $BASHPID > filter; while :; do sleep 0.01; done)
        exit 6";
    let mut run = Run::of(["bash", "-c", script]);
    run.spec.stop = policy;
    run.write_spec();
    assert_eq!(run.run(0).end, ProgramEnd::Exited(6));
    let filter = run.await_pid("filter");
    assert!(!is_alive(filter));
}

#[test]
fn ending_a_command_left_in_the_background_is_reported() {
    let script = "sleep 1000 & echo $! > child; exit 0";
    let run = Run::script(script);
    let mut supervisor = run.start(0);
    assert_eq!(supervisor.code(), 0);
    let child = run.await_pid("child").as_raw_nonzero().get().unsigned_abs();
    let said = supervisor.said();
    let named = format!("{child} (sleep)");
    assert!(said.contains(&named) && said.contains("`wait`"), "{said}");
    let sent = SignalsFile::read(&run.dir.signals(common::JOB, Attempt(0)))
        .unwrap()
        .sent;
    let [signal] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (signal.pid, signal.name.as_str(), signal.signal.as_str()),
        (child, "sleep", "TERM")
    );
    assert_eq!(signal.reason, SignalReason::LeftBehind);
    assert_eq!(run.record(0).noticed.ended_processes, Some(named));
}

#[test]
fn setsid_is_waited_for_and_its_program_asked() {
    // It leads a process group, so it forks and ends at once.
    let run = Run::of(["setsid", "sh", "-c", "sleep 0.3; echo done > done; exit 5"]);
    assert_eq!(run.run(0).end, ProgramEnd::Exited(5));
    assert_eq!(run.text("done"), "done\n");

    let saves =
        "trap 'echo saved > state; exit 3' TERM; echo up > up; while :; do sleep 0.01; done";
    let mut run = Run::of(["env", "A=b", "setsid", "bash", "-c", saves]);
    run.spec.stop.grace = Duration::from_secs(600);
    run.write_spec();
    let mut supervisor = run.start(0);
    run.await_line("up", "up");
    supervisor.signal(Signal::USR1);
    assert_eq!(supervisor.code(), 3);
    assert_eq!(run.text("state"), "saved\n");
}

#[test]
fn setsid_hides_no_failure_that_comes_at_once() {
    let run =
        Run::script("echo $$ > pid; while ! [ -e go ]; do sleep 0.01; done; exec setsid false");
    let mut supervisor = run.start(0);
    run.await_pid("pid");
    // Both have ended before their parent looks.
    supervisor.signal(Signal::STOP);
    std::fs::write(run.file("go"), "").unwrap();
    eventually("the end of both", || {
        let children = children_of(supervisor.pid());
        children.len() == 2 && !children.into_iter().any(is_alive)
    });
    supervisor.signal(Signal::CONT);
    assert_eq!(supervisor.code(), 1);
    assert_eq!(run.record(0).end, ProgramEnd::Exited(1));
}

#[test]
fn a_program_that_can_t_be_started_says_why() {
    let run = Run::of(["no-such-program-anywhere"]);
    let mut supervisor = run.start(0);
    assert_eq!(supervisor.code(), i32::from(Outcome::NOT_STARTED));
    let ProgramEnd::NotStarted(text) = run.record(0).end else {
        panic!("{:?}", run.record(0));
    };
    assert!(
        text.contains("`no-such-program-anywhere`") && text.contains("PATH"),
        "{text}"
    );
    assert!(supervisor.said().contains(&text));

    let run = Run::of(["./script"]);
    std::fs::write(run.file("script"), "echo no first line").unwrap();
    let hint = |attempt| match run.run(attempt).end {
        ProgramEnd::NotStarted(text) => text,
        other => panic!("{other:?}"),
    };
    assert!(hint(0).contains("chmod +x"), "{}", hint(0));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(run.file("script"), executable).unwrap();
    assert!(hint(1).contains("#!/bin/sh"));
    std::fs::write(run.file("script"), "#!/no/such/interpreter\n").unwrap();
    assert!(hint(2).contains("interpreter"));
}

#[test]
fn a_damaged_specification_and_a_missing_directory_are_recorded() {
    let run = Run::script("exit 0");
    std::fs::write(run.dir.job_spec(common::JOB), "{\"version\":1,").unwrap();
    assert!(matches!(run.run(0).end, ProgramEnd::Fenced(text) if text.contains("job.json")));

    let mut run = Run::script("exit 0");
    run.spec.working_directory = Some("/no/such/directory".into());
    run.write_spec();
    let end = run.run(0).end;
    assert!(matches!(&end, ProgramEnd::NotStarted(text) if text.contains("/no/such/directory")));
}

#[test]
fn the_reason_of_an_unreadable_specification_is_recorded() {
    let run = Run::script("exit 0");
    let spec = run.dir.job_spec(common::JOB);
    std::fs::remove_file(&spec).unwrap();
    let missing = "job.json: entity not found";
    let end = run.run(0).end;
    assert!(
        matches!(&end, ProgramEnd::Fenced(text) if text.ends_with(missing)),
        "{end:?}"
    );

    std::os::unix::fs::symlink("elsewhere.json", &spec).unwrap();
    let link = "job.json: it is a symbolic link, which is not followed here";
    let end = run.run(1).end;
    assert!(
        matches!(&end, ProgramEnd::Fenced(text) if text.ends_with(link)),
        "{end:?}"
    );
}

#[test]
fn an_unreadable_file_does_not_fail_the_job() {
    let run = Run::script("exit 0");
    // As with a stale handle, an I/O error, no descriptor left: a link to itself can't be followed.
    let newest = run.dir.newest_attempt(common::JOB);
    std::os::unix::fs::symlink(&newest, &newest).unwrap();
    let mut supervisor = run.start_behind_the_back(0, &[]);
    let said = supervisor.next_line();
    assert!(
        said.contains("waiting") && said.contains("newest: "),
        "{said}"
    );
    supervisor.signal(Signal::TERM);
    assert_eq!(supervisor.code(), i32::from(Outcome::FENCED));
    let end = run.record(0).end;
    assert!(
        matches!(&end, ProgramEnd::Fenced(text) if text.contains("newest: ")),
        "{end:?}"
    );

    let mut supervisor = run.start_behind_the_back(1, &[]);
    supervisor.next_line();
    std::fs::remove_file(&newest).unwrap();
    assert_eq!(supervisor.code(), 0);
    assert_eq!(run.record(1).end, ProgramEnd::Exited(0));

    // What is missing may come back too.
    std::fs::remove_file(run.dir.job_spec(common::JOB)).unwrap();
    let end = run.run(2).end;
    assert!(
        matches!(&end, ProgramEnd::Fenced(text) if text.contains("job.json")),
        "{end:?}"
    );
}

#[test]
fn the_record_lists_what_the_attempt_left() {
    let run = Run::script("mkdir -p checkpoints; : > checkpoints/$CU_ATTEMPT.5.checkpoint; exit 3");
    let generation = |attempt| CheckpointId {
        attempt: Attempt(attempt),
        counter: 5,
    };
    for attempt in [0, 1] {
        let record = run.run(attempt);
        assert_eq!(record.checkpoint, Some(generation(attempt)));
        assert_eq!(record.output_changed, OutputChange::Changed);
    }
    let mut idle = run;
    idle.spec.command = vec!["true".into()];
    idle.write_spec();
    let record = idle.run(2);
    assert_eq!(record.checkpoint, Some(generation(1)));
    let ours = "our own files are not a change";
    assert_eq!(record.output_changed, OutputChange::Unchanged, "{ours}");
}

#[test]
fn a_short_program_ends_soon_without_a_main_process() {
    let run = Run::of(["true"]);
    let mut supervisor = run.start(0);
    eventually("the end", || supervisor.is_over());
    assert_eq!(supervisor.said(), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn arguments_arrive_byte_for_byte(
        arguments in proptest::collection::vec("[^\0]{0,20}|[$`\"'\\\\\n ;&|*~]{1,8}", 0..5)
    ) {
        let script = r#"printf '%s\0' "$@" > arguments"#;
        let command = ["sh", "-c", script, "name"].map(str::to_owned);
        let run = Run::of(command.into_iter().chain(arguments.iter().cloned()));
        prop_assert_eq!(run.run(0).end, ProgramEnd::Exited(0));
        let expected = arguments.iter().fold(String::new(), |all, next| all + next + "\0");
        // `printf` without an argument prints its format once.
        let expected = if arguments.is_empty() { "\0".to_owned() } else { expected };
        prop_assert_eq!(run.text("arguments"), expected);
    }
}
