//! Attempts that must not start yet: an attempt waits for the remains of earlier ones, `cu show`
//! reports that, and an attempt that nobody submitted never starts.

use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_tests::process::{Exit, ends_within, kill};
use cu_tests::run::Run;
use cu_tests::wait::until;
use serde_json::Value;

const JOB: JobId = JobId(0);

/// The number in a file of the output directory.
fn number_in(run: &Run, name: &str) -> u32 {
    until(name, || {
        let text = std::fs::read_to_string(run.output(0, name)).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
}

/// The supervisor of attempt 0, from the fence's own record.
fn supervisor(run: &Run) -> u32 {
    until("a record of the supervisor", || {
        let record = std::fs::read(run.dir().attempt_holder(JOB)).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        record["program"].as_object()?;
        record["supervisor"]["pid"].as_u64()?.try_into().ok()
    })
}

/// A record of a host that can't be asked.
fn leave_a_record_of_another_host(run: &Run) {
    let record = serde_json::json!({
        "version": 1, "attempt": 0, "program": null, "renewals": 7,
        "place": {"host": "node9", "boot": "another", "process_namespace": "pid:[1]"},
        "supervisor": {"pid": 4711, "start_ticks": 1},
    });
    std::fs::write(run.dir().attempt_holder(JOB), record.to_string()).expect("a record");
}

#[test]
fn cu_show_reports_an_attempt_that_waits_at_the_fence() {
    // The first attempt leaves a record as of an attempt on another host.
    let script =
        "[ $CU_ATTEMPT != 0 ] || { touch here; while ! [ -e go ]; do sleep 0.01; done; exit 3; }";
    let run = Run::new(&["sh", "-c", script], "");
    let main_process = run.start();
    run.await_file(&run.output(0, "here"));
    // Its supervisor ends, and leaves alone the record of another one.
    let supervisor = supervisor(&run);
    leave_a_record_of_another_host(&run);
    std::fs::write(run.output(0, "go"), "").expect("go");
    assert!(ends_within(supervisor, Duration::from_secs(60)));
    let why = until("what attempt 1 waits for", || {
        let why = run.show(0)["why"].as_str()?.to_owned();
        why.contains("attempt 1 waits on").then_some(why)
    });
    for words in [
        "attempt 0 of job 0 may still be running on node9",
        "has not started its program",
        "if that is not before 20",
        "it ends without starting anything",
    ] {
        assert!(why.contains(words), "{words}: {why}");
    }
    let log = std::fs::read_to_string(run.dir().log()).expect("main.log");
    assert_eq!(log.matches("attempt 1 waits on").count(), 1, "{log}");
    let told = run.cu(&["show", "0"]);
    assert!(
        told.stdout.contains("may still be running on node9"),
        "{told:?}"
    );
    std::fs::remove_file(run.dir().attempt_holder(JOB)).expect("the record");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let job = run.show(0);
    assert_eq!(job["state"], "completed", "{job}");
    assert!(
        !job["why"].as_str().expect("text").contains("waits"),
        "{job}"
    );
}

/// Waits at a barrier in a session of its own, without the lock.
const DAEMON: &str = r#"
    state() { cut -d")" -f2 "/proc/$(cat daemon)/stat" 2>/dev/null; }
    [ "$CU_ATTEMPT" = 0 ] || { case $(state) in ""|" Z"*) ;; *) touch overlap; esac; touch next; exit 0; }
    setsid bash -c 'for n in {3..254}; do eval "exec $n>&-"; done
        trap "" USR1 TERM; echo $$ > daemon; while :; do sleep 0.05; done' >/dev/null 2>&1 &
    echo $$ > program; while :; do sleep 0.05; done"#;

#[test]
fn a_daemon_that_outlived_program_and_supervisor_is_not_joined() {
    let run = Run::new(&["bash", "-c", DAEMON], "stop.grace = \"1h\"");
    let mut main_process = run.start();
    let (daemon, program) = (number_in(&run, "daemon"), number_in(&run, "program"));
    let supervisor = supervisor(&run);
    // Kill everything that could clean up in another way.
    main_process.kill();
    for pid in [supervisor, program] {
        kill(pid);
        assert!(ends_within(pid, Duration::from_secs(60)));
    }
    assert!(!ends_within(daemon, Duration::ZERO));
    // As the main process does it.
    std::fs::create_dir(run.dir().attempt(JOB, Attempt(1))).expect("a directory");
    std::fs::write(run.dir().newest_attempt(JOB), "1").expect("the number");
    let next = run.spawn(&["exec", run.dir().path().to_str().expect("UTF-8"), "0", "1"]);
    until("the wait of attempt 1", || {
        next.stderr()
            .contains("waiting: attempt 0 of job 0 may still be running")
            .then_some(())
    });
    assert!(!run.output(0, "next").exists());
    kill(daemon);
    assert_eq!(next.wait().code, Some(0));
    assert!(run.output(0, "next").exists() && !run.output(0, "overlap").exists());
}

#[test]
fn an_attempt_that_nobody_submitted_leaves_no_trace() {
    let run = Run::new(&["sh", "-c", "touch \"ran.$CU_ATTEMPT\""], "");
    assert_eq!(run.start().wait().code, Some(0));
    let Exit { code, stderr, .. } =
        run.cu(&["exec", run.dir().path().to_str().expect("UTF-8"), "0", "99"]);
    assert_eq!(code, Some(200), "{stderr}");
    for words in [
        "attempt 99 of job 0 was not submitted",
        "the newest is attempt 0",
        "hint:",
    ] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    assert!(!run.dir().attempt(JOB, Attempt(99)).exists());
    assert!(!run.output(0, "ran.99").exists());
}
