//! A system call fails, or its process is killed there: the N-th of its kind in each thread of the main
//! process, of the supervisors and of their programs. Afterwards the run continues without failures,
//! and every job completes with nothing lost and nothing done twice.

use std::process::Command;
use std::time::Duration;

use cu_tests::chance::Chance;
use cu_tests::checker::assert_kept;
use cu_tests::history::History;
use cu_tests::process::Process;
use cu_tests::run::{Run, scratch};

const STEPS: u64 = 4;
/// The number of failures without `CU_FAULTS`, enough to find frequent faults.
const FAULTS: u64 = 24;
/// The longest life of a run whose every attempt dies, which goes on as long as its budgets last.
const LONGEST_LIFE: Duration = Duration::from_secs(4);

/// The faults of each call, without errors that the kernel never returns there.
const CALLS: [(&str, &[&str]); 15] = [
    ("openat", &["error=EMFILE", "error=EIO", KILL]),
    // This also hits event counters and pipes, where a program expects no error.
    ("read", &[KILL]),
    ("write", &[KILL]),
    ("pwrite64", &["error=ENOSPC", "error=EIO", KILL]),
    ("fsync", &["error=EIO", KILL]),
    ("fdatasync", &["error=EIO", KILL]),
    ("rename", &["error=EIO", "error=ENOSPC", KILL]),
    ("mkdir", &["error=ENOSPC", KILL]),
    ("unlink", &["error=EIO", KILL]),
    ("flock", &["error=ENOLCK", "error=EINTR", KILL]),
    ("clone3", &["error=EAGAIN", "error=ENOMEM", KILL]),
    ("socket", &["error=EMFILE", KILL]),
    ("connect", &["error=ECONNREFUSED", KILL]),
    ("pidfd_open", &["error=EMFILE", KILL]),
    ("sendto", &["error=ECONNRESET", KILL]),
];
const KILL: &str = "signal=KILL";
/// The largest N; most calls are made less often.
const LAST: u64 = 60;

/// A main process with a fault ends with one of the exit codes in the README of `cu-cli`; 127 comes
/// from the dynamic linker.
const DOCUMENTED: [i32; 10] = [0, 1, 2, 4, 5, 6, 7, 8, 70, 127];

#[test]
fn whichever_call_fails_the_run_continues_whole() {
    let faults = std::env::var("CU_FAULTS")
        .map_or(FAULTS, |text| text.parse().expect("CU_FAULTS is a number"));
    let mut chance = Chance::from_environment();
    for _ in 0..faults {
        let (call, actions) = CALLS[(chance.number() % CALLS.len() as u64) as usize];
        let action = actions[(chance.number() % actions.len() as u64) as usize];
        // Mostly small numbers, since the first calls make and open the run.
        let last = [5, 15, LAST][(chance.number() % 3) as usize];
        fails(call, action, 1 + chance.number() % last);
    }
}

fn fails(call: &str, action: &str, number: u64) {
    let what = format!("{call}:{action}:when={number}");
    let run = Run::new(
        &[env!("CARGO_BIN_EXE_tiny_job")],
        &format!(
            "settings.steps = {STEPS}\ngrid.parameter = [0, 1]\nresume.failure_retries = 100000\n\
             resume.losses = 100000\nresume.submissions_per_hour = 100000\n"
        ),
    );
    let outputs = scratch();
    let mut first = Process::start(failing(&run, &what), outputs.path());
    let exit = first.wait_at_most(LONGEST_LIFE).unwrap_or_else(|| {
        run.kill_all();
        first.wait()
    });
    println!("{what}: {:?}", exit.code);
    assert!(
        exit.code.is_none_or(|code| DOCUMENTED.contains(&code)),
        "{what}: {exit:?}"
    );
    assert!(!exit.stderr.contains("panicked at"), "{what}: {exit:?}");

    let exit = run.go_on().wait();
    assert_eq!(exit.code, Some(0), "after {what}: {exit:?}");
    assert_eq!(run.status()["jobs"]["completed"], 2, "after {what}");
    assert_kept(&History::read(&run.dir()).expect("a history"), STEPS);
}

/// `cu run` with this fault, also in every process that it starts.
fn failing(run: &Run, what: &str) -> Command {
    let meant = run.command(&["run", run.config().to_str().expect("UTF-8")]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qqq", "-o", "/dev/null"]);
    let (call, _) = what.split_once(':').expect("a call and what happens to it");
    command.args(["-e", "signal=none", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={what}")]);
    command.arg("--").arg(meant.get_program());
    command.args(meant.get_args());
    command.envs(
        meant
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.current_dir(meant.get_current_dir().expect("the scratch directory"));
    command
}
