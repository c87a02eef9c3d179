//! Variables that a person has set for Slurm's commands.

use std::process::Command;
use std::time::Duration;

use cu_scheduler::{Examine, Level, Scheduler, Subject};

use crate::cluster::Stubs;

/// Is set where a test runs in a process of its own.
const ALONE: &str = "CU_TEST_ALONE";

/// Whether this process is that in which `test` is to be made, with `variables` in its environment;
/// if not, it was made in one, and passed.
fn is_made_here(test: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let test = format!("environment::{test}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test])
        .env(ALONE, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
    false
}

#[tokio::test]
async fn limits_are_those_of_the_partition_in_sbatch_partition() {
    let test = "limits_are_those_of_the_partition_in_sbatch_partition";
    if !is_made_here(test, &[("SBATCH_PARTITION", "long")]) {
        return;
    }
    let stubs = Stubs::new();
    stubs.write(
        "partition",
        "PartitionName=debug Default=YES DefaultTime=00:01:00 MaxTime=00:02:00 State=UP\n\
         PartitionName=long Default=NO DefaultTime=05:00:00 MaxTime=UNLIMITED State=UP\n",
    );
    // It goes where either the script or the environment says.
    stubs.sbatch(
        "echo \"${SBATCH_PARTITION:-$(grep partition \"$2\")}\" >\"$directory/where\"; take \"$2\"; echo \"$id\"",
    );
    let slurm = stubs.open().await;
    let mut long = stubs.submission(0);
    long.resources.time_limit = Some(Duration::from_secs(4 * 3600));
    let answer = slurm.submit(&[long]).await.remove(0);
    assert_eq!(answer.unwrap().0, "101");
    assert!(stubs.read("where").contains("long"));
    slurm
        .submit(&[stubs.submission(1)])
        .await
        .remove(0)
        .unwrap();
    let script = stubs.read("attempt-1/submit.sh");
    assert!(script.contains("CU_DEADLINE + 18000"), "{script}");
    // What is set for the run comes first.
    let mut options = stubs.options();
    options.state_dir = stubs.path("another");
    options.partition = Some("debug".into());
    let slurm = cu_scheduler::slurm::Slurm::open(options).await.unwrap();
    slurm
        .submit(&[stubs.submission(2)])
        .await
        .remove(0)
        .unwrap();
    assert!(stubs.read("where").contains("debug"));
}

#[tokio::test]
async fn sinfo_partition_does_not_hide_other_nodes() {
    let test = "sinfo_partition_does_not_hide_other_nodes";
    if !is_made_here(test, &[("SINFO_PARTITION", "mine")]) {
        return;
    }
    let stubs = Stubs::new();
    stubs.does("sinfo", "echo \"${SINFO_PARTITION:-debug}|idle|2\"");
    let findings = stubs.open().await.examine().await;
    let nodes = findings
        .iter()
        .find(|it| it.subject == Subject::Nodes)
        .unwrap();
    assert_eq!((nodes.level, nodes.text.as_str()), (Level::Good, "2 idle"));
}
