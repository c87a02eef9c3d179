//! What only the Slurm backend promises, on real Slurms: submissions that nobody is sure of, large
//! arrays, limits on jobs, tasks that are requeued one by one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use cu_cluster_tests::{SlurmCluster, SlurmSettings, Suite};
use cu_scheduler::slurm::{Resume, Slurm};
use cu_scheduler::{
    Cancel, ClusterJobId, ClusterState, EndCause, Examine, Level, Scheduler, Subject, Submission,
    SubmissionName, SubmitError,
};

use crate::slurm::{self, Bed, bounded, end};

/// Looks for one submission until the controller answers.
async fn find(slurm: &Slurm, name: &SubmissionName) -> Option<ClusterJobId> {
    bounded(async {
        loop {
            if let Ok(found) = slurm.find(std::slice::from_ref(name)).await {
                return found.into_iter().next().map(|found| found.observation.job);
            }
        }
    })
    .await
}

/// The controller is hung while sbatch talks to it, and takes the job when it goes on.
fn an_sbatch_that_timed_out_is_not_repeated(suite: Suite, accounting: bool) {
    let settings = SlurmSettings {
        accounting,
        ..SlurmSettings::default()
    };
    let cluster = SlurmCluster::own(suite, &settings);
    let bed = Bed::new(&cluster);
    slurm::runtime(&cluster).block_on(async {
        let slurm = bed.open(Resume::Submit).await;
        let submission = bed.submission(1, 0, "echo started >>\"$1/started\"");
        let name = submission.name.clone();
        cluster.pause("slurmctld");
        let answer = slurm.submit(&[submission]).await.remove(0);
        assert!(
            matches!(answer, Err(SubmitError::Uncertain { .. })),
            "{answer:?}"
        );
        // The process that asked is killed, and the next one looks.
        drop(slurm);
        cluster.start("slurmctld");
        let slurm = bed.open(Resume::Submit).await;
        let job = find(&slurm, &name)
            .await
            .expect("the controller has taken it");
        assert_eq!(end(&slurm, &job).await, EndCause::Exited(0));
        assert_eq!(bed.lines("started"), 1);
    });
}

#[test]
fn an_sbatch_that_timed_out_is_not_repeated_20_11() {
    an_sbatch_that_timed_out_is_not_repeated(Suite::Bullseye, true);
}

#[test]
fn an_sbatch_that_timed_out_is_not_repeated_22_05() {
    an_sbatch_that_timed_out_is_not_repeated(Suite::Bookworm, false);
}

#[test]
fn an_sbatch_that_timed_out_is_not_repeated_24_11() {
    an_sbatch_that_timed_out_is_not_repeated(Suite::Trixie, false);
}

#[test]
fn an_sbatch_that_timed_out_is_not_repeated_26_05() {
    an_sbatch_that_timed_out_is_not_repeated(Suite::Forky, true);
}

#[test]
fn a_thousand_are_one_array() {
    let cluster = slurm::cluster(Suite::Trixie);
    let bed = Bed::new(cluster);
    slurm::runtime(cluster).block_on(async {
        let slurm = bed.open(Resume::Submit).await;
        let batch: Vec<Submission> = (0..1000)
            .map(|job| bed.submission(job, 0, "while [ -d \"$1\" ]; do sleep 0.1; done"))
            .collect();
        let answers = bounded(slurm.submit(&batch)).await;
        let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
        let arrays: BTreeSet<&str> = jobs
            .iter()
            .map(|it| it.0.split('_').next().unwrap())
            .collect();
        assert_eq!(arrays.len(), 1);
        let names: Vec<SubmissionName> = batch.iter().map(|it| it.name.clone()).collect();
        let found = bounded(slurm.find(&names)).await.unwrap();
        assert!(found.iter().map(|it| &it.observation.job).eq(&jobs));
        bounded(slurm.cancel(&jobs, Cancel::Terminate))
            .await
            .unwrap();
        bounded(async {
            loop {
                let observed = slurm.observe(&jobs).await.unwrap();
                let over = |state: &ClusterState| matches!(state, ClusterState::Ended(_));
                if observed.iter().all(|it| over(&it.state)) {
                    break;
                }
                slurm.changed().await;
            }
        })
        .await;
    });
}

#[test]
fn a_job_above_a_limit_waits_and_says_why() {
    let lines = vec!["AccountingStorageEnforce=limits".to_owned()];
    let settings = SlurmSettings {
        lines,
        ..SlurmSettings::default()
    };
    let cluster = SlurmCluster::own(Suite::Trixie, &settings);
    let mut add = cluster.command("sacctmgr");
    add.args(["-i", "add", "user", "cu", "account=root", "MaxSubmitJobs=7"]);
    let added = add
        .env("CU_USER", "root")
        .current_dir("/tmp")
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let bed = Bed::new(&cluster);
    slurm::runtime(&cluster).block_on(async {
        let slurm = bed.open(Resume::Submit).await;
        let batch: Vec<Submission> = (0..20)
            .map(|job| bed.submission(job, 0, "while [ ! -e \"$1/go\" ]; do sleep 0.1; done"))
            .collect();
        let answers = bounded(slurm.submit(&batch)).await;
        let taken: Vec<_> = answers.iter().take_while(|it| it.is_ok()).collect();
        assert_eq!(taken.len(), 7, "{answers:?}");
        for answer in &answers[7..] {
            let Err(SubmitError::Unavailable {
                reason,
                retry_after,
                ..
            }) = answer
            else {
                panic!("{answer:?}");
            };
            assert!(reason.contains("MaxSubmitJob"), "{reason}");
            assert!(retry_after.is_some());
        }
        std::fs::write(bed.directory().join("go"), "").unwrap();
        for answer in taken {
            let job = answer.as_ref().unwrap();
            assert_eq!(end(&slurm, job).await, EndCause::Exited(0));
        }
        let answers = bounded(slurm.submit(&batch[7..9])).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    });
}

#[test]
fn a_task_is_requeued_alone_and_keeps_its_id() {
    let cluster = slurm::cluster(Suite::Forky);
    let bed = Bed::new(cluster);
    slurm::runtime(cluster).block_on(async {
        let slurm = bed.open(Resume::Requeue).await;
        let script = "echo \"$CU_SUBMISSION\" >>\"$1/started\"; echo out; exit 3";
        let batch: Vec<Submission> = (0..3).map(|job| bed.submission(job, 0, script)).collect();
        let answers = bounded(slurm.submit(&batch)).await;
        let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
        for job in &jobs {
            assert_eq!(end(&slurm, job).await, EndCause::Exited(3));
        }
        let mut next = bed.submission(1, 1, "echo \"$CU_SUBMISSION\" >>\"$1/started\"; echo again");
        next.previous = Some(jobs[1].clone());
        let answer = bounded(slurm.submit(std::slice::from_ref(&next)))
            .await
            .remove(0);
        assert_eq!(answer, Ok(jobs[1].clone()), "the same job again");
        assert_eq!(end(&slurm, &jobs[1]).await, EndCause::Exited(0));
        let observed = slurm.observe(&jobs).await.unwrap();
        let restarts: Vec<_> = observed.iter().map(|it| it.restarts).collect();
        assert_eq!(restarts, [Some(0), Some(1), Some(0)]);
        assert_eq!(bed.lines("started"), 4);
        let found = find(&slurm, &next.name).await;
        assert_eq!(found.as_ref(), Some(&jobs[1]));
        // Each attempt has its own output.
        let output = |directory: PathBuf| std::fs::read_to_string(directory.join("stdout"));
        assert_eq!(output(batch[1].directory.clone()).unwrap(), "out\n");
        assert_eq!(output(next.directory.clone()).unwrap(), "again\n");
    });
}

#[test]
fn an_examination_says_what_will_hurt() {
    let lines = ["MinJobAge=30", "MaxArraySize=0", "RequeueExit=3"]
        .map(str::to_owned)
        .to_vec();
    let settings = SlurmSettings {
        accounting: false,
        lines,
    };
    let cluster = SlurmCluster::own(Suite::Bookworm, &settings);
    let bed = Bed::new(&cluster);
    slurm::runtime(&cluster).block_on(async {
        let mut options = bed.options(Resume::Submit);
        options.grace = Some(Duration::from_secs(60));
        options.poll = None;
        let slurm = Slurm::open(options).await.unwrap();
        let findings = slurm.examine().await;
        let level = |subject: Subject| {
            let finding = findings.iter().find(|finding| finding.subject == subject);
            finding
                .unwrap_or_else(|| panic!("{subject}: {findings:?}"))
                .level
        };
        for subject in [Subject::GraceTime, Subject::EndedJobs, Subject::ExitCodes] {
            assert_eq!(level(subject), Level::Warning, "{subject}: {findings:?}");
        }
        for subject in [
            Subject::Accounting,
            Subject::Arrays,
            Subject::PartitionLimits,
        ] {
            assert_eq!(level(subject), Level::Note, "{subject}: {findings:?}");
        }
        for subject in [
            Subject::Version,
            Subject::Clock,
            Subject::Partition,
            Subject::Nodes,
        ] {
            assert_eq!(level(subject), Level::Good, "{subject}: {findings:?}");
        }
        assert!(
            !bed.directory().join("state").exists(),
            "it leaves no trace"
        );
    });
}

#[test]
fn a_preview_leaves_no_trace_and_no_job() {
    for suite in Suite::ALL {
        let cluster = slurm::cluster(suite);
        let bed = Bed::new(cluster);
        // A thread of its own, for it stays the user's.
        std::thread::scope(|scope| {
            let previewed = || {
                slurm::runtime(cluster).block_on(async {
                    let slurm = bed.open(Resume::Submit).await;
                    let batch = [bed.submission(0, 0, "true"), bed.submission(1, 0, "true")];
                    let previews = slurm.preview(&batch).await;
                    assert_eq!(previews.len(), 1, "one array");
                    let verdict = previews[0].verdict.as_ref().unwrap();
                    assert!(verdict.contains("to start at"), "{suite:?}: {verdict}");
                    assert!(!bed.directory().join("state").exists());
                    let mut closed = bed.options(Resume::Submit);
                    closed.partition = Some("closed".into());
                    let slurm = Slurm::open(closed).await.unwrap();
                    let verdict = slurm.preview(&batch).await.remove(0).verdict.unwrap_err();
                    assert!(verdict.contains("closed is DOWN"), "{suite:?}: {verdict}");
                });
            };
            scope.spawn(previewed).join().unwrap();
        });
    }
}

/// Both tasks of an array run on, and nothing of ours says which they are.
fn tasks_are_found_without_the_state_directory(suite: Suite) {
    let cluster = slurm::cluster(suite);
    let bed = Bed::new(cluster);
    slurm::runtime(cluster).block_on(async {
        let slurm = bed.open(Resume::Submit).await;
        let script =
            "echo started >>\"$1/started\"; while [ ! -e \"$1/go\" ]; do sleep 0.1; done; exit 3";
        let batch = [0, 1].map(|job| bed.submission(job, 0, script));
        let answers = bounded(slurm.submit(&batch)).await;
        let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
        bounded(async {
            while bed.lines("started") < 2 {
                slurm.changed().await;
                slurm.observe(&jobs).await.unwrap();
            }
        })
        .await;
        drop(slurm);
        std::fs::remove_dir_all(bed.directory().join("state")).unwrap();
        let slurm = bed.open(Resume::Submit).await;
        for (submission, job) in batch.iter().zip(&jobs) {
            assert_eq!(find(&slurm, &submission.name).await.as_ref(), Some(job));
        }
        assert_eq!(find(&slurm, &bed.submission(2, 0, "true").name).await, None);
        std::fs::write(bed.directory().join("go"), "").unwrap();
        for job in &jobs {
            assert_eq!(end(&slurm, job).await, EndCause::Exited(3));
        }
    });
}

#[test]
fn tasks_are_found_without_the_state_directory_20_11() {
    tasks_are_found_without_the_state_directory(Suite::Bullseye);
}

#[test]
fn tasks_are_found_without_the_state_directory_22_05() {
    tasks_are_found_without_the_state_directory(Suite::Bookworm);
}

#[test]
fn tasks_are_found_without_the_state_directory_24_11() {
    tasks_are_found_without_the_state_directory(Suite::Trixie);
}

#[test]
fn tasks_are_found_without_the_state_directory_26_05() {
    tasks_are_found_without_the_state_directory(Suite::Forky);
}

#[test]
fn a_command_is_told_when_and_how_it_ends() {
    for suite in Suite::ALL {
        let cluster = slurm::cluster(suite);
        let bed = Bed::new(cluster);
        // A thread of its own, for it stays the user's.
        std::thread::scope(|scope| {
            let told = || {
                slurm::runtime(cluster).block_on(async {
                    let slurm = bed.open(Resume::Submit).await;
                    let one =
                        bed.submission(0, 0, "echo $CU_KILL_WAIT $((CU_DEADLINE - $(date +%s)))");
                    let answers = bounded(slurm.submit(std::slice::from_ref(&one))).await;
                    let job = answers.into_iter().next().unwrap().unwrap();
                    assert_eq!(end(&slurm, &job).await, EndCause::Exited(0));
                    let said = std::fs::read_to_string(one.directory.join("stdout")).unwrap();
                    let (kill_wait, left) = said.trim().split_once(' ').unwrap();
                    assert_eq!(kill_wait, "5", "{suite:?}");
                    // The partition's default is an hour.
                    let left: u32 = left.parse().unwrap();
                    assert!((3500..=3600).contains(&left), "{suite:?}: {said}");
                });
            };
            scope.spawn(told).join().unwrap();
        });
    }
}

#[test]
fn a_limit_that_was_raised_refuses_nobody() {
    let cluster = slurm::cluster(Suite::Bookworm);
    let bed = Bed::new(cluster);
    let name = format!("partitionname={}", bed.lane.short());
    slurm::runtime(cluster).block_on(async {
        let mut options = bed.options(Resume::Submit);
        options.partition = Some(bed.lane.short());
        let slurm = Slurm::open(options).await.unwrap();
        let mut batch = [bed.submission(0, 0, "true")];
        batch[0].resources.time_limit = Some(Duration::from_secs(300));
        let answer = bounded(slurm.submit(&batch)).await.remove(0);
        let Err(SubmitError::Rejected { reason, .. }) = &answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("allows 2"), "{reason}");
        cluster.ask("scontrol", &["update", &name, "maxtime=5"]);
        let answer = bounded(slurm.submit(&batch)).await.remove(0);
        // As other tests expect it.
        cluster.ask("scontrol", &["update", &name, "maxtime=2"]);
        bounded(slurm.cancel(&[answer.unwrap()], Cancel::Kill))
            .await
            .unwrap();
    });
}
