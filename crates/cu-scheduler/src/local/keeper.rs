//! The thread that keeps this machine's jobs: one loop over requests, ends and deadlines.
//!
//! It alone touches processes and the journal, so nothing here needs a lock, and no call of the
//! caller's runtime blocks on a disk. It waits in one `epoll` for all processes at once.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use tokio::sync::{oneshot, watch};

use super::journal::Journal;
use super::lock::Lock;
use super::record::{Cause, Line, Queued};
use super::slots::Slots;
use super::table::{self, Job, Phase, Table};
use crate::{
    Cancel, ClusterJobId, Error, Found, Observation, Submission, SubmissionName, SubmitError,
};

/// What stands in an event of `epoll` for the request channel; jobs stand by their number.
const REQUESTS: u64 = 0;
/// So many attempts are started before requests and ends are looked at again.
const STARTS_AT_ONCE: usize = 32;

type Answer<T> = oneshot::Sender<T>;

/// What the backend asks of its keeper. An answer that nobody waits for is dropped.
#[derive(Debug)]
pub(super) enum Request {
    Submit(
        Vec<Submission>,
        Answer<Vec<Result<ClusterJobId, SubmitError>>>,
    ),
    Observe(Vec<ClusterJobId>, Answer<Vec<Observation>>),
    Find(Vec<SubmissionName>, Answer<Vec<Found>>),
    Cancel(Vec<ClusterJobId>, Cancel, Answer<Result<(), Error>>),
}

pub(super) struct Keeper {
    pub table: Table,
    pub slots: Slots,
    pub journal: Journal,
    /// In the mark of each process we start.
    pub token: String,
    pub grace: Duration,
    pub epoll: OwnedFd,
    pub wake: Arc<OwnedFd>,
    pub requests: Receiver<Request>,
    /// When some signal of which job is due; outdated entries are passed over.
    pub timers: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Counted up when an attempt started or ended.
    pub changes: watch::Sender<u64>,
    pub changed: bool,
    /// Jobs of which a process ended, or may have.
    pub stirred: BTreeSet<u64>,
    /// Dropped last: until then the folder is ours.
    pub _lock: Lock,
}

impl Keeper {
    /// Until the backend is dropped.
    pub fn run(mut self) {
        let registered = epoll::add(
            &self.epoll,
            &*self.wake,
            epoll::EventData::new_u64(REQUESTS),
            epoll::EventFlags::IN,
        );
        if registered.is_err() {
            return; // The requests' senders see a closed channel and say so.
        }
        loop {
            if !self.answer_requests() {
                return;
            }
            self.see_out_the_dead();
            self.send_due_signals(Instant::now());
            let more = self.start_what_fits();
            if std::mem::take(&mut self.changed) {
                self.changes.send_modify(|count| *count += 1);
            }
            self.wait(more);
        }
    }

    /// Until something happens, or the next signal is due; not at all if there is `more` to do.
    fn wait(&mut self, more: bool) {
        let now = Instant::now();
        let next = self.timers.peek().map(|Reverse((at, _))| *at);
        let timeout = if more {
            Some(Duration::ZERO)
        } else {
            next.map(|at| at.saturating_duration_since(now))
        };
        let timeout = timeout.map(|timeout| {
            Timespec::try_from(timeout).unwrap_or(Timespec {
                tv_sec: 3600,
                tv_nsec: 0,
            })
        });
        let mut events = Vec::with_capacity(256);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&self.epoll, buffer, timeout.as_ref()).is_err() {
            return; // Interrupted: the loop looks at everything and comes back.
        }
        for event in &events {
            match event.data.u64() {
                REQUESTS => {
                    rustix::io::read(&*self.wake, &mut [0; 8]).ok();
                }
                number => {
                    self.stirred.insert(number);
                }
            }
        }
    }

    /// Answers all that was asked; `false` once nobody can ask any more.
    fn answer_requests(&mut self) -> bool {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Submit(batch, answer)) => {
                    answer.send(self.submit(batch)).ok();
                }
                Ok(Request::Observe(jobs, answer)) => {
                    let observations = jobs.iter().map(|job| self.table.observe(job));
                    answer.send(observations.collect()).ok();
                }
                Ok(Request::Find(names, answer)) => {
                    let found = names.iter().filter_map(|name| self.table.find(name));
                    answer.send(found.collect()).ok();
                }
                Ok(Request::Cancel(jobs, how, answer)) => {
                    answer.send(self.cancel(&jobs, how)).ok();
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn submit(&mut self, batch: Vec<Submission>) -> Vec<Result<ClusterJobId, SubmitError>> {
        let mut lines = Vec::new();
        let mut taken = BTreeSet::new();
        let mut answers = Vec::new();
        let mut jobs = Vec::new();
        for submission in batch {
            let name = submission.name.clone();
            if let Some(reason) = self.refusal(&submission, &taken) {
                answers.push(Err(SubmitError::Rejected { name, reason }));
                continue;
            }
            match self.journal.number() {
                Ok(number) => {
                    lines.push(Line::Queued(Box::new(Queued::new(number, &submission))));
                    taken.insert(name.clone());
                    answers.push(Ok(table::id(number)));
                    let phase = Phase::Queued(Box::new(submission));
                    jobs.push((number, Job { name, phase }));
                }
                Err(error) => answers.push(Err(unavailable(name, &error))),
            }
        }
        if let Err(error) = self.journal.append(&lines) {
            let mut names = jobs.into_iter().map(|(_, job)| job.name);
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                if let Some(name) = names.next() {
                    *answer = Err(unavailable(name, &error));
                }
            }
            return answers;
        }
        for (number, job) in jobs {
            self.table.insert(number, job);
        }
        answers
    }

    /// Why `submission` can never run here.
    fn refusal(&self, submission: &Submission, taken: &BTreeSet<SubmissionName>) -> Option<String> {
        let name = &submission.name;
        if let Some(number) = self.table.number_of(name) {
            return Some(format!("it was submitted before, as {}", table::id(number)));
        }
        if taken.contains(name) {
            return Some("it stands twice in one batch".into());
        }
        let Some(program) = submission.command.first() else {
            return Some("it has no command".into());
        };
        if !program.starts_with('/') {
            return Some(format!("the program {program} is not an absolute path"));
        }
        let arguments = submission.command.iter();
        let values = submission.environment.values();
        if arguments.chain(values).any(|text| text.contains('\0')) {
            return Some("an argument or a variable holds a NUL byte".into());
        }
        let names = &mut submission.environment.keys();
        if let Some(wrong) = names.find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Some(format!("no variable can be called {wrong:?}"));
        }
        for folder in [&submission.working_directory, &submission.directory] {
            if folder.to_str().is_none() {
                return Some(format!("the path {} is not UTF-8", folder.display()));
            }
        }
        self.slots.refusal(&submission.resources)
    }

    fn cancel(&mut self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        let numbers = jobs.iter().filter_map(table::number);
        let known: Vec<u64> = numbers
            .filter(|number| self.table.jobs.contains_key(number))
            .collect();
        let lines: Vec<Line> = known
            .iter()
            .filter(|number| {
                let running = self.table.running(**number);
                running.is_some_and(|running| running.ending.is_none())
            })
            .map(|number| Line::Ending {
                number: *number,
                cause: Cause::Cancelled,
            })
            .collect();
        // The caller takes a cancel for done: it must outlive us, or be refused.
        self.journal
            .append(&lines)
            .map_err(|error| Error::Unavailable {
                scheduler: "this machine".into(),
                reason: format!("its journal can't be written: {error}"),
            })?;
        let mut queued = BTreeSet::new();
        for number in known {
            if let Some(running) = self.table.running(number) {
                running.ending.get_or_insert(Cause::Cancelled);
                self.send_end(number, how);
            } else if self.table.is_queued(number) {
                queued.insert(number);
            }
        }
        if !queued.is_empty() {
            let end = |number| {
                (
                    number,
                    Cause::Cancelled,
                    "cancelled in the queue".to_owned(),
                )
            };
            self.record_ends(queued.into_iter().map(end).collect());
        }
        Ok(())
    }

    /// Starts what is next in the queue and fits; `true` if there may be more.
    fn start_what_fits(&mut self) -> bool {
        let mut starts = Vec::new();
        while starts.len() < STARTS_AT_ONCE {
            let Some(&number) = self.table.queue.front() else {
                break;
            };
            let Some(Job {
                phase: Phase::Queued(submission),
                ..
            }) = self.table.jobs.get(&number)
            else {
                // It was cancelled while it waited.
                self.table.queue.pop_front();
                continue;
            };
            let Some(gpus) = self.slots.take(&submission.resources) else {
                break;
            };
            self.table.queue.pop_front();
            starts.push((number, gpus));
        }
        let more = starts.len() == STARTS_AT_ONCE;
        let started = starts.is_empty() || self.start(starts);
        // A journal that can't be shortened is only long: whoever must write it will hear.
        self.journal.shorten().ok();
        more && started
    }
}

/// Watches a process of job `number` from now on.
pub(super) fn watch(epoll: &OwnedFd, number: u64, process: impl AsFd) -> rustix::io::Result<()> {
    let data = epoll::EventData::new_u64(number);
    epoll::add(epoll, process, data, epoll::EventFlags::IN)
}

/// No longer watches it. A pidfd that is merely closed would stay in the `epoll` for as long as a
/// child between spawn and `exec` has it open too.
pub(super) fn unwatch(epoll: &OwnedFd, process: impl AsFd) {
    epoll::delete(epoll, process).ok();
}

fn unavailable(name: SubmissionName, error: &std::io::Error) -> SubmitError {
    SubmitError::Unavailable {
        name,
        reason: format!("the journal of this machine's jobs can't be written: {error}"),
        retry_after: None,
    }
}
