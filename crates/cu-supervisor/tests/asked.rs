//! Which processes are asked to stop, and by which signal: wrappers, launchers, groups and sessions of their
//! own, workers.
//! Real processes; no wait of the policy is short enough to do in place of the wish.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{JOB, Run, Supervisor};
use cu_protocol::{Attempt, ProgramAnswer, ProgramEnd, ProgramRequest, StopCause};
use cu_run_dir::{SentSignal, SignalReason, SignalsFile, StopPolicy};
use rustix::process::Signal;

/// Says which signals it hears, saves a moment after the first one, and exits with 3. A second signal
/// ends it unsaved, and so does a death among its workers.
const TRAINER: &str = r#"
import os, signal, sys, time
name, signals = sys.argv[1], sys.argv[2].split()
asked = []
def ask(number, frame):
    with open("heard", "a") as heard: heard.write(f"{name} {signal.Signals(number).name[3:]}\n")
    if asked: os._exit(99)
    asked.append(number)
for wanted in signals: signal.signal(getattr(signal, "SIG" + wanted), ask)
def worker():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    while True: time.sleep(0.01)
workers = []
for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 0):
    workers.append(os.fork())
    if not workers[-1]: worker()
open(f"{name}.up", "w").write("up\n")
while not asked:
    time.sleep(0.01)
for step in range(30):
    time.sleep(0.01)
    if any(os.waitpid(pid, os.WNOHANG)[0] for pid in workers): raise RuntimeError("a worker died")
open("state", "a").write(f"{name} saved\n")
for pid in workers: os.kill(pid, signal.SIGKILL)
sys.exit(3)
"#;

fn policy(signal: &str) -> StopPolicy {
    StopPolicy {
        signal: signal.parse().unwrap(),
        grace: Duration::from_secs(600),
        ..StopPolicy::default()
    }
}

/// A job that is this bash script; `$TRAINER NAME SIGNALS [WORKERS]` is the program in it.
fn bash(script: &str, signal: &str) -> Run {
    let mut run = Run::of(["bash", "-c", script]);
    let trainer = run.file("trainer.py");
    std::fs::write(&trainer, TRAINER).unwrap();
    run.spec.stop = policy(signal);
    let trainer = format!("python3 {}", trainer.display());
    run.spec
        .environment
        .insert("TRAINER".to_owned(), trainer.into());
    run.write_spec();
    run
}

/// Starts it, and asks it to stop once these trainers are up.
fn ask(run: &Run, up: &[&str]) -> Supervisor {
    let supervisor = run.start(0);
    for name in up {
        run.await_line(&format!("{name}.up"), "up");
    }
    supervisor.signal(Signal::USR2);
    supervisor
}

/// The only trainer is asked once, by this signal, and saves.
fn assert_saves(script: &str, signal: &str, heard: &str) -> Run {
    let run = bash(script, signal);
    assert_eq!(ask(&run, &["a"]).code(), 3, "{}", run.text("heard"));
    assert_eq!(run.text("heard"), format!("a {heard}\n"));
    assert_eq!(run.text("state"), "a saved\n");
    run
}

fn sent(run: &Run) -> Vec<(String, String, SignalReason)> {
    let sent = SignalsFile::read(&run.dir.signals(JOB, Attempt(0)))
        .unwrap()
        .sent;
    let facts = |it: SentSignal| (it.name, it.signal, it.reason);
    sent.into_iter().map(facts).collect()
}

fn asked(name: &str, signal: &str) -> (String, String, SignalReason) {
    (name.to_owned(), signal.to_owned(), SignalReason::Asked)
}

#[test]
fn a_wrapper_that_passes_signals_on_hears_the_right_one() {
    let python = r#"exec python3 -c '
import os, signal, sys
child = os.fork()
if not child: os.execvp(sys.argv[1], sys.argv[1:])
for name in "TERM", "USR1", "USR2", "HUP": signal.signal(getattr(signal, "SIG" + name), lambda number, _: os.kill(child, number))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))' $TRAINER a SIGNAL"#;
    let shell = "trap 'kill -TERM $!' TERM; trap 'kill -USR1 $!' USR1
        $TRAINER a SIGNAL & wait $!; wait $!; exit $?";
    for (script, handles) in [
        (python, "TERM"),
        (python, "USR1"),
        (shell, "USR1"),
        (shell, "TERM"),
    ] {
        assert_saves(&script.replace("SIGNAL", handles), "auto", handles);
    }
}

#[test]
fn xargs_and_make_hide_no_program() {
    // `xargs` takes USR1 for more commands at once; `make` passes TERM on, whatever its commands handle.
    for (signal, starter, handles, heard) in [
        ("auto", "echo 1 | xargs -I{} $TRAINER a", "TERM", "TERM"),
        ("auto", "echo 1 | xargs -I{} $TRAINER a", "USR1", "USR1"),
        ("USR1", "echo 1 | xargs -I{} $TRAINER a", "USR1", "USR1"),
        ("auto", "make -f- <<< \"$MAKE\"; : ", "USR1", "USR1"),
        ("auto", "make -f- <<< \"$MAKE\"; : ", "TERM", "TERM"),
    ] {
        let rule = format!("MAKE=$(printf 'all:\\n\\t%s' \"$TRAINER a {handles}\")");
        let script = format!("{rule}; {starter} {handles}; exit 3");
        assert_saves(&script, signal, heard);
    }
}

#[test]
fn gnu_timeout_hides_no_program() {
    for (signal, handles, heard) in [
        ("auto", "TERM", "TERM"),
        ("auto", "USR1", "USR1"),
        ("USR1", "USR1", "USR1"),
        // `timeout` handles it too, and would pass it on to the whole group.
        ("TERM", "TERM", "TERM"),
    ] {
        let script = format!("timeout 600 $TRAINER a {handles} 2; exit $?");
        assert_saves(&script, signal, heard);
    }
}

#[test]
fn job_control_hides_no_program() {
    let run = assert_saves("set -m; $TRAINER a TERM; exit $?", "auto", "TERM");
    assert_eq!(sent(&run), [asked("python3", "TERM")]);
}

#[test]
fn a_launcher_with_a_session_of_its_own_hides_no_program() {
    let launcher = r#"python3 -c '
import os, subprocess, sys
sys.exit(subprocess.Popen(os.environ["TRAINER"].split() + ["a", "TERM"], start_new_session=True).wait())'
exit $?"#;
    assert_saves(launcher, "auto", "TERM");
    assert_saves(&launcher.replace("TERM", "USR1"), "USR1", "USR1");
}

#[test]
fn nested_wrappers_hide_no_program() {
    let script = r#"bash -c 'sh -c "timeout 600 nice env A=b setsid -w $TRAINER a TERM; exit \$?"; exit $?'
        code=$?; echo after > after; exit $code"#;
    let run = assert_saves(script, "auto", "TERM");
    assert_eq!(run.text("after"), "after\n");
}

#[test]
fn forked_workers_with_handlers_of_their_own_are_not_asked() {
    for signal in ["auto", "TERM"] {
        assert_saves("$TRAINER a TERM 3; exit $?", signal, "TERM");
    }
}

#[test]
fn a_pool_of_processes_is_not_asked() {
    for method in ["fork", "spawn", "forkserver"] {
        let pool = r#"
import multiprocessing, os, signal, sys, time
def init(all_are_up):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    all_are_up.wait()
def work(step):
    time.sleep(0.02)
    return step
asked = []
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    context = multiprocessing.get_context("METHOD")
    all_are_up = context.Barrier(3)
    with context.Pool(2, init, (all_are_up,)) as pool:
        all_are_up.wait()
        open("a.up", "w").write("up\n")
        while not asked: pool.map(work, range(4))
        done = pool.map(work, range(20))
        open("state", "w").write(f"{len(done)} {len(asked)}\n")
        # Else it ends the workers by SIGTERM, and one may die with the lock that the others wait for.
        pool.close()
        pool.join()
    sys.exit(3)
"#;
        let run = bash("python3 pool.py; exit $?", "auto");
        std::fs::write(run.file("pool.py"), pool.replace("METHOD", method)).unwrap();
        assert_eq!(ask(&run, &["a"]).code(), 3, "{method}");
        assert_eq!(run.text("state"), "20 1\n", "{method}");
    }
}

#[test]
fn workers_that_lost_their_parent_are_not_asked() {
    // Forked twice, as a daemon is: they have left the descendants of the program.
    let script = "$TRAINER a TERM; exit $?";
    let run = bash(script, "auto");
    let forks = TRAINER.replace(
        "open(f\"{name}.up\"",
        "if not os.fork():
    if not os.fork(): worker()
    os._exit(0)
os.wait()
open(f\"{name}.up\"",
    );
    std::fs::write(run.file("trainer.py"), forks).unwrap();
    assert_eq!(ask(&run, &["a"]).code(), 3);
    let is_asked = |it: &(String, String, SignalReason)| it.2 == SignalReason::Asked;
    assert_eq!(sent(&run).iter().filter(|it| is_asked(it)).count(), 1);
}

#[test]
fn a_shell_that_passes_the_wish_on_is_the_only_one_asked() {
    let script = "$TRAINER a SIGNAL & p=$!; trap 'kill -SIGNAL $p' SIGNAL
        wait $p; wait $p; exit $?";
    for (signal, named) in [("auto", "TERM"), ("TERM", "TERM"), ("USR1", "USR1")] {
        let run = assert_saves(&script.replace("SIGNAL", named), signal, named);
        assert_eq!(sent(&run), [asked("bash", named)]);
    }
}

#[test]
fn a_shell_with_an_exit_trap_does_not_end_before_its_program() {
    // A trap on EXIT has bash catch all signals, run the trap, and end: without its program.
    let script = "trap 'echo cleaned >> state' EXIT; $TRAINER a TERM; code=$?; echo after >> state; exit $code";
    let run = bash(script, "auto");
    assert_eq!(ask(&run, &["a"]).code(), 3);
    assert_eq!(run.text("state"), "a saved\nafter\ncleaned\n");
    // Where nobody below would hear it, it is asked.
    let run = bash(
        "trap 'echo cleaned > state' EXIT; echo up > a.up; sleep 600; exit 1",
        "auto",
    );
    assert_eq!(ask(&run, &["a"]).code(), 143);
    assert_eq!(run.text("state"), "cleaned\n");
}

#[test]
fn a_script_with_a_trap_on_exit_and_one_for_a_signal_saves() {
    // With a trap on EXIT, /proc no longer shows that USR1 is the one that is meant.
    for signal in ["USR1", "USR2", "TERM"] {
        let script = "trap 'echo cleaned >> state' EXIT; trap 'asked=1' SIGNAL; echo up > a.up
            while [ -z \"$asked\" ]; do sleep 0.01; done; echo saved > state; exit 3";
        let run = bash(&script.replace("SIGNAL", signal), "auto");
        assert_eq!(ask(&run, &["a"]).code(), 3, "{signal}");
        assert_eq!(run.text("state"), "saved\ncleaned\n", "{signal}");
        assert_eq!(sent(&run), [asked("bash", signal)]);
        // The same as a file with a first line, which has the file's name instead of the shell's.
        let path = run.file("script");
        std::fs::write(
            &path,
            format!("#!/bin/bash\n{}", script.replace("SIGNAL", signal)),
        )
        .unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let run = bash(&format!("exec {}", path.display()), "auto");
        assert_eq!(ask(&run, &["a"]).code(), 3, "{signal}");
        assert_eq!(run.text("state"), "saved\ncleaned\n", "{signal}");
    }
}

#[test]
fn several_programs_are_asked_each_by_what_it_handles() {
    let script = "$TRAINER a TERM & $TRAINER b USR1 & $TRAINER c USR2 & $TRAINER d 'USR1 TERM' &
        wait %1; code=$?; wait; exit $code";
    let run = bash(script, "auto");
    assert_eq!(ask(&run, &["a", "b", "c", "d"]).code(), 3);
    let mut heard: Vec<_> = run.text("heard").lines().map(str::to_owned).collect();
    heard.sort_unstable();
    assert_eq!(heard, ["a TERM", "b USR1", "c USR2", "d TERM"]);
    assert_eq!(run.text("state").lines().count(), 4);
}

#[test]
fn a_program_that_takes_any_signal_is_asked_by_usr1() {
    // As our own doors do it: SIGTERM comes from schedulers as well, and a second one may end them.
    assert_saves("exec $TRAINER a 'USR1 USR2 TERM INT'", "auto", "USR1");
}

#[test]
fn python_without_handlers_gets_its_keyboard_interrupt() {
    let python = r#"python3 -c '
import sys, time
try:
    open("a.up", "w").write("up\n")
    time.sleep(600)
except KeyboardInterrupt:
    open("state", "w").write("saved\n")
    sys.exit(3)'
exit $?"#;
    for signal in ["auto", "INT"] {
        let run = bash(python, signal);
        assert_eq!(ask(&run, &["a"]).code(), 3);
        assert_eq!(run.text("state"), "saved\n");
        assert_eq!(sent(&run), [asked("python3", "INT")]);
    }
}

#[test]
fn a_python_wrapper_does_not_kill_what_int_has_it_save() {
    // `subprocess.run` kills its child a quarter of a second after INT; saving takes longer.
    let wrapper = r#"python3 -c '
import os, subprocess, sys
trainer = os.environ["TRAINER"].split() + ["a", "INT"]
sys.exit(subprocess.run(trainer).returncode)'
exit $?"#;
    for signal in ["auto", "INT"] {
        assert_saves(wrapper, signal, "INT");
    }
}

#[test]
fn a_trap_for_int_is_asked_if_int_is_named() {
    let script =
        "trap 'echo saved > state; exit 3' INT; echo up > a.up; while :; do sleep 0.01; done";
    let run = bash(script, "INT");
    assert_eq!(ask(&run, &["a"]).code(), 3);
    assert_eq!(run.text("state"), "saved\n");
    // Without a trap, bash waits for its command, which gets it too, as from a terminal. Only once that
    // is no copy of bash any more.
    let command = "sh -c 'echo up > a.up; exec sleep 600'; exit 1";
    assert_eq!(ask(&bash(command, "INT"), &["a"]).code(), 130);
}

#[test]
fn where_nobody_hears_sigterm_follows_at_once() {
    for signal in ["auto", "USR1", "TERM"] {
        let run = bash("echo up > a.up; sleep 600; exit 1", signal);
        let mut supervisor = ask(&run, &["a"]);
        assert_eq!(supervisor.code(), 143, "{signal}");
        let mut sent = sent(&run);
        sent.sort_by(|one, other| one.0.cmp(&other.0));
        let ended = |name: &str| (name.to_owned(), "TERM".to_owned(), SignalReason::Ended);
        assert_eq!(sent, [ended("bash"), ended("sleep")], "{signal}");
    }
}

#[test]
fn a_program_that_asks_by_the_door_needs_no_signal() {
    // Every Python handles INT.
    let python = r#"exec python3 -c '
import os, sys, time
open("socket", "w").write(os.environ["CU_SOCKET"] + "\n")
while not os.path.exists("go"): time.sleep(0.01)
sys.exit(3)'"#;
    let shell = r#"echo "$CU_SOCKET" > socket
        while ! [ -e go ]; do sleep 0.01; done; exit 3"#;
    for script in [shell, python] {
        let run = bash(script, "auto");
        let mut supervisor = run.start(0);
        let mut caller = run.await_door();
        let no = ProgramAnswer::ShouldExit(None);
        assert_eq!(caller.ask(&ProgramRequest::ShouldExit), no);
        supervisor.signal(Signal::USR2);
        let cause = StopCause::Signal(Signal::USR2.as_raw());
        common::eventually("the wish", || {
            caller.ask(&ProgramRequest::ShouldExit) == ProgramAnswer::ShouldExit(Some(cause))
        });
        std::fs::write(run.file("go"), "").unwrap();
        assert_eq!(supervisor.code(), 3);
        assert_eq!(sent(&run), []);
    }
}

#[test]
fn a_time_limit_bounds_a_program_that_is_being_stopped() {
    // It would save for twenty minutes, as the policy allows.
    let script = "trap 'echo asked > a.asked' USR1; echo up > a.up; while :; do sleep 0.01; done";
    let run = bash(script, "auto");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let limit = (now.as_secs_f64() + 2.0).to_string();
    let mut supervisor = run.start_with(0, &[("CU_DEADLINE", &limit)]);
    run.await_line("a.up", "up");
    supervisor.signal(Signal::USR2);
    assert_eq!(supervisor.code(), 143);
    assert_eq!(run.text("a.asked"), "asked\n");
    let record = run.record(0);
    assert_eq!(record.end, ProgramEnd::Signaled(15));
    let cause = StopCause::Signal(Signal::USR2.as_raw());
    assert_eq!(record.stop, Some(cause));
}

#[test]
fn no_process_gets_sigterm_twice() {
    // Asked by SIGTERM, it is not ended by a second one, but has twice the grace time to save.
    let script = "trap 'echo TERM >> heard' TERM; echo up > a.up; while :; do sleep 0.01; done";
    let mut run = bash(script, "auto");
    run.spec.stop.grace = Duration::from_millis(300);
    run.write_spec();
    assert_eq!(ask(&run, &["a"]).code(), 137);
    assert_eq!(run.text("heard"), "TERM\n");
}

#[test]
fn the_next_attempt_asks_an_orphaned_program_in_the_same_way() {
    // Its workers are not.
    let script = "[ $CU_ATTEMPT = 0 ] || exit 0; exec $TRAINER a TERM 2";
    let run = bash(script, "auto");
    let mut first = run.start(0);
    run.await_line("a.up", "up");
    first.signal(Signal::KILL);
    first.wait();
    assert_eq!(run.start(1).code(), 0);
    assert_eq!(run.text("heard"), "a TERM\n");
    assert_eq!(run.text("state"), "a saved\n");
    assert_eq!(sent(&run), [asked("python3", "TERM")]);
}
