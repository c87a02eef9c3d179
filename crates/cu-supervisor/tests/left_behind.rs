//! What an attempt leaves behind when its supervisor is killed: whatever it is called, wherever it went
//! and whatever it closed, the next attempt sees it and does not start beside it.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use std::process::Command;
use std::time::Duration;

use common::{EXEC, JOB, Run, Supervisor, eventually, is_alive};
use cu_protocol::ProgramEnd;
use cu_run_dir::StopPolicy;
use cu_test_privileges::leave_out;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The kernel cuts it after 15 bytes, which is within the é.
const CUT_NAME: &str = "abcdefghijklmné-long";

/// Closes all that it inherited, as `sudo`, daemons and launchers do; bash reads its script from 255.
const CLOSE: &str = "for n in {3..254}; do eval \"exec $n>&-\"; done";

fn policy(grace: Duration) -> StopPolicy {
    StopPolicy {
        grace,
        ..StopPolicy::default()
    }
}

/// Time enough that nothing happens for want of it.
fn patient() -> StopPolicy {
    policy(Duration::from_secs(600))
}

/// A run whose program is this script in a file of this name.
fn called(name: &str, script: &str, stop: StopPolicy) -> Run {
    let mut run = Run::of([format!("./{name}")]);
    run.spec.stop = stop;
    run.write_spec();
    let file = run.file(name);
    // Not by this process: a child of another test could have it open, which can't be executed then.
    let mut write = Command::new("sh");
    write.args([
        "-c",
        "printf '#!/bin/bash\\n%s\\n' \"$2\" > \"$1\" && chmod +x \"$1\"",
        "sh",
    ]);
    assert!(write.arg(file).arg(script).status().unwrap().success());
    run
}

/// A script whose first attempt runs `first` and then waits; a later one writes `next` and, if the
/// process in the file `left` lives, `overlap`.
fn chain(first: &str) -> String {
    format!(
        r#"
        state() {{ cut -d")" -f2 "/proc/$(cat left)/stat" 2>/dev/null; }}
        [ "$CU_ATTEMPT" = 0 ] || {{ case $(state) in ""|" Z"*) ;; *) echo both > overlap; esac; echo next > next; exit; }}
        {first}
        echo $$ > pid.0; while :; do sleep 0.01; done"#
    )
}

/// Kills the supervisor of attempt 0 and its program; returns what is left.
fn kill_both(run: &Run, first: &mut Supervisor) -> Pid {
    let left = run.await_pid("left");
    let program = run.await_pid("pid.0");
    first.signal(Signal::KILL);
    first.wait();
    kill_process(program, Signal::KILL).unwrap();
    eventually("the program's end", || !is_alive(program));
    assert!(is_alive(left));
    left
}

/// The next attempt waits for what is left, and starts once that is gone.
fn assert_waited_for(run: &Run, left: Pid) {
    let mut second = run.start(1);
    let line = second.next_line();
    assert!(line.contains("waiting: attempt 0 of job 4"), "{line}");
    assert!(is_alive(left) && !run.file("next").exists());
    kill_process(left, Signal::KILL).unwrap();
    assert_eq!(second.code(), 0);
    assert_eq!(
        (run.text("next"), run.text("overlap")),
        ("next\n".to_owned(), String::new())
    );
}

fn record(run: &Run) -> Value {
    let text = std::fs::read(run.dir.attempt_holder(JOB)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[test]
fn a_program_with_a_name_cut_in_a_character_is_asked_to_stop() {
    let stop = StopPolicy {
        after: Some(Duration::from_millis(100)),
        ..patient()
    };
    let script = "trap 'exit 3' USR1; while :; do sleep 0.01; done";
    let run = called(CUT_NAME, script, stop);
    assert_eq!(run.run(0).end, ProgramEnd::Exited(3));
}

#[test]
fn a_child_whose_name_is_cut_within_a_character_is_cleared_away() {
    let script =
        format!("cp \"$(command -v sleep)\" {CUT_NAME}; setsid ./{CUT_NAME} 1000 & echo $! > left");
    let run = Run::script_with(&script, policy(Duration::from_millis(100)));
    assert_eq!(run.run(0).end, ProgramEnd::Exited(0));
    assert!(!is_alive(run.await_pid("left")));
}

#[test]
fn a_program_whose_name_is_cut_within_a_character_is_on_record() {
    let script = chain(&format!("{CLOSE}; trap '' USR1 TERM; echo $$ > left"));
    let run = called(CUT_NAME, &script, patient());
    let mut first = run.start(0);
    let left = run.await_pid("left");
    eventually("its record", || record(&run)["program"]["pid"].is_u64());
    let program = record(&run)["program"]["pid"].as_u64();
    assert_eq!(
        program,
        Some(left.as_raw_nonzero().get().unsigned_abs().into())
    );
    first.signal(Signal::KILL);
    first.wait();
    assert_waited_for(&run, left);
}

#[test]
fn a_child_in_its_own_session_without_the_lock_is_waited_for() {
    let script = chain(&format!(
        "setsid bash -c '{CLOSE}; trap \"\" USR1 TERM; echo $$ > left; while :; do sleep 0.01; done' &"
    ));
    let run = Run::script_with(&script, patient());
    let left = kill_both(&run, &mut run.start(0));
    assert_waited_for(&run, left);
}

#[test]
fn a_child_in_its_own_session_is_stopped_by_the_next_attempt() {
    let script = chain(&format!(
        "setsid bash -c '{CLOSE}; trap \"\" USR1 TERM; echo $$ > left; while :; do sleep 0.01; done' &"
    ));
    let run = Run::script_with(&script, policy(Duration::from_millis(100)));
    let left = kill_both(&run, &mut run.start(0));
    assert_eq!(run.start(1).code(), 0);
    assert!(!is_alive(left));
    assert_eq!(run.text("overlap"), "");
}

#[test]
fn a_program_missing_from_its_record_is_found() {
    let script = chain(&format!("{CLOSE}; trap '' USR1 TERM; echo $$ > left"));
    let mut run = Run::of(["bash", "-c", &script]);
    run.spec.stop = patient();
    run.write_spec();
    let mut first = run.start(0);
    let left = run.await_pid("left");
    eventually("its record", || record(&run)["program"]["pid"].is_u64());
    first.signal(Signal::KILL);
    first.wait();
    // As it was between the start and the record of it.
    let mut before = record(&run);
    before["program"] = Value::Null;
    before["seen"] = json!([]);
    std::fs::write(run.dir.attempt_holder(JOB), before.to_string()).unwrap();
    assert_waited_for(&run, left);
}

#[test]
fn a_child_without_our_environment_is_waited_for() {
    // The parent is known by its environment, the child by its parent.
    let script = chain(&format!(
        "setsid bash -c '{CLOSE}; trap \"\" USR1
             setsid env -i sleep 1000 & echo $! > child
             echo $$ > left; while :; do sleep 0.01; done' &"
    ));
    let run = Run::script_with(&script, policy(Duration::from_millis(100)));
    kill_both(&run, &mut run.start(0));
    let child = run.await_pid("child");
    assert!(is_alive(child));
    assert_eq!(run.start(1).code(), 0);
    assert!(!is_alive(child), "it was stopped with its parent");
    assert_eq!(run.text("overlap"), "");
}

#[test]
fn a_child_that_has_shed_everything_is_known_to_its_supervisor() {
    // No environment, no lock, no group, no session, no parent of ours.
    let script = chain(&format!(
        "bash -c '{CLOSE}; setsid env -i sleep 1000 & echo $! > left' "
    ));
    let run = Run::script_with(&script, patient());
    let mut first = run.start(0);
    let left = run.await_pid("left");
    let left = u64::from(left.as_raw_nonzero().get().unsigned_abs());
    eventually("a record that lists it", || {
        let record = record(&run);
        let mut seen = record["seen"].as_array().into_iter().flatten();
        seen.any(|seen| seen["pid"] == left)
    });
    let left = kill_both(&run, &mut first);
    let mut second = run.start(1);
    let line = second.next_line();
    assert!(line.contains("waiting: attempt 0 of job 4"), "{line}");
    eventually("its end, by the stop signal", || !is_alive(left));
    assert_eq!(second.code(), 0);
    assert_eq!(run.text("overlap"), "");
}

#[test]
fn a_child_whose_first_thread_has_ended_is_alive() {
    let python = "import ctypes, os, threading, time
pid = os.getpid()
def go_on():
    # Ended, and not waited for: so says the state of the first thread.
    while open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[0] != 'Z':
        time.sleep(0.01)
    print(pid, file=open('left', 'w'), flush=True)
    time.sleep(1000)
os.closerange(3, 256)
os.setsid()
threading.Thread(target=go_on).start()
ctypes.CDLL(None).pthread_exit(None)";
    let mut run = Run::script_with(&chain("python3 -c \"$PYTHON\" &"), patient());
    run.spec
        .environment
        .insert("PYTHON".to_owned(), python.into());
    run.write_spec();
    let mut first = run.start(0);
    let left = run.await_pid("left");
    let listed = u64::from(left.as_raw_nonzero().get().unsigned_abs());
    // The kernel has no environment for it any more.
    eventually("a record that lists it", || {
        let record = record(&run);
        let mut seen = record["seen"].as_array().into_iter().flatten();
        seen.any(|seen| seen["pid"] == listed)
    });
    let program = run.await_pid("pid.0");
    first.signal(Signal::KILL);
    first.wait();
    kill_process(program, Signal::KILL).unwrap();
    let mut second = run.start(1);
    let line = second.next_line();
    assert!(line.contains("waiting: attempt 0 of job 4"), "{line}");
    assert!(!run.file("next").exists());
    kill_process(left, Signal::KILL).unwrap();
    assert_eq!(second.code(), 0);
}

/// A supervisor that is not root, with a program that runs `sleep` as root by a file of root's. `None` only
/// if the tester has said that this part need not run.
fn start_as_nobody(run: &Run, attempt: u32) -> Option<Supervisor> {
    if !rustix::process::geteuid().is_root() {
        leave_out("processes that can't be killed", "only root can start one");
        return None;
    }
    cu_run_dir::replace(&run.dir.newest_attempt(JOB), attempt.to_string().as_bytes()).unwrap();
    let prepare = r#"
        cd "$1" && cp -n "$2" exec && cp -n "$(command -v setpriv)" as-root
        chown -R nobody . && chown root as-root && chmod 4755 as-root"#;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", prepare, "sh"])
        .arg(run.dir.path())
        .arg(EXEC);
    assert!(shell.status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--clear-groups"]);
    command.arg(run.dir.path().join("exec")).arg(run.dir.path());
    command.args([JOB.to_string(), attempt.to_string()]);
    Some(Supervisor::of(command))
}

#[test]
fn an_unkillable_process_keeps_the_next_attempt_out() {
    let script = r#"
        [ "$CU_ATTEMPT" = 0 ] || { echo next > next; exit; }
        exec 2>&-; for n in $(seq 3 254); do eval "exec $n>&-"; done
        "$CU_RUN_DIR/as-root" --reuid 0 --clear-groups setsid env -i sleep 1000 &
        while [ "$(stat -c %u /proc/$!)" != 0 ]; do sleep 0.01; done
        echo $! > left"#;
    let mut run = Run::of(["bash", "-c", script]);
    run.spec.stop = policy(Duration::from_millis(100));
    run.write_spec();
    let Some(mut first) = start_as_nobody(&run, 0) else {
        return;
    };
    assert_eq!(first.code(), 0);
    let left = run.await_pid("left");
    assert!(is_alive(left), "nobody but root can kill it");
    let said = first.said();
    let named = format!("{} (sleep)", left.as_raw_nonzero());
    assert!(said.contains(&named), "{said}");
    let mut second = start_as_nobody(&run, 1).unwrap();
    let line = second.next_line();
    assert!(line.contains("waiting: attempt 0 of job 4"), "{line}");
    assert!(!run.file("next").exists());
    kill_process(left, Signal::KILL).unwrap();
    assert_eq!(second.code(), 0);
    assert_eq!(run.text("next"), "next\n");
}

/// Starts a supervisor, lets the program end once it is ready, keeps each SIGCHLD from the supervisor from
/// then on, and exits as the supervisor does.
const DEAFEN: &str = r#"
import ctypes, os, signal, subprocess, sys, time
output, *command = sys.argv[1:]
supervisor = subprocess.Popen(command)
while not os.path.exists(output + "/ready"): time.sleep(0.01)
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
WALL, SEIZE, CONTINUE = 0x40000000, 0x4206, 7
assert ptrace(SEIZE, supervisor.pid, 0, 0) == 0, ctypes.get_errno()
open(output + "/go", "w").close()
lost = 0
while True:
    pid, status = os.waitpid(supervisor.pid, WALL)
    if not os.WIFSTOPPED(status):
        sys.exit(os.waitstatus_to_exitcode(status) if lost else 99)
    number = os.WSTOPSIG(status)
    if number == signal.SIGCHLD: lost, number = lost + 1, 0
    ptrace(CONTINUE, supervisor.pid, 0, ctypes.c_long(number))
"#;

#[test]
fn a_lost_sigchld_does_not_hide_the_end_of_a_program() {
    let run = Run::script("touch ready; while ! [ -e go ]; do sleep 0.01; done; exit 3");
    cu_run_dir::replace(&run.dir.newest_attempt(JOB), b"0").unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", DEAFEN]);
    command
        .arg(run.dir.output_dir(JOB))
        .arg(EXEC)
        .arg(run.dir.path());
    command.args([JOB.to_string(), "0".to_owned()]);
    assert_eq!(Supervisor::of(command).code(), 3);
    assert_eq!(run.record(0).end, ProgramEnd::Exited(3));
}
