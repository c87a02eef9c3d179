//! SIGKILL for the program, its supervisor, both; supervisors started twice: at most one program of
//! a job runs at any time, and no attempt is started twice.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::time::Duration;

use common::{JOB, Run, eventually, is_alive};
use cu_protocol::{Attempt, ProgramEnd, StopCause};
use cu_run_dir::StopPolicy;
use cu_supervisor::Outcome;
use rustix::process::{Signal, kill_process};

const FENCED: i32 = Outcome::FENCED as i32;

/// Says which attempt runs, and waits for the file `go`. `mkdir` succeeds for one at a time: two
/// programs at once would leave the file `overlap`.
const EXCLUSIVE: &str = r#"
    mkdir alone || echo "$CU_ATTEMPT" >> overlap
    echo "$CU_ATTEMPT" >> ran
    echo $$ > pid.$CU_ATTEMPT
    while ! [ -e go ]; do sleep 0.01; done
    rmdir alone"#;

fn policy(grace_millis: u64) -> StopPolicy {
    StopPolicy {
        grace: Duration::from_millis(grace_millis),
        ..StopPolicy::default()
    }
}

#[test]
fn a_killed_program_is_recorded() {
    let run = Run::script(EXCLUSIVE);
    let mut supervisor = run.start(0);
    kill_process(run.await_pid("pid.0"), Signal::KILL).unwrap();
    assert_eq!(supervisor.code(), 137);
    let record = run.record(0);
    assert_eq!((record.end, record.stop), (ProgramEnd::Signaled(9), None));
}

#[test]
fn the_next_attempt_waits_for_an_orphaned_program() {
    // It takes its time to save, which its successor must give it.
    let script = r#"
        trap 'echo saving >> steps; while ! [ -e go ]; do sleep 0.01; done; echo saved >> steps; exit' USR1
        [ "$CU_ATTEMPT" = 0 ] || { echo next >> steps; exit 0; }
        echo $$ > pid.0; while :; do sleep 0.01; done"#;
    let run = Run::script_with(script, policy(600_000));
    let mut first = run.start(0);
    let program = run.await_pid("pid.0");
    first.signal(Signal::KILL);
    assert_eq!(first.code(), -9);
    assert!(is_alive(program));
    let mut second = run.start(1);
    run.await_line("steps", "saving");
    assert!(run.dir.stop_file(JOB, Attempt(0)).exists());
    assert!(!second.is_over());
    std::fs::write(run.file("go"), "").unwrap();
    assert_eq!(second.code(), 0);
    assert_eq!(run.text("steps"), "saving\nsaved\nnext\n");
    assert_eq!(run.try_record(0), None);
    assert!(
        second
            .said()
            .contains("attempt 0 of job 4 may still be running")
    );
}

#[test]
fn the_next_attempt_clears_away_the_door_of_a_killed_supervisor() {
    let script = r#"
        echo "$CU_SOCKET" > socket.$CU_ATTEMPT
        [ "$CU_ATTEMPT" = 0 ] || exit 0
        echo $$ > pid.0; while :; do sleep 0.01; done"#;
    let run = Run::script(script);
    let mut first = run.start(0);
    let program = run.await_pid("pid.0");
    let socket = run.text("socket.0");
    let directory = std::path::Path::new(socket.trim()).parent().unwrap();
    let holder = run.dir.attempt_holder(JOB);
    eventually("a record that names the door", || {
        let record = std::fs::read_to_string(&holder).unwrap_or_default();
        record.contains(directory.to_str().unwrap())
    });
    first.signal(Signal::KILL);
    assert_eq!(first.code(), -9);
    kill_process(program, Signal::KILL).unwrap();
    assert!(directory.exists());
    assert_eq!(run.start(1).code(), 0);
    assert!(!directory.exists());
}

#[test]
fn a_stubborn_orphan_is_killed_by_the_next_attempt() {
    // One child is not a member of its group, and only holds the lock. The other is a member, and has
    // closed the lock.
    let script = r#"
        [ "$CU_ATTEMPT" = 0 ] || exit 0
        trap "" USR1 TERM HUP
        setsid sh -c 'echo $$ > child; while :; do sleep 0.01; done' &
        bash -c 'for n in {50..60}; do eval "exec $n>&-"; done
                 echo $$ > member; while :; do sleep 0.01; done' &
        echo $$ > pid.0; while :; do sleep 0.01; done"#;
    let run = Run::script_with(script, policy(100));
    let first = run.start(0);
    let orphans = ["pid.0", "child", "member"].map(|name| run.await_pid(name));
    first.signal(Signal::KILL);
    assert_eq!(run.run(1).end, ProgramEnd::Exited(0));
    eventually("the end of the orphans", || {
        !orphans.into_iter().any(is_alive)
    });
}

#[test]
fn a_program_that_closed_the_lock_keeps_its_successor_out() {
    // As `closefrom` does it: sudo, ssh, daemons, launchers of MPI and of containers. The shell that
    // started it dies of SIGTERM; it lives on until SIGKILL, a grace time later.
    let script = r#"
        state() { cut -d" " -f3 "/proc/$(cat closed)/stat" 2>/dev/null; }
        [ "$CU_ATTEMPT" = 0 ] || { case $(state) in ""|Z|X) ;; *) echo both >> overlap; esac; exit; }
        trap "" USR1
        bash -c 'for n in {3..255}; do eval "exec $n>&-"; done
            trap "" TERM; echo $$ > closed; while :; do sleep 0.01; done'
        exit 0"#;
    let run = Run::script_with(script, policy(500));
    let mut first = run.start(0);
    let closed = run.await_pid("closed");
    first.signal(Signal::KILL);
    first.wait();
    assert!(is_alive(closed));
    assert_eq!(run.start(1).code(), 0);
    assert_eq!(run.text("overlap"), "");
    eventually("its end", || !is_alive(closed));
}

#[test]
fn after_both_were_killed_the_next_attempt_starts_at_once() {
    let run = Run::script(EXCLUSIVE);
    let mut first = run.start(0);
    let program = run.await_pid("pid.0");
    first.signal(Signal::STOP);
    kill_process(program, Signal::KILL).unwrap();
    first.signal(Signal::KILL);
    first.wait();
    std::fs::remove_dir(run.file("alone")).unwrap();
    std::fs::write(run.file("go"), "").unwrap();
    assert_eq!(run.start(1).code(), 0);
    assert_eq!(run.text("overlap"), "");
}

#[test]
fn an_attempt_is_started_only_once() {
    let run = Run::script(EXCLUSIVE);
    let mut copies = [run.start(0), run.start(0), run.start(0)];
    run.await_line("ran", "0");
    std::fs::write(run.file("go"), "").unwrap();
    let mut codes = copies.each_mut().map(|copy| copy.code());
    codes.sort_unstable();
    assert_eq!(codes, [0, FENCED, FENCED]);
    assert_eq!(run.text("ran"), "0\n");
    assert_eq!(run.record(0).end, ProgramEnd::Exited(0));
    // Requeued after its end.
    let record = run.record(0);
    assert_eq!(run.start(0).code(), FENCED);
    assert_eq!((run.record(0), run.text("ran")), (record, "0\n".to_owned()));
}

#[test]
fn a_requeue_records_an_attempt_whose_supervisor_was_killed() {
    let run = Run::script(EXCLUSIVE);
    let first = run.start(0);
    let program = run.await_pid("pid.0");
    first.signal(Signal::KILL);
    kill_process(program, Signal::KILL).unwrap();
    assert_eq!(run.start(0).code(), FENCED);
    let record = run.record(0);
    assert!(matches!(record.end, ProgramEnd::Fenced(text) if text.contains("started only once")));
    assert!(record.started.is_some());
    assert_eq!(run.text("ran"), "0\n");
}

#[test]
fn an_older_attempt_is_not_started() {
    let run = Run::script("touch ran");
    std::fs::write(run.dir.newest_attempt(JOB), "3").unwrap();
    let mut old = run.start_behind_the_back(2, &[]);
    assert_eq!(old.code(), FENCED);
    let end = run.record(2).end;
    assert!(matches!(end, ProgramEnd::Fenced(text) if text.contains("attempt 3 is newer")));
    assert!(!run.file("ran").exists());
}

#[test]
fn an_attempt_never_submitted_leaves_no_trace() {
    let run = Run::script("touch ran");
    let attempts = run.dir.attempts(JOB);
    let before = [None, Some("3")];
    for newest in before {
        if let Some(newest) = newest {
            std::fs::write(run.dir.newest_attempt(JOB), newest).unwrap();
        }
        let mut never = run.start_behind_the_back(99, &[]);
        assert_eq!(never.code(), 1, "the test's program fails with its error");
        let said = never.said();
        assert!(said.contains("attempt: Attempt(99)"), "{said}");
        let names = std::fs::read_dir(&attempts).unwrap().flatten();
        let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
        assert!(!names.contains(&"99".into()), "{names:?}");
        assert!(!run.file("ran").exists() && !run.dir.attempt_holder(JOB).exists());
    }
    assert_eq!(run.start(99).code(), 0);
}

#[test]
fn the_newest_attempt_is_meant_if_none_is_named() {
    let run = Run::script("exit 0");
    std::fs::write(run.dir.newest_attempt(JOB), "5\n").unwrap();
    let outcome = std::process::Command::new(common::EXEC)
        .arg(run.dir.path())
        .arg(JOB.to_string())
        .status()
        .unwrap();
    assert!(outcome.success());
    assert_eq!(run.record(5).end, ProgramEnd::Exited(0));
}

#[test]
fn a_signal_ends_the_wait_at_the_fence() {
    let run = Run::script(EXCLUSIVE);
    let mut first = run.start(0);
    run.await_line("ran", "0");
    let mut second = run.start(1);
    eventually("the second at the fence", || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", second.pid())).unwrap();
        let lock = run.dir.attempt_lock(JOB);
        descriptors
            .flatten()
            .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == lock))
    });
    second.signal(Signal::TERM);
    assert_eq!(second.code(), FENCED);
    assert!(matches!(run.record(1).end, ProgramEnd::Fenced(text) if text.contains("signal 15")));
    // The first is none the wiser.
    assert!(!first.is_over());
    std::fs::write(run.file("go"), "").unwrap();
    assert_eq!(first.code(), 0);
}

#[test]
fn attempts_that_race_never_overlap() {
    let run = Run::script(
        r#"mkdir alone || echo "$CU_ATTEMPT" >> overlap
           echo "$CU_ATTEMPT" >> ran; sleep 0.05; rmdir alone"#,
    );
    let mut racing: Vec<_> = (0..4)
        .flat_map(|attempt| [run.start(attempt), run.start(attempt)])
        .collect();
    for supervisor in &mut racing {
        supervisor.wait();
    }
    assert_eq!(run.text("overlap"), "");
    let mut ran: Vec<_> = run.text("ran").lines().map(str::to_owned).collect();
    assert!(ran.contains(&"3".to_owned()), "the newest runs: {ran:?}");
    let count = ran.len();
    ran.sort();
    ran.dedup();
    assert_eq!(ran.len(), count, "none twice");
    assert_ne!(run.record(3).stop, Some(StopCause::Cancel));
}
