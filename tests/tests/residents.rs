//! Supervisors that serve one attempt after another: each attempt finds what its first one found, and a supervisor
//! that is killed between two attempts, or before its word is heard, loses nothing and repeats nothing.

use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_run_dir::{StartedFile, read_exit_record, read_newest_attempt};
use cu_tests::checker::assert_kept;
use cu_tests::history::History;
use cu_tests::process::{Process, freeze, kill, thaw};
use cu_tests::run::Run;
use serde_json::Value;

const STEPS: u64 = 8;

/// Asks to be resumed until a supervisor has served two attempts of the job.
const UNTIL_SERVED_TWICE: &str = "grep -qx $PPID seen && exit 0; echo $PPID >> seen; exit 3";

/// Waits until the run has completed, and returns job 0.
fn completed(run: &Run, main_process: Process) -> Value {
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let job = run.show(0);
    assert_eq!(job["state"], "completed", "{job}");
    job
}

fn last_attempt(job: &Value) -> Attempt {
    let attempts = job["attempts"].as_array().expect("attempts").len();
    Attempt(u32::try_from(attempts - 1).expect("few"))
}

#[test]
fn a_supervisor_serves_one_attempt_after_another() {
    // What an attempt is given is the same each time, but for what is its own.
    let script = format!(
        "{{ env | grep -vE '^(CU_ATTEMPT|CU_SUBMISSION|CU_LOCAL_JOB|CU_SOCKET|CU_STOP_FILE)=' | sort; \
         umask; ulimit -a; pwd; grep 'Sig[BIC]' /proc/self/status; ls /proc/self/fd; }} > now; \
         [ -e first ] || cp now first; cmp now first || exit 1; {UNTIL_SERVED_TWICE}"
    );
    let run = Run::new(&["sh", "-c", &script], "");
    completed(&run, run.start());
}

#[test]
fn the_peak_memory_is_that_of_the_attempt_alone() {
    const MANY: u64 = 50_000_000;
    let large = "head -c 100000000 /dev/zero | tail -c 99999999 | wc -c";
    let script = format!("grep -qx $PPID seen || {large}; {UNTIL_SERVED_TWICE}");
    let run = Run::new(&["sh", "-c", &script], "");
    let job = completed(&run, run.start());
    let peak = |attempt| {
        let record = read_exit_record(&run.dir().exit_record(JobId(0), attempt));
        let record = record.expect("it can be read").expect("a record");
        record.peak_memory_bytes.expect("the kernel counts it")
    };
    assert!(peak(Attempt(0)) > MANY, "{job}");
    assert!(peak(last_attempt(&job)) < MANY, "{job}");
}

#[test]
fn killed_between_two_attempts_nothing_is_lost_or_repeated() {
    let run = Run::new(
        &[env!("CARGO_BIN_EXE_tiny_job")],
        "settings.steps_per_attempt = 1\ngrid.parameter = [0, 1, 2]\n",
    );
    let mut main_process = run.start();
    let exit = run.until("the end of the run", || {
        run.kill_who_stands_by();
        main_process.wait_at_most(Duration::from_millis(1))
    });
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_kept(&History::read(&run.dir()).expect("a history"), STEPS);
}

/// `tiny_job`s, each by a supervisor that has served the same job before.
fn served_by_residents(config: &str) -> Run {
    let config = format!("settings.by_a_resident = true\n{config}");
    Run::new(&[env!("CARGO_BIN_EXE_tiny_job")], &config)
}

/// An attempt whose program has announced itself.
struct Served {
    attempt: Attempt,
    supervisor: u32,
    program: u32,
}

/// The newest attempt of a job, once its program is there.
fn await_program(run: &Run, job: u32) -> Served {
    let here = run.output(job, "here");
    run.await_file(&here);
    let program = std::fs::read_to_string(here).expect("it is written whole");
    let newest = read_newest_attempt(&run.dir(), JobId(job)).expect("it can be read");
    let newest = newest.expect("there are attempts").0;
    let supervisor_of = |attempt| {
        let started = StartedFile::read(&run.dir().started(JobId(job), Attempt(attempt)));
        started
            .expect("it can be read")
            .map(|started| started.supervisor)
    };
    let supervisor = supervisor_of(newest).expect("its program runs");
    let before = (0..newest).filter(|before| supervisor_of(*before) == Some(supervisor));
    assert!(
        before.count() > 0,
        "this supervisor served no attempt of job {job} before"
    );
    Served {
        attempt: Attempt(newest),
        supervisor,
        program: program.parse().expect("a number"),
    }
}

fn assert_promises(run: &Run) {
    assert_kept(&History::read(&run.dir()).expect("a history"), STEPS);
}

/// How an attempt of a job ended.
fn end_of(job: &Value, Attempt(attempt): Attempt) -> &str {
    job["attempts"][attempt as usize]["end"]
        .as_str()
        .expect("an end")
}

#[test]
fn killed_with_a_later_attempt_the_program_stops_first() {
    let run =
        served_by_residents("settings.behaviour = \"stays\"\nsettings.step_milliseconds = 100\n");
    let main_process = run.start();
    let served = await_program(&run, 0);
    kill(served.supervisor);
    let job = completed(&run, main_process);
    assert_eq!(end_of(&job, served.attempt), "lost", "{job}");
    assert_promises(&run);
}

#[test]
fn a_program_killed_in_a_later_attempt_fails_that_one() {
    let run = served_by_residents("settings.behaviour = \"stays\"\nresume.failure_retries = 1\n");
    let main_process = run.start();
    let served = await_program(&run, 0);
    kill(served.program);
    let job = completed(&run, main_process);
    assert_eq!(end_of(&job, served.attempt), "failed", "{job}");
    assert_eq!(
        job["attempts"][served.attempt.0 as usize]["signal"], 9,
        "{job}"
    );
    assert_promises(&run);
}

/// One job that asks to be resumed at the barrier `go`, and one that has its results there.
const AT_A_BARRIER: &str = "settings.behaviour = \"waits\"\nsettings.barrier = \"go\"\nstop.grace = \"30s\"\n\
                            grid.steps_per_attempt = [2, 8]\n";

fn open_barrier(run: &Run, job: u32) {
    std::fs::write(run.output(job, "go"), "").expect("there is room");
}

/// These attempts of the two jobs ended as if nobody had been killed.
fn assert_ends(run: &Run, attempts: [Attempt; 2]) {
    for (job, attempt, end) in [
        (0, attempts[0], "resume_requested"),
        (1, attempts[1], "completed"),
    ] {
        let shown = run.show(job);
        assert_eq!(end_of(&shown, attempt), end, "{shown}");
    }
    assert_promises(run);
}

#[test]
fn a_killed_main_process_finds_what_a_resident_runs() {
    let run = served_by_residents(AT_A_BARRIER);
    let mut main_process = run.start();
    let attempts = [0, 1].map(|job| await_program(&run, job).attempt);
    main_process.kill();
    let main_process = run.go_on();
    for job in [0, 1] {
        open_barrier(&run, job);
    }
    completed(&run, main_process);
    assert_ends(&run, attempts);
}

/// The main process stands still from before the end of the attempts until their supervisors are dead. What they
/// wrote is all that is known then. Returns the attempts, and the main process, which still stands still.
fn killed_unheard(run: &Run) -> ([Attempt; 2], Process) {
    let main_process = run.start();
    let served = [0, 1].map(|job| await_program(run, job));
    freeze(&[main_process.id()]);
    for (job, served) in (0..).zip(&served) {
        open_barrier(run, job);
        run.await_file(&run.dir().exit_record(JobId(job), served.attempt));
        kill(served.supervisor);
    }
    (served.map(|served| served.attempt), main_process)
}

#[test]
fn killed_with_an_end_that_nobody_heard_it_counts() {
    let run = served_by_residents(AT_A_BARRIER);
    let (attempts, main_process) = killed_unheard(&run);
    thaw(&[main_process.id()]);
    completed(&run, main_process);
    assert_ends(&run, attempts);
}

#[test]
fn an_end_counts_though_nobody_who_knew_it_lives() {
    let run = served_by_residents(AT_A_BARRIER);
    let (attempts, mut main_process) = killed_unheard(&run);
    main_process.kill();
    completed(&run, run.go_on());
    assert_ends(&run, attempts);
}
