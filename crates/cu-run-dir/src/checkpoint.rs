//! The newest checkpoint in a job's output directory.

use std::path::Path;

use cu_checkpoint::Checkpoints;
use cu_protocol::{Attempt, CheckpointId};

/// The newest checkpoint in `output_dir/checkpoints`, by its name: whether it is intact, the next
/// attempt finds out when it loads it. `None` also if the directory can't be listed.
#[must_use]
pub fn newest_checkpoint(output_dir: &Path) -> Option<CheckpointId> {
    let checkpoints = Checkpoints::open(output_dir.join("checkpoints")).ok()?;
    let newest = *checkpoints.generations().ok()?.first()?;
    Some(CheckpointId {
        attempt: Attempt(newest.attempt()),
        counter: newest.counter(),
    })
}
