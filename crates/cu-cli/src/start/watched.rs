//! The main process of a run: the resume loop with a view, interruptions and requests.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cu_core::{Finish, LoopOptions, ResumeLoop, RunDir, Status};
use cu_protocol::{OperatorAnswer, OperatorRequest};
use cu_scheduler::{Reach, Scheduler};

use crate::error::{Error, Result};
use crate::start::interrupt::{Interruption, Interrupts, Reaction, Sources};
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
}

/// A main process that holds the run and listens.
#[derive(Debug)]
pub struct MainProcess {
    resume_loop: ResumeLoop,
    reports: bool,
}

impl MainProcess {
    /// Takes the run.
    ///
    /// # Errors
    /// If another main process holds it, or it can't be opened.
    pub async fn open(run: RunDir, scheduler: Arc<dyn Scheduler>) -> Result<Self> {
        let listen = match scheduler.capabilities().reach {
            Reach::ThisMachine => Ipv4Addr::LOCALHOST,
            Reach::OtherMachines => Ipv4Addr::UNSPECIFIED,
        };
        let supervisor = vec![this_program()?, "exec".to_owned()];
        let mut options = LoopOptions::new(supervisor, IpAddr::V4(listen));
        options.names = limit::NAMES;
        tracing::info!(process = std::process::id(), %scheduler, "a main process opens the run");
        let resume_loop = ResumeLoop::open(run, scheduler, options).await?;
        Ok(Self {
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
                    let lines = notices.take(report_follows);
                    lines.iter().for_each(|line| view.notice(line));
                    view.tick(now);
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
        // The last notices are still unread.
        while let Ok(notice) = news.try_recv() {
            notices.add(notice);
        }
        let report_follows = reports && matches!(finish, Finish::Settled(_));
        let lines = notices.take(report_follows);
        lines.iter().for_each(|line| view.notice(line));
        view.pause();
        Ok(match finish {
            Finish::Settled(status) => {
                tracing::info!("the main process ends: all jobs have ended");
                Outcome::Settled(status)
            }
            Finish::Detached(status) => {
                tracing::info!("the main process ends: it was detached; attempts continue");
                Outcome::Detached(status)
            }
        })
    }
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
