//! Attempts that share allocations of a cluster, as `keep` in its table says.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::keep::{Keeping, Kept};
use cu_scheduler::{ClusterJobId, Error, Examine};

use super::kind::Kind;
use crate::config::units::Time;
use crate::config::{self, Parsed};

/// The word after `cu exec` with which the process in an allocation is started. Its arguments follow.
const HOST: &str = "--keep";

/// The backend `kind` of `run`, of which `opened` takes submissions: with shared allocations if the config says so, or
/// the run has some.
///
/// # Errors
/// If the system refuses a thread.
pub fn shared(
    kind: Kind,
    run: &RunDir,
    keep: Option<Time>,
    opened: Arc<dyn Examine>,
) -> Result<Arc<dyn Examine>, Error> {
    let directory = directory(kind, run);
    if keep.is_none() && !Keeping::has_orders(&directory) {
        return Ok(opened);
    }
    let refused = |reason: String| Error::Refused {
        scheduler: kind.to_string(),
        reason,
    };
    let program = crate::this_program::path().map_err(|error| refused(error.to_string()))?;
    let program = program.into_os_string().into_string().map_err(|path| {
        let path = path.to_string_lossy().into_owned();
        refused(format!(
            "the path of cu is not valid UTF-8: {path}; install cu under another path"
        ))
    })?;
    let keeping = Keeping {
        directory,
        keep: keep.map(|keep| keep.0),
        host: vec![program, "exec".to_owned(), HOST.to_owned()],
    };
    Ok(Arc::new(Kept::new(opened, keeping)?))
}

fn directory(kind: Kind, run: &RunDir) -> PathBuf {
    let path = run.backend(kind.name());
    let path = std::path::absolute(&path).unwrap_or(path);
    path.join("keep")
}

/// The allocation in which an attempt ran or runs: `None` if it has one of its own, and an empty name if it has none yet.
pub fn allocation_of(run: &RunDir, cluster_job: &str) -> Option<String> {
    let id = ClusterJobId(cluster_job.to_owned());
    if !Keeping::is_shared(&id) {
        return None;
    }
    let in_kind = |kind: &Kind| Keeping::allocation_of(&directory(*kind, run), &id);
    let found = Kind::CLUSTERS.iter().find_map(in_kind);
    Some(found.map(|id| id.0).unwrap_or_default())
}

/// The cluster job of an attempt for people: the one that it shares with others, if it does.
pub fn shown_cluster_job(run: &RunDir, cluster_job: &str) -> String {
    match allocation_of(run, cluster_job) {
        None => cluster_job.to_owned(),
        Some(allocation) if allocation.is_empty() => "none yet".to_owned(),
        Some(allocation) => format!("{allocation} (shared)"),
    }
}

/// Checks `keep` of the backend `kind`. `resumes_in_place` is the value of `resume`, if that has the same cluster job go on.
///
/// # Errors
/// If it can't be right.
pub fn check(
    kind: Kind,
    parsed: &Parsed,
    keep: Option<Time>,
    resumes_in_place: Option<&str>,
) -> Result<(), config::Error> {
    let Some(Time(keep)) = keep else {
        return Ok(());
    };
    let key = kind.key("keep");
    if keep < Duration::from_secs(1) {
        return Err(parsed.wrong(
            &key,
            "it is too short for even one attempt; leave it out to keep nothing",
        ));
    }
    if let Some(resume) = resumes_in_place {
        let reason = format!(
            "an attempt has no cluster job of its own then, and {} = {resume} needs one: leave out one of the two",
            kind.key("resume")
        );
        return Err(parsed.wrong(&key, reason));
    }
    if parsed.file.resources.time_limit.is_none() {
        let reason = "it needs resources.time_limit, the longest time of one attempt: an allocation is \
                      asked for that and this time together, so that its last attempt has all of its time";
        return Err(parsed.wrong(&key, reason));
    }
    Ok(())
}

/// Serves in an allocation if `arguments`, those of `cu exec`, say so. Returns the exit code.
pub fn serves_in_allocation(arguments: &[OsString]) -> Option<u8> {
    let (first, rest) = arguments.split_first()?;
    (first == HOST).then(|| cu_scheduler::keep::serve(rest))
}
