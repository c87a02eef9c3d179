//! `cu stop`, `pause`, `continue`, `retry`, `checkpoint`: asks the main process of a run. If there is
//! none, this process is it for as long as that takes.

use cu_core::{
    Counts, JobReport, MainProcessSeen, Reader, RunDir, RunState, Status, ask, check_run,
};
use cu_protocol::{OperatorAnswer, OperatorRequest, Selection};
use serde_json::json;
use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use crate::args::{Common, JobsArgument, OnInterrupt, Stop};
use crate::error::{Error, ExitCode, Result};
use crate::git;
use crate::select::Filter;
use crate::shell_word::shell_word;
use crate::start::foreground::conclude;
use crate::start::interrupt::Interrupts;
use crate::start::watched::{MainProcess, Outcome};
use crate::start::{background, logging};
use crate::text::moment::rounded;
use crate::text::plural;
use crate::text::selection::Jobs;
use crate::view::{self, Silent, View, summary};
use crate::{backend, runs, terminal};

/// How long to wait for the answer before saying so.
const SILENTLY: Duration = Duration::from_secs(2);
/// At most this many jobs that don't end are named.
const MOST_NAMED: usize = 5;

/// A request to a run.
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

    /// Says what happens to these jobs of the run now.
    fn now(self, run: &RunDir, jobs: &str) -> String {
        match self {
            Self::Stop => {
                let bound = time_to_stop(run);
                format!("stopping {jobs}: a running program may save first{bound}")
            }
            Self::Pause => {
                let bound = time_to_stop(run);
                format!("pausing {jobs}: a running program saves first{bound}")
            }
            Self::Continue => format!("continuing {jobs}"),
            Self::Retry => format!("running {jobs} again"),
            Self::Checkpoint => format!("asked {jobs} to save; then it goes on"),
        }
    }

    /// Why it concerns none of these jobs.
    fn why_not(self, jobs: &[JobReport]) -> String {
        let reason = match self {
            Self::Stop => "there is nothing left to stop",
            Self::Pause => "there is nothing left to pause",
            Self::Continue => "no job is paused",
            Self::Retry => "no job has failed or was cancelled",
            Self::Checkpoint => "no job is running",
        };
        match jobs {
            [] => return "there are no such jobs".to_owned(),
            [job] => return format!("{reason}, job {} {}", job.job, summary::job_is(job)),
            _ => {}
        }
        let mut counts = Counts::default();
        jobs.iter().for_each(|job| counts.add(job.state));
        format!("{reason}, {}", view::states(&counts))
    }
}

/// Cancels jobs. Without words it would cancel all of the newest run, which may not be the one that the person
/// thinks of: on a terminal it asks before.
///
/// # Errors
/// As [`operate`].
pub fn stop(common: &Common, arguments: &Stop) -> Result<ExitCode> {
    let jobs = &arguments.jobs;
    let names_nothing = jobs.jobs_and_run.is_empty() && jobs.filter.is_empty();
    if names_nothing && !arguments.yes && !common.json && terminal::can_ask() {
        let run = runs::find(None, common.results_dir())?;
        let counts = Reader::open(&run)?.status()?.jobs;
        let open = plural((counts.total - counts.settled()).into(), "job");
        let question = format!("cancel {open} of {}? [y/N]", run.path().display());
        if counts.settled() < counts.total && !terminal::agrees(&question) {
            terminal::say("nothing was stopped");
            return Ok(ExitCode::Done);
        }
    }
    act(common, Operation::Stop, jobs, arguments.timeout)
}

/// Makes the request.
///
/// # Errors
/// If there is no such run or job, or the main process refuses.
pub fn operate(
    common: &Common,
    operation: Operation,
    arguments: &JobsArgument,
) -> Result<ExitCode> {
    act(common, operation, arguments, Duration::MAX)
}

/// Makes the request. Where this process has to wait for the end of attempts itself, it does so for `bound`.
fn act(
    common: &Common,
    operation: Operation,
    arguments: &JobsArgument,
    bound: Duration,
) -> Result<ExitCode> {
    let is_run = |word: &str| runs::exists(word, common.results_dir());
    let (jobs, run) = split(&arguments.jobs_and_run, is_run)?;
    let jobs = jobs.unwrap_or(Jobs::All);
    let run = runs::find(run.as_deref(), common.results_dir())?;
    check_run(&run)?;
    let reader = Reader::open(&run)?;
    let selection = jobs
        .of(reader.status()?.jobs.known())
        .map_err(Error::usage)?;
    let selection = filtered(selection, &arguments.filter, &reader)?;
    if selection == Selection::Jobs(Vec::new()) {
        nothing(common, operation, &run, &[])?;
        return Ok(ExitCode::Done);
    }
    let request = operation.request(selection.clone());
    let runtime = background::runtime()?;
    let answer = match runtime.block_on(ask_aloud(common, &run, request.clone())) {
        Err(cu_core::Error::NoMainProcess { .. }) => {
            // Otherwise it would open the backend and take the run's lock for nothing.
            if reader.affected(&request)? > 0 {
                logging::start(&run, common.verbose)?;
                return runtime.block_on(by_ourselves(common, operation, &run, request, bound));
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
        let named = match Reader::open(run).map(|reader| reader.main_process()) {
            Ok(MainProcessSeen::Alive { holder } | MainProcessSeen::Unclear { holder }) => {
                format!(" ({holder})")
            }
            _ => String::new(),
        };
        terminal::say(&format!(
            "waiting for the main process{named}, which has not answered yet"
        ));
    }
    answer.await
}

/// Acts as the main process of a run that has none. Stopping lasts until all jobs have ended; any
/// other request is recorded, and `cu resume` carries it out.
async fn by_ourselves(
    common: &Common,
    operation: Operation,
    run: &RunDir,
    request: OperatorRequest,
    bound: Duration,
) -> Result<ExitCode> {
    if operation != Operation::Stop {
        git::restore(run)?;
    }
    let scheduler = backend::of_run(run).await?;
    let main_process = MainProcess::open(run.clone(), scheduler).await?;
    let stops_all = request == OperatorRequest::Stop(Selection::All);
    let answer = main_process.ask(request);
    if !stops_all {
        drop(main_process.ask(OperatorRequest::Detach));
    } else if !common.quiet {
        terminal::say("no main process works on this run: waiting until its attempts have ended");
    }
    main_process.detach_after(bound);
    let mut view: Box<dyn View> = match stops_all {
        true => view::choose(common, true),
        false => Box::new(Silent),
    };
    let mut interrupts = Interrupts::new(Some(OnInterrupt::Detach));
    let outcome = main_process.run(view.as_mut(), &mut interrupts).await?;
    if let Outcome::Settled(status) = &outcome {
        conclude(run, status, common.quiet)?;
    }
    if let Outcome::Ended = outcome {
        return Ok(ExitCode::Interrupted);
    }
    report(common, operation, run, affected(answer.await)?)?;
    match outcome {
        Outcome::Detached(status) if stops_all && !interrupts.interrupted() => {
            late(common, run, &status)?;
            Ok(ExitCode::TimedOut)
        }
        Outcome::Detached(_) if interrupts.interrupted() => Ok(ExitCode::Interrupted),
        Outcome::Detached(status) if status.state == RunState::Interrupted => {
            terminal::say(&format!(
                "no main process works on this run; `cu resume {}` carries this out",
                shell_word(run.path())
            ));
            Ok(ExitCode::Done)
        }
        _ => Ok(ExitCode::Done),
    }
}

/// Says which attempts the scheduler still has long after it was asked to end them.
fn late(common: &Common, run: &RunDir, status: &Status) -> Result<()> {
    if common.quiet {
        return Ok(());
    }
    let jobs = Reader::open(run)?.jobs()?;
    let open = jobs.iter().filter(|job| !job.state.is_settled());
    let named = open.take(MOST_NAMED).map(|job| {
        let cluster_job = job.attempts.last().and_then(|it| it.cluster_job_id.clone());
        match cluster_job {
            Some(cluster_job) => format!("job {} ({cluster_job})", job.job),
            None => format!("job {}", job.job),
        }
    });
    let named: Vec<_> = named.collect();
    let count = status.jobs.total - status.jobs.settled();
    terminal::say(&format!(
        "the scheduler was asked to end {}, and has not reported the end: {}; look at them with the \
         scheduler's own commands, and run `cu stop all {}` again to wait on",
        plural(count.into(), "job"),
        named.join(", "),
        shell_word(run.path())
    ));
    Ok(())
}

fn affected(answer: OperatorAnswer) -> Result<u32> {
    match answer {
        OperatorAnswer::Done { jobs } => Ok(jobs),
        OperatorAnswer::Refused(reason) => Err(Error::Refused { reason }),
    }
}

/// Says how long a program may take that is asked to stop: from the signal to SIGTERM, and from there to SIGKILL.
/// Empty if that can't be read: the request is carried out all the same.
fn time_to_stop(run: &RunDir) -> String {
    let in_force = Reader::open(run).and_then(|reader| reader.in_force());
    in_force.map_or_else(
        |_| String::new(),
        |(_, policy)| format!(", for at most {}", rounded(2 * policy.stop.grace)),
    )
}

/// Reports how many jobs the request concerned.
fn report(common: &Common, operation: Operation, run: &RunDir, jobs: u32) -> Result<()> {
    if common.json {
        return terminal::json(&json!({"version": 1, "run_dir": run.path(), "jobs": jobs}));
    }
    if !common.quiet {
        let now = operation.now(run, &plural(jobs.into(), "job"));
        terminal::say(&format!("{now} ({})", run.path().display()));
    }
    Ok(())
}

/// Reports that the request concerned no job, and why.
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
        let chosen: HashSet<_> = chosen.iter().collect();
        jobs.retain(|job| chosen.contains(&job.job));
    }
    jobs
}

/// Those of `selection` that the filter lets pass now.
fn filtered(selection: Selection, filter: &Filter, reader: &Reader) -> Result<Selection> {
    if filter.is_empty() {
        return Ok(selection);
    }
    let mut jobs = reader.jobs()?;
    filter.keep(&mut jobs)?;
    let jobs = chosen(&selection, jobs);
    Ok(Selection::Jobs(jobs.iter().map(|job| job.job).collect()))
}

/// Splits the words into jobs and run: `1-3,5` and `all` are jobs, anything else is a run. A run with
/// such a name comes after its jobs.
pub fn split(
    jobs_and_run: &[String],
    is_run: impl Fn(&str) -> bool,
) -> Result<(Option<Jobs>, Option<String>)> {
    let looks_like_jobs = |word: &str| {
        let mut characters = word.chars();
        word == "all" || characters.all(|it| it.is_ascii_digit() || ",-".contains(it))
    };
    let (jobs, run) = match jobs_and_run {
        [] => (None, None),
        [word] if !looks_like_jobs(word) => (None, Some(word)),
        [word] if is_run(word) => {
            let message = format!("`{word}` is ambiguous: a run's name, and a number of jobs");
            let hint =
                format!("write `all {word}` for the run, `{word} RUN` for jobs of another run");
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
            let message = format!("unexpected `{word}`: give one selection of jobs and one run");
            return Err(Error::usage_hint(message, "write several jobs as 1-3,5"));
        }
    };
    let jobs = jobs.map(|word| word.parse::<Jobs>().map_err(Error::usage));
    Ok((jobs.transpose()?, run.cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_run_come_in_any_order() {
        let split_words = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
            split(&words, |word| ["7", "8"].contains(&word))
                .map(|(jobs, run)| (jobs.unwrap_or(Jobs::All), run))
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
