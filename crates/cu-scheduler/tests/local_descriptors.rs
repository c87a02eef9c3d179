//! An accepted cancel is in the journal even if no descriptor was left while the journal was
//! rewritten. The limit applies to the whole process, so this is the only test in its program.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use common::{WAITS, end_of, lines, state, submission, submit, until};
use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{Cancel, EndCause, Scheduler};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

/// Enough jobs, with two lines each, to make the backend rewrite the journal.
const JOBS: u32 = 22_000;

#[tokio::test]
async fn a_cancel_after_the_journal_was_rewritten_is_remembered() {
    let directory = TempDir::new().unwrap();
    let open = || {
        let mut options = LocalOptions::new(state(directory.path()));
        options.max_running = Some(1);
        Local::open(options).unwrap()
    };
    let cluster = open();
    let first = submit(&cluster, submission(directory.path(), 0, WAITS)).await;
    until("it runs", || lines(&directory.path().join("started")) == 1);
    let template = submission(directory.path(), 2, "exit 0");
    let history: Vec<_> = (2..JOBS)
        .map(|attempt| {
            let mut submission = template.clone();
            submission.name = common::name(attempt);
            submission
        })
        .collect();
    let history = cluster.submit(&history).await;
    let history: Vec<_> = history.into_iter().map(Result::unwrap).collect();
    let queued = submit(&cluster, submission(directory.path(), 1, WAITS)).await;

    let journal = state(directory.path()).join("journal");
    let file = || journal.metadata().unwrap().ino();
    let before = file();
    let unlimited = getrlimit(Resource::Nofile);
    let next = File::open("/dev/null").unwrap().as_raw_fd();
    let one_is_left = Rlimit {
        current: Some(u64::try_from(next).unwrap() + 1),
        ..unlimited
    };
    setrlimit(Resource::Nofile, one_is_left).unwrap();
    cluster.cancel(&history, Cancel::Kill).await.unwrap();
    until("the journal is rewritten", || file() != before);
    setrlimit(Resource::Nofile, unlimited).unwrap();

    let job = std::slice::from_ref(&queued);
    cluster.cancel(job, Cancel::Kill).await.unwrap();
    drop(cluster);
    let cluster = open();
    std::fs::write(directory.path().join("go"), "").unwrap();
    end_of(&cluster, &first).await;
    assert_eq!(end_of(&cluster, &queued).await.cause, EndCause::Cancelled);
}
