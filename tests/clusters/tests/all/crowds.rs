//! Many jobs that are due together cost a scheduler few calls. How few, and how fast, beside a plain
//! loop: the benchmark `clusters`.

use cu_cluster_tests::counted::CountedCommands;
use cu_cluster_tests::runs::{complete, program};
use cu_cluster_tests::{CondorPool, Instance, SlurmCluster, Suite, place};
use cu_tests::run::{Place, Run};

const JOBS: usize = 60;
const ATTEMPTS: usize = 3 * JOBS;

/// Runs [`JOBS`] jobs with two resumes each. `submit` is called seldom, and so are those that ask.
fn assert_few_calls(cluster: &Instance, mut place: Place, submit: &str, ask: &[&str]) {
    let counted = CountedCommands::new(cluster, &place.directory);
    let own = format!("{:?}", cluster.commands());
    place.config = place
        .config
        .replace(&own, &format!("{:?}", counted.directory()));
    let jobs: Vec<usize> = (0..JOBS).collect();
    let config = format!(
        "resources.memory = \"64MiB\"\n\
         [settings]\nsteps = 3\nsteps_per_attempt = 1\n[grid]\nparameter = {jobs:?}\n"
    );
    let run = Run::at(place, &program("tiny_job"), &config);
    complete(&run);
    let status = run.status();
    assert_eq!(status["jobs"]["completed"], JOBS, "{status}");
    assert_eq!(status["attempts"], ATTEMPTS, "{status}");
    let calls = counted.calls();
    let of = |command: &str| calls.get(command).copied().unwrap_or(0);
    let submissions = of(submit);
    assert!(submissions >= 1, "{submit} was counted: {calls:?}");
    assert!(submissions * 4 <= ATTEMPTS, "{submit}: {calls:?}");
    let questions: usize = ask.iter().map(|command| of(command)).sum();
    assert!(questions * 2 <= ATTEMPTS, "{ask:?}: {calls:?}");
}

#[test]
fn on_slurm() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let place = place::in_partition(&cluster, "debug", work.path());
    assert_few_calls(&cluster, place, "sbatch", &["squeue", "sacct", "scontrol"]);
}

#[test]
fn on_htcondor() {
    let pool = CondorPool::up();
    let work = pool.work_directory();
    let _user = pool.become_user();
    let place = place::in_pool(&pool, work.path());
    let ask = ["condor_q", "condor_history"];
    assert_few_calls(&pool, place, "condor_submit", &ask);
}
