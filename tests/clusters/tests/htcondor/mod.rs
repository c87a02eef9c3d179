//! What the tests of the HTCondor backend share: a lane of the pool, and a folder of one test's own.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use cu_cluster_tests::instance::WorkFolder;
use cu_cluster_tests::{CondorLane, CondorPool};
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume};

pub static POOL: LazyLock<CondorPool> = LazyLock::new(CondorPool::up);

/// A lane of the pool, and a folder.
pub struct Bed {
    pub lane: CondorLane<'static>,
    folder: WorkFolder,
}

impl Bed {
    pub fn new() -> Self {
        Self {
            lane: POOL.lane(),
            folder: POOL.work_folder(),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What suits a pool that is quick, and a test that does not wait.
    pub fn options(&self, resume: Resume) -> HtcondorOptions {
        let mut options = HtcondorOptions::new(self.folder().join("state"));
        options.label = "a label with \"quotes\", $(x), ä and \\".into();
        options.resume = resume;
        options.grace = Duration::from_secs(2);
        options.default_memory = 128 << 20;
        options.poll = Duration::from_secs(2);
        options.extra = vec![self.lane.submit_line()];
        options.commands = Some(POOL.commands());
        options
    }

    pub async fn open(&self, resume: Resume) -> Htcondor {
        let opened = Htcondor::open(self.options(resume)).await;
        opened.expect("the pool's commands are there")
    }
}

/// A runtime that acts as the user: HTCondor takes no jobs of root's.
pub fn runtime() -> tokio::runtime::Runtime {
    // The thread is the test's own, and stays the user's.
    std::mem::forget(POOL.become_user());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has a thread's resources left")
}
