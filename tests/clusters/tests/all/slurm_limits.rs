//! Slurms of a test's own whose limits or holds take a minute or two to pass.

use std::time::{Duration, Instant};

use cu_cluster_tests::Suite;
use cu_cluster_tests::own::{make_sick, with_a_prolog, with_a_submit_limit, without_accounting};
use cu_cluster_tests::runs::{
    ask, assert_completes, assert_promises, complete, ends, in_a_lane, start, tiny_job,
};
use cu_tests::run::Run;

/// More jobs than the controller keeps. The lane's slots are fewer than that, so that it is never empty.
fn more_jobs_than_the_controller_keeps(suite: Suite) {
    let cluster = without_accounting(suite, &["MaxJobCount=8", "MinJobAge=2"]);
    in_a_lane(&cluster, |_, place| {
        let values: Vec<u32> = (0..12).collect();
        let run = Run::at(
            place,
            &["true"],
            &format!("[grid]\nparameter = {values:?}\n"),
        );
        complete(&run);
        assert_eq!(run.status()["jobs"]["completed"], 12);
    });
}

#[test]
fn an_array_that_does_not_fit_is_halved() {
    more_jobs_than_the_controller_keeps(Suite::Bookworm);
}

#[test]
fn an_array_that_does_not_fit_is_halved_on_26_05() {
    more_jobs_than_the_controller_keeps(Suite::Forky);
}

/// Twelve jobs, of which two may be submitted at a time. If each wait were for a fixed minute, they would
/// take five.
#[test]
fn the_end_of_an_own_job_makes_room_under_a_submit_limit() {
    let cluster = with_a_submit_limit(Suite::Trixie, 2);
    in_a_lane(&cluster, |_, place| {
        let values: Vec<u32> = (0..12).collect();
        let config = format!("backend.slurm.qos = \"small\"\n[grid]\nparameter = {values:?}\n");
        let run = Run::at(place, &["true"], &config);
        let begun = Instant::now();
        complete(&run);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(240), "{took:?}");
        let log = std::fs::read_to_string(run.dir().path().join("main.log")).expect("a log");
        assert!(log.contains("QOSMaxSubmitJobPerUserLimit"), "{log}");
    });
}

/// Slurm puts a job that may be requeued back when its prolog fails, and holds it.
fn a_launch_hold_is_shown_and_can_be_an_end(suite: Suite) {
    let (cluster, directory) = with_a_prolog(suite);
    for hold_end in [false, true] {
        make_sick(&directory);
        in_a_lane(&cluster, |lane, place| {
            let more = if hold_end {
                "backend.slurm.hold_end = [\"launch failed\"]\n"
            } else {
                ""
            };
            let config = format!("backend.slurm.resume = \"requeue\"\n{more}");
            let run = tiny_job(place, "works", &config);
            let main_process = start(&run);
            if hold_end {
                let lost = || (ends(&run.show(0)).first() == Some(&"lost")).then_some(());
                run.until("the end that the hold is", lost);
            } else {
                let release = run.until("the hold, with the way out", || {
                    let shown = run.cu(&["show", "0"]).stdout;
                    let shown: Vec<_> = shown.split_whitespace().collect();
                    let shown = shown.join(" ");
                    let (_, release) = shown.split_once("`scontrol release ")?;
                    assert!(shown.contains("launch failed requeued held"), "{shown}");
                    Some(release.split('`').next().unwrap_or_default().to_owned())
                });
                ask(&cluster, "scontrol", &["release", &release]);
            }
            // Slurm has drained it.
            let node = format!("nodename={}", lane.node());
            cluster.ask("scontrol", &["update", &node, "state=resume"]);
            assert_completes(&run, main_process);
            assert_promises(&run);
        });
    }
}

#[test]
fn a_launch_hold_is_shown_and_can_be_an_end_on_22_05() {
    a_launch_hold_is_shown_and_can_be_an_end(Suite::Bookworm);
}

#[test]
fn a_launch_hold_is_shown_and_can_be_an_end_on_26_05() {
    a_launch_hold_is_shown_and_can_be_an_end(Suite::Forky);
}
