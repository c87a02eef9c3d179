//! What the sites of real Slurms do to a run: profiles, modules, cancellations by root, memory limits,
//! preemption. Each hazard was met in practice, ends right here, and `cu show` says what happened.

use cu_cluster_tests::own::without_accounting;
use cu_cluster_tests::runs::{
    ask, assert_completes, assert_promises, await_first_attempt, complete, ends, in_a_lane, start,
    tiny_job,
};
use cu_cluster_tests::{SlurmCluster, Suite, place, runs};
use cu_tests::run::{Place, Run};

/// What `cu show` prints for job 0, in one line: it breaks lines wherever the name of a node makes them long.
fn shown(run: &Run) -> String {
    let shown = run.cu(&["show", "0"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    shown
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The run fails since nothing of it was ever started, and `cu show` has all these words.
fn assert_nothing_was_started(run: &Run, words: &[&str]) {
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let job = run.show(0);
    assert_eq!(job["state"], "failed", "{job}");
    assert_eq!(ends(&job), ["lost", "lost"], "{job}");
    let shown = shown(run);
    for word in words {
        assert!(shown.contains(word), "`{word}` is not in: {shown}");
    }
    assert!(!run.output(0, "ran").exists());
}

const RUNS: [&str; 3] = ["sh", "-c", "touch ran"];
const ONE_LOSS: &str = "resume.losses = 1\n";

#[test]
fn a_login_profile_that_replaces_the_shell_completes_no_job() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |_, mut place| {
        // As `exec zsh -l`, where chsh is not allowed.
        let profile = place.directory.join(".bash_profile");
        std::fs::write(&profile, "exec cat\n").expect("the directory is the user's");
        let home = place.directory.to_str().expect("UTF-8").to_owned();
        place.environment.push(("HOME".into(), home.into()));
        let config = format!("{ONE_LOSS}backend.slurm.modules = [\"x\"]\n");
        let run = Run::at(place, &RUNS, &config);
        assert_nothing_was_started(&run, &["nothing shows that its program was started"]);
    });
}

#[test]
fn an_activation_that_exits_completes_no_job() {
    let cluster = SlurmCluster::up(Suite::Bullseye);
    in_a_lane(&cluster, |_, place| {
        let activate = place.directory.join("activate");
        std::fs::write(&activate, "exit 0\n").expect("the directory is the user's");
        let config = format!("{ONE_LOSS}backend.slurm.activate = {activate:?}\n");
        let run = Run::at(place, &RUNS, &config);
        assert_nothing_was_started(&run, &["nothing shows that its program was started"]);
    });
}

#[test]
fn a_node_without_modules_fails_no_job() {
    let cluster = SlurmCluster::up(Suite::Bookworm);
    in_a_lane(&cluster, |lane, place| {
        let config = format!("{ONE_LOSS}backend.slurm.modules = [\"x\"]\n");
        let run = Run::at(place, &RUNS, &config);
        assert_nothing_was_started(&run, &["module: command not found", &lane.node()]);
    });
}

/// A node's daemon that does not see a directory. It lives in a namespace of its own, so that the script that
/// brings clusters up and down does not know it.
struct BlindNode<'a> {
    cluster: &'a SlurmCluster,
    node: String,
}

impl<'a> BlindNode<'a> {
    fn start(cluster: &'a SlurmCluster, node: String, directory: &str) -> Self {
        let hides = format!("mount -t tmpfs none {directory} && exec slurmd -N {node}");
        let blind = ["unshare", "--mount", "--propagation", "unchanged"];
        cluster.stop(&format!("slurmd-{node}"));
        cluster.inside(&[&blind[..], &["sh", "-c", &hides]].concat());
        Self { cluster, node }
    }
}

impl Drop for BlindNode<'_> {
    fn drop(&mut self) {
        let daemon = format!("slurmd-{}", self.node);
        let end = format!(
            "pid=$(cat /run/cu/{daemon}.pid) && kill $pid && while kill -0 $pid; do sleep 0.1; done; true"
        );
        self.cluster.inside(&["sh", "-c", &end]);
        self.cluster.start(&daemon);
    }
}

/// Slurm prefers the first node of a partition, and this one would have each attempt end at once.
#[test]
fn a_node_that_does_not_see_the_run_directory_is_avoided() {
    let two = "PartitionName=two Nodes=n[1-2] Default=YES MaxTime=INFINITE DefaultTime=60";
    let cluster = without_accounting(Suite::Trixie, &[two]);
    let work = cluster.work_directory();
    let directory = work.path().to_str().expect("UTF-8").to_owned();
    let place = place::in_partition(&cluster, "two", work.path());
    let _user = cluster.become_user();
    let run = tiny_job(place, "works", "resume.losses = 1\n");
    let _blind = BlindNode::start(&cluster, "n1".to_owned(), &directory);
    complete(&run);
    assert_promises(&run);
    let job = run.show(0);
    let ends = ends(&job);
    assert_eq!(
        (ends[0], ends[ends.len() - 1]),
        ("lost", "completed"),
        "{job}"
    );
    let shown = shown(&run);
    let words = ["does not see", "n1"];
    assert!(words.iter().all(|it| shown.contains(it)), "{shown}");
}

/// No node sees it, and there is no other. Slurm says only FAILED, with a signal of its own.
#[test]
fn a_run_directory_that_no_node_sees_is_told_at_the_first_end() {
    let one = "PartitionName=one Nodes=n1 Default=YES MaxTime=INFINITE DefaultTime=60";
    let cluster = without_accounting(Suite::Trixie, &[one]);
    let work = cluster.work_directory();
    let directory = work.path().to_str().expect("UTF-8").to_owned();
    let place = place::in_partition(&cluster, "one", work.path());
    let _user = cluster.become_user();
    let run = tiny_job(place, "works", "resume.losses = 1\n");
    let _blind = BlindNode::start(&cluster, "n1".to_owned(), &directory);
    let main_process = start(&run);
    run.until("what is wrong, after one attempt", || {
        let job = run.show(0);
        let end = job["attempts"][0]["detail"].as_str()?;
        end.contains("n1 does not see the run directory")
            .then_some(())
    });
    assert_eq!(main_process.wait().code, Some(1));
    let job = run.show(0);
    assert_eq!(ends(&job), ["lost", "lost"], "{job}");
}

/// Says that it is there, saves at SIGTERM for a while, and exits with 3; the next attempt is done.
const SAVES: &str = r#"
[ ! -e saved ] || { touch ran; exit 0; }
trap 'sleep 2; touch saved; exit 3' TERM USR1
touch here
sleep 600 & wait
"#;

fn a_cancel_by_root_during_a_save_is_resumed(suite: Suite, resume: &str) {
    let cluster = SlurmCluster::up(suite);
    in_a_lane(&cluster, |_, place| {
        let config = format!("backend.slurm.resume = {resume:?}\n");
        let run = Run::at(place, &["bash", "-c", SAVES], &config);
        let main_process = run.start();
        let id = await_first_attempt(&run);
        cluster.ask("scancel", &[&id]);
        assert_completes(&run, main_process);
        assert!(run.output(0, "saved").exists(), "it was given time to save");
        let job = run.show(0);
        assert_eq!(ends(&job), ["removed", "completed"], "{job}");
        let shown = shown(&run);
        // Some versions name the user that Slurm runs as, who may be root.
        let is_named = ["CANCELLED by 0", "CANCELLED by root"]
            .iter()
            .any(|it| shown.contains(it));
        assert!(is_named, "{shown}");
    });
}

#[test]
fn a_cancel_by_root_during_a_save_is_resumed_by_a_new_job() {
    a_cancel_by_root_during_a_save_is_resumed(Suite::Trixie, "submit");
}

#[test]
fn a_cancel_by_root_during_a_save_is_resumed_by_the_same_job() {
    a_cancel_by_root_during_a_save_is_resumed(Suite::Bookworm, "requeue");
}

/// Takes more memory than it asked for, at once.
const GREEDY: &str = "x=$(head -c 400000000 /dev/zero | tr '\\0' x); sleep 600; echo ${#x}";

fn too_much_memory_is_told_as_that(suite: Suite, config: &str) {
    let cluster = SlurmCluster::up(suite);
    in_a_lane(&cluster, |_, place| {
        let config = format!("resources.memory = \"100MiB\"\n{config}");
        let run = Run::at(place, &["bash", "-c", GREEDY], &config);
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        let job = run.show(0);
        assert_eq!(ends(&job), ["out_of_memory"], "{job}");
    });
}

#[test]
fn a_memory_limit_that_slurm_polls_is_told_as_that() {
    too_much_memory_is_told_as_that(Suite::Trixie, "");
}

#[test]
fn a_memory_limit_of_a_step_is_told_as_that() {
    too_much_memory_is_told_as_that(Suite::Bookworm, "backend.slurm.wrapper = [\"srun\"]\n");
}

#[test]
fn srun_as_a_wrapper_of_several_tasks_is_refused() {
    let cluster = SlurmCluster::up(Suite::Forky);
    in_a_lane(&cluster, |_, place| {
        let config = "backend.slurm.wrapper = [\"srun\"]\nbackend.slurm.ntasks = 2\n";
        let run = Run::at(place, &RUNS, config);
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains("srun"), "{exit:?}");
        assert!(!run.dir().path().join("attempts/0/0/submit.sh").exists());
    });
}

/// The place, with its jobs in another partition.
fn in_partition(mut place: Place, usual: &str, partition: &str) -> Place {
    let (usual, partition) = (format!("{usual:?}"), format!("{partition:?}"));
    place.config = place.config.replace(&usual, &partition);
    place
}

/// Slurm has a preempted job wait before it starts again: 12 seconds here, 2 minutes elsewhere.
#[test]
fn a_preempted_job_that_is_requeued_waits_once() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |lane, place| {
        let place = in_partition(place, lane.partition(), &lane.requeued());
        let run = tiny_job(place, "stays", "backend.slurm.resume = \"requeue\"\n");
        let main_process = run.start();
        let id = await_first_attempt(&run);
        let partition = lane.preempting();
        let other = ["--partition", &partition, "--ntasks=3", "--wrap", "sleep 1"];
        ask(
            &cluster,
            "sbatch",
            &[&["--output=/dev/null"], &other[..]].concat(),
        );
        assert_completes(&run, main_process);
        assert_promises(&run);
        let job = run.show(0);
        assert_eq!(runs::ids(&job)[..2], [&id, &id], "{job}");
        // A start for each attempt, and none that only found that its attempt had ended.
        let starts = runs::states(&cluster, &job).len();
        assert_eq!(starts, ends(&job).len(), "{job}");
        let shown = shown(&run);
        assert!(shown.contains("requeued"), "{shown}");
    });
}

#[test]
fn a_percent_sign_in_a_path_is_only_that() {
    let cluster = SlurmCluster::up(Suite::Bookworm);
    in_a_lane(&cluster, |_, mut place| {
        place.directory = place.directory.join("50%j of %A_%a");
        std::fs::create_dir(&place.directory).expect("the directory is the user's");
        let command = ["sh", "-c", "echo it runs"];
        let run = Run::at(place, &command, "[grid]\nparameter = [0, 1, 2]\n");
        complete(&run);
        for job in ["0", "1", "2"] {
            let logs = run.cu(&["logs", job]);
            assert!(logs.stdout.contains("it runs"), "{logs:?}");
        }
    });
}
