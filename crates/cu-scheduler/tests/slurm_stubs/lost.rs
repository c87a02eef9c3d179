//! The state directory is lost: nothing that may be alive is taken for gone.

use cu_scheduler::slurm::{Resume, Slurm};
use cu_scheduler::{Error, Found, Scheduler, SubmissionName};

use crate::cluster::{Stubs, name};

impl Stubs {
    /// Slurm keeps the script that it took last, and hands it out.
    fn keeps_scripts(&self) {
        self.sbatch("take \"$2\"; cp \"$2\" \"$directory/kept-$id\"; echo \"$id\"");
        self.does(
            "scontrol",
            "case $1 in write) cat \"$directory/kept-$3\" ;; *) cat \"$directory/$3\" ;; esac",
        );
    }

    fn loses_its_state(&self) {
        std::fs::remove_dir_all(self.path("state")).unwrap();
    }
}

fn ids(found: &[Found]) -> Vec<(&SubmissionName, &str)> {
    found
        .iter()
        .map(|it| (&it.name, it.observation.job.0.as_str()))
        .collect()
}

#[tokio::test]
async fn a_job_is_found_by_its_name() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    slurm.submit(&stubs.submissions(1)).await;
    drop(slurm);
    stubs.loses_its_state();
    let names = [name(0), name(1)];
    let found = stubs.open().await.find(&names).await.unwrap();
    assert_eq!(ids(&found), [(&names[0], "101")]);
    // So it is by the next process, for which the journal is not new.
    let found = stubs.open().await.find(&names).await.unwrap();
    assert_eq!(ids(&found), [(&names[0], "101")]);
}

#[tokio::test]
async fn tasks_are_found_by_the_script_that_slurm_keeps() {
    let stubs = Stubs::new();
    stubs.keeps_scripts();
    let slurm = stubs.open().await;
    slurm.submit(&stubs.submissions(3)).await;
    drop(slurm);
    stubs.loses_its_state();
    let names = [name(2), name(0), name(3)];
    let found = stubs.open().await.find(&names).await.unwrap();
    assert_eq!(ids(&found), [(&names[0], "101_2"), (&names[1], "101_0")]);
}

#[tokio::test]
async fn an_unreadable_live_array_makes_find_an_error() {
    let stubs = Stubs::new();
    stubs.keeps_scripts();
    let slurm = stubs.open().await;
    slurm.submit(&stubs.submissions(2)).await;
    drop(slurm);
    stubs.loses_its_state();
    // Slurm 20.11 and 24.11 do so without a failing exit code.
    let unreadable = "case $1 in write) echo 'job script retrieval failed' >&2 ;; *) cat \"$directory/$3\" ;; esac";
    stubs.does("scontrol", unreadable);
    let slurm = stubs.open().await;
    let answer = slurm.find(&[name(7)]).await;
    assert!(
        matches!(answer, Err(Error::Misunderstood { .. })),
        "{answer:?}"
    );
    stubs.becomes("101_0|PENDING", "101_0|COMPLETED");
    assert!(slurm.find(&[name(7)]).await.is_err(), "a task is alive");
    stubs.becomes("101_1|PENDING", "101_1|COMPLETED");
    assert_eq!(slurm.find(&[name(7)]).await.unwrap(), []);
}

async fn requeueing(stubs: &Stubs) -> Slurm {
    let mut options = stubs.options();
    options.resume = Resume::Requeue;
    Slurm::open(options).await.unwrap()
}

#[tokio::test]
async fn a_job_that_was_put_back_for_a_later_attempt_is_that_one() {
    let stubs = Stubs::new();
    let slurm = requeueing(&stubs).await;
    slurm.submit(&stubs.submissions(1)).await;
    drop(slurm);
    stubs.loses_its_state();
    let slurm = requeueing(&stubs).await;
    let later = [name(2)];
    let found = slurm.find(&later).await.unwrap();
    assert_eq!(ids(&found), [(&later[0], "101")]);
    stubs.becomes("PENDING", "COMPLETED");
    assert_eq!(slurm.find(&later).await.unwrap(), [], "it has ended");
    // A job is not put back unless that was wanted: then it is another attempt.
    stubs.becomes("COMPLETED", "PENDING");
    drop(slurm);
    assert_eq!(stubs.open().await.find(&later).await.unwrap(), []);
}
