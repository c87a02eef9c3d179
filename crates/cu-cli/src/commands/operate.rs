//! `cu stop`, `pause`, `continue`, `retry`, `checkpoint`: asks the main process of a run; where
//! there is none, is one for as long as it takes.

use cu_core::{Counts, JobReport, Reader, RunDir, RunState, ask, check_run};
use cu_protocol::{OperatorAnswer, OperatorRequest, Selection};
use serde_json::json;
use std::pin::pin;
use std::time::Duration;

use crate::args::{Common, JobsArgument, OnInterrupt};
use crate::error::{Error, ExitCode, Result};
use crate::shell_word::shell_word;
use crate::start::interrupt::Interrupts;
use crate::start::watched::{MainProcess, Outcome};
use crate::start::{background, logging};
use crate::text::selection::Jobs;
use crate::view::{self, Silent, View, summary};
use crate::{backend, runs, terminal};

/// How long nobody is told that the answer is waited for.
const SILENTLY: Duration = Duration::from_secs(3);

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

    /// Why it concerns none of these jobs.
    fn why_not(self, jobs: &[JobReport]) -> String {
        let reason = match self {
            Self::Stop => "there is nothing left to stop",
            Self::Pause => "there is nothing left to pause",
            Self::Continue => "nothing is paused",
            Self::Retry => "nothing has failed or was cancelled",
            Self::Checkpoint => "nothing runs",
        };
        if let [job] = jobs {
            let state = summary::job_state(job.state);
            return format!("{reason}, job {} is {state}", job.job);
        }
        let mut counts = Counts::default();
        jobs.iter().for_each(|job| counts.add(job.state));
        format!("{reason}, {}", view::states(&counts))
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
    let is_run = |word: &str| runs::exists(word, common.results_dir());
    let (jobs, run) = split(&arguments.jobs_and_run, is_run)?;
    let run = runs::find(run.as_deref(), common.results_dir())?;
    check_run(&run)?;
    let reader = Reader::open(&run)?;
    let selection = jobs.of(reader.status()?.jobs.total).map_err(Error::usage)?;
    let request = operation.request(selection.clone());
    let runtime = background::runtime()?;
    let answer = match runtime.block_on(ask_aloud(common, &run, request.clone())) {
        Err(cu_core::Error::NoMainProcess { .. }) => {
            // Else the backend and the run's lock would be taken for nothing.
            if reader.affected(&request)? > 0 {
                logging::start(&run, common.verbose)?;
                return runtime.block_on(by_ourselves(common, operation, &run, request));
            }
            OperatorAnswer::Done { jobs: 0 }
        }
        answer => answer?,
    };
    match affected(answer)? {
        0 => nothing(common, operation, &run, &chosen(&selection, reader.jobs()?))?,
        jobs => report(common, operation, &run, jobs)?,
    }
    Ok(ExitCode::Done)
}

/// Asks, and says so if the answer takes long.
async fn ask_aloud(
    common: &Common,
    run: &RunDir,
    request: OperatorRequest,
) -> cu_core::Result<OperatorAnswer> {
    let mut answer = pin!(ask(run, request));
    if let Ok(answer) = tokio::time::timeout(SILENTLY, &mut answer).await {
        return answer;
    }
    if !common.quiet {
        terminal::say("waiting for the main process, which has not answered yet");
    }
    answer.await
}

/// No main process works on the run: be one. To stop takes until all jobs are settled; anything
/// else is recorded, and whoever resumes the run carries it out.
async fn by_ourselves(
    common: &Common,
    operation: Operation,
    run: &RunDir,
    request: OperatorRequest,
) -> Result<ExitCode> {
    let scheduler = backend::of_run(run).await?;
    let main_process = MainProcess::open(run.clone(), scheduler).await?;
    let stops_all = request == OperatorRequest::Stop(Selection::All);
    let answer = main_process.ask(request);
    if !stops_all {
        drop(main_process.ask(OperatorRequest::Detach));
    } else if !common.quiet {
        terminal::say("no main process works on this run: waiting until its attempts have ended");
    }
    let mut view: Box<dyn View> = match stops_all {
        true => view::choose(common, true),
        false => Box::new(Silent),
    };
    let mut interrupts = Interrupts::new(Some(OnInterrupt::Detach));
    let outcome = main_process.run(view.as_mut(), &mut interrupts).await?;
    if let Outcome::Ended = outcome {
        return Ok(ExitCode::Interrupted);
    }
    report(common, operation, run, affected(answer.await)?)?;
    match outcome {
        Outcome::Detached(_) if interrupts.interrupted() => Ok(ExitCode::Interrupted),
        Outcome::Detached(status) if status.state == RunState::Interrupted => {
            terminal::say(&format!(
                "no main process works on this run: `cu resume {}` carries it out",
                shell_word(run.path())
            ));
            Ok(ExitCode::Done)
        }
        _ => Ok(ExitCode::Done),
    }
}

fn affected(answer: OperatorAnswer) -> Result<u32> {
    match answer {
        OperatorAnswer::Done { jobs } => Ok(jobs),
        OperatorAnswer::Refused(reason) => Err(Error::Refused { reason }),
    }
}

/// What was done to how many jobs.
fn report(common: &Common, operation: Operation, run: &RunDir, jobs: u32) -> Result<()> {
    if common.json {
        return terminal::json(&json!({"version": 1, "run_dir": run.path(), "jobs": jobs}));
    }
    if !common.quiet {
        let jobs = match jobs {
            1 => "1 job is".to_owned(),
            jobs => format!("{jobs} jobs are"),
        };
        terminal::say(&format!(
            "{jobs} {} in {}",
            operation.done(),
            run.path().display()
        ));
    }
    Ok(())
}

/// That it concerns none of the jobs it was asked for, and why.
fn nothing(
    common: &Common,
    operation: Operation,
    run: &RunDir,
    chosen: &[JobReport],
) -> Result<()> {
    let why = operation.why_not(chosen);
    if common.json {
        let value = json!({"version": 1, "run_dir": run.path(), "jobs": 0, "why": why});
        return terminal::json(&value);
    }
    if !common.quiet {
        let path = run.path().display();
        terminal::say(&format!("nothing to do in {path}: {why}"));
    }
    Ok(())
}

fn chosen(selection: &Selection, mut jobs: Vec<JobReport>) -> Vec<JobReport> {
    if let Selection::Jobs(chosen) = selection {
        jobs.retain(|job| chosen.contains(&job.job));
    }
    jobs
}

/// Tells jobs and run apart: `1-3,5` and `all` are jobs, anything else is a run. A run can be called
/// so, too: then it comes after its jobs.
fn split(jobs_and_run: &[String], is_run: impl Fn(&str) -> bool) -> Result<(Jobs, Option<String>)> {
    let looks_like_jobs = |word: &str| {
        let mut characters = word.chars();
        word == "all" || characters.all(|it| it.is_ascii_digit() || ",-".contains(it))
    };
    let (jobs, run) = match jobs_and_run {
        [] => (None, None),
        [word] if !looks_like_jobs(word) => (None, Some(word)),
        [word] if is_run(word) => {
            let message = format!("`{word}` is a run's name, and can be jobs of the newest run");
            let hint = format!("`all {word}` means the run, `{word} RUN` jobs of another");
            return Err(Error::usage_hint(message, hint));
        }
        [word] => (Some(word), None),
        [run, jobs] if !looks_like_jobs(run) && looks_like_jobs(jobs) => (Some(jobs), Some(run)),
        [run, jobs]
            if looks_like_jobs(run) && looks_like_jobs(jobs) && is_run(run) && !is_run(jobs) =>
        {
            (Some(jobs), Some(run))
        }
        [jobs, run] if looks_like_jobs(jobs) && (!looks_like_jobs(run) || is_run(run)) => {
            (Some(jobs), Some(run))
        }
        [.., word] => {
            let message = format!("`{word}`: one selection of jobs and one run are expected");
            return Err(Error::usage_hint(message, "several jobs are written 1-3,5"));
        }
    };
    let jobs = jobs.map(|word| word.parse::<Jobs>().map_err(Error::usage));
    Ok((jobs.transpose()?.unwrap_or(Jobs::All), run.cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_run_come_in_any_order() {
        let split_words = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            split(&words, |word| ["7", "8"].contains(&word))
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
        assert_eq!(
            split_words(&["results/a", "1"]).expect("both"),
            (one.clone(), run)
        );
        // Runs that are called 7 and 8.
        let seven = Some("7".to_owned());
        assert_eq!(split_words(&["7"]).expect_err("unclear").exit_code(), 2);
        assert_eq!(
            split_words(&["all", "7"]).expect("both"),
            (Jobs::All, seven.clone())
        );
        assert_eq!(
            split_words(&["1", "7"]).expect("both"),
            (one.clone(), seven.clone())
        );
        assert_eq!(
            split_words(&["7", "1"]).expect("both"),
            (one, seven.clone())
        );
        let eight: Jobs = "8".parse().expect("a job");
        assert_eq!(split_words(&["8", "7"]).expect("both"), (eight, seven));
        assert_eq!(split_words(&["a", "b"]).expect_err("twice").exit_code(), 2);
        assert_eq!(split_words(&["1", "2"]).expect_err("twice").exit_code(), 2);
        assert_eq!(split_words(&["3-1"]).expect_err("no range").exit_code(), 2);
    }
}
