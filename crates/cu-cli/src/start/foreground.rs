//! Works on a run: as its main process until all its jobs have ended, or by starting one in the
//! background.

use std::time::Duration;

use cu_core::{JobState, Reader, RunDir, RunState, Status};
use cu_system::causes::in_one_line;
use cu_system::threads;

use super::interrupt::Interrupts;
use super::on_end::OnEnd;
use super::shared::Shared;
use super::watched::{Outcome, work};
use super::{background, logging};
use crate::args::{Common, Watch};
use crate::cluster_utils::results;
use crate::config::Wanted;
use crate::error::{ExitCode, Result};
use crate::git;
use crate::optimize::best;
use crate::optimize::kept::Kept;
use crate::shell_word::shell_word;
use crate::terminal;
use crate::text::visible::printable;
use crate::view::balance::Balance;
use crate::view::json::StatusJson;
use crate::view::{self, summary};

/// Acts as the main process of `run` until all its jobs have ended, or starts one in the background.
///
/// # Errors
/// If another process works on the run, or the main process has to give up.
pub fn work_on(common: &Common, watch: &Watch, run: RunDir) -> Result<ExitCode> {
    if watch.detach {
        return detach(common, &run);
    }
    logging::start(&run, common.verbose)?;
    let on_end = OnEnd::of(&run);
    let _shared = Shared::begin(&run);
    let mut view = view::choose(common, watch.no_progress);
    let mut interrupts = Interrupts::new(watch.on_interrupt);
    let reports = !common.json;
    let outcome = work(&run, reports, view.as_mut(), &mut interrupts, || Ok(()))?;
    match outcome {
        Outcome::Settled(status) => {
            conclude(&run, &status, common.quiet)?;
            report(common, &run, &status)?;
            on_end.inspect(|command| command.tell(&status));
            end_of(&run, &status)
        }
        Outcome::Detached(status) => {
            interrupt(&run, &status)?;
            report(common, &run, &status)?;
            let resume = format!("`cu resume {}`", shell_word(run.path()));
            let nothing = format!("nothing is resubmitted until you run {resume}");
            terminal::say(&match status.jobs.queued + status.jobs.running {
                0 => format!("{resume} continues the run"),
                1 => format!("1 attempt of the run continues; {nothing}"),
                attempts => format!("{attempts} attempts of the run continue; {nothing}"),
            });
            Ok(ExitCode::Interrupted)
        }
        Outcome::Ended | Outcome::Updated => {
            terminal::say(&format!(
                "ended at once; `cu resume {}` continues the run",
                shell_word(run.path())
            ));
            Ok(ExitCode::Interrupted)
        }
    }
}

/// Writes what a run has besides its own results, once its jobs have all ended, and removes what it needs no more.
///
/// # Errors
/// If the run can't be read, or a file can't be written.
pub fn conclude(run: &RunDir, status: &Status, quiet: bool) -> Result<()> {
    if results::are_meant(run) {
        results::write(run, status, quiet)?;
    }
    let wanted = Wanted::of_run(run);
    if let Some(kept) = wanted.and_then(|wanted| Kept::new(run, &wanted)) {
        kept.tidy(&Reader::open(run)?.jobs()?)?;
    }
    // The run has ended as it has, also if a file of its clone stays.
    let kept = git::remove_if_unneeded(run, status);
    if let Some(text) = kept.unwrap_or_else(|error| Some(in_one_line(&error))) {
        tracing::info!("{text}");
        if !quiet {
            terminal::warn(&text);
        }
    }
    Ok(())
}

/// Writes what a run has besides its own results, as far as it got before it was interrupted.
///
/// # Errors
/// As [`conclude`].
pub fn interrupt(run: &RunDir, status: &Status) -> Result<()> {
    match results::are_meant(run) {
        true => results::write(run, status, true),
        false => Ok(()),
    }
}

/// The exit code for a run whose jobs have all ended.
///
/// # Errors
/// If its results decide that, and can't be read.
pub fn end_of(run: &RunDir, status: &Status) -> Result<ExitCode> {
    match status.state {
        RunState::Completed | RunState::Failed if results::are_meant(run) => results::end_of(run),
        RunState::Completed => Ok(ExitCode::Done),
        _ => Ok(ExitCode::JobsFailed),
    }
}

/// How long the report at the end of a run may read files.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints the outcome of a run.
///
/// # Errors
/// If the run can't be read, or stdout can't be written.
pub fn report(common: &Common, run: &RunDir, status: &Status) -> Result<()> {
    if common.json {
        terminal::json(&StatusJson::of(run, status)?)
    } else {
        let settled = status.jobs.settled() == status.jobs.total;
        let shows_balance = settled && !common.quiet;
        // Of very many jobs, those that are shown are kept, and the others only added up.
        let shows_all = status.jobs.total as usize <= summary::FEW || best::is_wanted(run);
        let (mut jobs, mut balance) = (Vec::new(), Balance::default());
        Reader::open(run)?.each_job(&mut |job| {
            balance.add(&job);
            if shows_all || job.state == JobState::Failed {
                jobs.push(job);
            }
        })?;
        let (of_run, of_status) = (run.clone(), status.clone());
        // These read what attempts left, which may lie on a file server that is gone.
        let read = threads::within("end of run", PATIENCE, move || {
            let balance = shows_balance.then(|| balance.in_words(&of_run, &of_status));
            let best = best::of(&of_run, &jobs);
            (
                summary::end_of_run(&of_status, &jobs),
                best,
                balance.flatten(),
            )
        });
        let Some((text, best, balance)) = read else {
            terminal::warn(
                "the files of its attempts can't be read now, so how they ended is left out",
            );
            return terminal::data(&summary::run_line(status));
        };
        if let Some(best) = best {
            terminal::data(&printable(&best.in_words()))?;
        }
        terminal::data(&text)?;
        if let Some(balance) = balance {
            terminal::say(&balance);
        }
        Ok(())
    }
}

fn detach(common: &Common, run: &RunDir) -> Result<ExitCode> {
    background::start(run, common.verbose)?;
    let status = Reader::open(run)?.status()?;
    if common.json {
        terminal::json(&StatusJson::of(run, &status)?)?;
    } else {
        terminal::data(&run.path().display().to_string())?;
        terminal::say(&format!(
            "the run continues in the background; `cu status {0}` shows it, `cu watch {0}` shows it \
             until it ends; its log is {1}",
            shell_word(run.path()),
            run.log().display()
        ));
    }
    Ok(ExitCode::Done)
}
