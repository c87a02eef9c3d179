//! Backends of real clusters whose submissions share cluster jobs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cu_cluster_tests::programs::static_program;
use cu_scheduler::keep::{Keeping, Kept};
use cu_scheduler::{Examine, Scheduler};

/// `backend` in the wrapper, whose files are in `directory`.
pub fn kept(backend: impl Examine + 'static, directory: &Path) -> Arc<dyn Scheduler> {
    let program = static_program("cu");
    let program = program.to_str().expect("UTF-8").to_owned();
    let keeping = Keeping {
        directory: directory.join("keep"),
        keep: Some(Duration::from_secs(600)),
        host: vec![program, "exec".to_owned(), "--keep".to_owned()],
    };
    Arc::new(Kept::new(Arc::new(backend), keeping).expect("a thread starts"))
}
