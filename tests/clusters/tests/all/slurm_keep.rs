//! Runs whose attempts share allocations of a real Slurm (`backend.slurm.keep`): the results are those of other runs,
//! for a few submissions.

use cu_cluster_tests::runs::{ask, assert_grid, ends, in_a_lane, program};
use cu_cluster_tests::{SlurmCluster, Suite, runs};
use cu_tests::run::{Place, Run};

use crate::keeping::{Host, allocations, await_first_allocation};

const KEEP: &str = "[backend.slurm]\nkeep = \"20min\"\n[resources]\ntime_limit = \"2min\"\n";

/// Six jobs of four attempts each.
fn grid(place: Place, more: &str) -> Run {
    let config = format!(
        "{KEEP}{more}[settings]\nstep_milliseconds = 100\n[grid]\nparameter = [0, 1, 2, 3, 4, 5]\n"
    );
    Run::at(place, &program("tiny_job"), &config)
}

/// A job that stays in its first attempt until it is asked to stop, or killed.
fn staying(place: Place, more: &str) -> Run {
    let config = format!("{KEEP}{more}[settings]\nbehaviour = \"stays\"\n");
    Run::at(place, &program("tiny_job"), &config)
}

fn in_trixie(test: impl FnOnce(&SlurmCluster, Place)) {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |_, place| test(&cluster, place));
}

#[test]
fn many_attempts_share_few_allocations_and_none_is_left() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |lane, place| {
        let run = grid(place, "");
        runs::complete(&run);
        assert_grid(&run);
        let jobs: Vec<_> = (0..6).map(|job| run.show(job)).collect();
        let shared = allocations(&jobs);
        let attempts = run.status()["attempts"].as_u64().expect("a number");
        assert!(attempts >= 24, "{attempts}");
        assert!((1..=6).contains(&shared.len()), "{shared:?}");
        // Those that wait in vain are withdrawn, the others leave.
        run.until("no allocation to be left", || {
            Host::all(&run).is_empty().then_some(())
        });
        let lane = format!("--partition={}", lane.partition());
        let waits = ["--noheader", "--states=PENDING", &lane];
        let queue = ask(&cluster, "squeue", &waits);
        assert_eq!(queue.trim(), "");
    });
}

#[test]
fn scancel_of_an_allocation_cancels_its_job() {
    in_trixie(|cluster, place| {
        let run = staying(place, "");
        let main_process = run.start();
        let id = await_first_allocation(&run);
        ask(cluster, "scancel", &[&id]);
        let exit = main_process.wait();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let job = run.show(0);
        assert_eq!(ends(&job), ["cancelled"], "{job}");
    });
}

#[test]
fn one_job_is_stopped_and_its_allocation_goes_on() {
    in_trixie(|cluster, place| {
        // One allocation at a time.
        let config = format!(
            "{KEEP}cpus = 3\n[settings]\nbehaviour = \"stays\"\n[grid]\nparameter = [0, 1]\n"
        );
        let run = Run::at(place, &program("tiny_job"), &config);
        let main_process = run.start();
        let id = await_first_allocation(&run);
        let stop = run.cu(&["stop", "0"]);
        assert_eq!(stop.code, Some(0), "{stop:?}");
        run.await_file(&run.output(1, "here"));
        let states = ask(
            cluster,
            "squeue",
            &["--noheader", "--format=%T", "--jobs", &id],
        );
        assert_eq!(states.trim(), "RUNNING");
        let other = run.until("its allocation in the files", || {
            let job = run.show(1);
            job["attempts"][0]["allocation"].as_str().map(str::to_owned)
        });
        assert_eq!(other, id);
        let stop = run.cu(&["stop", "1"]);
        assert_eq!(stop.code, Some(0), "{stop:?}");
        let exit = main_process.wait();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert_eq!(run.show(0)["state"], "cancelled");
    });
}
