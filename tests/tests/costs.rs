//! What an attempt costs on this machine, in system calls: times are noise on a shared machine, and these are
//! not.

use std::collections::BTreeMap;
use std::process::Command;

use cu_protocol::{Attempt, JobId};
use cu_tests::process::Process;
use cu_tests::run::{Run, scratch};

/// A program that makes a file, and asks to be resumed until its third attempt.
const RESUMED_TWICE: &str = ": > step; [ \"$CU_ATTEMPT\" = 2 ] || exit 3";
const ATTEMPTS_OF_A_JOB: u32 = 3;

/// The system calls of an attempt: those of `cu run` and all that it starts, by name, with a share of what a
/// run costs as a whole.
fn of_an_attempt(jobs: u32, at_a_time: u32) -> BTreeMap<String, f64> {
    let numbers: Vec<_> = (0..jobs).collect();
    let run = Run::new(
        &["sh", "-c", RESUMED_TWICE],
        &format!(
            "grid.number = {numbers:?}\nresume.submissions_per_hour = 100000\n\
             working_directory = \"{{output_dir}}\"\nbackend.local.cpus = {at_a_time}\n"
        ),
    );
    let attempts = f64::from(jobs * ATTEMPTS_OF_A_JOB);
    let counts = counted(&run.command(&["run", run.config().to_str().expect("UTF-8")]));
    let shares = counts
        .into_iter()
        .map(|(name, calls)| (name, calls / attempts));
    shares.collect()
}

/// The system calls of this command, which succeeds, and all that it starts, by name.
fn counted(meant: &Command) -> BTreeMap<String, f64> {
    let scratch = scratch();
    let counts = scratch.path().join("counts");
    let mut command = Command::new("strace");
    command.args(["-f", "-qqq", "-c", "-U", "name,calls", "-o"]);
    command.arg(&counts).arg("--").arg(meant.get_program());
    // Cargo sets it for tests, and the loader looks for each library in all of it.
    command.env_remove("LD_LIBRARY_PATH");
    command.args(meant.get_args());
    let variables = meant.get_envs();
    command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(meant.get_current_dir().expect("the scratch directory"));
    let exit = Process::start(command, scratch.path()).wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let text = std::fs::read_to_string(&counts).expect("counts");
    let count = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, calls) = (words.next()?, words.next()?);
        Some((name.to_owned(), calls.parse::<f64>().ok()?))
    };
    text.lines().filter_map(count).collect()
}

fn of(costs: &BTreeMap<String, f64>, name: &str) -> f64 {
    costs.get(name).copied().unwrap_or(0.0)
}

#[test]
fn commits_per_attempt_fall_as_load_rises() {
    let syncs = |costs: &BTreeMap<String, f64>| of(costs, "fsync") + of(costs, "fdatasync");
    let [alone, together] =
        [(1, 1), (48, 8)].map(|(jobs, at_a_time)| of_an_attempt(jobs, at_a_time));
    println!("alone: {alone:?}\ntogether: {together:?}");
    assert!(syncs(&together) < syncs(&alone) / 2.0);
    // Most of it is the making of a run, whose store is synced once, and then its closing.
    assert!(syncs(&alone) <= 16.0, "{alone:?}");
    assert!(syncs(&together) <= 2.0, "{together:?}");
    // The program, and the search for what it has changed; where no copy stands by, a supervisor too.
    assert!(of(&together, "clone3") <= 3.0, "{together:?}");
    // A key exchange would take random numbers, and TCP options of its sockets.
    assert!(of(&together, "getrandom") <= 3.0, "{together:?}");
    assert!(of(&together, "setsockopt") <= 1.5, "{together:?}");
    assert!(of(&together, "total") <= 800.0, "{together:?}");
}

#[test]
fn a_supervisor_that_is_not_loaded_starts_nothing_else() {
    let run = Run::new(&["touch", "step"], "");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    std::fs::create_dir(run.dir().attempt(JobId(0), Attempt(1))).expect("made");
    std::fs::write(run.dir().newest_attempt(JobId(0)), "1").expect("written");
    let costs =
        counted(&run.command(&["exec", run.dir().path().to_str().expect("UTF-8"), "0", "1"]));
    println!("{costs:?}");
    // The program, and the search for what it has changed: no runtime, no thread that waits.
    assert!(of(&costs, "clone3") <= 2.0, "{costs:?}");
    assert!(of(&costs, "epoll_create1") == 0.0, "{costs:?}");
    // The program and its loader are among these.
    assert!(of(&costs, "total") <= 650.0, "{costs:?}");
}
