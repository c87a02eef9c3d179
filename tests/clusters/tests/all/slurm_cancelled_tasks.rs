//! Tasks of an array that are cancelled while they wait. Slurm keeps no trace of those that are
//! cancelled one by one, and reports the others in one row.
#![allow(clippy::unwrap_used)]

use cu_cluster_tests::{SlurmCluster, SlurmSettings, Suite, wait};
use cu_scheduler::slurm::{Resume, Slurm};
use cu_scheduler::{
    Cancel, ClusterJobId, ClusterState, EndCause, Observation, Scheduler, Submission,
};

use crate::slurm::{self, Bed, bounded};

/// How many tasks an array may have here.
const MOST: usize = 100;

/// A cluster that soon forgets what has ended.
fn forgetful(suite: Suite) -> SlurmCluster {
    let parameters = format!(
        "SchedulerParameters=bf_interval=1,sched_interval=2,sched_min_interval=10000,\
         batch_sched_delay=0,max_array_tasks={MOST}"
    );
    let settings = SlurmSettings {
        lines: vec!["MinJobAge=5".to_owned(), parameters],
        ..SlurmSettings::default()
    };
    SlurmCluster::own(suite, &settings)
}

/// Hands over jobs of which a few run until the directory is gone, and all others wait.
async fn submit(bed: &Bed<'_>, slurm: &Slurm, count: usize) -> Vec<ClusterJobId> {
    let batch: Vec<Submission> = (0..count as u32)
        .map(|job| bed.submission(job, 0, "while [ -d \"$1\" ]; do sleep 0.1; done"))
        .collect();
    let answers = bounded(slurm.submit(&batch)).await;
    answers.into_iter().map(Result::unwrap).collect()
}

fn tasks_that_are_cancelled_while_they_wait(suite: Suite) {
    let cluster = forgetful(suite);
    let bed = Bed::new(&cluster);
    slurm::runtime(&cluster).block_on(async {
        let slurm = bed.open(Resume::Submit).await;
        let mut jobs = submit(&bed, &slurm, MOST + 1).await;
        let alone = jobs.pop().unwrap();
        assert!(!alone.0.contains('_'), "{alone} did not fit into the array");
        bounded(slurm.cancel(&[alone], Cancel::Terminate))
            .await
            .unwrap();
        // Of no regularity, so that the row of the others is long.
        let by_us: Vec<ClusterJobId> = (10..MOST)
            .filter(|task| task * task % 7 == 1)
            .map(|task| jobs[task].clone())
            .collect();
        bounded(slurm.cancel(&by_us, Cancel::Terminate))
            .await
            .unwrap();
        for observed in bounded(slurm.observe(&by_us)).await.unwrap() {
            let ClusterState::Ended(end) = observed.state else {
                panic!("{observed:?}");
            };
            assert_eq!(end.cause, EndCause::Cancelled);
        }
        let by_a_person = &jobs[MOST - 2];
        assert!(!by_us.contains(by_a_person));
        let scancel = |job: &str| {
            let mut scancel = cluster.command("scancel");
            let output = scancel.arg(job).current_dir("/tmp").output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        scancel(&by_a_person.0);
        // From now on nobody says what has become of it.
        let observed = bounded(slurm.observe(std::slice::from_ref(by_a_person))).await;
        let states = observed.unwrap();
        let is_open = matches!(states[0].state, ClusterState::Unknown { .. });
        assert!(is_open, "{states:?}");
        // All others, by a person too; nobody looks until the controller has forgotten them.
        scancel(by_a_person.0.split('_').next().unwrap());
        wait::until("the controller to forget them", wait::BOUND, || {
            cluster
                .ask("squeue", &["--noheader", "--states=all"])
                .is_empty()
                .then_some(())
        });
        let untraced = by_a_person.clone();
        let mut others = jobs;
        others.retain(|it| !by_us.contains(it));
        bounded(async {
            loop {
                let states = slurm.observe(&others).await.unwrap();
                let is_cancelled = |(job, it): (&ClusterJobId, &Observation)| match &it.state {
                    ClusterState::Ended(end) => end.cause == EndCause::Cancelled,
                    // Version 20.11 does not tell all tasks of a row.
                    ClusterState::Unknown { .. } if suite == Suite::Bullseye => false,
                    ClusterState::Unknown { .. } if *job == untraced => false,
                    other => panic!("{job}: {other:?}"),
                };
                if others.iter().zip(&states).all(is_cancelled) {
                    break;
                }
                slurm.changed().await;
            }
        })
        .await;
    });
}

#[test]
fn tasks_that_are_cancelled_while_they_wait_20_11() {
    tasks_that_are_cancelled_while_they_wait(Suite::Bullseye);
}

#[test]
fn tasks_that_are_cancelled_while_they_wait_24_11() {
    tasks_that_are_cancelled_while_they_wait(Suite::Trixie);
}
