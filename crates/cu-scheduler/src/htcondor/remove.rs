//! condor_rm: many jobs in one call, and what its answers mean.

use std::collections::BTreeMap;

use super::attributes::NAME;
use super::event::Id;
use super::queue::{Commands, first_lines};
use crate::{Error, SubmissionName};

/// The reason that our own condor_rm gives when it frees a job whose end was reported. It is found
/// again in the log and in the history, so that the end stays what it was.
pub(super) const FREED: &str = "its end is known and it is not kept";

/// The most ids in one call, for the length of its arguments.
const MOST_IDS: usize = 5_000;

/// The most jobs in one constraint, with which each job of the queue is compared.
const MOST_COMPARED: usize = 100;

/// A job with the name under which it was submitted, if that is known.
type Own = (Id, Option<SubmissionName>);

/// Removes `jobs`, and ignores those that don't exist. A job that has the id of one of them and is not
/// ours is not touched, whether the queue can be asked before or not.
pub(super) async fn remove(commands: &Commands, jobs: &[Own], reason: &str) -> Result<(), Error> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Id> = jobs.iter().map(|(id, _)| *id).collect();
    let names = jobs.iter().filter_map(|(_, name)| name.as_ref());
    let runs = names.map(|name| name.run().to_owned()).collect();
    let Ok(queue) = commands.ask_queue(&ids, &runs).await else {
        return remove_blindly(commands, jobs, reason).await;
    };
    let names: BTreeMap<Id, Option<&SubmissionName>> =
        jobs.iter().map(|(id, name)| (*id, name.as_ref())).collect();
    let in_queue = queue.iter().filter_map(|ad| {
        let is_ours = names.get(&ad.id).is_some_and(|name| ad.is_of(*name));
        is_ours.then_some(ad.id)
    });
    remove_ids(commands, &in_queue.collect::<Vec<Id>>(), reason).await
}

/// Lets HTCondor compare the jobs with their names.
async fn remove_blindly(commands: &Commands, jobs: &[Own], reason: &str) -> Result<(), Error> {
    for some in jobs.chunks(MOST_COMPARED) {
        let one = |(id, name): &Own| {
            let name = match name {
                Some(name) => format!("{NAME} =?= \"{name}\""),
                None => format!("{NAME} =!= undefined"),
            };
            let Id { cluster, proc } = id;
            format!("(ClusterId == {cluster} && ProcId == {proc} && {name})")
        };
        let these: Vec<String> = some.iter().map(one).collect();
        let command = commands.at_schedd("condor_rm").arguments([
            "-reason",
            reason,
            "-constraint",
            &these.join(" || "),
        ]);
        // Its words are the same for no job that matches and for a schedd that hangs.
        commands.answer(command).await?;
    }
    Ok(())
}

async fn remove_ids(commands: &Commands, ids: &[Id], reason: &str) -> Result<(), Error> {
    for ids in ids.chunks(MOST_IDS) {
        let command = commands
            .at_schedd("condor_rm")
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
