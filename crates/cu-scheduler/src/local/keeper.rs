//! The thread that keeps this machine's jobs: one loop over requests, ends and deadlines.
//!
//! Only this thread touches processes and the journal, so it needs no locks, and the caller's
//! runtime never blocks on a disk. It waits in one `epoll` for all processes at once.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use tokio::sync::{oneshot, watch};

use super::attempts::{RETRY, Trouble};
use super::gpus::HandingOut;
use super::journal::Journal;
use super::lock::Lock;
use super::record::{Cause, Line, Queued};
use super::slots::Slots;
use super::table::{self, Job, Phase, Table};
use super::warm::Warm;
use crate::{
    Cancel, ClusterJobId, Error, Found, Observation, Submission, SubmissionName, SubmitError,
};

/// The number of attempts to start before handling requests and ends again.
const STARTS_AT_ONCE: usize = 32;

/// How long attempts that are ending are waited for as the backend is dropped.
const FAREWELL: Duration = Duration::from_millis(100);

/// The number by which the fork server is watched. No job has it.
const FORK_SERVER: u64 = 0;

type Answer<T> = oneshot::Sender<T>;

/// A request of the backend to its keeper. If the caller has gone, the answer is dropped.
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
    /// Part of the mark of each process that we start.
    pub token: String,
    /// Part of the id of each submission that we accept.
    pub opening: String,
    pub grace: Duration,
    pub epoll: OwnedFd,
    pub wake: Arc<OwnedFd>,
    pub requests: Receiver<Request>,
    /// Why nothing is started now although slots are free.
    pub trouble: Option<Trouble>,
    /// The times at which a job's next signal is due. Outdated entries are skipped.
    pub timers: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Incremented when an attempt starts or ends.
    pub changes: watch::Sender<u64>,
    pub changed: bool,
    /// What stands by to become an attempt.
    pub warm: Warm,
    /// The jobs whose leaders are children of the fork server, by these.
    pub copies: HashMap<i32, u64>,
    /// Jobs with a process that has ended, or may have.
    pub stirred: BTreeSet<u64>,
    /// Dropped last, so that the directory is ours until then.
    pub _lock: Lock,
}

impl Keeper {
    /// Runs until the backend is dropped.
    pub fn run(mut self) {
        loop {
            if !self.answer_requests() {
                return self.see_out_the_ending();
            }
            if self.stirred.remove(&FORK_SERVER) {
                self.hear_the_fork_server();
            }
            self.see_out_the_dead();
            self.send_due_signals(Instant::now());
            let more = self.start_what_fits();
            self.tend_the_fork_server();
            if std::mem::take(&mut self.changed) {
                self.changes.send_modify(|count| *count += 1);
            }
            self.wait(more);
        }
    }

    /// Waits for attempts that have nothing left but to record their end: then it is known how they ended, and
    /// what they have used counts as used by our children.
    fn see_out_the_ending(&mut self) {
        let begun = Instant::now();
        while self.slots.ending() > 0 && begun.elapsed() < FAREWELL {
            self.hear_the_fork_server();
            self.stirred.extend(self.table.all_running());
            self.see_out_the_dead();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until something happens or the next signal is due. Does not wait if there is `more` to
    /// do.
    fn wait(&mut self, more: bool) {
        let now = Instant::now();
        let next = self.timers.peek().map(|Reverse((at, _))| *at);
        let next = next.into_iter().chain(self.warm.next_deadline()).min();
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
        // `epoll` does not watch requests: its watches may be limited, and requests must always arrive.
        let mut both = [
            PollFd::new(&*self.wake, PollFlags::IN),
            PollFd::new(&self.epoll, PollFlags::IN),
        ];
        match poll(&mut both, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return, // The loop handles everything and returns here.
            // No memory. Sleep for a moment, then handle everything.
            Err(_) => {
                std::thread::sleep(RETRY);
                self.stirred.extend(self.table.all_running());
            }
        }
        if both[0].revents().contains(PollFlags::IN) {
            rustix::io::read(&*self.wake, &mut [0; 8]).ok();
        }
        let mut events = Vec::with_capacity(256);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&self.epoll, buffer, Some(&Timespec::default())).is_ok() {
            let numbers = events.iter().map(|event: &epoll::Event| event.data.u64());
            self.stirred.extend(numbers);
        }
    }

    /// Has it keep enough processes that stand by, and not for too long.
    fn tend_the_fork_server(&mut self) {
        let has_attempts = !self.copies.is_empty();
        if !self.slots.has_plenty_of_descriptors() {
            // Each process that stands by holds one. Attempts need them more.
            return self.warm.make_way(has_attempts);
        }
        let is_watched = match self.warm.replenish(self.slots.running()) {
            Some(new) => watch(&self.epoll, FORK_SERVER, new),
            None => true,
        };
        if !is_watched {
            self.warm.dismiss();
        }
        self.warm.rest(has_attempts);
    }

    /// Waits until so many stand by, if that is wanted.
    fn await_copies(&mut self, starts: usize) {
        let begun = Instant::now();
        while let Some(patience) = self.warm.patience_for(starts)
            && begun.elapsed() < patience
        {
            self.tend_the_fork_server();
            std::thread::sleep(Duration::from_millis(1));
            self.hear_the_fork_server();
        }
    }

    /// Answers all requests. Returns `false` once the backend is dropped.
    fn answer_requests(&mut self) -> bool {
        loop {
            match self.requests.try_recv() {
                Ok(Request::Submit(batch, answer)) => {
                    answer.send(self.submit(batch)).ok();
                }
                Ok(Request::Observe(jobs, answer)) => {
                    let trouble = self.trouble.as_ref().and_then(Trouble::reported);
                    let observations = jobs.iter().map(|job| self.table.observe(job, trouble));
                    answer.send(observations.collect()).ok();
                }
                Ok(Request::Find(names, answer)) => {
                    let trouble = self.trouble.as_ref().and_then(Trouble::reported);
                    let found = names
                        .iter()
                        .filter_map(|name| self.table.find(name, trouble));
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
            if self.table.number_of(&name).is_some() || taken.contains(&name) {
                // The caller's memory is older than our journal. It finds the submission by its
                // name.
                let reason = "this name was submitted before".into();
                answers.push(Err(SubmitError::Uncertain { name, reason }));
                continue;
            }
            if let Some(reason) = self.refusal(&submission) {
                answers.push(Err(SubmitError::Rejected { name, reason }));
                continue;
            }
            match self.journal.number() {
                Ok(number) => {
                    let id = table::new_id(&self.opening, number);
                    let queued = Queued::new(number, id.clone(), &submission);
                    lines.push(Line::Queued(Box::new(queued)));
                    taken.insert(name.clone());
                    answers.push(Ok(id.clone()));
                    let phase = Phase::Queued(Box::new(submission));
                    jobs.push((number, Job { id, name, phase }));
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

    /// Returns why `submission` can never run here.
    fn refusal(&self, submission: &Submission) -> Option<String> {
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
        for directory in [&submission.working_directory, &submission.directory] {
            if directory.to_str().is_none() {
                return Some(format!("the path {} is not UTF-8", directory.display()));
            }
        }
        self.slots.refusal(&submission.resources)
    }

    fn cancel(&mut self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        let numbers = jobs.iter().filter_map(|id| self.table.number(id));
        let numbers: BTreeSet<u64> = numbers.collect();
        let mut running = Vec::new();
        let mut queued = Vec::new();
        let mut lines = Vec::new();
        for number in numbers {
            if let Some(job) = self.table.running(number) {
                if job.ending.is_none() {
                    let cause = Cause::Cancelled;
                    lines.push(Line::Ending { number, cause });
                }
                running.push(number);
            } else if self.table.is_queued(number) {
                let text = "cancelled in the queue".to_owned();
                queued.push((number, Cause::Cancelled, text));
            }
        }
        let ends = self.ends(queued);
        lines.extend(ends.iter().cloned().map(Line::Ended));
        // The caller relies on the cancel, so it must outlive us or be refused.
        self.journal
            .append(&lines)
            .map_err(|error| Error::Unavailable {
                scheduler: "this machine".into(),
                reason: format!("its journal can't be written: {error}"),
            })?;
        for number in running {
            if let Some(running) = self.table.running(number) {
                running.ending.get_or_insert(Cause::Cancelled);
                self.send_end(number, how);
            }
        }
        self.make_known(ends);
        Ok(())
    }

    /// Starts the next jobs of the queue that fit. Returns `true` if there may be more.
    fn start_what_fits(&mut self) -> bool {
        let mut starts = Vec::new();
        // Until these have begun.
        let mut handing_out: Option<HandingOut> = None;
        let none = BTreeSet::new();
        let most = match &self.trouble {
            Some(trouble) if trouble.until > Instant::now() => return false,
            Some(_) => 1,
            None => STARTS_AT_ONCE,
        };
        while starts.len() < most {
            let Some(&turn) = self.table.queue.first() else {
                break;
            };
            let number = turn.number;
            let Some(Job {
                phase: Phase::Queued(submission),
                ..
            }) = self.table.jobs.get(&number)
            else {
                // It was cancelled while it waited.
                self.table.queue.remove(&turn);
                continue;
            };
            if let Some(limit) = self.slots.lacks_descriptors(starts.len()) {
                let reason = format!("of {limit} files that may be open, too few are free");
                self.in_trouble(reason);
                break;
            }
            let resources = &submission.resources;
            if resources.gpus > 0 && handing_out.is_none() && self.slots.has(resources) {
                match HandingOut::begin(&self.token) {
                    Ok(begun) => handing_out = Some(begun),
                    Err(error) => {
                        self.in_trouble(format!("can't look at other processes: {error}"));
                        break;
                    }
                }
            }
            let others = handing_out.as_ref().map_or(&none, |begun| &begun.taken);
            let Some(gpus) = self.slots.take(resources, others) else {
                if self.slots.has(resources) {
                    let names: Vec<_> = others.iter().map(String::as_str).collect();
                    self.pause(
                        format!("other runs use the GPUs {}", names.join(", ")),
                        true,
                    );
                }
                break;
            };
            self.table.queue.remove(&turn);
            starts.push((number, gpus));
        }
        self.await_copies(starts.len());
        let more = starts.len() == most;
        let started = starts.is_empty() || self.start(starts);
        // A journal that can't be shortened is only too long. Writing a line to it still reports
        // errors.
        self.journal.shorten().ok();
        more && started
    }
}

/// Watches a process of job `number` from now on. Returns `false` if that fails.
pub(super) fn watch(epoll: &OwnedFd, number: u64, process: impl AsFd) -> bool {
    let data = epoll::EventData::new_u64(number);
    let added = epoll::add(epoll, process, data, epoll::EventFlags::IN);
    // It may be watched already.
    matches!(added, Ok(()) | Err(rustix::io::Errno::EXIST))
}

/// Stops watching it. A pidfd that is only closed stays in the `epoll` while a child between spawn
/// and `exec` also has it open.
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

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use std::path::Path;

    use super::*;
    use crate::local::LocalOptions;
    use crate::{ClusterState, EndCause, Resources};

    fn open(directory: &Path) -> Keeper {
        let wake = eventfd(0, EventfdFlags::empty()).expect("a descriptor is left");
        let (_, requests) = std::sync::mpsc::channel();
        let options = LocalOptions::new(directory.join("state"));
        let (changes, _) = watch::channel(0);
        Keeper::open(&options, 1, wake.into(), requests, changes).expect("the directory is ours")
    }

    fn submit(keeper: &mut Keeper, directory: &Path, command: [&str; 2]) -> ClusterJobId {
        submit_attempt(keeper, directory, command, (1, 0))
    }

    fn submit_attempt(
        keeper: &mut Keeper,
        directory: &Path,
        command: [&str; 2],
        (job, attempt): (u32, u32),
    ) -> ClusterJobId {
        let submission = Submission {
            name: SubmissionName::new("run", job, attempt).expect("a valid name"),
            command: command.map(str::to_owned).to_vec(),
            environment: Default::default(),
            working_directory: directory.to_owned(),
            directory: directory.to_owned(),
            resources: Resources::default(),
            previous: None,
            avoid_hosts: Vec::new(),
        };
        let answer = keeper.submit(vec![submission]).remove(0);
        answer.expect("there is room in the queue")
    }

    #[test]
    fn a_cancel_that_cannot_be_recorded_is_refused() {
        let directory = tempfile::tempdir().expect("the disk has room");
        let mut keeper = open(directory.path());
        let job = submit(&mut keeper, directory.path(), ["/bin/echo", "started"]);
        let is_queued = |keeper: &Keeper| {
            let number = keeper.table.number(&job);
            number.is_some_and(|it| keeper.table.is_queued(it))
        };
        let jobs = std::slice::from_ref(&job);

        keeper.journal.fill_disk();
        let refused = keeper.cancel(jobs, Cancel::Terminate);
        assert!(matches!(refused, Err(Error::Unavailable { .. })));
        assert!(is_queued(&keeper), "a refused cancel changes nothing");
        drop(keeper);

        let mut keeper = open(directory.path());
        assert!(is_queued(&keeper));
        let promised = keeper.cancel(jobs, Cancel::Terminate);
        promised.expect("the disk has room again");
        drop(keeper);
        assert!(
            !is_queued(&open(directory.path())),
            "an accepted cancel is remembered"
        );
    }

    #[test]
    fn jobs_that_have_begun_go_on_before_others_begin() {
        let directory = tempfile::tempdir().expect("the disk has room");
        let mut keeper = open(directory.path());
        let attempts = [(1, 0), (2, 0), (1, 1), (3, 0), (2, 1)];
        for attempt in attempts {
            submit_attempt(&mut keeper, directory.path(), ["/bin/true", ""], attempt);
        }
        let order = |keeper: &Keeper| {
            let turns = keeper.table.queue.iter().map(|turn| turn.number);
            let names = turns.map(|number| keeper.table.jobs[&number].name.clone());
            let names = names.map(|name| (name.job(), name.attempt()));
            names.collect::<Vec<_>>()
        };
        let expected = [(1, 1), (2, 1), (1, 0), (2, 0), (3, 0)];
        assert_eq!(order(&keeper), expected);
        drop(keeper);
        assert_eq!(order(&open(directory.path())), expected, "read again");
    }

    #[test]
    fn requests_arrive_though_epoll_accepts_no_watch() {
        let directory = tempfile::tempdir().expect("the disk has room");
        let mut keeper = open(directory.path());
        let (requests, receiver) = std::sync::mpsc::channel();
        keeper.requests = receiver;
        keeper.epoll = eventfd(0, EventfdFlags::empty()).expect("a descriptor is left");
        let wake = keeper.wake.clone();
        let keeping = std::thread::spawn(move || keeper.run());
        for _ in 0..3 {
            let (answer, answered) = oneshot::channel();
            let request = Request::Find(Vec::new(), answer);
            requests.send(request).expect("the keeper lives");
            rustix::io::write(&*wake, &1_u64.to_ne_bytes()).expect("it can be woken");
            let found = answered.blocking_recv();
            assert_eq!(found.expect("the keeper answers"), []);
        }
        drop(requests);
        rustix::io::write(&*wake, &1_u64.to_ne_bytes()).expect("it can be woken");
        keeping.join().expect("it ends by itself");
    }

    #[test]
    fn a_process_that_cannot_be_watched_lives_and_is_polled() {
        let directory = tempfile::tempdir().expect("the disk has room");
        let mut keeper = open(directory.path());
        let no_epoll = eventfd(0, EventfdFlags::empty()).expect("a descriptor is left");
        let epoll = std::mem::replace(&mut keeper.epoll, no_epoll);
        let job = submit(&mut keeper, directory.path(), ["/bin/sleep", "1000"]);
        let number = keeper.table.number(&job).expect("it is ours");
        let job = std::slice::from_ref(&job);
        keeper.start_what_fits();
        let is_looked_at =
            |keeper: &Keeper| keeper.stirred.contains(&number) && !keeper.timers.is_empty();
        for _ in 0..2 {
            assert!(is_looked_at(&keeper));
            keeper.see_out_the_dead();
            let leader = keeper
                .table
                .running(number)
                .and_then(|it| it.leader.as_ref());
            assert!(leader.is_some(), "the leader was taken for dead");
        }
        keeper.epoll = epoll;
        keeper.see_out_the_dead();
        assert!(!is_looked_at(&keeper), "it is watched");
        keeper.cancel(job, Cancel::Kill).expect("the disk has room");
        while keeper.table.running(number).is_some() {
            keeper.wait(false);
            keeper.see_out_the_dead();
        }
        let end = keeper.table.observe(&job[0], None).state;
        assert!(matches!(end, ClusterState::Ended(end) if end.cause == EndCause::Cancelled));
    }
}
