//! Slurm looks for work when a job ends: an attempt that asked to be resumed stays at its place until the next
//! one is submitted.

use cu_cluster_tests::own::with_a_submit_limit;
use cu_cluster_tests::runs::{
    assert_chain, assert_completes, assert_promises, assert_submitted_once_each, complete, ids,
    in_a_lane, tiny_job, with_submissions,
};
use cu_cluster_tests::{SlurmCluster, Suite};

#[test]
fn the_next_attempt_is_submitted_before_the_last_one_leaves() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |_, place| {
        let seen = place.directory.join("seen");
        let script = format!(
            "$(dirname $SUBMIT)/squeue --noheader --states=RUNNING --format=%i >>{}\nexec $SUBMIT \"$@\"",
            seen.display()
        );
        let place = with_submissions(place, &cluster.commands(), "sbatch", &script);
        let run = tiny_job(place, "works", "");
        complete(&run);
        assert_promises(&run);
        let job = assert_chain(&run, 3);
        let seen = std::fs::read_to_string(&seen).expect("sbatch was called");
        let is_seen = |id: &&str| seen.lines().any(|line| line == *id);
        // A machine that is too busy may be slower than an attempt stays.
        assert!(ids(&job).iter().any(is_seen), "{seen} {job}");
    });
}

/// Kills the main process as it submits the second attempt, before or after Slurm has it.
fn killed_while_an_attempt_stays(suite: Suite, second: &str) {
    let cluster = SlurmCluster::up(suite);
    in_a_lane(&cluster, |_, place| {
        let made = place.directory.join("made-");
        let script = format!(
            "for call in 1 2 3; do mkdir {}$call 2>/dev/null && break; done\n\
             [ $call = 2 ] || exec $SUBMIT \"$@\"\n{second}",
            made.display()
        );
        let place = with_submissions(place, &cluster.commands(), "sbatch", &script);
        let run = tiny_job(place, "works", "");
        let exit = run.start().wait();
        assert_eq!(exit.signal, Some(9), "{exit:?}");
        assert_completes(&run, run.go_on());
        assert_promises(&run);
        assert_chain(&run, 3);
        assert_submitted_once_each(&cluster, &run);
    });
}

#[test]
fn killed_before_the_next_one_is_submitted_it_is_submitted_once() {
    killed_while_an_attempt_stays(Suite::Bookworm, "kill -9 $PPID; exit 1");
}

#[test]
fn killed_after_the_next_one_is_submitted_it_is_adopted() {
    killed_while_an_attempt_stays(Suite::Trixie, "$SUBMIT \"$@\"; kill -9 $PPID");
}

/// Only one job of the user may be submitted, and the attempt that stays is one. It is sent away, and the next
/// ones don't stay any more.
#[test]
fn a_limit_that_counts_an_attempt_that_stays_is_met_once() {
    let cluster = with_a_submit_limit(Suite::Trixie, 1);
    in_a_lane(&cluster, |_, place| {
        let run = tiny_job(place, "works", "backend.slurm.qos = \"small\"\n");
        complete(&run);
        assert_promises(&run);
        assert_chain(&run, 3);
        let events = run.cu(&["events", "--json"]).stdout;
        let refusals = events.lines().filter(|line| line.contains("not_submitted"));
        assert!(refusals.count() <= 2, "{events}");
    });
}
