//! The backends of `cu`. Each has a directory with its keys, its options and its checks. `kind.rs`
//! lists the backends, `keys.rs` their tables, `built.rs` those that this build has; `choice.rs` finds
//! the one that a run takes. ARCHITECTURE.md says how to add one.

mod abandoned;
mod built;
mod choice;
mod finding;
mod htcondor;
mod interface;
#[allow(dead_code, reason = "only clusters share allocations")]
mod keep;
pub mod keys;
pub mod kind;
mod local;
#[allow(dead_code, reason = "each backend needs some of it")]
mod shared;
mod slurm;

use std::sync::Arc;

use cu_core::{Reader, RunDir};
use cu_scheduler::{Examine, Scheduler};
use cu_system::causes::in_one_line;

use crate::config::{self, File, Parsed, Source};
use crate::error::{Error, Result};
use crate::shell_word::shell_word;
use crate::terminal;

use built::built;
pub use choice::{Choice, choose};
pub use finding::Finding;
#[cfg(feature = "htcondor")]
pub use htcondor::submit_job;
pub use keep::{allocation_of, serves_in_allocation, shown_cluster_job};
pub use kind::Kind;
#[cfg(feature = "slurm")]
pub use slurm::batch_job::BatchJob;

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
/// `cu` made, or whose config leaves the choice open, keeps the backend that it had before. Attempts that are
/// queued or running at another access point are asked there.
///
/// # Errors
/// If the file can't be read, the backend can't be used, or attempts are queued or running on another,
/// or on another cluster or access point of its kind that can't be asked from here.
pub async fn of_run(run: &RunDir) -> Result<Arc<dyn Scheduler>> {
    let chosen = Chosen::of(run)?;
    let Chosen { kind, before, .. } = chosen;
    let attempts = chosen.attempts > 0 && !abandoned::are_all(run)?;
    if let Some(before) = before.filter(|before| *before != kind && attempts) {
        return Err(Error::usage_hint(
            format!(
                "{} says {kind}, but attempts of the run are queued or running on {before}, and would not be \
                 watched any more",
                chosen.parsed.place("backend.kind")
            ),
            format!(
                "set backend.kind to \"{}\" in {} until they have ended; if that is gone for good, {}",
                before.name(),
                run.config().display(),
                abandon_command(run)
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
    let opened = open(kind, run, &chosen.parsed.file).await?;
    let Some((there, here)) = chosen.elsewhere(&opened).filter(|_| attempts) else {
        return abandoned::reported(run, opened);
    };
    let asked = open_at(kind, run, &chosen.parsed.file, &there).await;
    let unreachable = match asked {
        Some(Ok(opened)) => {
            let text = format!(
                "attempts of the run are queued or running at the {there}, and this is the {here}: the run \
                 goes on at the {there}"
            );
            tracing::warn!("{text}");
            terminal::warn(&text);
            return Ok(opened);
        }
        Some(Err(error)) => format!(" ({})", in_one_line(&error)),
        None => String::new(),
    };
    let by_key = match kind {
        Kind::Slurm => {
            "; if this login reaches that one, too, name it by `backend.slurm.cluster` or \
             SLURM_CLUSTERS"
        }
        _ => "",
    };
    Err(Error::usage_hint(
        format!(
            "attempts of the run are queued or running at the {there}{unreachable}, and this is the {here}, \
             which knows nothing of them: nothing was asked or removed here"
        ),
        format!(
            "go on where the commands of {kind} speak to the {there}{by_key}; if that is gone for good, {}",
            abandon_command(run)
        ),
    ))
}

/// Gives up the attempts of `run` that are queued or running at a cluster or access point that is gone for
/// good. Returns their number.
///
/// # Errors
/// If there are none, or they can be asked from here, or a main process works on the run.
pub async fn abandon(run: &RunDir) -> Result<usize> {
    let chosen = Chosen::of(run)?;
    if Reader::open(run)?.has_main_process() {
        let message = format!(
            "a main process works on the run in {}",
            run.path().display()
        );
        let hint = format!("`cu stop {}` asks it", shell_word(run.path()));
        return Err(Error::usage_hint(message, hint));
    }
    if chosen.attempts == 0 {
        return Err(Error::usage_hint(
            "no attempt of the run is queued or running: there is nothing to abandon",
            format!("`cu resume {}` continues the run", shell_word(run.path())),
        ));
    }
    let Some(before) = chosen.before else {
        return Err(Error::usage(
            "the run does not record where its attempts are",
        ));
    };
    if before != chosen.kind {
        return abandoned::give_up(run, before);
    }
    let opened = open(before, run, &chosen.parsed.file).await?;
    let Some((there, _)) = chosen.elsewhere(&opened) else {
        return Err(Error::usage_hint(
            "the attempts of the run are where the commands here ask for them: there is nothing to abandon",
            format!("`cu stop all {}` cancels them", shell_word(run.path())),
        ));
    };
    drop(opened);
    if let Some(Ok(_)) = open_at(before, run, &chosen.parsed.file, &there).await {
        return Err(Error::usage_hint(
            format!("the {there} answers: there is nothing to abandon"),
            format!(
                "`cu resume {}` asks it for the attempts",
                shell_word(run.path())
            ),
        ));
    }
    abandoned::give_up(run, before)
}

/// The way out when a cluster does not come back.
fn abandon_command(run: &RunDir) -> String {
    format!(
        "`cu resume --abandon-attempts {}` gives up the attempts there",
        shell_word(run.path())
    )
}

/// The backend of `kind` at another place, if it can be asked from here.
async fn open_at(
    kind: Kind,
    run: &RunDir,
    file: &File,
    place: &str,
) -> Option<Result<Arc<dyn Examine>, cu_scheduler::Error>> {
    built(kind)?.open_at(run, file, place).await
}

/// What a run asks for, and what it had.
struct Chosen {
    parsed: Parsed,
    kind: Kind,
    before: Option<Kind>,
    /// How the scheduler before named itself.
    recorded: String,
    /// How many are queued or running.
    attempts: u32,
}

impl Chosen {
    fn of(run: &RunDir) -> Result<Self> {
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
        Ok(Self {
            parsed,
            kind,
            before,
            attempts: recorded.jobs.queued + recorded.jobs.running,
            recorded: recorded.backend,
        })
    }

    /// The cluster or access point before, and that of `opened`, if these are two of one kind.
    fn elsewhere(&self, opened: &Arc<dyn Examine>) -> Option<(String, String)> {
        let here = opened.to_string();
        let (there, here) = (choice::place(&self.recorded)?, choice::place(&here)?);
        let differs = self.before == Some(self.kind) && there != here;
        differs.then(|| (there.to_owned(), here.to_owned()))
    }
}
