//! The table of all submissions, and the answers about them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Instant, SystemTime};

use cu_system::fork_server::Busy;

use super::journal::ENDS_KEPT;
use super::process::{Leader, Leftover};
use super::record::{Cause, Ended};
use crate::{ClusterJobId, ClusterState, Found, Observation, Submission, SubmissionName};

/// All submissions by number.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub jobs: HashMap<u64, Job>,
    names: HashMap<SubmissionName, u64>,
    /// Submissions that wait for a slot, in the order of their turns.
    pub queue: BTreeSet<Turn>,
    /// Submissions that have ended, the oldest first; it is forgotten first.
    ended: VecDeque<u64>,
    host: String,
}

/// The place of a submission in the queue. Jobs that have begun go on before others begin: so a run of many jobs
/// has its first results early, and not all of them at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    is_first_attempt: bool,
    pub number: u64,
}

impl Turn {
    pub fn of(number: u64, name: &SubmissionName) -> Self {
        Self {
            is_first_attempt: name.attempt() == 0,
            number,
        }
    }
}

#[derive(Debug)]
pub(super) struct Job {
    /// The id that the caller got.
    pub id: ClusterJobId,
    pub name: SubmissionName,
    pub phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    Queued(Box<Submission>),
    Running(Box<Running>),
    Ended(Ended),
}

/// An attempt with at least one living process, as far as we know.
#[derive(Debug)]
pub(super) struct Running {
    /// `None` once we have waited for it.
    pub leader: Option<Leader>,
    /// Its process group.
    pub group: i32,
    /// Whether this very backend started it. Only then does nobody else wait for it.
    pub ours: bool,
    pub cpus: u32,
    pub gpus: Vec<u32>,
    /// If it is a copy that may still say that it is done with these.
    pub busy: Option<Busy>,
    /// It has said so, and others may have them.
    pub is_done: bool,
    pub since: SystemTime,
    /// Why we are ending it, if we are.
    pub ending: Option<Cause>,
    /// How the leader ended.
    pub end: Option<Cause>,
    /// Whether to look for processes that have outlived the leader.
    pub search: bool,
    pub leftovers: Vec<Leftover>,
    pub signals: Signals,
}

/// A signal to send to an attempt, and its time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signals {
    pub warn: Option<(Instant, rustix::process::Signal)>,
    pub limit: Option<Instant>,
    pub kill: Option<Instant>,
}

impl Signals {
    pub fn next(&self) -> Option<Instant> {
        let warn = self.warn.map(|(at, _)| at);
        [warn, self.limit, self.kill].into_iter().flatten().min()
    }
}

impl Table {
    /// An empty table of the machine `host`.
    pub fn new(host: String) -> Self {
        Self {
            host,
            ..Self::default()
        }
    }

    pub fn insert(&mut self, number: u64, job: Job) {
        self.names.insert(job.name.clone(), number);
        match job.phase {
            Phase::Queued(_) => drop(self.queue.insert(Turn::of(number, &job.name))),
            Phase::Ended(_) => self.ended.push_back(number),
            Phase::Running(_) => {}
        }
        self.jobs.insert(number, job);
    }

    pub fn number_of(&self, name: &SubmissionName) -> Option<u64> {
        self.names.get(name).copied()
    }

    /// The number of the submission with this id; `None` if it is not ours, or forgotten.
    pub fn number(&self, id: &ClusterJobId) -> Option<u64> {
        let number = last_number(id)?;
        (self.jobs.get(&number)?.id == *id).then_some(number)
    }

    pub fn running(&mut self, number: u64) -> Option<&mut Running> {
        match &mut self.jobs.get_mut(&number)?.phase {
            Phase::Running(running) => Some(running),
            Phase::Queued(_) | Phase::Ended(_) => None,
        }
    }

    /// The numbers of the running submissions.
    pub fn all_running(&self) -> impl Iterator<Item = u64> {
        let running = |job: &Job| matches!(job.phase, Phase::Running(_));
        self.jobs
            .iter()
            .filter(move |(_, job)| running(job))
            .map(|(number, _)| *number)
    }

    pub fn is_queued(&self, number: u64) -> bool {
        let job = self.jobs.get(&number);
        job.is_some_and(|job| matches!(job.phase, Phase::Queued(_)))
    }

    /// Notes an end, and forgets the oldest ends beyond the limit.
    pub fn end(&mut self, number: u64, ended: Ended) {
        if let Some(job) = self.jobs.get_mut(&number) {
            job.phase = Phase::Ended(ended);
            self.ended.push_back(number);
        }
        while self.ended.len() > ENDS_KEPT {
            let oldest = self.ended.pop_front();
            if let Some(job) = oldest.and_then(|number| self.jobs.remove(&number)) {
                self.names.remove(&job.name);
            }
        }
    }

    /// The observation of a submission. `trouble` is why nothing is started now.
    pub fn observe(&self, id: &ClusterJobId, trouble: Option<&str>) -> Observation {
        let job = self.number(id).and_then(|number| self.jobs.get(&number));
        let state = job.map_or(ClusterState::Gone, |job| match &job.phase {
            Phase::Queued(_) => ClusterState::Queued {
                reason: Some(
                    trouble
                        .unwrap_or("all slots of this machine are taken")
                        .into(),
                ),
            },
            Phase::Running(running) => ClusterState::Running {
                since: Some(running.since),
            },
            Phase::Ended(ended) => ClusterState::Ended(ended.to_end()),
        });
        let host = match state {
            ClusterState::Running { .. } | ClusterState::Ended(_) => Some(self.host.clone()),
            _ => None,
        };
        Observation {
            job: id.clone(),
            name: job.map(|job| job.name.clone()),
            state,
            host,
            restarts: Some(0),
        }
    }

    pub fn find(&self, name: &SubmissionName, trouble: Option<&str>) -> Option<Found> {
        let job = self.jobs.get(&self.number_of(name)?)?;
        Some(Found {
            name: name.clone(),
            observation: self.observe(&job.id, trouble),
        })
    }
}

/// The id of the submission with `number`. `opening` is a text that is new each time the directory
/// is opened, since a journal that has lost lines may use a number again.
pub(super) fn new_id(opening: &str, number: u64) -> ClusterJobId {
    ClusterJobId(format!("local-{opening}-{number}"))
}

/// The id in version 1 of the journal.
pub(super) fn id_of_version_1(number: u64) -> ClusterJobId {
    ClusterJobId(format!("local-{number}"))
}

/// The number that an id of this backend ends with.
fn last_number(id: &ClusterJobId) -> Option<u64> {
    id.0.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_ids_have_a_number() {
        let mut table = Table::new("n1".into());
        for (number, id) in [(17, id_of_version_1(17)), (18, new_id("a", 18))] {
            let ended = Ended::for_test(number);
            let job = Job {
                id,
                name: SubmissionName::new("run", 1, 0).unwrap(),
                phase: Phase::Ended(ended),
            };
            table.insert(number, job);
        }
        let number = |text: &str| table.number(&ClusterJobId(text.into()));
        assert_eq!(number("local-17"), Some(17));
        assert_eq!(number("local-a-18"), Some(18));
        for other in [
            "17",
            "local-",
            "local-+17",
            "local-017",
            "LOCAL-17",
            "local-17 ",
            "local-a-17",
            "local-18",
            "local-b-18",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn the_next_signal_is_the_earliest() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let mut signals = Signals::default();
        assert_eq!(signals.next(), None);
        signals.limit = Some(later);
        assert_eq!(signals.next(), Some(later));
        signals.warn = Some((now, rustix::process::Signal::USR1));
        assert_eq!(signals.next(), Some(now));
    }
}
