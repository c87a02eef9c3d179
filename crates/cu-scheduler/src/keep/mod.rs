//! Attempts that share allocations: a wrapper around a scheduler, for many short commands.
//!
//! Each submission becomes an order in a directory. [`Kept`] submits allocations, few at first, and in
//! each of them [`serve`] takes one order after another and runs it as a process of its own: with its own
//! output, variables, limits and end. An allocation takes orders for as long as [`Keeping::keep`] says, counted from
//! its start. Its time limit is longer by as much, so that the last one has all of its time.
//!
//! # Files decide
//! Main process and allocations share files only, so a node need not reach the main process, and whoever opens the
//! directory next finds all there is to know. Each step of an order is a rename, which only one of those who
//! try it can do: an allocation that takes it, or a cancel. So nothing runs twice, whoever is killed when.
//! If an allocation is over, the scheduler's word about its end is that of the order it had taken. An allocation
//! that gets a signal takes nothing more, and ends with what it runs, as if that had been submitted alone. If it is over
//! before it began, it takes the oldest order along.
//!
//! # Limits
//! Memory and processors are bounded, and accounted for, by allocation. So if the scheduler ends an allocation because of
//! the memory that is used in it, [`serve`] ends, too. A cancel of an order leaves the allocation alone, unless
//! that does not end it within two minutes.

mod allocation;
mod attempt;
mod demand;
mod files;
mod host;
mod look;
mod pool;
mod signals;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cluster::{Batch, Refusal, Writer, check};
use crate::{
    Cancel, Capabilities, ClusterJobId, ClusterState, Error, Examine, Finding, Found, Level,
    Observation, Preview, Scheduler, Starts, Subject, Submission, SubmissionName, SubmitError,
};

use files::{Key, Room, Wish};
pub use host::serve;
use pool::Pool;

/// How often [`Scheduler::changed`] looks whether an attempt has come further.
const LOOK: Duration = Duration::from_millis(500);

/// How allocations are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// The directory of orders, which the nodes see under the same path. One scheduler at a time has it open.
    pub directory: PathBuf,
    /// For how long an allocation takes orders. `None` if what is submitted now gets an allocation of its own;
    /// what was submitted before is watched all the same.
    pub keep: Option<Duration>,
    /// The command that passes the arguments behind it to [`serve`].
    pub host: Vec<String>,
}

impl Keeping {
    /// Whether a scheduler had allocations kept in this directory.
    #[must_use]
    pub fn has_orders(directory: &Path) -> bool {
        directory.join("allocations").is_dir()
    }

    /// The scheduler's id of the allocation that took the submission `id`: `None` if none has, or the id is not of a
    /// submission here.
    #[must_use]
    pub fn allocation_of(directory: &Path, id: &ClusterJobId) -> Option<ClusterJobId> {
        let room = Room::new(directory);
        let key = Key::of_cluster_job(id)?;
        let ended = room.ended(&key).ok().flatten();
        let allocation = match ended {
            Some(end) => end.allocation,
            None => *room.taken().ok()?.get(&key)?,
        };
        room.cluster_job(allocation).ok()?
    }

    /// Whether `id` is of a submission that shares an allocation.
    #[must_use]
    pub fn is_shared(id: &ClusterJobId) -> bool {
        Key::of_cluster_job(id).is_some()
    }
}

/// A scheduler whose submissions share allocations.
pub struct Kept(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Examine>,
    keeping: Keeping,
    room: Room,
    writer: Writer,
    pool: Pool,
}

impl Kept {
    /// Has submissions to `inner` share allocations.
    ///
    /// # Errors
    /// [`Error::System`] if the system refuses a thread.
    pub fn new(inner: Arc<dyn Examine>, keeping: Keeping) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            writer: Writer::start("cu-keep")?,
            room: Room::new(&keeping.directory),
            pool: Pool::default(),
            inner,
            keeping,
        })))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Kept")
            .field("inner", &self.0.inner)
            .field("keeping", &self.0.keeping)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.inner.fmt(out)
    }
}

impl Shared {
    /// Does `work` with the directory, in a thread of its own.
    async fn with_room<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Room) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let room = self.room.clone();
        let failed = |source| Error::State {
            path: self.keeping.directory.clone(),
            source,
        };
        let done = self.writer.write(move || work(&room)).await;
        done.map_err(|_| failed(std::io::Error::other("a thread of ours panicked")))?
            .map_err(failed)
    }

    /// Submits what is to avoid hosts: an allocation may be on one of them, and would take it at once.
    async fn submit_alone(&self, batch: &mut Batch<'_>) {
        let alone = batch.open().filter(|(_, it)| !it.avoid_hosts.is_empty());
        let (places, alone): (Vec<usize>, Vec<Submission>) =
            alone.map(|(at, it)| (at, it.clone())).unzip();
        if alone.is_empty() {
            return;
        }
        let answers = self.inner.submit(&alone).await;
        for (at, answer) in places.into_iter().zip(answers) {
            batch.answer(at, answer);
        }
    }

    fn is_in_use(&self) -> bool {
        Keeping::has_orders(&self.keeping.directory)
    }
}

/// The places of those that are ours, and the others.
fn split(jobs: &[ClusterJobId]) -> (Vec<(usize, Key)>, Vec<ClusterJobId>) {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for (at, job) in jobs.iter().enumerate() {
        match Key::of_cluster_job(job) {
            Some(key) => ours.push((at, key)),
            None => others.push(job.clone()),
        }
    }
    (ours, others)
}

#[async_trait]
impl Scheduler for Kept {
    fn capabilities(&self) -> Capabilities {
        let inner = self.0.inner.capabilities();
        match self.0.keeping.keep {
            // The next attempt takes the place of one that has ended without the cluster.
            Some(_) => inner.starting(Starts::AtAnyTime),
            None => inner,
        }
    }

    async fn submit(&self, submissions: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let shared = &self.0;
        let Some(keep) = shared.keeping.keep else {
            return shared.inner.submit(submissions).await;
        };
        let mut batch = Batch::new(submissions);
        for (at, submission) in submissions.iter().enumerate() {
            if let Err(reason) = check(submission) {
                batch.refuse(at, &Refusal::rejected(reason));
            }
        }
        shared.submit_alone(&mut batch).await;
        let open: Vec<(usize, Submission)> =
            batch.open().map(|(at, it)| (at, it.clone())).collect();
        let added = shared
            .with_room(move |room| Ok(look::add(room, &open)))
            .await;
        let added = match added {
            Ok(added) => added,
            Err(error) => {
                batch.refuse_open(&error.into());
                return batch.into_answers();
            }
        };
        let mut classes = Vec::new();
        for (at, outcome) in added {
            match outcome {
                Ok((class, due)) => {
                    batch.accept(at, due.key.cluster_job());
                    classes.push((at, class, due));
                }
                Err(refusal) => batch.refuse(at, &refusal),
            }
        }
        // What no allocation will come for is taken back.
        let refused = shared.provide(keep).await;
        for (at, class, due) in classes {
            let Some(refusal) = refused.get(&class) else {
                continue;
            };
            let withdrawn = shared.with_room(move |room| room.withdraw_due(&due)).await;
            if matches!(withdrawn, Ok(true)) {
                batch.refuse(at, refusal);
            }
        }
        batch.into_answers()
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        let (ours, others) = split(jobs);
        let mut answers: Vec<Option<Observation>> = jobs.iter().map(|_| None).collect();
        if !ours.is_empty() {
            let keys = ours.iter().map(|(_, key)| key.clone()).collect();
            let observed = self.0.observe_kept(keys).await?;
            for ((at, _), observation) in ours.into_iter().zip(observed) {
                answers[at] = Some(observation);
            }
        }
        if !others.is_empty() {
            let mut others = self.0.inner.observe(&others).await?.into_iter();
            for answer in answers.iter_mut().filter(|it| it.is_none()) {
                *answer = others.next();
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    async fn changed(&self) {
        let shared = &self.0;
        let ours = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if !shared.is_in_use() {
                    continue;
                }
                let signature = shared.with_room(|room| Ok(room.signature())).await;
                if signature.is_ok_and(|now| shared.pool.has_changed(&now)) {
                    return;
                }
            }
        };
        tokio::select! {
            () = shared.inner.changed() => shared.pool.ask_the_scheduler(),
            () = ours => {}
        }
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        let shared = &self.0;
        let mut found = Vec::new();
        let mut others = Vec::new();
        if !names.is_empty() && shared.is_in_use() {
            let keys: Vec<Key> = names.iter().map(Key::of).collect();
            // An order that is being added now is seen after that.
            drop(shared.with_room(Room::lock).await?);
            let observed = shared.observe_kept(keys).await?;
            for (name, mut observation) in names.iter().zip(observed) {
                if observation.name.is_none() {
                    others.push(name.clone());
                    continue;
                }
                if matches!(observation.state, ClusterState::Unknown { .. }) {
                    // An allocation has taken it. Nobody has said that this is over.
                    observation.state = ClusterState::Running { since: None };
                }
                let name = name.clone();
                found.push(Found { name, observation });
            }
        } else {
            others.extend_from_slice(names);
        }
        if !others.is_empty() {
            found.extend(shared.inner.find(&others).await?);
        }
        Ok(found)
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        let (ours, others) = split(jobs);
        if !ours.is_empty() && self.0.is_in_use() {
            let wish = match how {
                Cancel::Terminate => Wish::Terminate,
                Cancel::Kill => Wish::Kill,
            };
            let keys: Vec<Key> = ours.into_iter().map(|(_, key)| key).collect();
            self.0
                .with_room(move |room| look::cancel(room, &keys, wish))
                .await?;
        }
        match others.is_empty() {
            true => Ok(()),
            false => self.0.inner.cancel(&others, how).await,
        }
    }
}

#[async_trait]
impl Examine for Kept {
    async fn examine(&self) -> Vec<Finding> {
        let mut findings = self.0.inner.examine().await;
        if let Some(keep) = self.0.keeping.keep {
            let keep = cu_system::durations::shown(keep);
            let text = format!(
                "each takes one attempt after another for {keep} after its start; memory is bounded, and costs \
                 are counted, by allocation"
            );
            findings.push(Finding::new(Subject::Allocations, Level::Good, text));
        }
        findings
    }

    async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        match self.0.keeping.keep {
            Some(keep) => self.0.preview_kept(batch, keep).await,
            None => self.0.inner.preview(batch).await,
        }
    }
}
