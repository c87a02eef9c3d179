//! What happened in a run, for programs. It is not stored: the machine takes in the recorded events once more.

use std::collections::HashMap;

use cu_protocol::{Attempt, JobId, Message, Pushed, Timestamp};
use serde::Serialize;

use crate::machine::{Effects, Event, Job, Machine, Order, why};
use crate::store::{Reader, state_without_us};
use crate::{AttemptEnd, AttemptReport, JobState, Result, RunState};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Happened {
    /// When it was recorded. It never decreases, unless the clock of the main process was set.
    pub at: Timestamp,
    /// The job; `None` for the end of the run.
    pub job: Option<JobId>,
    /// The attempt, if it happened to one.
    pub attempt: Option<Attempt>,
    /// What happened.
    pub what: What,
}

/// What can happen. The names in JSON are stable; more may be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// The scheduler took the attempt.
    Submitted {
        /// Its name for it.
        cluster_job_id: String,
    },
    /// The scheduler did not take it, or it is not known whether it did. It is tried again unless the job ends.
    NotSubmitted {
        /// The words of the scheduler.
        reason: String,
    },
    /// The program of the attempt runs.
    Started {
        /// Where, if that is known.
        host: Option<String>,
    },
    /// The program was asked to stop, and has ended by now or is about to.
    Stopped {
        /// How long it had run when it was first asked.
        after_milliseconds: u64,
        /// What was sent to whom.
        sent: Vec<Pushed>,
    },
    /// The attempt has ended.
    Ended {
        /// How.
        end: Option<AttemptEnd>,
        /// The exit code of its program, if that exited.
        exit_code: Option<i32>,
        /// The signal that ended its program, if one did.
        signal: Option<i32>,
        /// The same for people.
        detail: Option<String>,
    },
    /// A person ordered something, or `resume.max_failures` did (`give_up`), or early stopping (`end_early`).
    Ordered {
        /// What: `stop`, `pause`, `continue`, `retry`, `checkpoint`, `give_up` or `end_early`.
        order: &'static str,
    },
    /// The job has ended. It may be retried.
    JobEnded {
        /// Completed, failed or cancelled.
        state: JobState,
        /// Why, in one sentence.
        why: String,
    },
    /// All jobs have ended.
    RunEnded {
        /// Completed, failed or stopped.
        state: RunState,
    },
}

/// The history of a run up to some moment.
#[derive(Debug)]
pub struct History {
    machine: Machine,
    /// The number of the last event that was taken in.
    last: i64,
    /// The newest attempt of each job whose start was told.
    started: HashMap<JobId, Attempt>,
}

impl History {
    /// The beginning of the run that `reader` reads.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::Read`](crate::Error::Read).
    pub fn of(reader: &Reader) -> Result<Self> {
        Ok(Self {
            machine: reader.beginning()?,
            last: 0,
            started: HashMap::new(),
        })
    }

    /// The events since the last call, in the order in which they were recorded. Of very much, some is left for the
    /// next call; `None` says that nothing is left.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn news(&mut self, reader: &Reader) -> Result<Option<Vec<Happened>>> {
        let mut news = Vec::new();
        let recorded = reader.recorded(self.last)?;
        if recorded.is_empty() {
            return Ok(None);
        }
        // Read after the events, so that it counts all jobs that they mention.
        let all = reader.all_jobs()?;
        for (number, at, job, event) in recorded {
            self.last = number;
            if event == Event::Added {
                self.machine.add(reader.job_plan(job)?.exit_rules);
            }
            // At most as many as there are job ids.
            let known = self.machine.jobs().len() as u32;
            self.machine.set_to_come(all.saturating_sub(known));
            self.take(at, job, &event, &mut news);
        }
        Ok(Some(news))
    }

    fn take(&mut self, at: Timestamp, id: JobId, event: &Event, news: &mut Vec<Happened>) {
        let before = self.machine.job(id).map(Job::state);
        // A report that came too late is recorded, and changes nothing.
        let attempt = attempt_of(event);
        let active = self.machine.job(id).and_then(Job::active);
        let is_late = attempt.is_some() && attempt != active.map(|active| active.attempt);
        let mut effects = Effects::default();
        self.machine.step(at, id, event, &mut effects);
        let mut add = |attempt, what| {
            news.push(Happened {
                at,
                job: Some(id),
                attempt,
                what,
            });
        };
        if let Some(what) = said(event).filter(|_| !is_late) {
            if let (What::Started { .. }, Some(attempt)) = (&what, attempt) {
                self.started.insert(id, attempt);
            }
            add(attempt, what);
        }
        for (_, report) in effects.ended {
            let attempt = report.attempt;
            // The record of its end may come before the message of its start.
            let is_told = self.started.insert(id, attempt) == Some(attempt);
            if report.started.is_some() && !is_told {
                let host = report.host.clone();
                add(Some(attempt), What::Started { host });
            }
            add(Some(attempt), ended(report));
        }
        let after = self.machine.job(id).map(Job::state);
        if before == after || !after.is_some_and(JobState::is_settled) {
            return;
        }
        if let (Some(job), Some(state)) = (self.machine.job(id), after) {
            let why = why(job, self.machine.policy()).sentence;
            add(None, What::JobEnded { state, why });
        }
        let counts = self.machine.tally().counts;
        if counts.settled() == counts.total {
            news.push(Happened {
                at,
                job: None,
                attempt: None,
                what: What::RunEnded {
                    state: state_without_us(counts),
                },
            });
        }
    }
}

fn attempt_of(event: &Event) -> Option<Attempt> {
    match event {
        Event::Said { attempt, .. }
        | Event::Submitted { attempt, .. }
        | Event::SubmitRejected { attempt, .. }
        | Event::SubmitDelayed { attempt, .. }
        | Event::SubmitUncertain { attempt, .. } => Some(*attempt),
        _ => None,
    }
}

/// What an event says by itself, whatever follows from it.
fn said(event: &Event) -> Option<What> {
    Some(match event {
        Event::Submitted { cluster_job, .. } => What::Submitted {
            cluster_job_id: cluster_job.to_string(),
        },
        Event::SubmitRejected { reason, .. }
        | Event::SubmitDelayed { reason, .. }
        | Event::SubmitUncertain { reason, .. } => What::NotSubmitted {
            reason: reason.clone(),
        },
        Event::Said { message, .. } => match message {
            Message::Started(started) => What::Started {
                host: Some(started.host.clone()),
            },
            Message::Stopped(stopped) => What::Stopped {
                after_milliseconds: stopped.after_milliseconds,
                sent: stopped.pushes.clone(),
            },
            _ => return None,
        },
        Event::Ordered(order) => What::Ordered {
            order: match order {
                Order::Stop => "stop",
                Order::Pause => "pause",
                Order::Continue => "continue",
                Order::Retry => "retry",
                Order::Checkpoint => "checkpoint",
                Order::GiveUp => "give_up",
                Order::EndEarly => "end_early",
            },
        },
        _ => return None,
    })
}

fn ended(report: AttemptReport) -> What {
    What::Ended {
        end: report.end,
        exit_code: report.exit_code,
        signal: report.signal,
        detail: report.detail,
    }
}
