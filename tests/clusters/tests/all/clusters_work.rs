//! The clusters themselves: jobs run and end, lanes are exclusive, what is stopped is away and
//! comes back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use cu_cluster_tests::{CondorPool, SlurmCluster, SlurmSettings, Suite, wait};

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the wrapper is there");
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{said}");
    String::from_utf8(stdout).expect("UTF-8")
}

fn until_written(path: &Path) -> String {
    let what = path.display().to_string();
    wait::until(&what, wait::BOUND, || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n').then_some(text)
    })
}

/// A job of a user's in a lane: it runs as that user, in the directory that it was submitted from.
fn slurm_runs_a_job(suite: Suite) {
    let cluster = SlurmCluster::up(suite);
    let lane = cluster.lane();
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let mut sbatch = cluster.command("sbatch");
    sbatch.args(["--parsable", "--partition", lane.partition()]);
    sbatch.args(["--wrap", "echo $(id -u) $(pwd -P) >said"]);
    let job = run(sbatch.current_dir(work.path()));
    let said = until_written(&work.path().join("said"));
    assert_eq!(said, format!("20001 {}\n", work.path().display()));
    wait::until("the end in accounting", wait::BOUND, || {
        let mut sacct = cluster.command("sacct");
        sacct.args(["-X", "-n", "-P", "-o", "State", "-j", job.trim()]);
        let state = run(sacct.current_dir("/tmp"));
        (state == "COMPLETED\n").then_some(())
    });
}

/// The controller is away while it is stopped, killed or hanging, and then is back.
fn slurm_goes_and_comes_back(suite: Suite) {
    let settings = SlurmSettings {
        accounting: false,
        lines: vec!["MessageTimeout=3".into()],
    };
    let cluster = SlurmCluster::own(suite, &settings);
    let asks = || {
        let mut squeue = cluster.command("squeue");
        let squeue = squeue.arg("--noheader").current_dir("/tmp");
        let output = squeue.output().expect("the wrapper is there");
        output.status.success()
    };
    assert!(asks());
    cluster.stop("slurmctld");
    assert!(!asks(), "stopped");
    cluster.start("slurmctld");
    assert!(asks(), "started");
    cluster.kill("slurmctld");
    assert!(!asks(), "killed");
    cluster.start("slurmctld");
    cluster.pause("slurmctld");
    assert!(!asks(), "paused");
    cluster.start("slurmctld");
    assert!(asks(), "back");
}

macro_rules! for_each_slurm {
    ($($name:ident: $suite:expr,)*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn runs_a_job() {
                    slurm_runs_a_job($suite);
                }

                #[test]
                fn goes_and_comes_back() {
                    slurm_goes_and_comes_back($suite);
                }
            }
        )*
    };
}

for_each_slurm! {
    slurm_20_11: Suite::Bullseye,
    slurm_22_05: Suite::Bookworm,
    slurm_24_11: Suite::Trixie,
    slurm_26_05: Suite::Forky,
}

#[test]
fn lanes_are_exclusive() {
    let cluster = SlurmCluster::up(Suite::Bookworm);
    let (first, second) = (cluster.lane(), cluster.lane());
    let lanes = BTreeSet::from([first.node(), second.node()]);
    assert_eq!(lanes.len(), 2, "{lanes:?}");
}

#[test]
fn htcondor_runs_a_job() {
    let pool = CondorPool::up();
    let lane = pool.lane();
    let work = pool.work_directory();
    let _user = pool.become_user();
    // A `$(…)` in a submit description would be HTCondor's.
    let script = "echo $(id -u) $(pwd -P) >said\n";
    std::fs::write(work.path().join("script"), script).unwrap();
    let description = format!(
        "executable = /bin/sh\narguments = script\nrequest_memory = 10\nlog = log\n{}\nqueue\n",
        lane.submit_line()
    );
    std::fs::write(work.path().join("description"), description).unwrap();
    let mut submit = pool.command("condor_submit");
    run(submit.arg("description").current_dir(work.path()));
    let said = until_written(&work.path().join("said"));
    assert_eq!(said, format!("20001 {}\n", work.path().display()));
    wait::until("its end in the log", wait::BOUND, || {
        let log = std::fs::read_to_string(work.path().join("log")).unwrap();
        log.contains("(return value 0)").then_some(())
    });
}

#[test]
fn htcondor_goes_and_comes_back() {
    let pool = CondorPool::own("");
    let asks = || {
        let mut queue = pool.command("condor_q");
        queue.env("_CONDOR_Q_QUERY_TIMEOUT", "3");
        let queue = queue.current_dir("/tmp");
        let output = queue.output().expect("the wrapper is there");
        output.status.success()
    };
    assert!(asks());
    pool.stop("schedd");
    assert!(!asks(), "stopped");
    pool.start("schedd");
    assert!(asks(), "started");
    pool.kill("schedd");
    assert!(!asks(), "killed");
    pool.start("schedd");
    pool.pause("schedd");
    assert!(!asks(), "paused");
    pool.start("schedd");
    assert!(asks(), "back");
}
