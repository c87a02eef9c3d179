//! What HTCondor pools do at other people's sites, on a fake one.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cu_tests::fake::{Fake, Kind, Rule};
use cu_tests::process::Exit;
use cu_tests::run::{Run, scratch};
use tempfile::TempDir;

/// A fake pool in a directory that goes with the test.
struct Pool {
    condor: Fake,
    _scratch: TempDir,
}

impl Pool {
    fn new() -> Self {
        let scratch = scratch();
        let program = env!("CARGO_BIN_EXE_fake_cluster");
        Self {
            condor: Fake::new(Kind::Htcondor, scratch.path(), program),
            _scratch: scratch,
        }
    }

    /// A run of `script`, which starts in the output directory.
    fn run(&self, script: &str, condor: &str, config: &str) -> Run {
        let script = format!("cd \"$CU_OUTPUT_DIR\" && {script}");
        Run::at(self.condor.place(condor), &["sh", "-c", &script], config)
    }
}

/// Resumes twice, then is done; `n` counts the attempts.
const TWO_RESUMES: &str = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; \
                           [ $n -ge 2 ] || exit 3";

#[track_caller]
fn completed(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_chain_runs_on_the_fake_as_on_a_real_pool() {
    let pool = Pool::new();
    let run = pool.run(TWO_RESUMES, "", "");
    completed(&run.start().wait());
    let n = std::fs::read_to_string(run.output(0, "n")).unwrap();
    assert_eq!(n, "3\n");
    assert_eq!(pool.condor.jobs(), ["1.0", "2.0", "3.0"]);
}

#[test]
fn a_removed_job_ends_on_the_fake() {
    let pool = Pool::new();
    let run = pool.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(pool.condor.calls("condor_rm").len(), 1);
}

#[test]
fn a_ticket_that_ran_out_delays_a_chain_and_is_named() {
    for words in [
        "Failed to process job credential requests: 'store_cred of Kerberos credential failed - '; BAILING OUT.",
        "ERROR: No credential stored for ada@pool",
        "ERROR: User ada@pool is disabled",
    ] {
        let pool = Pool::new();
        let rule = Rule {
            stdout: format!("{words}\n"),
            stderr: String::new(),
            ..Rule::fails("condor_submit", "")
        };
        // The first call is a dry run, the second submits attempt 0.
        pool.condor.rule(rule.with("descriptions").once_after(1));
        let run = pool.run(TWO_RESUMES, "", "");
        completed(&run.start().wait());
        assert_eq!(pool.condor.jobs().len(), 3, "{words}");
        let log = std::fs::read_to_string(run.dir().log()).unwrap();
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn a_strangers_job_under_our_id_is_not_removed() {
    let pool = Pool::new();
    let run = pool.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    pool.condor.rule(Rule::prints(
        "condor_q",
        "[{\"ClusterId\": 1, \"ProcId\": 0, \"JobStatus\": 2}]",
    ));
    completed(&run.cu(&["stop", "all"]));
    let _ = main.wait();
    let calls = pool.condor.calls("condor_rm");
    assert!(calls.is_empty(), "{calls:?}");
}

#[test]
fn a_queue_that_is_silent_keeps_no_job_alive() {
    let pool = Pool::new();
    let run = pool.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    pool.condor
        .rule(Rule::fails("condor_q", "-- Failed to fetch ads"));
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(pool.condor.states(), ["CANCELLED"]);
}

#[test]
fn a_pool_that_forbids_getenv_is_refused_before_the_run() {
    let pool = Pool::new();
    let forbidden = Rule::prints("condor_config_val", "False\n");
    pool.condor.rule(forbidden.with("SUBMIT_ALLOW_GETENV"));
    let run = pool.run(TWO_RESUMES, "", "");
    let exit = run.start().wait();
    assert!(exit.stderr.contains("environment = \"clean\""), "{exit:?}");
    assert!(!run.dir().store().exists());
}

#[test]
fn a_run_resumed_on_another_access_point_touches_nothing() {
    let pool = Pool::new();
    pool.condor.starts_after(Duration::from_secs(3));
    let run = pool.run(TWO_RESUMES, "", "");
    let mut main = run.start();
    run.until("a submission", || {
        (!pool.condor.jobs().is_empty()).then_some(())
    });
    main.kill();
    pool.condor.rule(Rule::prints("condor_q", ""));
    pool.condor.rule(Rule::prints("condor_history", "[]"));
    pool.condor.rule(Rule::prints("condor_config_val", "ap2\n"));
    pool.condor.rule(Rule {
        stderr: "Job 1.0 not found\n".into(),
        ..Rule::fails("condor_rm", "")
    });
    let exit = run.go_on().wait();
    assert_ne!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.contains("ap1"), "{exit:?}");
    pool.condor.forget_rules();
    completed(&run.go_on().wait());
    assert_eq!(pool.condor.jobs().len(), 3);
}
