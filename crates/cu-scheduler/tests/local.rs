//! What only the local backend promises: fresh folders, adoption, forged records, foreign owners.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{
    ClusterEnd, ClusterJobId, ClusterState, EndCause, Resources, Scheduler, Submission,
    SubmissionName,
};
use tempfile::TempDir;

fn open(folder: &Path) -> Local {
    Local::open(LocalOptions::new(folder.join("state"))).unwrap()
}

fn submission(folder: &Path, attempt: u32, script: &str) -> Submission {
    let name = SubmissionName::new("local", 1, attempt).unwrap();
    let directory = folder.join(format!("attempt-{attempt}"));
    std::fs::create_dir_all(&directory).unwrap();
    Submission {
        name,
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        environment: BTreeMap::new(),
        working_directory: folder.to_path_buf(),
        directory,
        resources: Resources::default(),
        previous: None,
    }
}

async fn end_of(cluster: &Local, job: &ClusterJobId) -> ClusterEnd {
    loop {
        let observed = cluster.observe(std::slice::from_ref(job)).await.unwrap();
        if let ClusterState::Ended(end) = &observed[0].state {
            return end.clone();
        }
        tokio::time::timeout(std::time::Duration::from_secs(60), cluster.changed())
            .await
            .expect("an end within a minute");
    }
}

#[tokio::test]
async fn a_command_runs_and_its_end_is_told() {
    let folder = TempDir::new().unwrap();
    let cluster = open(folder.path());
    let script = "echo out; echo err >&2; exit 7";
    let job = cluster
        .submit(&[submission(folder.path(), 0, script)])
        .await
        .remove(0)
        .unwrap();
    assert_eq!(job.0, "local-1");
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(7));
    let read = |name: &str| std::fs::read_to_string(folder.path().join("attempt-0").join(name));
    assert_eq!(read("stdout").unwrap(), "out\n");
    assert_eq!(read("stderr").unwrap(), "err\n");
}
