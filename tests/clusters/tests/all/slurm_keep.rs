//! Runs whose attempts share allocations of a real Slurm (`backend.slurm.keep`): the results are those of other runs,
//! for a few submissions, whoever is killed when.

use std::collections::BTreeSet;

use cu_cluster_tests::processes::{command_line, of_which};
use cu_cluster_tests::runs::{
    ask, assert_completes, assert_grid, assert_promises, ends, in_a_lane, program,
};
use cu_cluster_tests::{SlurmCluster, Suite, runs};
use cu_tests::process::kill;
use cu_tests::run::{Place, Run};
use serde_json::Value;

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

/// The processes that serve in allocations of a run.
fn hosts(run: &Run) -> Vec<u32> {
    let directory = run.dir().path().to_str().expect("UTF-8").to_owned();
    let is_host = |line: &[Vec<u8>]| {
        line.get(2).is_some_and(|word| word == b"--keep")
            && line
                .get(3)
                .is_some_and(|word| word.starts_with(directory.as_bytes()))
    };
    let found = of_which(|pid| is_host(&command_line(pid))).into_iter();
    found
        .map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
        .collect()
}

fn allocations(jobs: &[Value]) -> BTreeSet<String> {
    let attempts = jobs
        .iter()
        .flat_map(|job| job["attempts"].as_array().expect("attempts"));
    let named = attempts.filter_map(|attempt| attempt["allocation"].as_str());
    named.map(str::to_owned).collect()
}

fn await_first_allocation(run: &Run) -> String {
    run.await_file(&run.output(0, "here"));
    run.until("its allocation in the files", || {
        let job = run.show(0);
        job["attempts"][0]["allocation"].as_str().map(str::to_owned)
    })
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
            hosts(&run).is_empty().then_some(())
        });
        let lane = format!("--partition={}", lane.partition());
        let waits = ["--noheader", "--states=PENDING", &lane];
        let queue = ask(&cluster, "squeue", &waits);
        assert_eq!(queue.trim(), "");
    });
}

#[test]
fn a_killed_allocation_costs_its_attempt_alone() {
    in_trixie(|_, place| {
        let run = staying(place, "");
        let main_process = run.start();
        await_first_allocation(&run);
        hosts(&run).into_iter().for_each(kill);
        assert_completes(&run, main_process);
        assert_promises(&run);
        let job = run.show(0);
        assert_eq!(ends(&job).last(), Some(&"completed"), "{job}");
        assert!(allocations(&[job]).len() >= 2);
    });
}

#[test]
fn allocations_killed_between_two_attempts_cost_nothing() {
    in_trixie(|_, place| {
        let run = grid(place, "");
        let main_process = run.start();
        run.await_file(&run.dir().path().join("attempts/0/1/exit.json"));
        // Some run an attempt, some look for one.
        hosts(&run).into_iter().for_each(kill);
        assert_completes(&run, main_process);
        // One that is killed right after a save did not write that down, so its own log does not tell.
        for job in 0..6 {
            let job = run.show(job);
            assert_eq!(job["metrics"]["sum"], 36, "{job}");
        }
    });
}

#[test]
fn a_killed_main_process_finds_what_was_said_and_what_runs() {
    in_trixie(|_, place| {
        let run = grid(place, "");
        let mut main_process = run.start();
        run.await_file(&run.dir().path().join("attempts/0/0/started.json"));
        main_process.kill();
        // Whatever runs ends without it, and leaves its messages in its outbox.
        run.await_file(&run.dir().path().join("attempts/0/0/exit.json"));
        assert_completes(&run, run.go_on());
        assert_grid(&run);
    });
}

#[test]
fn an_allocation_about_to_end_warns_its_attempt() {
    in_trixie(|cluster, place| {
        let run = staying(place, "[stop]\nbefore_limit = \"20s\"\ngrace = \"10s\"\n");
        let main_process = run.start();
        let id = await_first_allocation(&run);
        let limit = ["update", &format!("jobid={id}"), "timelimit=1"];
        cluster.ask("scontrol", &limit);
        assert_completes(&run, main_process);
        assert_promises(&run);
        let job = run.show(0);
        assert_eq!(ends(&job)[0], "resume_requested", "{job}");
        assert!(allocations(&[job]).len() >= 2);
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
