//! What is done with orders: adding, cancelling and finding them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::SystemTime;

use super::files::{Allocation, Class, Due, End, Key, Room, Wish};
use crate::cluster::Refusal;
use crate::{ClusterEnd, ClusterState, EndCause, Submission};

/// What became of an order that was to be added: its class and file.
pub(super) type Added = Result<(String, Due), Refusal>;

/// Adds orders, in their order. A name that was there before is uncertain.
pub(super) fn add(room: &Room, submissions: &[(usize, Submission)]) -> Vec<(usize, Added)> {
    let unavailable = |error: io::Error| {
        let path = room.path().display();
        Refusal::unavailable(format!("can't write to {path}: {error}"))
    };
    let locked = room.make().and_then(|()| room.lock());
    let lock = match locked {
        Ok(lock) => lock,
        Err(error) => {
            let refused =
                |(at, _): &(usize, _)| (*at, Err(unavailable_again(&unavailable, &error)));
            return submissions.iter().map(refused).collect();
        }
    };
    let mut numbers = HashMap::new();
    let mut one = |submission: &Submission| -> Added {
        let key = Key::of(&submission.name);
        let there = whereabouts(room, std::slice::from_ref(&key));
        if there.map_err(unavailable)?.contains_key(&key) {
            return Err(Refusal::uncertain("it was submitted before"));
        }
        let class = room
            .make_class(&submission.resources)
            .map_err(unavailable)?;
        let number = match numbers.get(&class.name) {
            Some(last) => last + 1,
            None => class.last_number().map_err(unavailable)?.max(now_ms()) + 1,
        };
        numbers.insert(class.name.clone(), number);
        let due = class.add(number, submission).map_err(unavailable)?;
        Ok((class.name, due))
    };
    let added = submissions.iter().map(|(at, it)| (*at, one(it)));
    let added = added.collect();
    drop(lock);
    added
}

fn unavailable_again(unavailable: &impl Fn(io::Error) -> Refusal, error: &io::Error) -> Refusal {
    unavailable(io::Error::new(error.kind(), error.to_string()))
}

/// Numbers follow the clock, so that what is added to an empty queue comes behind what allocations still know of.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0)
}

/// Where an order is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// It waits in this class.
    Due(String),
    Taken(Allocation),
    Ended(End),
    Cancelled,
}

/// Where these orders are; those that were never added are missing. What moves on meanwhile is found where it was, or
/// where it is: the places are looked through in the order of its way.
pub(super) fn whereabouts(room: &Room, keys: &[Key]) -> io::Result<BTreeMap<Key, Whereabouts>> {
    let asked: BTreeSet<&Key> = keys.iter().collect();
    let mut found = BTreeMap::new();
    for class in room.classes()? {
        for due in class.due()? {
            if asked.contains(&due.key) {
                found.insert(due.key, Whereabouts::Due(class.name.clone()));
            }
        }
    }
    for (key, allocation) in room.taken()? {
        if asked.contains(&key) {
            found.insert(key, Whereabouts::Taken(allocation));
        }
    }
    room.look_anew()?;
    for key in keys {
        if matches!(found.get(key), Some(Whereabouts::Due(_))) {
            continue;
        }
        if let Some(end) = room.ended(key)? {
            found.insert(key.clone(), Whereabouts::Ended(end));
        } else if !found.contains_key(key) && room.was_cancelled(key)? {
            found.insert(key.clone(), Whereabouts::Cancelled);
        }
    }
    Ok(found)
}

/// Cancels orders: those that wait at once, those that run by asking their allocations.
pub(super) fn cancel(room: &Room, keys: &[Key], wish: Wish) -> io::Result<()> {
    let mut waiting: HashMap<Key, Due> = HashMap::new();
    for class in room.classes()? {
        waiting.extend(class.due()?.into_iter().map(|due| (due.key.clone(), due)));
    }
    let mut others = Vec::new();
    for key in keys {
        let cancelled = match waiting.get(key) {
            Some(due) => room.cancel_due(due)?,
            None => false,
        };
        if !cancelled {
            others.push(key);
        }
    }
    let taken = room.taken()?;
    for key in others {
        if taken.contains_key(key) && room.ended(key)?.is_none() {
            room.wish(key, wish)?;
        }
    }
    Ok(())
}

/// The end of an order that was cancelled before an allocation took it.
pub(super) fn cancelled() -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause: EndCause::Cancelled,
        at: None,
        text: "cancelled before an allocation took it".to_owned(),
    })
}

/// The attempts and allocations of a class.
#[derive(Clone, Debug)]
pub(super) struct Members {
    pub class: Class,
    pub due: Vec<Due>,
    pub wanted: Vec<Allocation>,
    pub begun: Vec<Allocation>,
}

/// All that is in the directory now.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub classes: Vec<Members>,
    pub taken: BTreeMap<Key, Allocation>,
}

impl Snapshot {
    pub fn of(room: &Room) -> io::Result<Self> {
        let mut classes = Vec::new();
        for class in room.classes()? {
            // What begins meanwhile is seen twice, and then withdrawn or submitted by no one.
            classes.push(Members {
                wanted: class.wanted()?,
                begun: class.begun()?,
                due: class.due()?,
                class,
            });
        }
        let taken = room.taken()?;
        Ok(Self { classes, taken })
    }

    /// The allocations that have not left.
    pub fn allocations(&self) -> Vec<Allocation> {
        let taken = self.taken.values();
        let of = |it: &Members| {
            it.wanted
                .iter()
                .chain(&it.begun)
                .copied()
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self
            .classes
            .iter()
            .flat_map(of)
            .chain(taken.copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
