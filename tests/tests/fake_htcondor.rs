//! What HTCondor pools do at other people's sites, on a fake one.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cu_tests::fake::{Fake, Kind, Rule, TWO_RESUMES, completed};

fn cluster() -> Fake {
    Fake::new(Kind::Htcondor, env!("CARGO_BIN_EXE_fake_cluster"))
}

#[test]
fn a_chain_runs_on_the_fake_as_on_a_real_pool() {
    let pool = cluster();
    let run = pool.run(TWO_RESUMES, "", "");
    completed(&run.start().wait());
    let n = std::fs::read_to_string(run.output(0, "n")).unwrap();
    assert_eq!(n, "3\n");
    assert_eq!(pool.jobs(), ["1.0", "2.0", "3.0"]);
}

#[test]
fn a_removed_job_ends_on_the_fake() {
    let pool = cluster();
    let run = pool.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(pool.calls("condor_rm").len(), 1);
}

#[test]
fn a_ticket_that_ran_out_delays_a_chain_and_is_named() {
    for words in [
        "Failed to process job credential requests: 'store_cred of Kerberos credential failed - '; BAILING OUT.",
        "ERROR: No credential stored for ada@pool",
        "ERROR: User ada@pool is disabled",
    ] {
        let pool = cluster();
        let rule = Rule {
            stdout: format!("{words}\n"),
            stderr: String::new(),
            ..Rule::fails("condor_submit", "")
        };
        // The first call is a dry run, the second submits attempt 0.
        pool.rule(rule.with("descriptions").once_after(1));
        let run = pool.run(TWO_RESUMES, "", "");
        completed(&run.start().wait());
        assert_eq!(pool.jobs().len(), 3, "{words}");
        let log = std::fs::read_to_string(run.dir().log()).unwrap();
        assert!(log.contains(words), "{log}");
    }
}

#[test]
fn a_strangers_job_under_our_id_is_not_removed() {
    let pool = cluster();
    let run = pool.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    pool.rule(Rule::prints(
        "condor_q",
        "[{\"ClusterId\": 1, \"ProcId\": 0, \"JobStatus\": 2}]",
    ));
    completed(&run.cu(&["stop", "all"]));
    let _ = main.wait();
    let calls = pool.calls("condor_rm");
    assert!(calls.is_empty(), "{calls:?}");
}

#[test]
fn a_queue_that_is_silent_keeps_no_job_alive() {
    let pool = cluster();
    let run = pool.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    pool.rule(Rule::fails("condor_q", "-- Failed to fetch ads"));
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(pool.states(), ["CANCELLED"]);
}

#[test]
fn a_pool_that_forbids_getenv_is_refused_before_the_run() {
    let pool = cluster();
    let forbidden = Rule::prints("condor_config_val", "False\n");
    pool.rule(forbidden.with("SUBMIT_ALLOW_GETENV"));
    let run = pool.run(TWO_RESUMES, "", "");
    let exit = run.start().wait();
    assert!(exit.stderr.contains("environment = \"clean\""), "{exit:?}");
    assert!(!run.dir().store().exists());
}

#[test]
fn doctor_asks_the_queue_in_the_words_of_a_run() {
    let pool = cluster();
    let run = pool.run(TWO_RESUMES, "", "");
    let doctor = || run.cu(&["doctor", run.config().to_str().unwrap()]);
    assert_eq!(doctor().code, Some(0), "{:?}", doctor());
    for rule in [
        Rule::fails("condor_q", "condor_q: unknown option -json"),
        Rule::prints("condor_q", "-- Schedd: ap1 : the queue in words"),
    ] {
        pool.rule(rule.with("-json"));
        let found = doctor();
        assert_eq!(found.code, Some(9), "{found:?}");
        let words = "condor_q does not answer as a run asks it";
        assert!(found.stdout.contains(words), "{found:?}");
        pool.forget_rules();
    }
}

#[test]
fn a_run_resumed_on_another_access_point_touches_nothing() {
    let pool = cluster();
    pool.starts_after(Duration::from_secs(3));
    let run = pool.run(TWO_RESUMES, "", "");
    let mut main = run.start();
    run.until("a submission", || (!pool.jobs().is_empty()).then_some(()));
    main.kill();
    let unreachable = Rule::fails(
        "condor_q",
        "Error: Collector has no record of schedd/submitter",
    );
    pool.rule(unreachable.with("-name ap1"));
    pool.rule(Rule::prints("condor_q", ""));
    pool.rule(Rule::prints("condor_history", "[]"));
    pool.rule(Rule::prints("condor_config_val", "ap2\n"));
    pool.rule(Rule {
        stderr: "Job 1.0 not found\n".into(),
        ..Rule::fails("condor_rm", "")
    });
    let exit = run.go_on().wait();
    assert_ne!(exit.code, Some(0), "{exit:?}");
    for part in ["ap1", "has no record", "--abandon-attempts"] {
        assert!(exit.stderr.contains(part), "{exit:?}");
    }
    pool.forget_rules();
    completed(&run.go_on().wait());
    assert_eq!(pool.jobs().len(), 3);
}

#[test]
fn whatever_condor_submit_says_nothing_is_submitted_twice() {
    const TAKEN: &str = "Submitting job(s).\n1 job(s) submitted to cluster 1.\n";
    let warned = format!("\nWARNING: Your job asks for no disk\n{TAKEN}See you.\n");
    let with_error = format!("{TAKEN}ERROR: the hook of the site can't be reached\n");
    let lost = "Connection to ap1 closed by remote host.\n";
    for (stdout, stderr, code) in [
        (
            warned.as_str(),
            "WARNING: the pool is drained on Monday\n",
            0,
        ),
        (with_error.as_str(), "", 1),
        (TAKEN, "ERROR: the hook of the site can't be reached\n", 1),
        ("", lost, 255),
        ("", "WARNING: the pool is drained on Monday\n", 0),
        ("", "", 0),
        ("", "", 1),
    ] {
        let what = format!("{stdout}{stderr}{code}");
        let pool = cluster();
        let rule = Rule {
            command: "condor_submit".into(),
            stdout: stdout.into(),
            stderr: stderr.into(),
            code,
            ..Rule::default()
        };
        pool.rule(rule.with("descriptions").though_it_acts().once_after(0));
        let run = pool.run(TWO_RESUMES, "", "");
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(0), "{what}: {exit:?}");
        assert_eq!(pool.jobs().len(), 3, "{what}");
        assert_eq!(
            run.show(0)["attempts"][0]["cluster_job_id"],
            "1.0",
            "{what}"
        );
    }
}

#[test]
fn empty_answers_for_some_seconds_lose_no_job() {
    const SILENT: &str = "-- Failed to fetch ads from: <127.0.0.1:9618> : ap1\n";
    for stderr in [SILENT, ""] {
        let pool = cluster();
        pool.starts_after(Duration::from_secs(8));
        let run = pool.run("echo once >>n", "", "");
        let main = run.start();
        run.until("a submission", || (!pool.jobs().is_empty()).then_some(()));
        pool.rule(Rule {
            stderr: stderr.into(),
            ..Rule::prints("condor_q", "")
        });
        pool.rule(Rule::prints("condor_history", "[]"));
        completed(&main.wait());
        assert_eq!(pool.jobs(), ["1.0"]);
    }
}
