//! condor_rm: many jobs in one call, and what its answers mean.

use super::event::Id;
use super::queue::{Commands, first_lines};
use crate::Error;

/// The reason that our own condor_rm gives when it frees a job whose end was reported. It is found
/// again in the log and in the history, so that the end stays what it was.
pub(super) const FREED: &str = "its end is known and it is not kept";

/// The most ids in one call, for the length of its arguments.
const MOST_IDS: usize = 5_000;

/// Removes the jobs `ids`, and ignores those that don't exist.
pub(super) async fn remove(commands: &Commands, ids: &[Id], reason: &str) -> Result<(), Error> {
    for ids in ids.chunks(MOST_IDS) {
        let command = commands
            .command("condor_rm")
            .arguments(["-reason", reason])
            // CLUSTER.PROC: of a cluster that is not there condor_rm does not always complain.
            .arguments(ids.iter().map(Id::to_string));
        let output = command.run().await.map_err(|it| commands.failed(&it))?;
        // With some ids unknown it still exits 0, and 1 with all of them.
        let wordless = output.code != 0 && output.stderr.trim().is_empty();
        if wordless || !output.stderr.lines().all(is_no_error) {
            return Err(commands.unavailable(first_lines(&output)));
        }
    }
    Ok(())
}

/// Whether a line of complaint says that there was nothing to remove. `No result found for job` is
/// what it says when the queue does not answer.
fn is_no_error(line: &str) -> bool {
    let line = line.trim();
    let not_there = line.starts_with("Job ") && line.ends_with(" not found");
    line.is_empty()
        || not_there
        || line.ends_with("already marked for removal")
        || line.ends_with("There are no jobs in the queue")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_no_error() {
        assert!(is_no_error("Job 999.0 not found"));
        assert!(is_no_error("condor_rm:0:There are no jobs in the queue"));
        assert!(is_no_error("Job 7.0 already marked for removal"));
        for error in [
            "condor_rm: Can't find address for schedd localhost",
            "No result found for job 1.0",
            "SECMAN:2007:Read failure during security negotiation",
            "Permission denied to remove job 7.0",
        ] {
            assert!(!is_no_error(error), "{error}");
        }
    }
}
