//! Every wish to stop, and what follows: stop file, signal, grace, SIGTERM, grace, SIGKILL.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{JOB, Run};
use cu_protocol::{
    Attempt, Message, ProgramAnswer, ProgramEnd, ProgramRequest, ResumeRequest, StopCause,
};
use cu_run_dir::{StopPolicy, StopSignal};
use nix::sys::signal::SigSet;
use rustix::process::Signal;

/// Notes each signal that arrives, and goes on.
const STUBBORN: &str = r#"
    for name in HUP INT TERM USR1 USR2; do trap "echo $name >> signals" $name; done
    echo "$CU_SOCKET" > socket
    while :; do sleep 0.01; done"#;

/// Saves and asks to be resumed when a signal arrives.
fn obedient(signal: &str) -> String {
    format!(
        "trap 'echo saved > state; exit 3' {signal}; echo up > up; while :; do sleep 0.01; done"
    )
}

fn policy(change: impl FnOnce(&mut StopPolicy)) -> StopPolicy {
    let mut policy = StopPolicy {
        grace: Duration::from_secs(600),
        ..StopPolicy::default()
    };
    change(&mut policy);
    policy
}

fn assert_saved(run: &Run, cause: StopCause) {
    let record = run.record(0);
    assert_eq!(
        (record.end, record.stop),
        (ProgramEnd::Exited(3), Some(cause))
    );
    assert_eq!(run.text("state"), "saved\n");
    assert!(run.dir.stop_file(JOB, Attempt(0)).exists());
}

#[test]
fn after_a_time() {
    let stop = policy(|stop| stop.after = Some(Duration::from_millis(300)));
    let run = Run::script_with(&obedient("USR1"), stop);
    run.start(0).wait();
    assert_saved(&run, StopCause::TimeBudget);
}

#[test]
fn signals_blocked_by_our_parent_come_through() {
    let run = Run::script_with(&obedient("USR1"), policy(|_| {}));
    let mut supervisor = std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            SigSet::all().thread_block().unwrap();
            run.start(0)
        });
        starter.join().unwrap()
    });
    run.await_line("up", "up");
    supervisor.signal(Signal::USR1);
    supervisor.wait();
    assert_saved(&run, StopCause::Signal(Signal::USR1.as_raw()));
}

#[test]
fn before_the_time_limit() {
    let stop = policy(|stop| stop.before_limit = Some(Duration::from_secs(3600)));
    let run = Run::script_with(&obedient("USR1"), stop);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let deadline = (now.as_secs_f64() + 3600.3).to_string();
    run.start_with(0, &[("CU_DEADLINE", &deadline)]).wait();
    assert_saved(&run, StopCause::TimeLimit);
}

#[test]
fn when_a_file_appears() {
    let stop = policy(|stop| stop.file = Some("please-stop".into()));
    let run = Run::script_with(&obedient("USR1"), stop);
    let mut supervisor = run.start(0);
    run.await_line("up", "up");
    assert!(!run.dir.stop_file(JOB, Attempt(0)).exists());
    std::fs::write(run.file("please-stop"), "").unwrap();
    supervisor.wait();
    assert_saved(&run, StopCause::StopFile);
}

#[test]
fn at_any_signal_that_schedulers_send() {
    for signal in [
        Signal::USR1,
        Signal::USR2,
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
    ] {
        let run = Run::script_with(
            &obedient("USR2"),
            policy(|stop| stop.signal = StopSignal::Usr2),
        );
        let mut supervisor = run.start(0);
        run.await_line("up", "up");
        supervisor.signal(Signal::CONT);
        supervisor.signal(signal);
        supervisor.wait();
        assert_saved(&run, StopCause::Signal(signal.as_raw()));
    }
}

#[test]
fn a_program_that_knows_only_the_stop_file() {
    // It would die of any signal.
    let script = r#"echo up > up; while ! [ -e "$CU_STOP_FILE" ]; do sleep 0.01; done
        echo saved > state; exit 3"#;
    let run = Run::script_with(script, policy(|stop| stop.signal = StopSignal::None));
    let mut supervisor = run.start(0);
    run.await_line("up", "up");
    supervisor.signal(Signal::USR1);
    supervisor.wait();
    assert_saved(&run, StopCause::Signal(Signal::USR1.as_raw()));
}

#[test]
fn the_signal_passes_through_a_wrapper() {
    // The inner shell is what saves; the outer one would die of the signal, and knows what came out.
    let script = format!(
        "sh -c '{}'; code=$?; echo after >> after; exit $code",
        obedient("USR1").replace('\'', "\"")
    );
    let run = Run::script_with(&script, policy(|_| {}));
    let mut supervisor = run.start(0);
    run.await_line("up", "up");
    supervisor.signal(Signal::USR1);
    supervisor.wait();
    assert_saved(&run, StopCause::Signal(Signal::USR1.as_raw()));
    assert_eq!(run.text("after"), "after\n");
}

#[test]
fn sigterm_ends_a_program_that_has_no_handler_at_once() {
    let stop = policy(|stop| {
        stop.after = Some(Duration::from_millis(300));
        stop.signal = StopSignal::Term;
    });
    let run = Run::script_with("sleep 600; exit 1", stop);
    assert_eq!(run.start(0).code(), 128 + 15);
    let record = run.record(0);
    assert_eq!(record.end, ProgramEnd::Signaled(15));
    assert_eq!(record.stop, Some(StopCause::TimeBudget));
}

#[test]
fn a_program_that_ignores_everything_is_killed_in_the_end() {
    let stop = policy(|stop| {
        stop.after = Some(Duration::from_millis(300));
        stop.grace = Duration::from_millis(300);
    });
    let run = Run::script_with(STUBBORN, stop);
    assert_eq!(run.start(0).code(), 137);
    assert_eq!(run.text("signals"), "USR1\nTERM\n");
    let record = run.record(0);
    assert_eq!(record.end, ProgramEnd::Signaled(9));
    assert_eq!(record.stop, Some(StopCause::TimeBudget));
}

#[test]
fn a_program_that_asks_to_be_resumed_and_stays_is_ended() {
    let stop = policy(|stop| stop.grace = Duration::from_millis(300));
    let run = Run::script_with(STUBBORN, stop);
    let mut supervisor = run.start(0);
    let mut caller = run.await_door();
    let request = Message::ResumeRequest(ResumeRequest::default());
    let answer = caller.ask(&ProgramRequest::Say(request));
    assert_eq!(answer, ProgramAnswer::Noted);
    assert_eq!(supervisor.code(), 137);
    // It has said that it exits: it is not asked to, but ended.
    assert_eq!(run.text("signals"), "TERM\n");
    assert_eq!(run.record(0).stop, None);
}

#[test]
fn a_warning_is_passed_on_once() {
    let run = Run::script_with(STUBBORN, policy(|_| {}));
    let supervisor = run.start(0);
    let mut caller = run.await_door();
    assert_eq!(
        caller.ask(&ProgramRequest::ShouldExit),
        ProgramAnswer::ShouldExit(None)
    );
    supervisor.signal(Signal::USR2);
    run.await_line("signals", "USR1");
    let cause = StopCause::Signal(Signal::USR2.as_raw());
    let answer = caller.ask(&ProgramRequest::ShouldExit);
    assert_eq!(answer, ProgramAnswer::ShouldExit(Some(cause)));
    // The same warning again changes nothing.
    supervisor.signal(Signal::USR2);
    let answer = caller.ask(&ProgramRequest::ShouldExit);
    assert_eq!(answer, ProgramAnswer::ShouldExit(Some(cause)));
    assert_eq!(run.text("signals"), "USR1\n");
}

#[test]
fn stubborn_program_is_killed_before_the_scheduler_kills_us() {
    // The policy alone would give it twenty minutes.
    for warning in [None, Some(Signal::USR2)] {
        let run = Run::script_with(STUBBORN, policy(|_| {}));
        let mut supervisor = run.start_with(0, &[("CU_KILL_WAIT", "2.5")]);
        run.await_door();
        if let Some(warning) = warning {
            supervisor.signal(warning);
            run.await_line("signals", "USR1");
        }
        supervisor.signal(Signal::TERM);
        supervisor.signal(Signal::CONT);
        assert_eq!(supervisor.code(), 137);
        assert_eq!(run.text("signals"), "USR1\nTERM\n");
        let cause = warning.unwrap_or(Signal::TERM).as_raw();
        let record = run.record(0);
        assert_eq!(record.end, ProgramEnd::Signaled(9));
        assert_eq!(record.stop, Some(StopCause::Signal(cause)));
    }
}

#[test]
fn at_the_time_limit_a_program_without_handlers_ends_at_once() {
    // Neither twenty minutes of the policy nor a part of the wait for SIGKILL are spent.
    let run = Run::script_with("echo up > up; exec sleep 600", policy(|_| {}));
    let limits = [("CU_DEADLINE", "1"), ("CU_KILL_WAIT", "1200")];
    let mut supervisor = run.start_with(0, &limits);
    run.await_line("up", "up");
    supervisor.signal(Signal::TERM);
    assert_eq!(supervisor.code(), 143);
    let record = run.record(0);
    assert_eq!(record.end, ProgramEnd::Signaled(15));
    assert_eq!(record.stop, Some(StopCause::TimeLimit));

    let run = Run::script_with(STUBBORN, policy(|_| {}));
    let limits = [("CU_DEADLINE", "1"), ("CU_KILL_WAIT", "1.5")];
    let mut supervisor = run.start_with(0, &limits);
    run.await_door();
    supervisor.signal(Signal::TERM);
    assert_eq!(supervisor.code(), 137);
    assert_eq!(run.text("signals"), "TERM\n");
    assert_eq!(run.record(0).end, ProgramEnd::Signaled(9));
}

#[test]
fn an_unknown_signal_is_refused_before_anything_starts() {
    let run = Run::script("touch ran");
    let spec = std::fs::read_to_string(run.dir.job_spec(JOB)).unwrap();
    std::fs::write(run.dir.job_spec(JOB), spec.replace("\"auto\"", "\"KILL\"")).unwrap();
    let end = run.run(0).end;
    assert!(matches!(end, ProgramEnd::Fenced(text) if text.contains("`KILL`")));
    assert!(!run.file("ran").exists());
}
