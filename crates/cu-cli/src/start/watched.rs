//! The main process of a run: the resume loop with a view, interruptions and requests.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cu_core::{Finish, LoopOptions, Operator, Reader, ResumeLoop, RunDir, Status, Update};
use cu_protocol::{JobId, OperatorAnswer, OperatorRequest};
use cu_scheduler::{Reach, Scheduler};
use cu_system::threads;

use crate::backend;
use crate::cluster_utils::interim;
use crate::config::Wanted;
use crate::error::{Error, Result};
use crate::git;
use crate::optimize;
use crate::optimize::beside::{Beside, Looking};
use crate::optimize::early::Early;
use crate::optimize::kept::Kept;
use crate::start::background;
use crate::start::interrupt::{Interruption, Interrupts, Reaction, Sources};
use crate::text::last_line;
use crate::updates;
use crate::view::notices::Notices;
use crate::view::waiting::{self, Waiting};
use crate::view::{View, limit};

/// For the log: nobody sees the terminal any more.
const HANG_UP: &str = "the terminal was closed; a main process that was started with --detach, or with \
                       nohup, continues then";

/// How a main process ended.
#[derive(Debug)]
pub enum Outcome {
    /// All jobs have ended.
    Settled(Status),
    /// The main process ends, attempts continue.
    Detached(Status),
    /// A second Ctrl-C ended it at once.
    Ended,
    /// It has ended so that the run is opened again, with what `cu update` has changed.
    Updated,
}

/// Works on a run until its jobs have ended, or the main process is to end. Opens it again whenever it is updated:
/// an update is taken over as at `cu resume`. `is_ready` is called each time it is open.
///
/// # Errors
/// If another main process holds the run, or it can't be opened, or the loop has to give up.
pub fn work(
    run: &RunDir,
    reports: bool,
    view: &mut dyn View,
    interrupts: &mut Interrupts,
    mut is_ready: impl FnMut() -> Result<()>,
) -> Result<Outcome> {
    loop {
        updates::put_in_place(run)?;
        if Reader::open(run)?.status()?.ended.is_none() {
            git::restore(run)?;
        }
        let working = async {
            let scheduler = backend::of_run(run).await?;
            let main_process = MainProcess::open(run.clone(), scheduler).await?;
            is_ready()?;
            let mut main_process = main_process.with_report(reports);
            main_process.takes_updates = true;
            main_process.run(view, interrupts).await
        };
        // With it end the last tasks that hold the backend, which would be found in use.
        match background::runtime()?.block_on(working)? {
            Outcome::Updated => {}
            outcome => return Ok(outcome),
        }
    }
}

/// A main process that holds the run and listens.
#[derive(Debug)]
pub struct MainProcess {
    run: RunDir,
    /// Whether it ends for an update, to be opened again.
    takes_updates: bool,
    resume_loop: ResumeLoop,
    reports: bool,
}

impl MainProcess {
    /// Takes the run.
    ///
    /// # Errors
    /// If another main process holds it, or it can't be opened.
    pub async fn open(run: RunDir, scheduler: Arc<dyn Scheduler>) -> Result<Self> {
        // Opening the run removes the updates that have it.
        updates::put_in_place(&run)?;
        let listen = match scheduler.capabilities().reach {
            Reach::ThisMachine => Ipv4Addr::LOCALHOST,
            Reach::OtherMachines => Ipv4Addr::UNSPECIFIED,
        };
        let supervisor = vec![this_program()?, "exec".to_owned()];
        let mut options = LoopOptions::new(supervisor, IpAddr::V4(listen));
        options.names = limit::NAMES;
        tracing::info!(process = std::process::id(), %scheduler, "a main process opens the run");
        let source = optimize::source_of(&run)?;
        let mut resume_loop = ResumeLoop::open(run.clone(), scheduler, options).await?;
        if let Some(source) = source {
            resume_loop = resume_loop.with_source(source)?;
        }
        Ok(Self {
            run,
            takes_updates: false,
            resume_loop,
            reports: false,
        })
    }

    /// The caller reports failed jobs at the end of the run, so the last failures are not printed before.
    pub fn with_report(mut self, reports: bool) -> Self {
        self.reports = reports;
        self
    }

    /// Asks the loop for something before it runs. The answer comes while it does, or at its end.
    pub fn ask(
        &self,
        request: OperatorRequest,
    ) -> impl Future<Output = OperatorAnswer> + Send + use<> {
        self.resume_loop.operator().ask(request)
    }

    /// Detaches the loop after this time, unless it has ended by then.
    pub fn detach_after(&self, time: Duration) {
        let operator = self.resume_loop.operator();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            operator.ask(OperatorRequest::Detach).await
        });
    }

    /// Runs the loop until all jobs have ended or an interruption ends it.
    ///
    /// # Errors
    /// If the loop has to give up.
    pub async fn run(
        mut self,
        view: &mut dyn View,
        interrupts: &mut Interrupts,
    ) -> Result<Outcome> {
        let reports = self.reports;
        let mut sources = Sources::listen()?;
        let mut status = self.resume_loop.status();
        let mut news = self.resume_loop.notices();
        let mut notices = Notices::default();
        let operator = self.resume_loop.operator();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut waiting = Waiting::default();
        let (mut is_updated, mut is_interrupted) = (false, false);
        let looking = Looking::start(&self.run, beside(&self.run, &operator), status.clone());
        let mut running = pin!(self.resume_loop.run());
        view.status(&status.borrow_and_update().clone(), Instant::now());
        let finish = loop {
            tokio::select! {
                finish = &mut running => break finish?,
                Ok(()) = status.changed() => {
                    let now = status.borrow_and_update().clone();
                    view.status(&now, Instant::now());
                }
                Some(notice) = news.recv() => notices.add(notice),
                _ = tick.tick() => {
                    let now = Instant::now();
                    let status = status.borrow();
                    let report_follows = reports && status.jobs.settled() == status.jobs.total;
                    let lines = notices.take(report_follows, |job| last_line_of(&self.run, job));
                    lines.iter().for_each(|line| view.notice(line));
                    view.tick(now);
                    if self.takes_updates && !is_updated && Update::are_pending(&self.run) {
                        is_updated = true;
                        // The loop refuses only if it has ended.
                        drop(operator.ask(OperatorRequest::Detach));
                    }
                    if waiting.is_due(&status, now)
                        && let Some(reason) = waiting::reason(&status)
                        && waiting.is_news(&reason)
                    {
                        tracing::info!("{reason}");
                        view.notice(&reason);
                    }
                }
                interruption = sources.next() => match interrupts.react(interruption) {
                    Reaction::Request(request) => {
                        if interruption == Interruption::HangUp {
                            tracing::info!("{HANG_UP}");
                        }
                        view.go_on();
                        is_interrupted = true;
                        // The loop refuses an interruption only if it has ended.
                        drop(operator.ask(request));
                    }
                    Reaction::Question => {
                        view.pause();
                        sources.ask();
                    }
                    Reaction::GoOn => view.go_on(),
                    Reaction::EndNow => {
                        tracing::info!("the main process ends at once: Ctrl-C was pressed twice");
                        view.pause();
                        return Ok(Outcome::Ended);
                    }
                },
            }
        };
        drop(looking);
        // The last notices are still unread.
        while let Ok(notice) = news.try_recv() {
            notices.add(notice);
        }
        let report_follows = reports && matches!(finish, Finish::Settled(_));
        let lines = notices.take(report_follows, |job| last_line_of(&self.run, job));
        lines.iter().for_each(|line| view.notice(line));
        view.pause();
        Ok(match finish {
            Finish::Settled(status) => {
                tracing::info!("the main process ends: all jobs have ended");
                Outcome::Settled(status)
            }
            // The next main process takes the update over if a person has ended this one meanwhile.
            Finish::Detached(_) if is_updated && !is_interrupted => {
                tracing::info!("the run is opened again, for it was updated");
                Outcome::Updated
            }
            Finish::Detached(status) => {
                tracing::info!("the main process ends: it was detached; attempts continue");
                Outcome::Detached(status)
            }
        })
    }
}

/// The last line that the newest attempt of a job has printed, unless the file server is slow: the loop waits for
/// this.
fn last_line_of(run: &RunDir, job: JobId) -> Option<String> {
    const PATIENCE: Duration = Duration::from_millis(200);
    let attempts = run.attempts(job);
    let read = threads::within("last line", PATIENCE, move || {
        let entries = std::fs::read_dir(&attempts).ok()?.flatten();
        let numbers = entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        let newest = attempts.join(numbers.max()?.to_string());
        last_line::of_attempt(&newest, 1).pop()
    });
    read.flatten()
}

/// What looks at a run, in this order: a directory is removed once it was looked at.
fn beside(run: &RunDir, operator: &Operator) -> Vec<Box<dyn Beside>> {
    let wanted = Wanted::of_run(run);
    let early = wanted
        .as_ref()
        .and_then(|wanted| Early::new(run, wanted, operator.clone()));
    let early = early.map(|it| Box::new(it) as Box<dyn Beside>);
    let kept = wanted
        .as_ref()
        .and_then(|wanted| Kept::new(run, wanted))
        .map(|it| Box::new(it) as Box<dyn Beside>);
    let results = interim::of(run);
    early.into_iter().chain(results).chain(kept).collect()
}

/// The absolute path of this program: attempts start it.
///
/// # Errors
/// If it can't be found, or is not valid UTF-8.
pub fn this_program() -> Result<String> {
    let executable = crate::this_program::path().map_err(Error::system("find this program"))?;
    executable.into_os_string().into_string().map_err(|path| {
        let path = path.to_string_lossy().into_owned();
        Error::usage_hint(
            format!("the path of cu is not valid UTF-8: {path}"),
            "install cu under another path",
        )
    })
}
