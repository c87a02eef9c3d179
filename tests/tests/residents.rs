//! Supervisors that serve one attempt after another: each attempt finds what its first one found, and a supervisor
//! that is killed between two attempts, or before its word is heard, loses nothing and repeats nothing.

use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_run_dir::read_exit_record;
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

#[test]
fn killed_with_an_end_that_nobody_heard_its_job_goes_on() {
    // The main process stands still from before the end of the attempt until its supervisor is dead.
    let script = "echo $PPID > supervisor; : > \"here-$CU_ATTEMPT\"; [ \"$CU_ATTEMPT\" = 1 ] && exit 0; \
                  while [ ! -e go ]; do sleep 0.01; done; exit 3";
    let run = Run::new(&["sh", "-c", script], "");
    let main_process = run.start();
    run.await_file(&run.output(0, "here-0"));
    let supervisor = std::fs::read_to_string(run.output(0, "supervisor")).expect("it is written");
    let supervisor: u32 = supervisor.trim().parse().expect("a number");
    freeze(&[main_process.id()]);
    std::fs::write(run.output(0, "go"), "").expect("there is room");
    let record = run.dir().exit_record(JobId(0), Attempt(0));
    run.await_file(&record);
    kill(supervisor);
    thaw(&[main_process.id()]);
    let job = completed(&run, main_process);
    assert_eq!(last_attempt(&job), Attempt(1), "{job}");
    assert_eq!(job["attempts"][0]["exit_code"], 3, "{job}");
}
