//! What Slurm does at other people's sites, on a fake one: scripts that end before they begin,
//! answers that are lost, refusals in the middle of a chain, queues that can't be asked.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cu_tests::fake::{Fake, Kind, Rule, TWO_RESUMES, completed};
use cu_tests::process::Process;
use cu_tests::run::Run;

fn cluster() -> Fake {
    Fake::new(Kind::Slurm, env!("CARGO_BIN_EXE_fake_cluster"))
}

fn attempts(run: &Run) -> u32 {
    let text = std::fs::read_to_string(run.output(0, "n")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[test]
fn a_chain_runs_on_the_fake_as_on_a_real_slurm() {
    let site = cluster();
    let run = site.run(TWO_RESUMES, "", "");
    completed(&run.start().wait());
    assert_eq!(attempts(&run), 3);
    assert_eq!(site.jobs(), ["1000", "1001", "1002"]);
}

#[test]
fn a_cancelled_job_ends_on_the_fake() {
    let site = cluster();
    let run = site.run("touch ready; sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(site.calls("scancel").len(), 1);
}

const FEW_LOSSES: &str = "[resume]\nlosses = 1\n";

/// A file that the fake's user reads at login, or that a config activates.
fn put(site: &Fake, name: &str, text: &str) -> String {
    let home = site.home().join("home");
    std::fs::create_dir_all(&home).unwrap();
    let path = home.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Nothing was started: the job is lost after its budget, and says why.
fn is_not_started(run: &Run, words: &[&str]) {
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    assert_eq!(attempts(run), 0);
    let job = run.show(0);
    assert_eq!(job["state"], "failed", "{job}");
    let shown = run.cu(&["show", "0"]).stdout;
    for word in words {
        assert!(shown.contains(word), "{word} is not in: {shown}");
    }
    assert_eq!(job["attempts"].as_array().unwrap().len(), 2, "{job}");
    for attempt in job["attempts"].as_array().unwrap() {
        assert_eq!(attempt["end"], "lost", "{job}");
    }
}

#[test]
fn a_profile_that_replaces_the_shell_completes_no_job() {
    let site = cluster();
    put(&site, ".bash_profile", "exec cat\n");
    let run = site.run(TWO_RESUMES, "modules = [\"x\"]", FEW_LOSSES);
    is_not_started(&run, &["n1"]);
}

#[test]
fn an_activation_that_exits_completes_no_job() {
    for (script, words) in [
        ("exit 0\n", ""),
        ("exec true\n", ""),
        ("echo no disk >&2; exit 1\n", "no disk"),
        ("exit 3\n", ""),
    ] {
        let site = cluster();
        let file = put(&site, "activate", script);
        let run = site.run(TWO_RESUMES, &format!("activate = \"{file}\""), FEW_LOSSES);
        is_not_started(&run, &["n1", words]);
    }
}

#[test]
fn a_node_without_modules_fails_no_job() {
    let site = cluster();
    let run = site.run(TWO_RESUMES, "modules = [\"x\"]", FEW_LOSSES);
    is_not_started(&run, &["n1", "module: command not found"]);
}

#[test]
fn a_lost_answer_of_sbatch_submits_nothing_twice() {
    for words in [
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (receive failure)",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (shutdown failure)",
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        "sbatch: error: Batch job submission failed: Communication connection failure",
        "",
    ] {
        let site = cluster();
        site.rule(Rule::fails("sbatch", words).though_it_acts().once_after(0));
        let run = site.run(TWO_RESUMES, "", "");
        completed(&run.start().wait());
        assert_eq!(attempts(&run), 3, "{words}");
        assert_eq!(site.jobs().len(), 3, "{words}");
    }
}

#[test]
fn srun_as_a_wrapper_of_several_tasks_is_refused() {
    let site = cluster();
    for slurm in [
        "ntasks = 4\nwrapper = [\"srun\"]",
        "nodes = 2\nwrapper = [\"/usr/bin/srun\", \"--mpi=none\"]",
    ] {
        let run = site.run("echo rank >>n", slurm, "");
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains("wrapper"), "{exit:?}");
        assert!(site.jobs().is_empty());
    }
}

#[test]
fn a_comment_is_the_sites_to_set() {
    let site = cluster();
    let run = site.run(TWO_RESUMES, "extra = [\"--comment=projectX\"]", "");
    completed(&run.start().wait());
}

#[test]
fn each_hold_of_slurm_is_shown_as_one() {
    const HOLDS: [&str; 9] = [
        "user env retrieval failed requeued held",
        "launch failed requeued held",
        "launch failure limit exceeded requeued held",
        "job requeued in held state",
        "JobHeldUser",
        "JobHoldMaxRequeue",
        "burst_buffer/lua: JobHeldAdmin: it is full",
        "BurstBufferOperation",
        "License request for x is no longer valid, holding job",
    ];
    let site = cluster();
    site.starts_after(Duration::from_secs(1000));
    let run = site.run(TWO_RESUMES, "", "");
    let main = run.start();
    run.until("a submission", || (!site.jobs().is_empty()).then_some(()));
    let is_shown = |hold: &str, way_out: &str| {
        site.waits_for("1000", hold);
        run.until(hold, || {
            let shown = run.cu(&["show", "0"]).stdout;
            let is_held = shown.contains("is held by the scheduler");
            (is_held && shown.contains(hold) && shown.contains(way_out)).then_some(())
        });
    };
    for hold in HOLDS {
        is_shown(hold, "scontrol release 1000");
    }
    // Nothing is to be released here.
    for hold in ["BadConstraints", "MaxMemPerLimit", "QOSMaxMemoryPerNode"] {
        is_shown(hold, "stop the job");
    }
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
}

#[test]
fn a_hold_that_counts_as_an_end_keeps_no_job_waiting() {
    for resume in ["submit", "requeue"] {
        let site = cluster();
        site.starts_after(Duration::from_secs(1000));
        let backend = format!("resume = {resume:?}\nhold_end = [\"launch failed\"]");
        let run = site.run(TWO_RESUMES, &backend, "");
        let main = run.start();
        run.until("a submission", || (!site.jobs().is_empty()).then_some(()));
        site.waits_for("1000", "JobHeldUser");
        run.until("another hold, which waits", || {
            let shown = run.cu(&["show", "0"]).stdout;
            shown.contains("JobHeldUser").then_some(())
        });
        site.starts_after(Duration::ZERO);
        site.waits_for("1000", "launch failed requeued held");
        completed(&main.wait());
        assert_eq!(attempts(&run), 3);
        assert_eq!(site.states()[0], "CANCELLED");
        let job = run.show(0);
        assert_eq!(job["attempts"][0]["end"], "lost", "{job}");
        let shown = run.cu(&["show", "0"]).stdout;
        assert!(shown.contains("launch failed requeued held"), "{shown}");
    }
}

#[test]
fn several_clusters_behind_one_login_are_named() {
    let site = cluster();
    let run = site.run(TWO_RESUMES, "", "");
    let mut command = run.command(&["run", run.config().to_str().unwrap()]);
    command.env("SLURM_CLUSTERS", "gpu");
    let exit = Process::start(command, &run.path("")).wait();
    completed(&exit);
    for name in ["sbatch", "squeue"] {
        let calls = site.calls(name);
        assert!(
            calls.iter().all(|call| call.contains("--clusters=gpu")),
            "{name}: {calls:?}"
        );
    }
}

#[test]
fn a_submission_nobody_knows_of_never_runs_after_a_stop() {
    let site = cluster();
    site.starts_after(Duration::from_secs(4));
    let words = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (receive failure)";
    site.rule(Rule::fails("sbatch", words).though_it_acts().once_after(0));
    site.rule(Rule::prints("squeue", ""));
    site.rule(Rule::prints("sacct", ""));
    let run = site.run(TWO_RESUMES, "", "");
    let main = run.start();
    run.until("a submission", || (!site.jobs().is_empty()).then_some(()));
    completed(&run.cu(&["stop", "all"]));
    let exit = main.wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    run.until("the end of the job", || {
        site.states()
            .iter()
            .all(|state| state != "PENDING" && state != "RUNNING")
            .then_some(())
    });
    assert_eq!(attempts(&run), 0);
}

#[test]
fn arrays_that_are_forbidden_become_single_jobs() {
    let site = cluster();
    let words = "sbatch: error: Batch job submission failed: Invalid job array specification";
    site.rule(Rule {
        only_arrays: true,
        ..Rule::fails("sbatch", words)
    });
    let run = site.run(TWO_RESUMES, "", "[grid]\ni = [0, 1, 2]\n");
    completed(&run.start().wait());
}

#[test]
fn a_run_resumed_on_another_cluster_touches_nothing() {
    let site = cluster();
    site.starts_after(Duration::from_secs(3));
    let run = site.run(TWO_RESUMES, "", "");
    let mut main = run.start();
    run.until("a submission", || (!site.jobs().is_empty()).then_some(()));
    main.kill();
    let config = "AccountingStorageType = accounting_storage/slurmdbd\nClusterName = sister\nSLURM_VERSION = 24.11.5\n";
    site.rule(Rule::prints("scontrol", config).with("config"));
    site.rule(Rule::prints("squeue", ""));
    site.rule(Rule::prints("sacct", ""));
    let exit = run.go_on().wait();
    assert_ne!(exit.code, Some(0), "{exit:?}");
    for word in ["fake", "sister", "backend.slurm.cluster"] {
        assert!(exit.stderr.contains(word), "{exit:?}");
    }
    site.forget_rules();
    completed(&run.go_on().wait());
    assert_eq!(site.jobs().len(), 3);
}

#[test]
fn an_attempt_that_is_found_late_has_its_cluster_job() {
    let site = cluster();
    let words =
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received";
    site.rule(Rule::fails("sbatch", words).though_it_acts().once_after(0));
    site.rule(Rule::fails(
        "squeue",
        "slurm_load_jobs error: Unexpected message received",
    ));
    // The second attempt goes on only when the first was found.
    let script =
        "[ ! -e ready ] || { until [ -e go ]; do sleep 0.05; done; exit 0; }; touch ready; exit 3";
    let run = site.run(script, "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    let first = || run.show(0)["attempts"][0].clone();
    run.until("the end of the attempt", || {
        (first()["end"] == "resume_requested").then_some(())
    });
    site.forget_rules();
    run.until("its cluster job", || {
        (first()["cluster_job_id"] == "1000").then_some(())
    });
    std::fs::write(run.output(0, "go"), "").unwrap();
    completed(&main.wait());
}

#[test]
fn a_refused_run_says_how_to_go_on_and_does() {
    let site = cluster();
    let words = "sbatch: error: invalid partition specified: gpux\nsbatch: error: Batch job submission failed: Invalid partition name specified";
    site.rule(Rule::fails("sbatch", words));
    let run = site.run(TWO_RESUMES, "", "");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let said = format!("{}{}", exit.stdout, exit.stderr);
    for word in ["run.toml", "cu retry --failed", "cu resume"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    site.forget_rules();
    completed(&run.cu(&["retry", "--failed"]));
    completed(&run.go_on().wait());
    assert_eq!(attempts(&run), 3);
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_job_that_does_not_end() {
    let site = cluster();
    site.starts_after(Duration::from_secs(1000));
    let run = site.run(TWO_RESUMES, "", "");
    let mut main = run.start();
    run.until("a submission", || {
        (site.jobs() == ["1000"] && run.status()["attempts"] == 1).then_some(())
    });
    main.kill();
    // The scheduler goes on showing the job.
    site.rule(Rule::prints("scancel", ""));
    let exit = run.cu(&["stop", "all", "--timeout", "3s"]);
    assert_eq!(exit.code, Some(124), "{exit:?}");
    assert!(exit.stderr.contains("job 0 (1000)"), "{exit:?}");
    site.forget_rules();
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(run.show(0)["state"], "cancelled");
}

const NO_ACCOUNTING: &str =
    "AccountingStorageType = (null)\nClusterName = fake\nSLURM_VERSION = 24.11.5\n";

#[test]
fn empty_answers_of_squeue_for_a_moment_lose_no_job() {
    let site = cluster();
    site.rule(Rule::prints("scontrol", NO_ACCOUNTING).with("config"));
    site.starts_after(Duration::from_secs(3));
    let run = site.run("echo once >>n", "", "");
    let main = run.start();
    run.until("a submission", || (!site.jobs().is_empty()).then_some(()));
    // For longer than a record of its end is waited for.
    site.rule(Rule {
        skip: 1,
        times: 5,
        ..Rule::prints("squeue", "")
    });
    completed(&main.wait());
    assert_eq!(site.jobs(), ["1000"]);
    let log = std::fs::read_to_string(run.dir().log()).unwrap();
    assert!(!log.contains("lost"), "{log}");
}

/// The queue lacks the job, and only accounting could tell why. `cu show` and `main.log` have its words.
#[test]
fn accounting_that_does_not_answer_is_reported_in_its_words() {
    let site = cluster();
    site.starts_after(Duration::from_secs(1000));
    let run = site.run(TWO_RESUMES, "", "");
    let main = run.start();
    run.until("a submission", || (!site.jobs().is_empty()).then_some(()));
    site.rule(Rule::prints("squeue", ""));
    site.rule(Rule::fails(
        "sacct",
        "sacct: error: Problem talking to the database",
    ));
    // With the time at which something follows from the silence.
    let words = "accounting is silent: Slurm is unavailable: sacct: error: Problem talking to the database; \
                 it counts as lost or cancelled if nothing else is known 120 s after it was missed";
    run.until("its words in cu show", || {
        let why = run.show(0)["why"].as_str().unwrap().to_owned();
        why.contains(words).then_some(())
    });
    run.until("its words in main.log", || {
        let log = std::fs::read_to_string(run.dir().log()).unwrap();
        // What all jobs wait for may be there too, in the same words.
        let doubts = |line: &&str| line.contains("can't tell the state of attempt 0 of job 0");
        let told: Vec<&str> = log.lines().filter(doubts).collect();
        assert!(told.len() <= 1, "{log}");
        told.first()
            .map(|line| assert!(line.contains(words), "{log}"))
    });
    site.forget_rules();
    run.until("the end of the doubt in main.log", || {
        let log = std::fs::read_to_string(run.dir().log()).unwrap();
        log.contains("can tell the state of each attempt again")
            .then_some(())
    });
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
}

#[test]
fn a_stop_ends_a_job_that_an_answer_of_squeue_lacks() {
    let site = cluster();
    site.starts_after(Duration::from_secs(1000));
    let run = site.run(TWO_RESUMES, "", "");
    let main = run.start();
    run.until("a submission", || (!site.jobs().is_empty()).then_some(()));
    site.rule(Rule::prints("squeue", ""));
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(site.states(), ["CANCELLED"]);
}

#[test]
fn whatever_stands_around_a_job_id_nothing_is_submitted_twice() {
    let says = |stdout: &str, stderr: &str, code| Rule {
        command: "sbatch".into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
        code,
        ..Rule::default()
    };
    let info = "sbatch: INFO: charged to project x\nsbatch: lua: your job goes to partition p\n";
    for rule in [
        says(
            "Your quota is 90 % full.\n1000\n\nPlease cite us.\n",
            info,
            0,
        ),
        says("Submitted batch job 1000\n", info, 0),
        says("Submitted batch job 1000 on cluster fake\n", "", 0),
        // Which is it?
        says("1000\nJobs of yours today:\n7\n", "", 0),
        // What follows sbatch in a wrapper failed.
        says("1000\n", &format!("{info}logger: no such host\n"), 1),
        says("Submitted batch job 1000\n", info, 255),
        says("", info, 0),
    ] {
        let what = format!("{rule:?}");
        let site = cluster();
        site.rule(rule.though_it_acts().once_after(0));
        let run = site.run(TWO_RESUMES, "", "");
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(0), "{what}: {exit:?}");
        assert_eq!(attempts(&run), 3, "{what}");
        assert_eq!(site.jobs().len(), 3, "{what}");
        assert_eq!(
            run.show(0)["attempts"][0]["cluster_job_id"],
            "1000",
            "{what}"
        );
    }
}
