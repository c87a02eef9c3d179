//! A submission is kept off the nodes where the attempts before it started nothing.

use cu_scheduler::Scheduler;
use cu_scheduler::slurm::{Resume, SlurmOptions};

use crate::cluster::Stubs;

const NODES: &str = "echo \"n1|n1|idle\nn2|big-2|mixed\nn3|n3|down*\"";

/// The exclusions of a submission that avoids `hosts`, and its script.
async fn excluded(stubs: &Stubs, options: SlurmOptions, hosts: &[&str]) -> Vec<String> {
    let slurm = cu_scheduler::slurm::Slurm::open(options).await.unwrap();
    let mut submission = stubs.submission(1);
    submission.avoid_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    slurm.submit(&[submission]).await.remove(0).unwrap();
    let script = stubs.read("attempt-1/submit.sh");
    let lines = script.lines().filter(|line| line.contains("--exclude"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_node_where_nothing_started_is_excluded() {
    let stubs = Stubs::new();
    stubs.does("sinfo", NODES);
    let none = excluded(&stubs, stubs.options(), &[]).await;
    assert!(none.is_empty(), "{none:?}");
    assert_eq!(stubs.calls("sinfo"), 0, "nobody needs its answer");
    let expected = ["#SBATCH --exclude=\"n2\""];
    let given = excluded(&stubs, stubs.options(), &["big-2.cluster"]).await;
    assert_eq!(given, expected);
    // No node would be left.
    let both = excluded(&stubs, stubs.options(), &["n1", "big-2"]).await;
    assert!(both.is_empty(), "{both:?}");
    // A person's own choice stays.
    let mut options = stubs.options();
    options.extra = vec!["--exclude=n1".into()];
    let own = excluded(&stubs, options, &["big-2"]).await;
    assert_eq!(own, ["#SBATCH --exclude=n1"]);
}

#[tokio::test]
async fn a_silent_sinfo_holds_no_submission_up() {
    let stubs = Stubs::new();
    stubs.does(
        "sinfo",
        "echo 'Unable to contact slurm controller' >&2; exit 1",
    );
    let none = excluded(&stubs, stubs.options(), &["n1"]).await;
    assert!(none.is_empty(), "{none:?}");
    assert_eq!(stubs.calls("sinfo"), 1);
}

#[tokio::test]
async fn submissions_that_avoid_other_nodes_share_no_script() {
    let stubs = Stubs::new();
    stubs.does("sinfo", NODES);
    let slurm = stubs.open().await;
    let mut both = stubs.submissions(2);
    both[1].avoid_hosts = vec!["n1".into()];
    for answer in slurm.submit(&both).await {
        answer.unwrap();
    }
    assert!(!stubs.read("attempt-0/submit.sh").contains("--exclude"));
    assert!(
        stubs
            .read("attempt-1/submit.sh")
            .contains("--exclude=\"n1\"")
    );
}

#[tokio::test]
async fn a_job_that_is_to_avoid_its_node_is_not_put_back() {
    let stubs = Stubs::new();
    stubs.does("sinfo", NODES);
    let mut options = stubs.options();
    options.resume = Resume::Requeue;
    let slurm = cu_scheduler::slurm::Slurm::open(options).await.unwrap();
    let first = slurm
        .submit(&[stubs.submission(0)])
        .await
        .remove(0)
        .unwrap();
    let mut next = stubs.submission(1);
    next.previous = Some(first.clone());
    next.avoid_hosts = vec!["n1".into()];
    let answer = slurm.submit(&[next]).await.remove(0).unwrap();
    assert_ne!(answer, first);
    assert_eq!(stubs.calls("sbatch"), 2);
    assert!(!stubs.read("scontrol.calls").contains("requeue"));
}
