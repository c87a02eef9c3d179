//! The allocations of a directory: submits, watches and withdraws them, and has their ends be those of the orders
//! that they had taken.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Shared;
use super::allocation::{allocation, refusal_of};
use super::demand::Counts;
use super::files::{Allocation, End, Key, Room};
use super::look::{Members, Snapshot, Whereabouts, cancelled, whereabouts};
use crate::cluster::Refusal;
use crate::{
    Cancel, ClusterEnd, ClusterJobId, ClusterState, EndCause, Error, Observation, Submission,
    SubmitError,
};

/// How often the scheduler is asked about allocations though it did not call for that.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// After a refusal nothing is submitted for so long.
const AFTER_A_REFUSAL: Duration = Duration::from_secs(30);
/// For so long an allocation stays in the queue that no attempt waits for: many are submitted again at once.
const SURPLUS: Duration = Duration::from_secs(10);
/// If a cancelled attempt has not ended after this time, its allocation is cancelled.
const CANCEL_ALL: Duration = Duration::from_secs(120);

type Signature = Vec<Option<SystemTime>>;

/// What is known of the allocations.
#[derive(Default)]
pub(super) struct Pool {
    known: Mutex<Known>,
    /// One at a time submits or observes them.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    ids: HashMap<Allocation, ClusterJobId>,
    seen: HashMap<Allocation, Observation>,
    /// When the scheduler was last asked; `None` if it is to be asked now.
    asked: Option<Instant>,
    signature: Signature,
    refusals: HashMap<String, (Instant, Refusal)>,
    surplus_since: HashMap<String, Instant>,
    cancelled_since: HashMap<Key, Instant>,
}

impl Pool {
    /// The scheduler has called for a look.
    pub fn ask_the_scheduler(&self) {
        self.known().asked = None;
    }

    /// Whether anything is otherwise than when it was last looked at.
    pub fn has_changed(&self, now: &Signature) -> bool {
        self.known().signature != *now
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The classes for whose orders no allocation will come, and why.
pub(super) type Refused = HashMap<String, Refusal>;

impl Shared {
    /// Submits the allocations that are lacking.
    pub async fn provide(&self, keep: Duration) -> Refused {
        let _turn = self.pool.turn.lock().await;
        match self.with_room(Snapshot::of).await {
            Ok(snapshot) => self.provide_in_turn(keep, &snapshot).await,
            // The orders are there. The next look provides for them.
            Err(_) => Refused::new(),
        }
    }

    async fn provide_in_turn(&self, keep: Duration, snapshot: &Snapshot) -> Refused {
        let mut refused = Refused::new();
        for members in &snapshot.classes {
            let lacking = counts(members, snapshot).lacking();
            if lacking == 0 {
                continue;
            }
            let name = &members.class.name;
            let before = self.pool.known().refusals.get(name).cloned();
            let before = before.filter(|(at, _)| at.elapsed() < AFTER_A_REFUSAL);
            let outcome = match before {
                Some((_, refusal)) => Err(refusal),
                None => self.submit_allocations(keep, members, lacking).await,
            };
            let is_alone = members.wanted.is_empty() && members.begun.is_empty();
            if let (Err(refusal), true) = (outcome, is_alone) {
                refused.insert(name.clone(), refusal);
            }
        }
        refused
    }

    /// Submits allocations for a class.
    ///
    /// # Errors
    /// Why not even one was submitted.
    async fn submit_allocations(
        &self,
        keep: Duration,
        members: &Members,
        count: usize,
    ) -> Result<(), Refusal> {
        let Some(first) = members.due.first().cloned() else {
            return Ok(());
        };
        let class = members.class.clone();
        let host = self.keeping.host.clone();
        let made = self.with_room(move |room| {
            let needs = class.needs(&first)?;
            let run = first.key.name().map(|name| name.run().to_owned());
            let run = run.unwrap_or_default();
            let make = |_| {
                let (number, _) = room.new_allocation()?;
                let submission = allocation(room, &class, number, &run, &needs, keep, &host);
                let submission = submission.map_err(std::io::Error::other)?;
                room.set_name(number, &submission.name)?;
                class.want(number)?;
                Ok((number, submission))
            };
            (0..count).map(make).collect::<std::io::Result<Vec<_>>>()
        });
        let made = match made.await {
            Ok(made) => made,
            // Somebody else may have been faster with the first.
            Err(error) => return Err(error.into()),
        };
        let most = self.inner.capabilities().batch.max(1);
        let mut taken = 0;
        let mut refusal = None;
        for chunk in made.chunks(most) {
            let submissions: Vec<Submission> = chunk.iter().map(|(_, it)| it.clone()).collect();
            let answers = self.inner.submit(&submissions).await;
            for ((number, _), answer) in chunk.iter().zip(answers) {
                match answer {
                    Ok(id) => {
                        taken += 1;
                        self.accepted(*number, id).await;
                    }
                    // It is looked for by its name at the next look.
                    Err(SubmitError::Uncertain { .. }) => taken += 1,
                    Err(error) => {
                        refusal.get_or_insert(refusal_of(error, keep));
                        let (class, number) = (members.class.clone(), *number);
                        // If that fails, nothing is found by its name.
                        let _ = self.with_room(move |_| class.withdraw(number)).await;
                    }
                }
            }
        }
        let mut known = self.pool.known();
        known.asked = None;
        let name = members.class.name.clone();
        match refusal {
            Some(refusal) => {
                known
                    .refusals
                    .insert(name, (Instant::now(), refusal.clone()));
                match taken {
                    0 => Err(refusal),
                    _ => Ok(()),
                }
            }
            None => {
                known.refusals.remove(&name);
                Ok(())
            }
        }
    }

    async fn accepted(&self, number: Allocation, id: ClusterJobId) {
        self.pool.known().ids.insert(number, id.clone());
        // If that fails, it is found by its name.
        let _ = self
            .with_room(move |room| room.set_cluster_job(number, &id))
            .await;
    }

    /// Observes these orders, and has their allocations be what they need.
    pub async fn observe_kept(&self, keys: Vec<Key>) -> Result<Vec<Observation>, Error> {
        let _turn = self.pool.turn.lock().await;
        if !self.is_in_use() {
            let gone = |key: &Key| self.observation(key, None, None);
            return Ok(keys.iter().map(gone).collect());
        }
        let looked = self.with_room(|room| Ok((room.signature(), Snapshot::of(room)?)));
        let (signature, snapshot) = looked.await?;
        self.pool.known().signature = signature;
        self.look_at_allocations(&snapshot).await?;
        self.end_with_their_allocations(&snapshot).await?;
        let snapshot = self.with_room(Snapshot::of).await?;
        if let Some(keep) = self.keeping.keep {
            let refused = self.provide_in_turn(keep, &snapshot).await;
            self.end_the_refused(&snapshot, refused).await?;
        }
        let asked = keys.clone();
        let found = self.with_room(move |room| {
            let found = whereabouts(room, &asked)?;
            // Afterwards: whoever hears that all is over may never ask again.
            Ok((found, Snapshot::of(room)?))
        });
        let (found, snapshot) = found.await?;
        self.withdraw_surplus(&snapshot).await?;
        self.insist(&snapshot).await?;
        let of = |key: &Key| self.observation(key, found.get(key), Some(&snapshot));
        Ok(keys.iter().map(of).collect())
    }

    /// Asks the scheduler about the allocations.
    async fn look_at_allocations(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let all = snapshot.allocations();
        let known_ids = self.pool.known().ids.clone();
        let mut unknown = all.clone();
        unknown.retain(|it| !known_ids.contains_key(it));
        if !unknown.is_empty() {
            self.learn_ids(snapshot, unknown).await?;
        }
        let ids: Vec<(Allocation, ClusterJobId)> = {
            let mut known = self.pool.known();
            known.ids.retain(|number, _| all.contains(number));
            known.seen.retain(|number, _| all.contains(number));
            let is_recent = known.asked.is_some_and(|at| at.elapsed() < ASK_AGAIN);
            if is_recent {
                return Ok(());
            }
            known.ids.iter().map(|(at, id)| (*at, id.clone())).collect()
        };
        if !ids.is_empty() {
            let asked: Vec<_> = ids.iter().map(|(_, id)| id.clone()).collect();
            let seen = self.inner.observe(&asked).await?;
            let mut known = self.pool.known();
            for ((number, _), observation) in ids.iter().zip(seen) {
                known.seen.insert(*number, observation);
            }
        }
        self.pool.known().asked = Some(Instant::now());
        Ok(())
    }

    /// Learns the ids of allocations from their files, or from the scheduler, if nobody heard its answer.
    async fn learn_ids(&self, snapshot: &Snapshot, numbers: Vec<Allocation>) -> Result<(), Error> {
        let read = move |room: &Room| {
            let of = |number| Ok((number, room.cluster_job(number)?, room.name(number)?));
            let ids = numbers.into_iter().map(of);
            ids.collect::<std::io::Result<Vec<_>>>()
        };
        let (mut unanswered, mut names) = (Vec::new(), Vec::new());
        for (number, id, name) in self.with_room(read).await? {
            match id {
                Some(id) => drop(self.pool.known().ids.insert(number, id)),
                None => {
                    unanswered.push(number);
                    names.extend(name);
                }
            }
        }
        let found = match names.is_empty() {
            true => Vec::new(),
            false => self.inner.find(&names).await?,
        };
        for number in unanswered {
            let found = found.iter().find(|it| it.name.attempt() == number);
            match found {
                Some(found) => {
                    self.accepted(number, found.observation.job.clone()).await;
                    let seen = found.observation.clone();
                    self.pool.known().seen.insert(number, seen);
                }
                // It was never submitted.
                None => {
                    for members in &snapshot.classes {
                        let class = members.class.clone();
                        self.with_room(move |_| class.withdraw(number)).await?;
                    }
                    let lost = ClusterJobId(format!("allocation {number}"));
                    let gone = Observation::new(lost, ClusterState::Gone);
                    self.pool.known().seen.insert(number, gone);
                }
            }
        }
        Ok(())
    }

    /// Ends the orders whose allocations are over.
    async fn end_with_their_allocations(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let over: HashMap<Allocation, ClusterState> = {
            let known = self.pool.known();
            let seen = known.seen.iter().filter(|(_, it)| it.state.is_over());
            seen.map(|(at, it)| (*at, it.state.clone())).collect()
        };
        if over.is_empty() {
            return Ok(());
        }
        let snapshot = snapshot.clone();
        self.with_room(move |room| {
            room.look_anew()?;
            // Anew: it may have taken another one before its end.
            for (key, allocation) in room.taken()? {
                let Some(state) = over.get(&allocation) else {
                    continue;
                };
                let state = state.clone();
                let end = End { allocation, state };
                let end = room.ended(&key)?.unwrap_or(end);
                room.end(&key, &end)?;
            }
            for members in &snapshot.classes {
                for number in members.begun.iter().filter(|it| over.contains_key(it)) {
                    members.class.leave(*number)?;
                }
                for number in &members.wanted {
                    let Some(state) = over.get(number) else {
                        continue;
                    };
                    if !members.class.withdraw(*number)? {
                        // It did begin.
                        members.class.leave(*number)?;
                        continue;
                    }
                    // As if the oldest had been submitted alone.
                    for due in members.class.due()? {
                        if room.take(&due, *number)? {
                            let (allocation, state) = (*number, state.clone());
                            room.end(&due.key, &End { allocation, state })?;
                            break;
                        }
                    }
                }
            }
            Ok(())
        })
        .await
    }

    /// Ends the orders of classes that the scheduler refuses for good.
    async fn end_the_refused(&self, snapshot: &Snapshot, refused: Refused) -> Result<(), Error> {
        for members in &snapshot.classes {
            let Some(Refusal::Rejected { reason }) = refused.get(&members.class.name) else {
                continue;
            };
            let state = ClusterState::Ended(ClusterEnd {
                cause: EndCause::NotStarted,
                at: None,
                text: format!("its allocation was refused: {reason}"),
            });
            let due = members.due.clone();
            self.with_room(move |room| {
                for due in due {
                    // No allocation has this number.
                    let allocation = 0;
                    let state = state.clone();
                    if room.take(&due, allocation)? {
                        room.end(&due.key, &End { allocation, state })?;
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Withdraws allocations that wait for their start while no attempt waits for them.
    async fn withdraw_surplus(&self, snapshot: &Snapshot) -> Result<(), Error> {
        if snapshot.classes.iter().all(|it| it.wanted.is_empty()) {
            return Ok(());
        }
        let is_none_due = snapshot.classes.iter().all(|it| it.due.is_empty());
        let taken: Vec<Key> = snapshot.taken.keys().cloned().collect();
        let ended = self.with_room(move |room| {
            let mut taken = taken.iter();
            taken.try_fold(true, |all, key| Ok(all && room.ended(key)?.is_some()))
        });
        let is_all_over = is_none_due && ended.await?;
        let mut withdrawn = Vec::new();
        for members in &snapshot.classes {
            let surplus = counts(members, snapshot).surplus();
            let name = members.class.name.clone();
            let is_time = {
                let mut known = self.pool.known();
                match surplus {
                    0 => {
                        known.surplus_since.remove(&name);
                        false
                    }
                    _ => {
                        let since = known.surplus_since.entry(name).or_insert_with(Instant::now);
                        is_all_over || since.elapsed() >= SURPLUS
                    }
                }
            };
            if !is_time {
                continue;
            }
            for number in members.wanted.iter().rev().take(surplus).copied() {
                let class = members.class.clone();
                if self.with_room(move |_| class.withdraw(number)).await? {
                    withdrawn.extend(self.pool.known().ids.get(&number).cloned());
                }
            }
        }
        match withdrawn.is_empty() {
            true => Ok(()),
            // One that begins now finds that it is not wanted.
            false => self.inner.cancel(&withdrawn, Cancel::Terminate).await,
        }
    }

    /// Cancels the allocations of attempts that do not end though they were cancelled.
    async fn insist(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let wishes = self.with_room(Room::wishes).await?;
        let overdue: Vec<ClusterJobId> = {
            let mut known = self.pool.known();
            known.cancelled_since.retain(|key, _| wishes.contains(key));
            let mut overdue = Vec::new();
            for key in wishes {
                let Some(allocation) = snapshot.taken.get(&key) else {
                    continue;
                };
                let since = known.cancelled_since.entry(key);
                if since.or_insert_with(Instant::now).elapsed() >= CANCEL_ALL {
                    overdue.extend(known.ids.get(allocation).cloned());
                }
            }
            overdue
        };
        match overdue.is_empty() {
            true => Ok(()),
            false => self.inner.cancel(&overdue, Cancel::Kill).await,
        }
    }

    fn observation(
        &self,
        key: &Key,
        found: Option<&Whereabouts>,
        snapshot: Option<&Snapshot>,
    ) -> Observation {
        let known = self.pool.known();
        let (state, allocation) = match found {
            None => (ClusterState::Gone, None),
            Some(Whereabouts::Cancelled) => (cancelled(), None),
            Some(Whereabouts::Ended(end)) => (end.state.clone(), Some(end.allocation)),
            Some(Whereabouts::Taken(allocation)) => {
                let seen = known.seen.get(allocation).map(|it| &it.state);
                (running(seen), Some(*allocation))
            }
            Some(Whereabouts::Due(class)) => {
                let members =
                    snapshot.and_then(|it| it.classes.iter().find(|it| it.class.name == *class));
                (known.waiting(class, members), None)
            }
        };
        let mut observation = Observation::new(key.cluster_job(), state);
        observation.name = found.and_then(|_| key.name());
        let seen = allocation.and_then(|it| known.seen.get(&it));
        observation.host = seen.and_then(|it| it.host.clone());
        observation
    }
}

impl Known {
    /// The state of what waits in a class.
    fn waiting(&self, class: &str, members: Option<&Members>) -> ClusterState {
        let wanted = members.map(|it| it.wanted.as_slice()).unwrap_or_default();
        let states: Vec<_> = wanted
            .iter()
            .filter_map(|number| self.seen.get(number).map(|it| &it.state))
            .collect();
        let nobody_serves = members.is_none_or(|it| it.begun.is_empty());
        let is_held = |state: &&&ClusterState| matches!(state, ClusterState::Held { .. });
        if nobody_serves
            && states.len() == wanted.len()
            && !states.is_empty()
            && states.iter().filter(is_held).count() == states.len()
        {
            return states[0].clone();
        }
        let refusal = self.refusals.get(class);
        let refusal = refusal.map(|(_, refusal)| match refusal {
            Refusal::Rejected { reason }
            | Refusal::Full { reason }
            | Refusal::Unavailable { reason, .. }
            | Refusal::Uncertain { reason } => reason.clone(),
        });
        let queued = states.iter().find_map(|state| match state {
            ClusterState::Queued { reason } => reason.clone(),
            _ => None,
        });
        ClusterState::Queued {
            reason: queued.or(refusal),
        }
    }
}

/// The state of what an allocation runs that is in this state.
fn running(allocation: Option<&ClusterState>) -> ClusterState {
    match allocation {
        Some(
            state @ (ClusterState::Suspended
            | ClusterState::Unknown { .. }
            | ClusterState::Ended(_)
            | ClusterState::Gone),
        ) => state.clone(),
        // An older look, or none.
        _ => ClusterState::Running { since: None },
    }
}

fn counts(members: &Members, snapshot: &Snapshot) -> Counts {
    let taking: Vec<_> = snapshot.taken.values().collect();
    let is_busy = |number: &&Allocation| taking.contains(number);
    Counts {
        due: members.due.len(),
        wanted: members.wanted.len(),
        begun: members.begun.len(),
        busy: members.begun.iter().filter(is_busy).count(),
    }
}
