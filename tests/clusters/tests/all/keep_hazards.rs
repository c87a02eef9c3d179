//! Runs whose attempts share allocations of a real Slurm and of a real HTCondor pool (`keep`): whoever is killed when,
//! and whenever an allocation ends, no step is lost or done twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cu_cluster_tests::runs::{
    GRID, PERIODIC, assert_chain, assert_completes, assert_grid, assert_promises, assert_sum,
    complete, ends, in_a_condor_lane, in_a_lane, program, tiny_job, with_first_submission,
};
use cu_cluster_tests::{SlurmCluster, Suite};
use cu_tests::process::{ends_within, freeze, kill, thaw};
use cu_tests::run::{Place, Run};
use serde_json::Value;

use crate::keeping::{Host, allocations, await_first_allocation, keeping};

/// A test of each story on either cluster.
macro_rules! on_either_cluster {
    ($($story:ident,)*) => {
        mod on_slurm {
            $(
                #[test]
                fn $story() {
                    super::on_slurm(|_, place| super::$story(place));
                }
            )*
        }

        mod on_htcondor {
            $(
                #[test]
                fn $story() {
                    super::in_a_condor_lane(|_, place| super::$story(super::keeping(place)));
                }
            )*
        }
    };
}

on_either_cluster!(
    a_killed_allocation_costs_its_attempt_alone,
    killed_between_two_attempts_an_allocation_costs_nothing,
    killed_with_an_end_that_nobody_heard_it_counts,
    an_end_counts_though_nobody_who_knew_it_lives,
    a_killed_main_process_finds_what_was_said_and_what_runs,
    attempts_stop_in_time_for_their_own_limits,
);

fn on_slurm(test: impl FnOnce(&SlurmCluster, Place)) {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |_, place| test(&cluster, keeping(place)));
}

/// A file of an attempt.
fn of_attempt(run: &Run, job: u32, attempt: u32, name: &str) -> PathBuf {
    let directory = format!("attempts/{job}/{attempt}");
    run.dir().path().join(directory).join(name)
}

/// Longer than an allocation takes to start, however busy the cluster is.
const LIMIT: &str = "resources.time_limit = \"20min\"\n";

fn a_killed_allocation_costs_its_attempt_alone(place: Place) {
    let run = tiny_job(place, "stays", LIMIT);
    let main_process = run.start();
    await_first_allocation(&run);
    Host::all(&run).iter().for_each(|host| kill(host.pid));
    assert_completes(&run, main_process);
    assert_promises(&run);
    let job = run.show(0);
    assert_eq!(ends(&job).last(), Some(&"completed"), "{job}");
    assert!(allocations(&[job]).len() >= 2);
}

fn killed_between_two_attempts_an_allocation_costs_nothing(place: Place) {
    let run = Run::at(place, &program("tiny_job"), &format!("{LIMIT}{GRID}"));
    let main_process = run.start();
    let mut killed = 0;
    for attempt in 0..3 {
        run.await_file(&of_attempt(&run, 0, attempt, "exit.json"));
        // Nothing more becomes due, so that each of them comes to the end of what it has.
        freeze(&[main_process.id()]);
        killed += run.until("an allocation without an attempt, or none at all", || {
            let hosts = Host::all(&run);
            let killed = hosts.iter().filter(|host| is_killed_between(host)).count();
            (killed > 0 || hosts.is_empty()).then_some(killed)
        });
        thaw(&[main_process.id()]);
    }
    assert!(killed > 0, "none was found between two attempts");
    assert_completes(&run, main_process);
    assert_grid(&run);
    // None of its attempts was lost.
    let attempts = run.status()["attempts"].as_u64();
    assert_eq!(attempts, Some(24));
}

/// Kills it if it is between two attempts, and stays so while it stands still.
fn is_killed_between(host: &Host) -> bool {
    if !host.is_between_two_attempts() {
        return false;
    }
    freeze(&[host.pid]);
    let is_between = host.is_between_two_attempts() && !ends_within(host.pid, Duration::ZERO);
    match is_between {
        true => kill(host.pid),
        false => thaw(&[host.pid]),
    }
    is_between
}

/// A run of two jobs: one asks to be resumed behind the barrier `go`, the other has its results there.
fn at_a_barrier(place: Place) -> Run {
    let settings =
        "[settings]\nbehaviour = \"waits\"\nbarrier = \"go\"\n[grid]\nsteps_per_attempt = [2, 8]\n";
    Run::at(
        place,
        &program("tiny_job"),
        &format!("{LIMIT}stop.grace = \"30s\"\n{settings}"),
    )
}

/// The attempts of the two jobs ended as if nobody had been killed.
fn assert_ends_as_ever(run: &Run) {
    assert_promises(run);
    let (first, second) = (run.show(0), run.show(1));
    let asked = "resume_requested";
    assert_eq!(ends(&first), [asked, asked, asked, "completed"], "{first}");
    assert_eq!(ends(&second), ["completed"], "{second}");
}

/// The main process stands still from before the end of both attempts until nothing is left of their
/// allocations. What was written is all that is known then.
fn kill_unheard(run: &Run, main_process: u32) {
    for job in [0, 1] {
        run.await_file(&run.output(job, "here"));
    }
    freeze(&[main_process]);
    for job in [0, 1] {
        std::fs::write(run.output(job, "go"), "").expect("there is room");
        run.await_file(&of_attempt(run, job, 0, "exit.json"));
    }
    // First the allocation, which would note how its attempt ended.
    Host::all(run).iter().for_each(|host| kill(host.pid));
    for job in [0, 1] {
        let started = std::fs::read(of_attempt(run, job, 0, "started.json"));
        let started: Value =
            serde_json::from_slice(&started.expect("it was started")).expect("JSON");
        let supervisor = started["supervisor"].as_u64().expect("a number");
        let supervisor = u32::try_from(supervisor).expect("a process");
        kill(supervisor);
        run.until("the end of its supervisor", || {
            ends_within(supervisor, Duration::ZERO).then_some(())
        });
    }
}

fn killed_with_an_end_that_nobody_heard_it_counts(place: Place) {
    let run = at_a_barrier(place);
    let main_process = run.start();
    kill_unheard(&run, main_process.id());
    thaw(&[main_process.id()]);
    assert_completes(&run, main_process);
    assert_ends_as_ever(&run);
}

fn an_end_counts_though_nobody_who_knew_it_lives(place: Place) {
    let run = at_a_barrier(place);
    let mut main_process = run.start();
    kill_unheard(&run, main_process.id());
    main_process.kill();
    assert_completes(&run, run.go_on());
    assert_ends_as_ever(&run);
}

fn a_killed_main_process_finds_what_was_said_and_what_runs(place: Place) {
    let run = Run::at(place, &program("tiny_job"), &format!("{LIMIT}{GRID}"));
    let mut main_process = run.start();
    run.await_file(&of_attempt(&run, 0, 0, "started.json"));
    main_process.kill();
    // Whatever runs ends without it, and leaves its messages in its outbox.
    run.await_file(&of_attempt(&run, 0, 0, "exit.json"));
    assert_completes(&run, run.go_on());
    assert_grid(&run);
}

fn attempts_stop_in_time_for_their_own_limits(place: Place) {
    let config = "[settings]\nsteps = 300\nstep_milliseconds = 100\n\
                  [resources]\ntime_limit = \"40s\"\n[stop]\nbefore_limit = \"20s\"\ngrace = \"9s\"\n";
    let run = Run::at(place, &program("timeout_signal"), config);
    complete(&run);
    let job = assert_chain(&run, 1);
    assert_eq!(job["metrics"]["steps"], 300, "{job}");
}

/// The main process is killed after the first allocation was submitted, and before it knows that.
fn adopts(place: Place, commands: &Path, submit: &str) {
    let script = "$SUBMIT \"$@\"\nkill -9 $PPID";
    let place = with_first_submission(place, commands, submit, script);
    let run = Run::at(place, &program("tiny_job"), &format!("{LIMIT}{GRID}"));
    let exit = run.start().wait();
    assert_eq!(exit.signal, Some(9), "{exit:?}");
    assert_completes(&run, run.go_on());
    assert_grid(&run);
    let attempts = run.status()["attempts"].as_u64();
    assert_eq!(attempts, Some(24));
}

#[test]
fn killed_before_sbatch_answers_the_allocation_is_adopted() {
    on_slurm(|cluster, place| adopts(place, &cluster.commands(), "sbatch"));
}

#[test]
fn killed_before_condor_submit_answers_it_is_adopted() {
    in_a_condor_lane(|pool, place| adopts(keeping(place), &pool.commands(), "condor_submit"));
}

/// The attempt was warned, saved, and went on in another allocation.
fn assert_warned(run: &Run) {
    assert_promises(run);
    let job = run.show(0);
    let ends = ends(&job);
    let (last, before) = ends.split_last().expect("attempts");
    assert_eq!(*last, "completed", "{job}");
    assert!(before.iter().all(|end| *end == "resume_requested"), "{job}");
    assert!(allocations(&[job]).len() >= 2);
}

/// Has the allocation of an attempt end in a minute.
fn shorten(cluster: &SlurmCluster, run: &Run) {
    let id = await_first_allocation(run);
    cluster.ask(
        "scontrol",
        &["update", &format!("jobid={id}"), "timelimit=1"],
    );
}

#[test]
fn slurm_warns_the_attempt_of_an_allocation_about_to_end() {
    on_slurm(|cluster, place| {
        let stop = "[stop]\nbefore_limit = \"20s\"\ngrace = \"10s\"\n";
        let run = tiny_job(place, "stays", &format!("{LIMIT}{stop}"));
        let main_process = run.start();
        shorten(cluster, &run);
        assert_completes(&run, main_process);
        assert_warned(&run);
    });
}

#[test]
fn at_the_limit_slurm_asks_the_attempt_to_stop() {
    on_slurm(|cluster, place| {
        let run = tiny_job(place, "stays", &format!("{LIMIT}stop.grace = \"10s\"\n"));
        let main_process = run.start();
        shorten(cluster, &run);
        assert_completes(&run, main_process);
        assert_warned(&run);
    });
}

/// A pool that ends allocations after so many seconds, which nobody in them knows.
fn ending_after(place: Place, seconds: u32) -> Place {
    let mut place = keeping(place);
    let extra = format!("extra = [\"allowed_job_duration = {seconds}\", ");
    place.config = place.config.replace("extra = [", &extra);
    place
}

#[test]
fn at_its_limit_a_cluster_job_asks_the_attempt_to_stop() {
    in_a_condor_lane(|_, place| {
        let run = tiny_job(
            ending_after(place, 30),
            "stays",
            &format!("{LIMIT}stop.grace = \"10s\"\n"),
        );
        complete(&run);
        assert_warned(&run);
    });
}

/// A program that ignores the wish to stop ends at the limit of its allocation, and the next attempt goes on from its
/// last save.
#[test]
fn ignoring_the_end_of_its_cluster_job_it_is_resumed() {
    in_a_condor_lane(|_, place| {
        let ignores = format!("trap '' TERM\n{PERIODIC}");
        let command = ["bash", "-c", &ignores, "periodic", "300"];
        let config = format!("{LIMIT}stop.grace = \"1s\"\n");
        let run = Run::at(ending_after(place, 15), &command, &config);
        complete(&run);
        let job = run.show(0);
        let ends = ends(&job);
        assert_eq!(ends.first(), Some(&"time_limit"), "{job}");
        assert_eq!(ends.last(), Some(&"completed"), "{job}");
        assert!(allocations(std::slice::from_ref(&job)).len() >= 2, "{job}");
        assert_sum(&run, 300);
    });
}
