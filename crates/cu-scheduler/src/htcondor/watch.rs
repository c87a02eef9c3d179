//! Watches jobs: by the event log first, by the queue and the history for what it does not show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ad::{Ad, Status};
use super::event::Id;
use super::event_log::EventLog;
use super::options::{HtcondorOptions, Resume};
use super::queue::Commands;
use super::remove::{self, FREED};
use super::state::{Rules, Verdict, Word, judge};
use super::table::{Phase, Table};
use super::ticket::Tickets;
use super::why_queued::{self, Findings};
use crate::{ClusterEnd, ClusterJobId, ClusterState, EndCause, Error, Observation, SubmissionName};

/// How often to look at the log. Nothing reports the growth of a file from another machine.
const LOOK: Duration = Duration::from_millis(100);
/// How soon another look is worth it at what no event shows.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long an answer must stand that the log does not explain.
const DOUBT: Duration = Duration::from_secs(5);
/// How long queue and history must lack a job that waits or runs by the log.
const DOUBT_OF_LOG: Duration = Duration::from_secs(30);

/// Our knowledge of the jobs, and how long it is worth believing.
#[derive(Debug)]
pub(super) struct Watch {
    known: Mutex<Known>,
    pub(super) tickets: Tickets,
    rules: Rules,
    resume: Resume,
    poll: Duration,
}

#[derive(Debug)]
struct Known {
    log: EventLog,
    table: Table,
    /// When the queue was asked last.
    asked: Option<Instant>,
    /// When somebody looked last, or was woken to look.
    looked: Instant,
    /// Whether that look left something in doubt.
    in_doubt: bool,
    /// Jobs whose end was reported and that are still in the queue for nothing.
    leftovers: BTreeSet<Id>,
    /// Why jobs wait.
    findings: Findings,
}

/// The answers of queue and history about the jobs in question.
#[derive(Debug, Default)]
struct Answers {
    /// How many events the log had of each when the queue was asked.
    asked: BTreeMap<Id, u64>,
    queue: BTreeMap<Id, Ad>,
    history: BTreeMap<Id, Ad>,
}

impl Answers {
    fn word(&self, id: Id) -> Word<'_> {
        if let Some(ad) = self.queue.get(&id) {
            Word::Queue(ad)
        } else if let Some(ad) = self.history.get(&id) {
            Word::History(ad)
        } else if self.asked.contains_key(&id) {
            Word::Nowhere
        } else {
            Word::NotAsked
        }
    }

    /// Whether the log has gone on since the queue was asked: then it is the younger word.
    fn is_outdated(&self, table: &Table, id: Id) -> bool {
        let now = table.job(id).map(|job| job.events);
        let then = self.asked.get(&id);
        then.is_some_and(|then| now.is_some_and(|now| now > *then))
    }

    fn ad(&self, id: Id) -> Option<&Ad> {
        self.queue.get(&id).or_else(|| self.history.get(&id))
    }
}

impl Watch {
    pub fn new(state_dir: &Path, tickets: Tickets, options: &HtcondorOptions) -> Self {
        let known = Known {
            log: EventLog::new(state_dir.join("events.log")),
            table: Table::new(tickets.clone()),
            asked: None,
            looked: Instant::now(),
            in_doubt: false,
            leftovers: BTreeSet::new(),
            findings: Findings::default(),
        };
        Self {
            known: Mutex::new(known),
            tickets,
            rules: Rules {
                holds: options.holds.clone(),
                resume_exit_code: options.resume_exit_code.get().into(),
                access_point: options.access_point.clone(),
            },
            resume: options.resume,
            poll: options.poll,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the log on, and gives what it says to `look`.
    pub fn up_to_date<T>(
        &self,
        commands: &Commands,
        look: impl FnOnce(&mut Table) -> T,
    ) -> Result<T, Error> {
        let known = &mut *self.known();
        let events = known.log.read();
        let events = events.map_err(|error| {
            commands.unavailable(format!("the event log can't be read: {error}"))
        })?;
        for event in events {
            known.table.apply(event);
        }
        Ok(look(&mut known.table))
    }

    /// Whether the log has grown since it was read.
    pub fn has_news(&self) -> bool {
        self.known().log.has_more()
    }

    /// The state of `jobs`.
    pub async fn observe(
        &self,
        commands: &Commands,
        jobs: &[ClusterJobId],
    ) -> Result<Vec<Observation>, Error> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let ids: BTreeSet<Id> = jobs.iter().filter_map(|job| job.0.parse().ok()).collect();
        let answers = self.ask(commands, &ids).await?;
        let states = self.conclude(commands, &ids, &answers)?;
        self.free_leftovers(commands).await;
        let observation = |job: &ClusterJobId| {
            let known = job.0.parse().ok().and_then(|id: Id| states.get(&id));
            known.cloned().unwrap_or_else(|| Observation {
                job: job.clone(),
                name: None,
                state: ClusterState::Gone,
                host: None,
                restarts: None,
            })
        };
        Ok(jobs.iter().map(observation).collect())
    }

    /// Asks queue and history about those of `ids` that the log leaves open.
    async fn ask(&self, commands: &Commands, ids: &BTreeSet<Id>) -> Result<Answers, Error> {
        let asked = self.known().asked;
        let stale = asked.is_none_or(|at| at.elapsed() + LOOK >= self.poll);
        let (open, runs) = self.up_to_date(commands, |table| {
            let is_open = |id: &Id| match self.judge(table, *id, Word::NotAsked) {
                Verdict::State(ClusterState::Ended(_)) => false,
                Verdict::State(_) => stale || table.job(*id).is_some_and(|it| it.doubt.is_some()),
                Verdict::Ask | Verdict::Doubt(_) => true,
            };
            let events = |id: &Id| table.job(*id).map_or(0, |job| job.events);
            let open: BTreeMap<Id, u64> = ids
                .iter()
                .filter(|id| is_open(id))
                .map(|id| (*id, events(id)))
                .collect();
            let run = |id: &Id| Some(table.job(*id)?.first.as_ref()?.run().to_owned());
            let runs: BTreeSet<String> = open.keys().filter_map(run).collect();
            (open, runs)
        })?;
        if open.is_empty() {
            return Ok(Answers::default());
        }
        let asked: Vec<Id> = open.keys().copied().collect();
        let queue = commands.ask_queue(&asked, &runs).await?;
        self.known().asked = Some(Instant::now());
        let mut answers = Answers {
            asked: open,
            ..Answers::default()
        };
        answers.queue = self.ours(commands, queue)?;
        self.explain(commands, &mut answers.queue).await;
        let unexplained = self.up_to_date(commands, |table| {
            for ad in answers.queue.values() {
                if let Some(name) = &ad.name {
                    table.note(ad.id, name.clone());
                }
            }
            let is_unexplained = |id: &Id| {
                let verdict = self.judge(table, *id, answers.word(*id));
                let nowhere = matches!(answers.word(*id), Word::Nowhere);
                nowhere && !matches!(verdict, Verdict::State(ClusterState::Ended(_)))
            };
            let unexplained = answers.asked.keys().copied();
            unexplained.filter(is_unexplained).collect::<Vec<Id>>()
        })?;
        if !unexplained.is_empty() {
            let past = commands.ask_history(&unexplained).await?;
            answers.history = self.ours(commands, past)?;
        }
        Ok(answers)
    }

    /// The ads that are of our jobs.
    fn ours(&self, commands: &Commands, ads: Vec<Ad>) -> Result<BTreeMap<Id, Ad>, Error> {
        self.up_to_date(commands, |table| {
            let is_ours = |ad: &Ad| ad.is_of(table.job(ad.id).and_then(|job| job.first.as_ref()));
            let ours = ads.into_iter().filter(is_ours);
            ours.map(|ad| (ad.id, ad)).collect()
        })
    }

    /// Removes those of `ids` that are our jobs, and ignores those that are not, or don't exist.
    pub async fn remove(&self, commands: &Commands, ids: &[Id], reason: &str) -> Result<(), Error> {
        let jobs: Vec<(Id, Option<SubmissionName>)> = self.up_to_date(commands, |table| {
            let first = |id: &Id| table.job(*id).and_then(|job| job.first.clone());
            ids.iter().map(|id| (*id, first(id))).collect()
        })?;
        remove::remove(commands, &jobs, reason).await
    }

    /// Adds to the ads of jobs that wait what is known of why, and finds out more if it is time.
    async fn explain(&self, commands: &Commands, queue: &mut BTreeMap<Id, Ad>) {
        let chosen = self.known().findings.choose(queue.values());
        if let Some(ad) = chosen
            && let Some(found) = why_queued::analyse(commands, &ad).await
        {
            self.known().findings.note(&ad, found);
        }
        self.known().findings.fill_in(queue.values_mut());
    }

    /// The state of `ids` by the log and the answers together.
    fn conclude(
        &self,
        commands: &Commands,
        ids: &BTreeSet<Id>,
        answers: &Answers,
    ) -> Result<BTreeMap<Id, Observation>, Error> {
        let mut in_doubt = false;
        let mut leftovers = Vec::new();
        let states = self.up_to_date(commands, |table| {
            let mut states = BTreeMap::new();
            for id in ids {
                let word = match answers.is_outdated(table, *id) {
                    true => Word::NotAsked,
                    false => answers.word(*id),
                };
                let state = self.state(table, *id, word);
                in_doubt |= matches!(state, ClusterState::Unknown { .. });
                let job = table.job(*id);
                let is_over = matches!(state, ClusterState::Ended(_));
                if is_over && job.is_some_and(|job| self.is_left_over(&job.phase, word)) {
                    leftovers.push(*id);
                }
                states.insert(*id, observation(table, *id, state, answers.ad(*id)));
            }
            states
        })?;
        let mut known = self.known();
        known.leftovers.extend(leftovers);
        known.in_doubt = in_doubt;
        known.looked = Instant::now();
        Ok(states)
    }

    /// The state of one job, which is noted.
    fn state(&self, table: &mut Table, id: Id, word: Word) -> ClusterState {
        let verdict = self.judge(table, id, word);
        let Some(job) = table.job_mut(id) else {
            return match verdict {
                Verdict::State(state) | Verdict::Doubt(state) => state,
                Verdict::Ask => ClusterState::Gone,
            };
        };
        let unknown = |reason: &str| ClusterState::Unknown {
            reason: reason.to_owned(),
        };
        let state = match verdict {
            Verdict::State(state) => {
                job.doubt = None;
                state
            }
            Verdict::Ask => unknown("the event log does not say yet how the job goes on"),
            Verdict::Doubt(state) => {
                let since = *job.doubt.get_or_insert_with(Instant::now);
                // The log is the access point's own word, and says that the job is there.
                let limit = match state {
                    ClusterState::Gone => DOUBT_OF_LOG,
                    _ => DOUBT,
                };
                if since.elapsed() < limit {
                    return unknown("the queue and the event log do not agree yet");
                }
                state
            }
        };
        match &state {
            ClusterState::Ended(end) => {
                let told = self.explained(job.first.as_ref(), end);
                job.told = Some(told.clone());
                ClusterState::Ended(told)
            }
            _ => {
                if !matches!(word, Word::NotAsked) {
                    job.seen = Some(state.clone());
                }
                state
            }
        }
    }

    /// Whether an ended job is in the queue for nothing, because it will not be put back.
    fn is_left_over(&self, phase: &Phase, word: Word) -> bool {
        let status = match word {
            Word::Queue(ad) => Some(ad.status),
            _ => None,
        };
        let held = matches!(phase, Phase::Held { .. }) || status == Some(Status::Held);
        held || (status == Some(Status::Idle) && self.resume == Resume::Submit)
    }

    /// An end, with what the job's start complained of.
    fn explained(&self, first: Option<&SubmissionName>, end: &ClusterEnd) -> ClusterEnd {
        let mut end = end.clone();
        if end.cause == EndCause::Exited(127)
            && let Some(failure) = first.and_then(|first| self.tickets.failure(first))
        {
            end.text = format!("{}: {failure}", end.text);
        }
        end
    }

    fn judge(&self, table: &Table, id: Id, word: Word) -> Verdict {
        let job = table.job(id);
        let waits = job.is_some_and(|job| self.waits_in_slot(job.first.as_ref(), &job.phase));
        judge(id, job, waits, word, &self.rules)
    }

    fn waits_in_slot(&self, first: Option<&SubmissionName>, phase: &Phase) -> bool {
        matches!(self.resume, Resume::Checkpoint { .. })
            && *phase == Phase::Running
            && first.is_some_and(|first| self.tickets.is_waiting(first))
    }

    /// Removes jobs whose end was reported. What fails is tried again at the next look.
    async fn free_leftovers(&self, commands: &Commands) {
        let leftovers: Vec<Id> = self.known().leftovers.iter().copied().collect();
        if self.remove(commands, &leftovers, FREED).await.is_ok() {
            let mut known = self.known();
            for id in leftovers {
                known.leftovers.remove(&id);
            }
        }
    }

    /// Waits until another look is worth it, and notes that somebody looks now. Returns at most once per
    /// look at the log, however fast it grows.
    pub async fn wait_for_change(&self) {
        loop {
            {
                let known = &mut *self.known();
                let since = known.looked.elapsed();
                let again = since >= LOOK_AGAIN && (known.in_doubt || self.one_waits(&known.table));
                let news = since >= LOOK && known.log.has_more();
                if news || again || since >= self.poll {
                    known.looked = Instant::now();
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether a job waits in its slot whose end was not reported yet.
    fn one_waits(&self, table: &Table) -> bool {
        matches!(self.resume, Resume::Checkpoint { .. })
            && table.jobs().any(|(_, job)| {
                job.told.is_none() && self.waits_in_slot(job.first.as_ref(), &job.phase)
            })
    }
}

fn observation(table: &Table, id: Id, state: ClusterState, ad: Option<&Ad>) -> Observation {
    let job = table.job(id);
    let host = job.and_then(|job| job.host.clone());
    let host = host.or_else(|| ad.and_then(|ad| ad.host.clone()));
    let has_begun = matches!(state, ClusterState::Running { .. } | ClusterState::Ended(_));
    Observation {
        job: id.to_cluster(),
        name: None,
        state,
        host: host.filter(|_| has_begun),
        restarts: job.map(|job| job.starts.max(job.tickets).saturating_sub(1)),
    }
}
