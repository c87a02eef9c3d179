//! The backends of `cu`. Each has a directory with its keys, its options and its checks. `kind.rs`
//! lists the backends, `keys.rs` their tables, `built.rs` those that this build has; `choice.rs` finds
//! the one that a run takes. ARCHITECTURE.md says how to add one.

mod built;
mod choice;
mod finding;
mod htcondor;
mod interface;
pub mod keys;
pub mod kind;
mod local;
#[allow(dead_code, reason = "each backend needs some of it")]
mod shared;
mod slurm;

use std::sync::Arc;

use cu_core::{Reader, RunDir};
use cu_scheduler::{Examine, Scheduler};

use crate::config::{self, File, Parsed, Source};
use crate::error::{Error, Result};
use crate::terminal;

use built::built;
pub use choice::{Choice, choose};
pub use finding::Finding;
pub use kind::Kind;

/// The word after `cu exec` that makes it a fork server: a process that makes copies of itself, of which each
/// takes one attempt. Its owner is the standard input.
pub const STAND_BY: &str = "--stand-by";

/// Opens the backend `kind` for `run`, as `file` says. Nothing is written before something is
/// submitted, except by the backend of this machine.
///
/// # Errors
/// If this build does not have it, or it can't be used.
pub async fn open(kind: Kind, run: &RunDir, file: &File) -> Result<Arc<dyn Examine>> {
    let lacking = || Error::usage(format!("this build of cu lacks {kind}"));
    let backend = built(kind).ok_or_else(lacking)?;
    let opened = backend.open(run, file).await;
    opened.map_err(|source| Error::Backend { kind, source })
}

/// Examines the open backend `kind`. The findings name keys of the config.
pub async fn examine(kind: Kind, backend: &dyn Examine) -> Vec<Finding> {
    let findings = backend.examine().await.into_iter();
    findings
        .map(|found| Finding::of_backend(kind, found))
        .collect()
}

/// Checks a config for the backend `kind`. Returns warnings about what is probably not meant.
///
/// # Errors
/// The first key with a value that can't be right on any cluster of this kind.
pub fn check(kind: Kind, run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, config::Error> {
    built(kind).map_or(Ok(Vec::new()), |backend| backend.check(run, parsed))
}

/// Opens the backend of `run`, as its `run.toml` says. A run without that file, which another program than
/// `cu` made, or whose config leaves the choice open, keeps the backend that it had before.
///
/// # Errors
/// If the file can't be read, the backend can't be used, or attempts are queued or running on another,
/// or on another cluster or access point of its kind.
pub async fn of_run(run: &RunDir) -> Result<Arc<dyn Scheduler>> {
    let source = match run.config().exists() {
        true => Source::read_own(&run.config())?,
        false => Source::command_line(Vec::new()),
    };
    let parsed = source.parse()?;
    let recorded = Reader::open(run)?.status()?;
    let before = choice::recorded(&recorded.backend);
    let open_choice = parsed.file.backend.kind.is_none();
    let kind = match before.filter(|_| open_choice) {
        Some(kind) => kind,
        None => choose(&parsed)?.kind,
    };
    let attempts = recorded.jobs.queued + recorded.jobs.running;
    if let Some(before) = before.filter(|before| *before != kind && attempts > 0) {
        return Err(Error::usage_hint(
            format!(
                "{} says {kind}, but attempts of the run are queued or running on {before}, and would not be \
                 watched any more",
                parsed.place("backend.kind")
            ),
            format!(
                "set backend.kind to \"{}\" in {} until they have ended",
                before.name(),
                run.config().display()
            ),
        ));
    }
    if let (false, Some(kind)) = (run.config().exists(), before) {
        let text = format!(
            "{} is missing: the run goes on with {kind}, as recorded, and with the defaults of its \
             other settings",
            run.config().display()
        );
        tracing::warn!("{text}");
        terminal::warn(&text);
    }
    let opened = open(kind, run, &parsed.file).await?;
    let here = opened.to_string();
    if let (Some(there), Some(here)) = (choice::place(&recorded.backend), choice::place(&here))
        && before == Some(kind)
        && there != here
        && attempts > 0
    {
        return Err(Error::usage_hint(
            format!(
                "attempts of the run are queued or running at the {there}, and this is the {here}, \
                 which knows nothing of them: nothing was asked or removed here"
            ),
            format!("go on where the commands of {kind} speak to the {there}"),
        ));
    }
    Ok(opened)
}
