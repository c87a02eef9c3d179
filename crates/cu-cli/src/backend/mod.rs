//! The backends of `cu`. Each has a directory with its keys, its options and its checks. `kind.rs`
//! lists the backends, `keys.rs` their tables; [`open`] and [`check`] call each, and `choice.rs`
//! finds the one that a run takes. ARCHITECTURE.md says how to add one.

mod choice;
mod htcondor;
pub mod keys;
pub mod kind;
mod local;
mod opened;
#[allow(dead_code, reason = "each backend needs some of it")]
mod shared;
mod slurm;

use std::sync::Arc;

use cu_core::{Reader, RunDir};
use cu_scheduler::Scheduler;

use crate::config::{self, File, Parsed, Source};
use crate::error::{Error, Result};
use crate::terminal;

pub use choice::{Choice, choose};
pub use kind::Kind;
pub use opened::Opened;

/// Opens the backend `kind` for `run`, as `file` says. Nothing is written before something is
/// submitted, except by the backend of this machine.
///
/// # Errors
/// If this build does not have it, or it can't be used.
pub async fn open(kind: Kind, run: &RunDir, file: &File) -> Result<Arc<dyn Opened>> {
    let opened = match kind {
        #[cfg(feature = "local")]
        Kind::Local => local::open(run, file),
        #[cfg(feature = "slurm")]
        Kind::Slurm => slurm::open(run, file).await,
        #[cfg(feature = "htcondor")]
        Kind::Htcondor => htcondor::open(run, file).await,
        #[cfg(not(all(feature = "local", feature = "slurm", feature = "htcondor")))]
        lacking => return Err(Error::usage(format!("this build of cu lacks {lacking}"))),
    };
    opened.map_err(|source| Error::Backend { kind, source })
}

/// Checks a config for the backend `kind`. Returns warnings about what is probably not meant.
///
/// # Errors
/// The first key with a value that can't be right on any cluster of this kind.
#[allow(unused_variables, reason = "this machine alone has nothing to check")]
pub fn check(kind: Kind, run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, config::Error> {
    match kind {
        #[cfg(feature = "slurm")]
        Kind::Slurm => slurm::check(run, parsed),
        #[cfg(feature = "htcondor")]
        Kind::Htcondor => htcondor::check(run, parsed),
        Kind::Local => Ok(Vec::new()),
        #[cfg(not(all(feature = "slurm", feature = "htcondor")))]
        _ => Ok(Vec::new()),
    }
}

/// Opens the backend of `run`, as its `run.toml` says. A run that was made without one by another
/// program than `cu`, or whose config leaves the choice open, keeps the backend that it had before.
///
/// # Errors
/// If the file can't be read, the backend can't be used, or it is another than the one that attempts
/// are with.
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
                "{} says {kind}, and attempts of the run are with {before}, which nobody would watch",
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
            "{} is missing: the run goes on with {kind}, as recorded, and the defaults of all other \
             settings of that",
            run.config().display()
        );
        tracing::warn!("{text}");
        terminal::warn(&text);
    }
    Ok(open(kind, run, &parsed.file).await?)
}
