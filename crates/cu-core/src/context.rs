//! What all tasks of a main process share: the run, its scheduler, the clock, the ways back to the loop
//! and to people.

use std::sync::Arc;

use cu_protocol::{Attempt, JobId, RunId};
use cu_scheduler::{Scheduler, SubmissionName};
use cu_system::causes::in_one_line;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::inbox::{Item, Reply, Sender};
use crate::machine::{Event, one_line};
use crate::{Level, Limit, Names, Notice, RunDir};

/// Cheap to clone: each task takes one along.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub run_dir: RunDir,
    pub run: RunId,
    pub scheduler: Arc<dyn Scheduler>,
    pub clock: Clock,
    pub sender: Sender,
    pub notices: mpsc::UnboundedSender<Notice>,
    pub names: Names,
}

impl Context {
    /// Hands an event to the loop.
    pub fn happened(&self, job: JobId, event: Event) {
        let reply = Reply::Nobody;
        // Without a loop the event is lost, and the next main process finds out by itself.
        let _ = self.sender.send(Item::Happened { job, event, reply });
    }

    /// The scheduler did not answer.
    pub fn silent(&self, error: &cu_scheduler::Error) {
        tracing::warn!("{}", in_one_line(error));
        let _ = self.sender.send(Item::from(error));
    }

    /// Has people read about the run.
    pub fn notify(&self, level: Level, text: &str) {
        self.notify_of(None, level, text, None);
    }

    /// Has people read about the run, or about `job`.
    pub fn notify_of(&self, job: Option<JobId>, level: Level, text: &str, limit: Option<Limit>) {
        let notice = Notice {
            at: self.clock.now(),
            job,
            level,
            text: one_line(text),
            limit,
        };
        let line = (self.names.with_key)(&notice.to_string(), limit);
        match level {
            Level::Info => tracing::info!("{line}"),
            Level::Warning => tracing::warn!("{line}"),
            Level::Error => tracing::error!("{line}"),
        }
        let _ = self.notices.send(notice);
    }

    /// The name of an attempt at the scheduler.
    pub fn submission_name(&self, job: JobId, attempt: Attempt) -> SubmissionName {
        submission_name(self.run, job, attempt)
    }
}

/// The name of an attempt at the scheduler.
pub(crate) fn submission_name(run: RunId, job: JobId, attempt: Attempt) -> SubmissionName {
    SubmissionName::new(run.to_string(), job.0, attempt.0)
        .expect("32 hexadecimal digits are letters and digits")
}
