//! What the cluster is set to changes while a process that submits lives.

use std::time::Duration;

use cu_scheduler::slurm::Slurm;
use cu_scheduler::{Scheduler, Submission, SubmitError};

use crate::cluster::Stubs;

const MINUTE: Duration = Duration::from_secs(60);

fn partition(limits: &str) -> String {
    format!("PartitionName=debug Default=YES {limits} State=UP\n")
}

/// A submission with a time limit, and the script that was written for it.
fn limited(stubs: &Stubs, attempt: u32, limit: Duration) -> Submission {
    let mut submission = stubs.submission(attempt);
    submission.resources.time_limit = Some(limit);
    submission
}

#[tokio::test]
async fn a_limit_raised_meanwhile_refuses_no_submission() {
    let stubs = Stubs::new();
    stubs.write("partition", &partition("MaxTime=00:02:00"));
    let slurm = stubs.open().await;
    let long = limited(&stubs, 0, 5 * MINUTE);
    let answer = slurm.submit(std::slice::from_ref(&long)).await.remove(0);
    assert!(
        matches!(answer, Err(SubmitError::Rejected { .. })),
        "{answer:?}"
    );
    stubs.write("partition", &partition("MaxTime=00:10:00"));
    let answer = slurm.submit(std::slice::from_ref(&long)).await.remove(0);
    assert_eq!(answer.unwrap().0, "101");
    // As long as the controller is away, nobody can say that the limit is still there.
    stubs.does(
        "scontrol",
        "echo 'Unable to contact slurm controller' >&2; exit 1",
    );
    let longer = limited(&stubs, 1, 15 * MINUTE);
    let answer = slurm.submit(&[longer]).await.remove(0);
    assert!(
        matches!(answer, Err(SubmitError::Unavailable { .. })),
        "{answer:?}"
    );
}

/// Submits one that asks for no time limit, and says in how many seconds its script sees the end.
async fn deadline(stubs: &Stubs, slurm: &cu_scheduler::slurm::Slurm, attempt: u32) -> String {
    let submission = stubs.submission(attempt);
    slurm.submit(&[submission]).await.remove(0).unwrap();
    let script = stubs.read(&format!("attempt-{attempt}/submit.sh"));
    let (_, from) = script.split_once("$((CU_DEADLINE + ").unwrap();
    from.split_once("))").unwrap().0.to_owned()
}

#[tokio::test]
async fn settings_older_than_an_hour_are_read_again() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    assert_eq!(deadline(&stubs, &slurm, 0).await, "3600");
    stubs.write(
        "partition",
        &partition("DefaultTime=02:00:00 MaxTime=UNLIMITED"),
    );
    let asked = stubs.calls("scontrol");
    assert_eq!(deadline(&stubs, &slurm, 1).await, "3600");
    assert_eq!(stubs.calls("scontrol"), asked, "not at each submission");
    tokio::time::pause();
    tokio::time::advance(60 * MINUTE).await;
    tokio::time::resume();
    assert_eq!(deadline(&stubs, &slurm, 2).await, "7200");
}

#[tokio::test]
async fn a_refusal_of_sbatch_makes_settings_be_read_again() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    stubs.sbatch("echo 'sbatch: error: Invalid job array specification' >&2; exit 1");
    let answers = slurm.submit(&stubs.submissions(10)).await;
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    stubs.write("config", "MaxArraySize = 4\n");
    stubs.sbatch("take \"$2\"; echo \"$id\"");
    let answers = slurm.submit(&stubs.submissions(10)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    // An array and one of its tasks alone were refused.
    assert_eq!(stubs.calls("sbatch"), 2 + 3, "arrays of four tasks");
}

#[tokio::test]
async fn arrays_stay_within_max_array_size() {
    let stubs = Stubs::new();
    let config = "MaxArraySize = 1001\nSchedulerParameters = bf_continue,max_array_tasks=4\n";
    stubs.write("config", config);
    stubs.sbatch(
        r#"
        last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*$/\1/p' "$2")
        if [ "${last:-0}" -ge 4 ]; then
            echo 'sbatch: error: Batch job submission failed: Invalid job array specification' >&2
            exit 1
        fi
        take "$2"; echo "$id""#,
    );
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(10)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(stubs.calls("sbatch"), 3);
}

#[tokio::test]
async fn a_controller_with_too_many_requests_is_asked_again() {
    let stubs = Stubs::new();
    // It answers the first request with the settings and no ping, and the next with a refusal.
    stubs.does(
        "scontrol",
        r#"
        cat "$directory/$3"
        case $3 in
            config) echo 'Slurmctld(primary) at n0 is DOWN'; exit 1 ;;
        esac
        if mkdir "$directory/asked" 2>/dev/null; then
            echo 'slurm_load_partitions error: Rate limit exceeded, please retry later' >&2
            exit 1
        fi"#,
    );
    let slurm = stubs.open().await;
    assert_eq!(slurm.to_string(), "Slurm 24.11.5 (cluster \"stubs\")");
    assert_eq!(stubs.calls("scontrol"), 3);
}

#[tokio::test]
async fn a_reason_is_two_lines_at_most() {
    let stubs = Stubs::new();
    stubs.does("scontrol", "seq 100; exit 1");
    let error = Slurm::open(stubs.options()).await.unwrap_err().to_string();
    assert_eq!(error, "Slurm is unavailable: 1\n2");
}
