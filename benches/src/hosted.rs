//! A main process over a cluster in memory, as a process of its own, so that what it uses can be told from
//! what its attempts use.
//!
//! A benchmark calls [`serve_if_asked`] first thing in `main`: its own executable is the main process.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use cu_core::{Finish, JobPlan, LoopOptions, Policy, ResumeLoop, RunDir, RunPlan, create_run};

use crate::cluster::{Attempts, Cluster};

/// The first word of the command line of a main process.
const WORD: &str = "main-process";
/// The line that it prints once so many attempts have been submitted.
const AT_WORK: &str = "at work";

/// Makes a run of so many equal jobs, which no budget ends.
///
/// # Errors
/// If it can't be made.
pub fn make_run(directory: &Path, jobs: u32) -> Result<RunDir> {
    let run = RunDir::new(directory);
    let policy = Policy::default().with(|policy| {
        policy.stuck_after = NonZeroU32::MAX;
        policy.submissions_per_hour = NonZeroU32::MAX;
        policy.max_submitted = NonZeroU32::new(1000);
    });
    let job = JobPlan::new(vec!["/bin/true".to_owned()]);
    let plan = RunPlan::new("benchmark".to_owned(), policy, vec![job; jobs as usize]);
    create_run(&run, &plan)?;
    Ok(run)
}

/// A main process.
#[derive(Debug)]
pub struct MainProcess {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl MainProcess {
    /// Starts one. It is at work when this returns: the first attempts are with the cluster.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(run: &RunDir, attempts: Attempts) -> Result<Self> {
        let last = match attempts {
            Attempts::Run => "run".to_owned(),
            Attempts::ResumeUntil(last) => last.to_string(),
        };
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(run.path())
            .arg(last)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().context("its output is a pipe")?;
        let mut main_process = Self {
            child,
            said: BufReader::new(said),
        };
        let mut line = String::new();
        main_process.said.read_line(&mut line)?;
        ensure!(line.trim_end() == AT_WORK, "the main process said {line:?}");
        Ok(main_process)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// If it failed.
    pub fn has_ended(&mut self) -> Result<bool> {
        let ended = self.child.try_wait()?;
        let failed = ended.filter(|status| !status.success());
        if let Some(status) = failed {
            bail!("the main process: {status}");
        }
        Ok(ended.is_some())
    }
}

impl Drop for MainProcess {
    fn drop(&mut self) {
        // One that has ended can't be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is a main process if the command line says so; `false` if this is the benchmark itself.
///
/// # Errors
/// Those of the main process.
pub fn serve_if_asked() -> Result<bool> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [word, directory, last] = &words[..] else {
        return Ok(false);
    };
    if word != WORD {
        return Ok(false);
    }
    let attempts = match &**last {
        "run" => Attempts::Run,
        last => Attempts::ResumeUntil(last.parse()?),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(RunDir::new(directory), attempts))?;
    Ok(true)
}

async fn serve(run: RunDir, attempts: Attempts) -> Result<()> {
    let cluster = Arc::new(Cluster::new(attempts));
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let options = LoopOptions::new(vec!["/bin/true".to_owned()], loopback);
    let resume_loop = ResumeLoop::open(run, cluster, options).await?;
    let mut status = resume_loop.status();
    let told = tokio::spawn(async move {
        let is_at_work = status.wait_for(|status| status.attempts > 0).await.is_ok();
        if is_at_work {
            let mut out = std::io::stdout();
            // Without a reader nobody waits.
            let _ = writeln!(out, "{AT_WORK}").and_then(|()| out.flush());
        }
    });
    let finish = resume_loop.run().await?;
    told.await?;
    match finish {
        Finish::Settled(_) => Ok(()),
        Finish::Detached(_) => bail!("nobody detached it"),
    }
}
