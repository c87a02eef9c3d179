//! What becomes of a chain on clusters that refuse, keep silent, hold and remove, on fake ones.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cu_tests::fake::{Fake, Kind, Rule, completed};

fn cluster(kind: Kind) -> Fake {
    Fake::new(kind, env!("CARGO_BIN_EXE_fake_cluster"))
}

#[test]
fn a_refusal_in_mid_chain_is_a_delay() {
    const REFUSALS: [&str; 4] = [
        "fatal: Unable to process configuration file",
        "error: Batch job submission failed: Invalid user id",
        "error: Batch job submission failed: Requested node configuration is not available",
        "error: Batch job submission failed: Invalid account or account/partition combination \
         specified",
    ];
    let site = cluster(Kind::Slurm);
    for (nth, words) in REFUSALS.into_iter().enumerate() {
        let rule = Rule::fails("sbatch", &format!("sbatch: {words}"));
        site.rule(rule.once_after(nth + 1));
    }
    // One chain meets them all.
    let script = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; [ $n -ge 4 ] || exit 3";
    let run = site.run(script, "", "");
    let exit = run.start().wait();
    completed(&exit);
    assert_eq!(std::fs::read_to_string(run.output(0, "n")).unwrap(), "5\n");
    let log = std::fs::read_to_string(run.dir().log()).unwrap();
    for words in REFUSALS {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn a_queue_that_cannot_be_asked_is_seen_and_ends() {
    let site = cluster(Kind::Slurm);
    site.starts_after(Duration::from_secs(1000));
    site.rule(Rule {
        code: 2,
        ..Rule::fails("squeue", "squeue: error: unrecognized arguments")
    });
    let run = site.run("true", "", "");
    let _main = run.start();
    run.until("the words of squeue", || {
        let shown = run.cu(&["show", "0"]).stdout;
        let words = shown.contains("the scheduler has not answered since 2")
            && shown.contains("unrecognized arguments");
        words.then_some(())
    });
    let status = run.status();
    let held_up = status["held_up"].as_str().unwrap();
    assert!(held_up.contains("unrecognized arguments"), "{held_up}");
    let log = || std::fs::read_to_string(run.dir().log()).unwrap();
    let warnings = log().matches("has not answered since").count();
    assert_eq!(warnings, 1, "{}", log());
    site.forget_rules();
    run.until("an answer", || {
        run.status()["held_up"].is_null().then_some(())
    });
    assert!(log().contains("the scheduler answers again"), "{}", log());
    assert!(!run.cu(&["show", "0"]).stdout.contains("not answered since"));
}

#[test]
fn a_removal_by_a_person_ends_the_chain() {
    let site = cluster(Kind::Htcondor);
    let run = site.run("touch ready; exec sleep 1000", "", "");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    let words = "via condor_rm (by user ada)";
    site.end_job("1.0", 15, "CANCELLED", words);
    assert_eq!(main.wait().code, Some(1));
    let job = run.show(0);
    assert_eq!(job["state"], "cancelled");
    let why = job["why"].as_str().unwrap();
    assert_eq!(why.matches("by user ada").count(), 1, "{why}");
}

#[test]
fn a_removal_by_the_pools_policy_resumes_what_was_saved() {
    let site = cluster(Kind::Htcondor);
    let script = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; [ $n = 0 ] || exit 0; \
                  trap 'exit 3' TERM; touch ready; sleep 1000 & wait";
    let run = site.run(script, "", "[stop]\nsignal = \"TERM\"\n");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    let policy = "Job removed by SYSTEM_PERIODIC_REMOVE due to wall time exceeded allowed max.";
    site.end_job("1.0", 15, "CANCELLED", policy);
    completed(&main.wait());
    assert_eq!(std::fs::read_to_string(run.output(0, "n")).unwrap(), "2\n");
    let first = &run.show(0)["attempts"][0];
    assert_eq!(first["end"], "removed");
    let detail = first["detail"].as_str().unwrap();
    assert!(detail.contains("SYSTEM_PERIODIC_REMOVE"), "{detail}");
}

#[test]
fn a_persons_hold_stays_until_released() {
    let site = cluster(Kind::Htcondor);
    let script = "trap 'exit 3' TERM; touch ready; sleep 1000 & wait";
    let run = site.run(script, "", "[stop]\nsignal = \"TERM\"\n");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    site.hold("1.0", "via condor_hold (by user ada)", 1);
    // It has ended by then, and no wait for a better account of its end is left.
    run.until("the hold", || {
        let why = run.show(0)["why"].as_str().unwrap().to_owned();
        let directory = run
            .dir()
            .attempt(cu_protocol::JobId(0), cu_protocol::Attempt(0));
        let is_over = directory.join("exit.json").exists();
        let is_held = why.starts_with("attempt 0 is held") && why.contains("`condor_release 1.0`");
        (is_over && is_held).then_some(())
    });
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main.wait().code, Some(1));
    assert_eq!(site.jobs(), ["1.0"]);
    assert_eq!(site.states(), ["CANCELLED"]);
}

#[test]
fn a_held_job_does_not_outlive_its_run() {
    let site = cluster(Kind::Htcondor);
    let script = "[ ! -e ready ] || exit 0; trap 'exit 3' TERM; touch ready; sleep 1000 & wait";
    let run = site.run(script, "", "[stop]\nsignal = \"TERM\"\n");
    let main = run.start();
    run.await_file(&run.output(0, "ready"));
    let words = "The job exceeded allowed job duration";
    site.hold("1.0", words, 46);
    completed(&main.wait());
    assert_eq!(site.states()[0], "CANCELLED");
    // The record of the program's end is there before its job has left the cluster.
    run.until("the end of the second job", || {
        (site.states()[1] == "COMPLETED").then_some(())
    });
}

/// A pool that holds whatever has run for some days, say: for a person, unless the config takes it for an end.
#[test]
fn a_policys_hold_waits_or_is_an_end_as_the_config_says() {
    let script = "[ ! -e ready ] || exit 0; trap 'exit 3' TERM; touch ready; sleep 1000 & wait";
    for is_end in [false, true] {
        let site = cluster(Kind::Htcondor);
        let backend = if is_end { "hold_end = [26]" } else { "" };
        let run = site.run(script, backend, "[stop]\nsignal = \"TERM\"\n");
        let main = run.start();
        run.await_file(&run.output(0, "ready"));
        site.hold("1.0", "SYSTEM_PERIODIC_HOLD: too long", 26);
        if is_end {
            completed(&main.wait());
            // The record of the program's end is there before its job has left the cluster.
            run.until("the end of both jobs", || {
                (site.states() == ["CANCELLED", "COMPLETED"]).then_some(())
            });
            continue;
        }
        run.until("the hold, with the way out", || {
            let why = run.show(0)["why"].as_str().unwrap().to_owned();
            let words = [
                "SYSTEM_PERIODIC_HOLD: too long",
                "code 26",
                "`condor_release 1.0`",
            ];
            words.iter().all(|word| why.contains(word)).then_some(())
        });
        completed(&run.cu(&["stop", "all"]));
        assert_eq!(main.wait().code, Some(1));
        assert_eq!(site.jobs(), ["1.0"]);
    }
}
