//! `cu stop`, `pause`, `continue`, `retry`, `checkpoint`: asks the main process of a run; where
//! there is none, is one for as long as it takes.

use cu_core::{Reader, RunDir, ask};
use cu_protocol::{OperatorAnswer, OperatorRequest, Selection};
use serde_json::json;

use crate::args::{Common, JobsArgument, OnInterrupt};
use crate::error::{Error, Result};
use crate::exit_code::ExitCode;
use crate::interrupt::Interrupts;
use crate::main_process::{MainProcess, Outcome};
use crate::selection::Jobs;
use crate::view;
use crate::{backend, background, logging, runs, terminal};

/// What is asked of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `cu stop`
    Stop,
    /// `cu pause`
    Pause,
    /// `cu continue`
    Continue,
    /// `cu retry`
    Retry,
    /// `cu checkpoint`
    Checkpoint,
}

impl Operation {
    fn request(self, jobs: Selection) -> OperatorRequest {
        match self {
            Self::Stop => OperatorRequest::Stop(jobs),
            Self::Pause => OperatorRequest::Pause(jobs),
            Self::Continue => OperatorRequest::Continue(jobs),
            Self::Retry => OperatorRequest::Retry(jobs),
            Self::Checkpoint => OperatorRequest::Checkpoint(jobs),
        }
    }

    /// What has become of the jobs, as a participle.
    fn done(self) -> &'static str {
        match self {
            Self::Stop => "told to stop",
            Self::Pause => "paused",
            Self::Continue => "continued",
            Self::Retry => "given a new chance",
            Self::Checkpoint => "told to save and exit for resume",
        }
    }
}

/// Asks it.
///
/// # Errors
/// If there is no such run or job, or the main process refuses.
pub fn operate(
    common: &Common,
    operation: Operation,
    arguments: &JobsArgument,
) -> Result<ExitCode> {
    let (jobs, run) = split(&arguments.jobs_and_run)?;
    let run = runs::find(run.as_deref(), common.results_dir())?;
    let total = Reader::open(&run)?.status()?.jobs.total;
    let request = operation.request(jobs.of(total)?);
    let runtime = background::runtime()?;
    match runtime.block_on(ask(&run, request.clone())) {
        Ok(OperatorAnswer::Done { jobs }) => {
            report(common, operation, &run, Some(jobs))?;
            Ok(ExitCode::Done)
        }
        Ok(OperatorAnswer::Refused(reason)) => Err(Error::Refused { reason }),
        Err(cu_core::Error::NoMainProcess { .. }) => {
            logging::start(&run, common.verbose)?;
            runtime.block_on(by_ourselves(common, operation, &run, request))
        }
        Err(error) => Err(error.into()),
    }
}

/// No main process works on the run: be one. To stop takes until all jobs are settled; anything
/// else is recorded, and whoever resumes the run finds it.
async fn by_ourselves(
    common: &Common,
    operation: Operation,
    run: &RunDir,
    request: OperatorRequest,
) -> Result<ExitCode> {
    let scheduler = backend::of_run(run).await?;
    let main_process = MainProcess::open(run.clone(), scheduler).await?;
    let stops_all = request == OperatorRequest::Stop(Selection::All);
    let requests = match stops_all {
        true => vec![request],
        false => vec![request, OperatorRequest::Detach],
    };
    if stops_all && !common.quiet {
        terminal::say("no main process works on this run: waiting until its attempts have ended");
    }
    let mut view = view::choose(common, true);
    let mut interrupts = Interrupts::new(Some(OnInterrupt::Detach));
    let outcome = main_process
        .run(view.as_mut(), &mut interrupts, requests)
        .await?;
    report(common, operation, run, None)?;
    match outcome {
        Outcome::Settled(_) => Ok(ExitCode::Done),
        Outcome::Detached(_) if interrupts.interrupted() => Ok(ExitCode::Interrupted),
        Outcome::Detached(_) => {
            terminal::say(&format!(
                "no main process works on this run: `cu resume {}` carries it out",
                run.path().display()
            ));
            Ok(ExitCode::Done)
        }
        Outcome::Ended => Ok(ExitCode::Interrupted),
    }
}

fn report(common: &Common, operation: Operation, run: &RunDir, jobs: Option<u32>) -> Result<()> {
    if common.json {
        return terminal::json(&json!({"version": 1, "run_dir": run.path(), "jobs": jobs}));
    }
    if !common.quiet {
        let jobs = match jobs {
            Some(1) => "1 job is".to_owned(),
            Some(jobs) => format!("{jobs} jobs are"),
            None => "the jobs are".to_owned(),
        };
        terminal::say(&format!(
            "{jobs} {} in {}",
            operation.done(),
            run.path().display()
        ));
    }
    Ok(())
}

/// Tells jobs and run apart: `1-3,5` and `all` are jobs, anything else is a run.
fn split(jobs_and_run: &[String]) -> Result<(Jobs, Option<String>)> {
    let (mut jobs, mut run) = (None, None);
    for word in jobs_and_run {
        let looks_like_jobs = word == "all"
            || word
                .chars()
                .all(|character| character.is_ascii_digit() || ",-".contains(character));
        let twice = if looks_like_jobs {
            jobs.replace(word.parse::<Jobs>().map_err(Error::usage)?)
                .is_some()
        } else {
            run.replace(word.clone()).is_some()
        };
        if twice {
            let message = format!("`{word}`: one selection of jobs and one run are expected");
            return Err(Error::usage_hint(message, "several jobs are written 1-3,5"));
        }
    }
    Ok((jobs.unwrap_or(Jobs::All), run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_run_come_in_any_order() {
        let split_words = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            split(&words)
        };
        let one: Jobs = "1".parse().expect("a job");
        let run = Some("results/a".to_owned());
        assert_eq!(split_words(&[]).expect("nothing"), (Jobs::All, None));
        assert_eq!(split_words(&["1"]).expect("jobs"), (one.clone(), None));
        assert_eq!(
            split_words(&["results/a"]).expect("a run"),
            (Jobs::All, run.clone())
        );
        assert_eq!(
            split_words(&["1", "results/a"]).expect("both"),
            (one.clone(), run.clone())
        );
        assert_eq!(split_words(&["results/a", "1"]).expect("both"), (one, run));
        assert_eq!(split_words(&["a", "b"]).expect_err("twice").exit_code(), 2);
        assert_eq!(split_words(&["1", "2"]).expect_err("twice").exit_code(), 2);
        assert_eq!(split_words(&["3-1"]).expect_err("no range").exit_code(), 2);
    }
}
