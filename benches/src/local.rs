//! Attempts on this machine: by `cu run`, and by a bare loop that starts the same program as often and as many
//! at a time, but does not watch, record or resume it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cu_client::RESUME_EXIT_CODE;

use crate::usage::own_processor_time;

/// The work of a local run.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The program. It asks to be resumed by its exit code, until `RESUMES` says otherwise.
    pub program: &'a Path,
    /// The number of jobs.
    pub jobs: usize,
    /// How often each is resumed.
    pub resumes: usize,
    /// The number of attempts at a time.
    pub at_a_time: usize,
}

impl Work<'_> {
    /// The number of attempts of all jobs.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.jobs * (self.resumes + 1)
    }
}

/// Each of a few threads takes the next job and starts its program until it is done.
///
/// The standard library starts it by `posix_spawn`, which costs the same however large this process is.
///
/// # Errors
/// If a program ends in another way than it should.
pub fn bare_loop(work: Work<'_>, scratch: &Path) -> Result<()> {
    let next = AtomicUsize::new(0);
    let take_jobs = || -> Result<()> {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= work.jobs {
                return Ok(());
            }
            bare_job(work.program, work.resumes, &scratch.join(job.to_string()))?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..work.at_a_time)
            .map(|_| scope.spawn(take_jobs))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker returns its errors"))
    })
}

fn bare_job(program: &Path, most: usize, output_dir: &Path) -> Result<()> {
    fs::create_dir_all(output_dir)?;
    let settings = output_dir.join("settings.json");
    fs::write(&settings, format!("{{\"resumes\": {most}}}"))?;
    for resumes in 0..=most {
        let status = Command::new(program)
            .env("CU_SETTINGS", &settings)
            .env("CU_OUTPUT_DIR", output_dir)
            .env("CU_ATTEMPT", resumes.to_string())
            .env("RESUMES", most.to_string())
            .current_dir(output_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.code() {
            Some(0) if resumes == most => return Ok(()),
            Some(RESUME_EXIT_CODE) => {}
            _ => bail!(
                "{} ended with {status} after {resumes} resumes",
                program.display()
            ),
        }
    }
    bail!("{} asked for more than {most} resumes", program.display())
}

/// Runs the jobs by `cu run`, which makes the run `run` in `scratch`. Returns the processor time of the main
/// process alone.
///
/// # Errors
/// If it fails.
pub fn cu_run(cu: &Path, work: Work<'_>, scratch: &Path) -> Result<Duration> {
    let errors = scratch.join("errors");
    let mut command = Command::new(cu);
    command
        .args(["run", &config(work, scratch)?])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors)?);
    let mut child = command.spawn()?;
    let (status, used) = own_processor_time(&mut child)?;
    ensure!(
        status.success(),
        "cu run: {status}\n{}",
        fs::read_to_string(&errors)?
    );
    Ok(used)
}

/// Writes the config of such a run. Returns its path.
///
/// # Errors
/// If it can't be written.
pub fn config(work: Work<'_>, scratch: &Path) -> Result<String> {
    let Work {
        program,
        jobs,
        resumes,
        at_a_time,
    } = work;
    let jobs: Vec<_> = (0..jobs).collect();
    let path = scratch.join("run.toml");
    fs::write(
        &path,
        format!(
            "name = \"run\"\n\
             results_dir = {scratch:?}\n\
             command = [{program:?}]\n\
             working_directory = \"{{output_dir}}\"\n\
             settings.resumes = {resumes}\n\
             environment.RESUMES = \"{resumes}\"\n\
             grid.job = {jobs:?}\n\
             resume.submissions_per_hour = 1000000\n\
             backend.kind = \"local\"\n\
             backend.local.cpus = {at_a_time}\n",
        ),
    )?;
    let path = path.into_os_string().into_string().ok();
    path.context("the target directory is UTF-8")
}
