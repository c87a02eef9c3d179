//! The resume loop in a program of its own, on a scheduler of its own.
//!
//! This one binary is all three processes of a run: the main process, the supervisor (`embedded
//! exec …`), and the job (`embedded job`).

mod two_at_a_time;
mod zeta;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use cu_core::{
    Finish, JobPlan, LoopOptions, Policy, Reader, ResumeLoop, RunDir, RunPlan, RunState, create_run,
};

use two_at_a_time::TwoAtATime;

const USAGE: &str = "usage: embedded RUN_DIR (a directory that does not exist yet)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["job"] => return zeta::job(),
        ["exec", run_dir, job, attempt] => supervisor(run_dir, job, attempt),
        [run_dir] => main_process(run_dir).map(|()| ExitCode::SUCCESS),
        _ => Err(anyhow::Error::msg(USAGE)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The supervisor of the job's program. It must run before any thread is started.
fn supervisor(run_dir: &str, job: &str, attempt: &str) -> anyhow::Result<ExitCode> {
    let attempt = Some(attempt.parse().context(USAGE)?);
    let job = job.parse().context(USAGE)?;
    let outcome = cu_supervisor::supervise(&RunDir::new(run_dir), job, attempt)?;
    Ok(ExitCode::from(outcome.exit_code()))
}

#[tokio::main]
async fn main_process(run_dir: &str) -> anyhow::Result<()> {
    let this_program = std::env::current_exe()?;
    let run_dir = RunDir::new(std::path::absolute(run_dir)?);
    create_run(&run_dir, &plan(&this_program)?)?;

    let supervisor = vec![text(&this_program)?, "exec".to_owned()];
    let options = LoopOptions::new(supervisor, Ipv4Addr::LOCALHOST.into());
    let scheduler = Arc::new(TwoAtATime::new());
    let resume_loop = ResumeLoop::open(run_dir.clone(), scheduler, options).await?;
    let (Finish::Settled(status) | Finish::Detached(status)) = resume_loop.run().await?;

    for job in Reader::open(&run_dir)?.jobs()? {
        let metrics = serde_json::to_string(&job.metrics)?;
        println!("job {}: {metrics}; {}", job.job, job.why);
    }
    println!(
        "{} attempts, {} of them resumes",
        status.attempts, status.resumes
    );
    if status.state != RunState::Completed {
        bail!(
            "not all jobs are completed; see {}",
            run_dir.path().display()
        );
    }
    Ok(())
}

/// Five jobs that differ in one setting.
fn plan(this_program: &Path) -> anyhow::Result<RunPlan> {
    let command = vec![text(this_program)?, "job".to_owned()];
    let job = |exponent: i32| {
        let settings = serde_json::Map::from_iter([("exponent".to_owned(), exponent.into())]);
        let mut job = JobPlan::new(command.clone());
        job.parameters = settings.clone();
        job.settings = settings;
        job
    };
    let jobs = (2..=6).map(job).collect();
    Ok(RunPlan::new("embedded".to_owned(), Policy::default(), jobs))
}

fn text(path: &Path) -> anyhow::Result<String> {
    let path = PathBuf::from(path).into_os_string().into_string();
    path.map_err(|path| anyhow::anyhow!("{} is not valid UTF-8", path.display()))
}
