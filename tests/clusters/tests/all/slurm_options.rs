//! What a person can set for Slurm, on real ones: modules, virtual environments, containers, GPUs,
//! reservations, accounts and their limits, features, nodes of one's own.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use cu_cluster_tests::{SlurmCluster, SlurmSettings, Suite, wait};
use cu_scheduler::slurm::{Environment, Resume, Slurm, SlurmOptions};
use cu_scheduler::{
    Cancel, ClusterJobId, ClusterState, EndCause, Scheduler, Submission, SubmitError,
};

use crate::slurm::{self, Bed, bounded, end};

/// A test on a lane of a cluster, as the user of the clusters.
fn on<'a, F: Future<Output = ()>>(cluster: &'a SlurmCluster, test: impl FnOnce(Bed<'a>) -> F) {
    let bed = Bed::new(cluster);
    slurm::runtime(cluster).block_on(test(bed));
}

impl Bed<'_> {
    async fn open_with(&self, change: impl FnOnce(&mut SlurmOptions)) -> Slurm {
        let mut options = self.options(Resume::Submit);
        change(&mut options);
        Slurm::open(options).await.unwrap()
    }
}

async fn submit(slurm: &Slurm, submission: &Submission) -> Result<ClusterJobId, SubmitError> {
    let batch = std::slice::from_ref(submission);
    bounded(slurm.submit(batch)).await.remove(0)
}

fn read(directory: &Path, file: &str) -> String {
    std::fs::read_to_string(directory.join(file)).unwrap_or_default()
}

/// What a submission says on standard output until its good end.
async fn said(slurm: &Slurm, submission: &Submission) -> String {
    let job = submit(slurm, submission).await.unwrap();
    let cause = end(slurm, &job).await;
    let complaint = read(&submission.directory, "stderr");
    assert_eq!(cause, EndCause::Exited(0), "{complaint}");
    read(&submission.directory, "stdout")
}

/// Waits until a job is queued or held for a reason.
async fn reason(slurm: &Slurm, job: &ClusterJobId) -> ClusterState {
    bounded(async {
        loop {
            let observed = slurm.observe(std::slice::from_ref(job)).await.unwrap();
            let state = observed.into_iter().next().unwrap().state;
            match &state {
                // With "Priority" Slurm may not have looked at it yet.
                ClusterState::Queued {
                    reason: Some(reason),
                } if reason != "Priority" => return state,
                ClusterState::Held { .. } => return state,
                ClusterState::Queued { .. } => slurm.changed().await,
                _ => panic!("{job} does not wait: {state:?}"),
            }
        }
    })
    .await
}

fn queued_for(state: &ClusterState) -> &str {
    match state {
        ClusterState::Queued {
            reason: Some(reason),
        } => reason,
        _ => panic!("{state:?}"),
    }
}

/// Environment Modules, as Debian has them.
#[test]
fn modules_are_loaded_from_a_fresh_login_or_not() {
    on(slurm::cluster(Suite::Trixie), async |bed| {
        let module = bed.directory().join("tool");
        std::fs::write(&module, "#%Module\nsetenv TOOL \"of the module\"\n").unwrap();
        for (number, environment) in [(0, Environment::Inherit), (10, Environment::Clean)] {
            let modules = vec!["null".to_owned(), module.to_str().unwrap().to_owned()];
            let slurm = bed
                .open_with(|options| {
                    options.modules = modules;
                    options.environment = environment;
                })
                .await;
            let script = "echo \"$TOOL $LOADEDMODULES\"";
            let one = bed.submission(number, 0, script);
            let expected = format!("of the module null:{}\n", module.display());
            assert_eq!(said(&slurm, &one).await, expected);
            // Those of an array too.
            let tasks = [1, 2].map(|task| bed.submission(number + task, 0, script));
            let jobs = bounded(slurm.submit(&tasks)).await;
            for (job, task) in jobs.into_iter().zip(&tasks) {
                end(&slurm, &job.unwrap()).await;
                assert_eq!(read(&task.directory, "stdout"), expected);
            }
        }
        let slurm = bed
            .open_with(|it| it.modules = vec!["nosuch/1.0".into()])
            .await;
        let one = bed.submission(20, 0, "echo it runs without its module");
        let job = submit(&slurm, &one).await.unwrap();
        let cause = end(&slurm, &job).await;
        assert!(
            matches!(cause, EndCause::Exited(code) if code != 0),
            "{cause:?}"
        );
        assert_eq!(read(&one.directory, "stdout"), "");
        let complaint = read(&one.directory, "stderr");
        assert!(complaint.contains("nosuch/1.0"), "{complaint}");
    });
}

#[test]
fn a_virtual_environment_is_activated() {
    on(slurm::cluster(Suite::Trixie), async |bed| {
        let venv = bed.directory().join("my venv");
        let slurm = bed.open(Resume::Submit).await;
        let make = bed.submission(0, 0, "exec python3 -m venv --without-pip \"$1/my venv\"");
        said(&slurm, &make).await;
        drop(slurm);
        let slurm = bed
            .open_with(|it| it.activate = Some(venv.join("bin/activate")))
            .await;
        let mut one = bed.submission(1, 0, "");
        let python = [
            "/usr/bin/env",
            "python3",
            "-c",
            "import sys; print(sys.prefix)",
        ];
        one.command = python.map(str::to_owned).to_vec();
        assert_eq!(said(&slurm, &one).await, format!("{}\n", venv.display()));
    });
}

#[test]
fn an_environment_is_inherited_or_that_of_a_login() {
    on(slurm::cluster(Suite::Bookworm), async |bed| {
        let home = std::env::var("HOME").unwrap();
        assert_ne!(home, "/home/cu", "this test is run by root");
        for (number, environment) in [(0, Environment::Inherit), (1, Environment::Clean)] {
            let slurm = bed.open_with(|it| it.environment = environment).await;
            let mut one = bed.submission(number, 0, "echo \"$HOME $GIVEN\"");
            one.environment.insert("GIVEN".into(), "given".into());
            let said = said(&slurm, &one).await;
            match environment {
                Environment::Inherit => assert_eq!(said, format!("{home} given\n")),
                Environment::Clean => assert_eq!(said, "/home/cu given\n"),
            }
        }
    });
}

#[test]
fn the_job_gets_the_gpus_it_asked_for() {
    on(slurm::cluster(Suite::Trixie), async |bed| {
        let slurm = bed.open(Resume::Submit).await;
        let mut one = bed.submission(
            0,
            0,
            "echo \"$CUDA_VISIBLE_DEVICES\"; [ ! -e \"$1/hold\" ] || exec sleep 300",
        );
        one.resources.gpus = 1;
        let visible = said(&slurm, &one).await;
        assert_eq!(visible.trim().split(',').count(), 1, "{visible}");
        assert_ne!(visible.trim(), "");
        std::fs::write(bed.directory().join("hold"), "").unwrap();
        let mut both = bed.submission(1, 0, &one.command[2]);
        both.resources.gpus = 2;
        let both = submit(&slurm, &both).await.unwrap();
        let mut other = bed.submission(2, 0, "true");
        other.resources.gpus = 1;
        let other = submit(&slurm, &other).await.unwrap();
        assert_eq!(queued_for(&reason(&slurm, &other).await), "Resources");
        bounded(slurm.cancel(&[both], Cancel::Kill)).await.unwrap();
        assert_eq!(end(&slurm, &other).await, EndCause::Exited(0));
        let mut more = bed.submission(3, 0, "true");
        more.resources.gpus = 3;
        let answer = submit(&slurm, &more).await;
        assert!(
            matches!(&answer, Err(SubmitError::Rejected { .. })),
            "{answer:?}"
        );
        drop(slurm);
        // What is named takes the place of a number.
        let slurm = bed.open_with(|it| it.gres = Some("gpu:2".into())).await;
        std::fs::remove_file(bed.directory().join("hold")).unwrap();
        let mut named = bed.submission(4, 0, &one.command[2]);
        named.resources.gpus = 1;
        assert_eq!(said(&slurm, &named).await.trim().split(',').count(), 2);
    });
}

#[test]
fn nodes_are_chosen_by_their_features_and_shared_with_nobody() {
    on(slurm::cluster(Suite::Bullseye), async |bed| {
        let anywhere = format!("debug,{}", bed.lane.partition());
        let lane = bed.lane.node();
        for (number, feature, node) in [(0, "large", "n0"), (1, "small", &*lane)] {
            let slurm = bed
                .open_with(|options| {
                    options.partition = Some(anywhere.clone());
                    options.constraint = Some(feature.into());
                })
                .await;
            let one = bed.submission(number, 0, "echo $SLURMD_NODENAME");
            assert_eq!(said(&slurm, &one).await.trim(), node, "{feature}");
        }
        let slurm = bed
            .open_with(|it| it.constraint = Some("huge".into()))
            .await;
        let answer = submit(&slurm, &bed.submission(2, 0, "true")).await;
        let Err(SubmitError::Rejected { reason: why, .. }) = &answer else {
            panic!("{answer:?}");
        };
        assert!(why.contains("feature"), "{why}");
        drop(slurm);

        let slurm = bed.open_with(|it| it.exclusive = true).await;
        let alone = bed.submission(
            3,
            0,
            "echo $SLURM_CPUS_ON_NODE; [ -e \"$1/go\" ] || exec sleep 300",
        );
        let alone_job = submit(&slurm, &alone).await.unwrap();
        drop(slurm);
        let slurm = bed.open(Resume::Submit).await;
        let other = submit(&slurm, &bed.submission(4, 0, "true")).await.unwrap();
        assert_eq!(queued_for(&reason(&slurm, &other).await), "Resources");
        let printed = wait::until("the number of processors", wait::BOUND, || {
            let text = read(&alone.directory, "stdout");
            text.ends_with('\n').then_some(text)
        });
        assert_eq!(printed, "3\n", "all processors");
        bounded(slurm.cancel(&[alone_job], Cancel::Kill))
            .await
            .unwrap();
        assert_eq!(end(&slurm, &other).await, EndCause::Exited(0));
    });
}

/// A reservation of a lane's node, deleted when it is dropped.
struct Reservation<'a>(&'a SlurmCluster, String);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let name = format!("reservationname={}", self.1);
        self.0.ask("scontrol", &["delete", &name]);
    }
}

#[test]
fn a_reservation_is_for_those_who_name_it() {
    on(slurm::cluster(Suite::Forky), async |bed| {
        let name = format!("course-{}", bed.lane.node());
        let create = [
            "create",
            "reservation",
            &format!("reservationname={name}"),
            &format!("nodes={}", bed.lane.node()),
            "users=cu",
            "starttime=now",
            "duration=60",
        ];
        bed.cluster.ask("scontrol", &create);
        let reservation = Reservation(bed.cluster, name.clone());
        let outside = bed.open(Resume::Submit).await;
        let job = submit(&outside, &bed.submission(0, 0, "true"))
            .await
            .unwrap();
        let waits = reason(&outside, &job).await;
        assert!(matches!(waits, ClusterState::Queued { .. }), "{waits:?}");
        drop(outside);
        let inside = bed
            .open_with(|it| it.reservation = Some(name.clone()))
            .await;
        let one = bed.submission(1, 0, "echo $SLURM_JOB_RESERVATION");
        assert_eq!(said(&inside, &one).await.trim(), name);
        drop(reservation);
        assert_eq!(end(&inside, &job).await, EndCause::Exited(0));
        let answer = submit(&inside, &bed.submission(2, 0, "true")).await;
        assert!(
            matches!(&answer, Err(SubmitError::Rejected { .. })),
            "{answer:?}"
        );
    });
}

#[test]
fn accounts_and_qualities_of_service_are_charged_and_limit() {
    let lines = vec!["AccountingStorageEnforce=limits,qos".to_owned()];
    let settings = SlurmSettings {
        lines,
        ..SlurmSettings::default()
    };
    let cluster = SlurmCluster::own(Suite::Bullseye, &settings);
    let set = |words: &str| {
        let words = words.split(' ');
        cluster.ask(
            "sacctmgr",
            &["-i"].into_iter().chain(words).collect::<Vec<_>>(),
        );
    };
    set("add account physics");
    set("add user cu account=physics GrpTRES=cpu=2");
    set("add qos one MaxJobsPerUser=1");
    set("add qos small MaxTRESPerJob=cpu=1");
    set("add qos large MinTRESPerJob=cpu=2 flags=DenyOnLimit");
    set("modify user cu set qos+=one,small,large");
    on(&cluster, async |bed| {
        let hold = "while [ ! -e \"$1/go\" ]; do sleep 0.1; done";
        let with = |qos: Option<&str>| {
            let qos = qos.map(str::to_owned);
            bed.open_with(|options| {
                options.account = Some("physics".into());
                options.qos = qos;
            })
        };
        // Several at once wait for one another.
        let slurm = with(Some("one")).await;
        let first = submit(&slurm, &bed.submission(0, 0, hold)).await.unwrap();
        let later = bed.submission(1, 0, "echo $SLURM_JOB_ACCOUNT $SLURM_JOB_QOS");
        let second = submit(&slurm, &later).await.unwrap();
        assert_eq!(
            queued_for(&reason(&slurm, &second).await),
            "QOSMaxJobsPerUserLimit"
        );
        drop(slurm);
        let slurm = with(None).await;
        let mut wide = bed.submission(2, 0, hold);
        wide.resources.cpus = 2;
        let wide = submit(&slurm, &wide).await.unwrap();
        assert_eq!(queued_for(&reason(&slurm, &wide).await), "AssocGrpCpuLimit");
        std::fs::write(bed.directory().join("go"), "").unwrap();
        for job in [&first, &second, &wide] {
            assert_eq!(end(&slurm, job).await, EndCause::Exited(0));
        }
        assert_eq!(read(&later.directory, "stdout"), "physics one\n");
        drop(slurm);

        // A limit that no job's end will cure needs a person. It does not limit the number of jobs.
        let slurm = with(Some("small")).await;
        let mut too_large = bed.submission(3, 0, "true");
        too_large.resources.cpus = 2;
        let too_large = submit(&slurm, &too_large).await.unwrap();
        let waits = reason(&slurm, &too_large).await;
        let held = ClusterState::Held {
            reason: "QOSMaxCpuPerJobLimit".into(),
        };
        assert_eq!(waits, held);
        drop(slurm);
        for (number, account, qos) in [(4, "physics", "large"), (5, "chemistry", "one")] {
            let slurm = bed
                .open_with(|options| {
                    options.account = Some(account.into());
                    options.qos = Some(qos.into());
                })
                .await;
            let answer = submit(&slurm, &bed.submission(number, 0, "true")).await;
            assert!(
                matches!(&answer, Err(SubmitError::Rejected { .. })),
                "{answer:?}"
            );
        }
    });
}
