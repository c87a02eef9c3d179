//! The backends of `cu`: which one a run takes, what the config makes of it, and what it can say
//! beyond [`Scheduler`]. The only room of the command line that knows one backend from another.

mod choice;
#[cfg(feature = "htcondor")]
mod htcondor;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "slurm")]
mod slurm;

use std::sync::Arc;

use cu_core::{Reader, RunDir};
use cu_scheduler::{Finding, Preview, Scheduler, Submission};

use crate::config::{self, File, Source};
use crate::error::{Error, Result};
use crate::terminal;

pub use choice::{Choice, Kind, choose};

/// An open backend.
#[derive(Debug)]
pub enum Backend {
    #[cfg(feature = "local")]
    Local(Arc<cu_scheduler::local::Local>),
    #[cfg(feature = "slurm")]
    Slurm(Arc<cu_scheduler::slurm::Slurm>),
    #[cfg(feature = "htcondor")]
    Htcondor(Arc<cu_scheduler::htcondor::Htcondor>),
}

impl Backend {
    /// Opens the backend `kind` for `run`, as `file` says. Nothing is written before something is
    /// submitted, but by the backend of this machine.
    ///
    /// # Errors
    /// If it can't be had.
    pub async fn open(kind: Kind, run: &RunDir, file: &File) -> Result<Self> {
        match kind {
            #[cfg(feature = "local")]
            Kind::Local => cu_scheduler::local::Local::open(local::options(run, file))
                .map(|opened| Self::Local(Arc::new(opened)))
                .map_err(|source| unusable(kind, run, source)),
            #[cfg(feature = "slurm")]
            Kind::Slurm => cu_scheduler::slurm::Slurm::open(slurm::options(run, file))
                .await
                .map(|opened| Self::Slurm(Arc::new(opened)))
                .map_err(|source| unusable(kind, run, source)),
            #[cfg(feature = "htcondor")]
            Kind::Htcondor => cu_scheduler::htcondor::Htcondor::open(htcondor::options(run, file))
                .await
                .map(|opened| Self::Htcondor(Arc::new(opened)))
                .map_err(|source| unusable(kind, run, source)),
            #[cfg(not(all(feature = "local", feature = "slurm", feature = "htcondor")))]
            lacking => Err(Error::usage(format!("this build of cu lacks {lacking}"))),
        }
    }

    /// What submits and watches.
    pub fn scheduler(&self) -> Arc<dyn Scheduler> {
        match self {
            #[cfg(feature = "local")]
            Self::Local(local) => local.clone(),
            #[cfg(feature = "slurm")]
            Self::Slurm(slurm) => slurm.clone(),
            #[cfg(feature = "htcondor")]
            Self::Htcondor(htcondor) => htcondor.clone(),
        }
    }

    /// What a person should know about the cluster before relying on it.
    pub async fn examine(&self) -> Vec<Finding> {
        match self {
            #[cfg(feature = "local")]
            Self::Local(local) => vec![local::finding(local)],
            #[cfg(feature = "slurm")]
            Self::Slurm(slurm) => slurm.examine().await,
            #[cfg(feature = "htcondor")]
            Self::Htcondor(htcondor) => htcondor.examine().await,
        }
    }

    /// What would be handed to the cluster for `batch`, and what it says of that. This machine has
    /// nothing of the kind.
    #[cfg_attr(
        not(any(feature = "slurm", feature = "htcondor")),
        allow(
            unused_variables,
            reason = "for this machine there is nothing of the kind"
        )
    )]
    pub async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        match self {
            #[cfg(feature = "local")]
            Self::Local(_) => Vec::new(),
            #[cfg(feature = "slurm")]
            Self::Slurm(slurm) => slurm.preview(batch).await,
            #[cfg(feature = "htcondor")]
            Self::Htcondor(htcondor) => htcondor.preview(batch).await,
        }
    }
}

/// The backend of `run`, as its `run.toml` says. A run without one, as a program of somebody's own
/// makes it, and one whose config leaves the choice open, keeps to the backend that it had before.
///
/// # Errors
/// If the file can't be read, or the backend can't be had, or it is another than the one that attempts
/// are with.
pub async fn of_run(run: &RunDir) -> Result<Arc<dyn Scheduler>> {
    let source = match run.config().exists() {
        true => Source::read_own(&run.config())?,
        false => Source::command_line(Vec::new())?,
    };
    let file = source.file()?;
    let recorded = Reader::open(run)?.status()?;
    let before = choice::recorded(&recorded.backend);
    let open = file.backend.kind.unwrap_or_default() == config::Wish::Auto;
    let kind = match before.filter(|_| open) {
        Some(kind) => kind,
        None => choose(&source, &file)?.kind,
    };
    let attempts = recorded.jobs.queued + recorded.jobs.running;
    if let Some(before) = before.filter(|before| *before != kind && attempts > 0) {
        return Err(Error::usage_hint(
            format!(
                "{} says {kind}, and attempts of the run are with {before}, which nobody would watch",
                source.place("backend.kind")
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
    Ok(Backend::open(kind, run, &file).await?.scheduler())
}

/// What `source`, which is what `file` says, means for the backend `kind`: an error where it can't be
/// meant, else warnings.
///
/// # Errors
/// The first key with a value that can't be right on any cluster of this kind.
#[cfg_attr(
    not(any(feature = "slurm", feature = "htcondor")),
    allow(
        unused_variables,
        reason = "for this machine there is nothing of the kind"
    )
)]
pub fn check(
    kind: Kind,
    run: &RunDir,
    source: &Source,
    file: &File,
) -> Result<Vec<String>, config::Error> {
    match kind {
        #[cfg(feature = "slurm")]
        Kind::Slurm => slurm::check(run, source, file),
        #[cfg(feature = "htcondor")]
        Kind::Htcondor => htcondor::check(run, source, file),
        _ => Ok(Vec::new()),
    }
}

fn unusable(kind: Kind, run: &RunDir, source: cu_scheduler::Error) -> Error {
    match source {
        cu_scheduler::Error::InUse { owner, .. } => Error::Run(cu_core::Error::InUse {
            path: run.path().to_owned(),
            holder: owner,
        }),
        source => Error::Backend { kind, source },
    }
}

/// The error about an option that a backend refuses, at the key that it comes from.
#[cfg(any(feature = "slurm", feature = "htcondor"))]
fn wrong_option(kind: Kind, source: &Source, wrong: cu_scheduler::InvalidOption) -> config::Error {
    let key = match wrong.option {
        "grace" => "stop.grace".to_owned(),
        "resume_exit_code" => "resume.exit_code".to_owned(),
        option => format!("backend.{}.{option}", kind.name()),
    };
    source.wrong(&key, wrong.reason)
}

/// How long a supervisor that is asked to end may take, in whole seconds: one grace time to SIGTERM,
/// one more to SIGKILL, and then it writes how its program ended. No backend must kill it before.
#[cfg(any(feature = "local", feature = "htcondor"))]
fn supervisor_grace(file: &File) -> std::time::Duration {
    use std::time::Duration;
    // No sum of times of a config can overflow: each is 100 years at most.
    let grace = 2 * file.stop_policy().grace + Duration::from_secs(5);
    Duration::from_secs(grace.as_secs() + u64::from(grace.subsec_nanos() > 0))
}

/// What people see of a run at the cluster.
#[cfg(any(feature = "slurm", feature = "htcondor"))]
fn label(run: &RunDir) -> String {
    let name = run.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
