//! The state of each job by the event log, folded from its events.

use std::collections::HashMap;
use std::time::Instant;

use super::event::{Event, Exit, Id, Kind};
use super::ticket::{Ticket, Tickets};
use crate::{ClusterEnd, ClusterState, SubmissionName};

/// All jobs of the log.
#[derive(Debug)]
pub(super) struct Table {
    jobs: HashMap<Id, Job>,
    /// The cluster job of each attempt, where the log or a ticket names it.
    names: HashMap<SubmissionName, Id>,
    tickets: Tickets,
}

/// One cluster job.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    /// The name of its first submission.
    pub first: Option<SubmissionName>,
    /// The name of the present attempt.
    pub name: Option<SubmissionName>,
    /// How many tickets it has had.
    pub tickets: u32,
    /// How many events the log has of it.
    pub events: u64,
    /// How many times it was started.
    pub starts: u32,
    /// Whether the attempt in hand was started.
    pub begun: bool,
    pub phase: Phase,
    pub host: Option<String>,
    /// The machine was lost, by the log's word, since the last start.
    pub lost: Option<String>,
    /// The state that the queue reported since the last event.
    pub seen: Option<ClusterState>,
    /// The end of the present attempt, once it was reported.
    pub told: Option<ClusterEnd>,
    /// Since when the queue says what the log does not explain.
    pub doubt: Option<Instant>,
    /// Tickets written before this process began, whose turn in the log is still to come.
    later: Vec<Ticket>,
}

/// The phase of the present attempt, by the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The log has said nothing.
    #[default]
    Silent,
    /// It waits for its start.
    Waiting,
    Running,
    /// It left its slot. The next event, or the queue, gives the reason.
    Evicted {
        reason: Option<String>,
    },
    /// It ended by itself, and is kept.
    Requeued {
        exit: Exit,
    },
    Held {
        reason: String,
        code: i32,
        subcode: i32,
    },
    Terminated {
        exit: Exit,
        at: Option<std::time::SystemTime>,
    },
    /// It was removed, after it had been `before`.
    Aborted {
        reason: String,
        before: Box<Phase>,
    },
}

impl Table {
    pub fn new(tickets: Tickets) -> Self {
        Self {
            jobs: HashMap::new(),
            names: HashMap::new(),
            tickets,
        }
    }

    pub fn job(&self, id: Id) -> Option<&Job> {
        self.jobs.get(&id)
    }

    pub fn job_mut(&mut self, id: Id) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    pub fn jobs(&self) -> impl Iterator<Item = (Id, &Job)> {
        self.jobs.iter().map(|(id, job)| (*id, job))
    }

    pub fn id_of(&self, name: &SubmissionName) -> Option<Id> {
        self.names.get(name).copied()
    }

    /// Folds one event.
    pub fn apply(&mut self, event: Event) {
        if let Kind::Submitted { name } = &event.kind {
            // Ids begin anew on a rebuilt queue, so what was known under this id is of another job.
            self.jobs.remove(&event.id);
            if let Some(name) = name {
                self.note(event.id, name.clone());
            }
        }
        let Some(job) = self.jobs.get_mut(&event.id) else {
            return; // It belongs to another user of the log.
        };
        job.apply(event.kind);
        let mut begun = Vec::new();
        while job.later.first().is_some_and(|it| it.events <= job.events) {
            let ticket = job.later.remove(0);
            job.begin(&ticket);
            begun.push(ticket.name);
        }
        let id = event.id;
        self.names.extend(begun.into_iter().map(|name| (name, id)));
    }

    /// Learns that the cluster job `id` was submitted as `first`, from the log, from the queue or
    /// from our own submission.
    pub fn note(&mut self, id: Id, first: SubmissionName) {
        let job = self.jobs.entry(id).or_default();
        if job.first.is_some() {
            return;
        }
        job.tickets = 1;
        job.later = self.tickets.from(&first, 2);
        job.first = Some(first.clone());
        job.name = Some(first.clone());
        self.names.insert(first, id);
    }

    /// The next attempt of the cluster job `id` begins, by this ticket.
    pub fn put_back(&mut self, id: Id, ticket: &Ticket) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.later.clear();
            job.begin(ticket);
            self.names.insert(ticket.name.clone(), id);
        }
    }

    /// The attempt `name` of the cluster job `id` did not begin: what was known of it before holds.
    pub fn restore(&mut self, id: Id, before: Job, name: &SubmissionName) {
        self.jobs.insert(id, before);
        self.names.remove(name);
    }

    /// The newest ticket of `id`, that of the attempt `name`, was never honoured.
    pub fn take_back(&mut self, id: Id, name: &SubmissionName) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.tickets = job.tickets.saturating_sub(1).max(1);
            self.names.remove(name);
        }
    }
}

impl Job {
    fn begin(&mut self, ticket: &Ticket) {
        self.tickets += 1;
        self.begun = ticket.in_slot;
        self.name = Some(ticket.name.clone());
        self.told = None;
        self.seen = None;
        self.doubt = None;
        self.lost = None;
        self.phase = if ticket.in_slot {
            Phase::Running
        } else {
            Phase::Waiting
        };
    }

    fn apply(&mut self, kind: Kind) {
        self.events += 1;
        self.doubt = None;
        self.seen = None;
        match kind {
            Kind::Executing { host } => {
                self.starts += 1;
                self.begun = true;
                self.host = host;
                self.lost = None;
                self.phase = Phase::Running;
            }
            Kind::Evicted { reason } => self.phase = Phase::Evicted { reason },
            Kind::Requeued { exit } => self.phase = Phase::Requeued { exit },
            Kind::Terminated { exit, at } => self.phase = Phase::Terminated { exit, at },
            Kind::Aborted { reason } => {
                let before = Box::new(std::mem::take(&mut self.phase));
                self.phase = Phase::Aborted { reason, before };
            }
            Kind::Held {
                reason,
                code,
                subcode,
            } => {
                self.phase = Phase::Held {
                    reason,
                    code,
                    subcode,
                };
            }
            // Its start is used up: what was held while it ran does not go on.
            Kind::Released if self.begun => {
                let reason = Some("it was held while it ran, and released".into());
                self.phase = Phase::Evicted { reason };
            }
            Kind::Released => self.phase = Phase::Waiting,
            Kind::ReconnectFailed { reason } => self.lost = Some(reason),
            Kind::Submitted { .. } => self.phase = Phase::Waiting,
            Kind::Other(_) => {}
        }
    }
}
