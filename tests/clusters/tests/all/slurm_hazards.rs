//! What happens to runs on Slurm behind our back, and what breaks: each run ends right, no two
//! attempts of a job overlap, and `cu show` reports what happened. Each hazard on one version, all
//! versions in turn.

use cu_cluster_tests::runs::{
    GRID, STEPS, ask, assert_chain, assert_completes, assert_grid, assert_promises,
    assert_submitted_once_each, await_first_attempt, complete, ends, ids, in_a_lane, program,
    tiny_job, with_first_submission,
};
use cu_cluster_tests::{SlurmCluster, SlurmSettings, Suite, place};
use cu_tests::run::{Place, Run};

/// Waits until `cu show 0` says something with all these words.
fn until_why(run: &Run, words: &[&str]) {
    run.until(&format!("a reason with {words:?}"), || {
        let job = run.show(0);
        let why = job["why"].as_str().expect("text");
        words.iter().all(|word| why.contains(word)).then_some(())
    });
}

#[test]
fn scancel_ends_the_chain_though_the_program_saved_in_time() {
    let cluster = SlurmCluster::up(Suite::Bookworm);
    in_a_lane(&cluster, |_, place| {
        let run = tiny_job(place, "stays", "");
        let main_process = run.start();
        let id = await_first_attempt(&run);
        ask(&cluster, "scancel", &[&id]);
        let exit = main_process.wait();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let job = run.show(0);
        assert_eq!(job["state"], "cancelled", "{job}");
        assert_eq!(ends(&job), ["cancelled"], "{job}");
    });
}

#[test]
fn scontrol_requeue_behind_our_back_starts_no_attempt_twice() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |_, place| {
        let run = tiny_job(place, "stays", "backend.slurm.resume = \"requeue\"");
        let main_process = run.start();
        let id = await_first_attempt(&run);
        ask(&cluster, "scontrol", &["requeue", &id]);
        assert_completes(&run, main_process);
        assert_promises(&run);
    });
}

#[test]
fn the_same_slurm_job_is_resumed_if_the_config_says_so() {
    let cluster = SlurmCluster::up(Suite::Forky);
    in_a_lane(&cluster, |_, place| {
        let run = tiny_job(place, "works", "backend.slurm.resume = \"requeue\"");
        complete(&run);
        assert_promises(&run);
        let job = assert_chain(&run, 3);
        let ids = ids(&job);
        assert!(ids.iter().all(|id| *id == ids[0]), "{job}");
    });
}

#[test]
fn tasks_of_an_array_are_requeued_one_by_one() {
    let cluster = SlurmCluster::up(Suite::Bookworm);
    in_a_lane(&cluster, |_, place| {
        let config = "backend.slurm.resume = \"requeue\"\n[grid]\nparameter = [0, 1, 2]\n";
        let run = Run::at(place, &program("tiny_job"), config);
        complete(&run);
        assert_promises(&run);
        assert_eq!(run.status()["resumes"], 9);
    });
}

#[test]
fn a_preempted_attempt_is_resumed() {
    let cluster = SlurmCluster::up(Suite::Forky);
    in_a_lane(&cluster, |lane, mut place| {
        let usual = format!("{:?}", lane.partition());
        let scavenging = format!("{:?}", lane.scavenging());
        place.config = place.config.replace(&usual, &scavenging);
        let run = tiny_job(place, "stays", "");
        let main_process = run.start();
        await_first_attempt(&run);
        let other = [
            "--partition",
            &lane.preempting(),
            "--ntasks=3",
            "--wrap",
            "sleep 1",
        ];
        ask(
            &cluster,
            "sbatch",
            &[&["--output=/dev/null"], &other[..]].concat(),
        );
        assert_completes(&run, main_process);
        assert_promises(&run);
        let job = run.show(0);
        let first = ends(&job)[0];
        assert!(["preempted", "resume_requested"].contains(&first), "{job}");
    });
}

#[test]
fn a_drained_node_is_waited_for_and_named() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |lane, place| {
        let run = tiny_job(place, "stays", "stop.file = \"stop\"");
        let main_process = run.start();
        await_first_attempt(&run);
        let node = format!("nodename={}", lane.node());
        let drain = ["update", &node, "state=drain", "reason=test"];
        cluster.ask("scontrol", &drain);
        std::fs::write(run.output(0, "stop"), "").expect("the output directory");
        until_why(&run, &["attempt 1", "queued"]);
        cluster.ask("scontrol", &["update", &node, "state=resume"]);
        assert_completes(&run, main_process);
        assert_promises(&run);
    });
}

#[test]
fn a_held_job_says_how_to_release_it() {
    let cluster = SlurmCluster::up(Suite::Bullseye);
    in_a_lane(&cluster, |lane, place| {
        let blocks = [
            "--output=/dev/null",
            "--partition",
            lane.partition(),
            "--ntasks=3",
        ];
        let blocking = [&["--parsable"], &blocks[..], &["--wrap", "sleep 300"]].concat();
        let blocking = ask(&cluster, "sbatch", &blocking);
        let run = tiny_job(place, "works", "");
        let main_process = run.start();
        run.await_file(&run.dir().path().join("attempts/0/0/submit.sh"));
        let id = run.until("its cluster job id in the store", || {
            ids(&run.show(0)).first().map(|id| (*id).to_owned())
        });
        ask(&cluster, "scontrol", &["hold", &id]);
        ask(&cluster, "scancel", &[blocking.trim()]);
        let command = format!("`scontrol release {id}`");
        until_why(&run, &["attempt 0 is held", "JobHeldUser", &command]);
        ask(&cluster, "scontrol", &["release", &id]);
        assert_completes(&run, main_process);
    });
}

#[test]
fn a_lost_node_whose_processes_live_on_overlaps_with_nobody() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |lane, place| {
        let run = tiny_job(place, "stays", "settings.step_milliseconds = 100");
        let main_process = run.start();
        await_first_attempt(&run);
        let daemon = format!("slurmd-{}", lane.node());
        cluster.kill(&daemon);
        run.until("the second attempt", || {
            (run.show(0)["attempts"].as_array()?.len() > 1).then_some(())
        });
        cluster.start(&daemon);
        assert_completes(&run, main_process);
        assert_promises(&run);
        let job = run.show(0);
        assert_eq!(ends(&job)[0], "node_failure", "{job}");
    });
}

#[test]
fn a_controller_that_is_away_is_waited_for() {
    let cluster = SlurmCluster::own(Suite::Bookworm, &SlurmSettings::default());
    in_a_lane(&cluster, |_, place| {
        let run = Run::at(place, &program("tiny_job"), GRID);
        let main_process = run.start();
        run.await_file(&run.output(0, "steps.log"));
        cluster.stop("slurmctld");
        // Attempts go on, and ask to be resumed; nobody can be submitted.
        until_why(&run, &["Unable to contact slurm controller"]);
        cluster.start("slurmctld");
        assert_completes(&run, main_process);
        assert_grid(&run);
    });
}

#[test]
fn a_controller_that_hangs_submits_nothing_twice() {
    let cluster = SlurmCluster::own(Suite::Trixie, &SlurmSettings::default());
    in_a_lane(&cluster, |_, place| {
        let run = Run::at(place, &program("tiny_job"), GRID);
        let main_process = run.start();
        run.await_file(&run.output(0, "steps.log"));
        cluster.pause("slurmctld");
        until_why(&run, &["it is not known whether"]);
        cluster.start("slurmctld");
        assert_completes(&run, main_process);
        assert_grid(&run);
        assert_submitted_once_each(&cluster, &run);
    });
}

#[test]
fn accounting_that_is_away_harms_nobody() {
    let cluster = SlurmCluster::own(Suite::Forky, &SlurmSettings::default());
    in_a_lane(&cluster, |_, place| {
        cluster.stop("slurmdbd");
        let run = Run::at(place, &program("tiny_job"), GRID);
        complete(&run);
        assert_grid(&run);
    });
}

#[test]
fn a_cluster_without_accounting_suffices() {
    let settings = SlurmSettings {
        accounting: false,
        // What has ended is forgotten at once.
        lines: vec!["MinJobAge=2".to_owned()],
    };
    let cluster = SlurmCluster::own(Suite::Bullseye, &settings);
    in_a_lane(&cluster, |_, place| {
        let run = Run::at(place, &program("tiny_job"), GRID);
        complete(&run);
        assert_grid(&run);
    });
}

fn with_first_sbatch(place: Place, cluster: &SlurmCluster, script: &str) -> Place {
    with_first_submission(place, &cluster.commands(), "sbatch", script)
}

#[test]
fn killed_before_the_id_is_noted_the_job_is_adopted() {
    let cluster = SlurmCluster::up(Suite::Bookworm);
    in_a_lane(&cluster, |_, place| {
        // Killed by what it has just started, when the real one has answered.
        let place = with_first_sbatch(place, &cluster, "$SUBMIT \"$@\"\nkill -9 $PPID");
        let run = Run::at(place, &program("tiny_job"), GRID);
        let exit = run.start().wait();
        assert_eq!(exit.signal, Some(9), "{exit:?}");
        assert_completes(&run, run.go_on());
        assert_grid(&run);
        assert_submitted_once_each(&cluster, &run);
    });
}

#[test]
fn an_answer_that_was_lost_is_looked_up() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |_, place| {
        let script = "$SUBMIT \"$@\" >/dev/null\n\
             echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2\n\
             exit 1";
        let place = with_first_sbatch(place, &cluster, script);
        let run = Run::at(place, &program("tiny_job"), GRID);
        complete(&run);
        assert_grid(&run);
        assert_submitted_once_each(&cluster, &run);
    });
}

/// Whatever is told goes through the outbox, since nothing else gets out of such a job. Only root can
/// cut the network, so that root submits.
#[test]
fn nodes_that_cant_reach_the_main_process_leave_word_in_files() {
    let cluster = SlurmCluster::up(Suite::Forky);
    let lane = cluster.lane();
    let work = cluster.work_directory();
    let mut place = place::on_slurm(&cluster, &lane, work.path());
    place.environment.push(("CU_USER".into(), "root".into()));
    // The work directory is the cluster user's.
    let trust = ("CU_TRUST_PARENTS".into(), "1".into());
    place.environment.push(trust);
    let config = "backend.slurm.wrapper = [\"unshare\", \"--net\"]\n\
         settings.behaviour = \"reports\"\nsettings.parameter = \"a\"\n";
    let run = Run::at(place, &program("tiny_job"), config);
    complete(&run);
    assert_promises(&run);
    let job = assert_chain(&run, 3);
    assert_eq!(job["metrics"]["steps"], STEPS, "{job}");
}
