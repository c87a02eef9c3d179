//! Decide: what follows from everything that came in together. Changes only memory.

use std::collections::BTreeSet;

use cu_protocol::{
    Acknowledgement, Attempt, FromServer, JobId, OperatorAnswer, OperatorRequest, Selection,
    Sequence,
};

use crate::answers::Asker;
use crate::growth::Growth;
use crate::inbox::{Batch, Item, Reply};
use crate::machine::{Action, Effects, Event, Machine, Order, orders};
use crate::silence::Silence;
use crate::store::Changes;
use crate::succession::Stay;

/// Changes to record, and what to do once they are recorded.
#[derive(Debug)]
pub(crate) struct Decision {
    pub changes: Changes,
    pub promises: Vec<Promise>,
    pub actions: Vec<Action>,
    pub detach: bool,
}

/// A reply to be sent once everything is recorded.
#[derive(Debug)]
pub(crate) enum Promise {
    Supervisor(Asker<FromServer>, FromServer),
    Operator(Asker<OperatorAnswer>, OperatorAnswer),
    OutboxTaken {
        job: JobId,
        attempt: Attempt,
        sequence: Sequence,
    },
}

/// `stay` is whether an attempt that is over stays until the next one is submitted.
pub(crate) fn decide(
    machine: &mut Machine,
    silence: &mut Silence,
    growth: &mut Growth,
    batch: Batch,
    stay: Stay,
) -> Decision {
    let at = batch.at;
    silence.pass_time(at);
    let mut effects = Effects::default();
    let mut changed = BTreeSet::new();
    let mut events = Vec::new();
    let mut replies = Vec::new();
    let mut promises = Vec::new();
    let mut detach = false;
    let failed = machine.tally().counts.failed;
    let before = *machine.tally();
    for item in batch.items {
        match item {
            Item::Happened { job, event, reply } => {
                silence.hear(&event);
                if let Event::Said {
                    attempt, sequence, ..
                } = &event
                {
                    replies.push((job, *attempt, *sequence, reply));
                }
                if machine.step(at, job, &event, &mut effects) {
                    changed.insert(job);
                    events.push((job, event));
                }
            }
            Item::Hello {
                job,
                attempt,
                reply,
            } => promises.push(Promise::Supervisor(reply, greet(machine, job, attempt))),
            Item::Operator { reply, .. } if machine.is_closed() => {
                let reason =
                    "the main process is about to end: ask again when it has ended".to_owned();
                promises.push(Promise::Operator(reply, OperatorAnswer::Refused(reason)));
            }
            Item::Operator { request, reply } => {
                let answer = match orders(machine.jobs(), &request) {
                    Ok(orders) => {
                        for (job, order) in &orders {
                            let event = Event::Ordered(*order);
                            if machine.step(at, *job, &event, &mut effects) {
                                changed.insert(*job);
                                events.push((*job, event));
                            }
                        }
                        if request == OperatorRequest::Stop(Selection::All) {
                            machine.set_to_come(0);
                        }
                        if request == OperatorRequest::Detach {
                            detach = true;
                            machine.close();
                        }
                        OperatorAnswer::Done {
                            jobs: orders.len() as u32, // At most as many as there are job ids.
                        }
                    }
                    Err(error) => OperatorAnswer::Refused(error.to_string()),
                };
                promises.push(Promise::Operator(reply, answer));
            }
            Item::EndEarly { jobs } => {
                for job in jobs {
                    if machine.step(at, job, &Event::Ordered(Order::EndEarly), &mut effects) {
                        changed.insert(job);
                        events.push((job, Event::Ordered(Order::EndEarly)));
                    }
                }
            }
            Item::Silent { reason } => silence.unanswered(reason),
            Item::Answered => silence.answered(),
            Item::RoomMade { places } => {
                for job in machine.make_room(at, places, &mut effects) {
                    changed.insert(job);
                    events.push((job, Event::RoomMade));
                }
            }
            Item::BackendEnded { reason } => silence.backend_ended(reason),
        }
    }
    let give_up = |machine: &mut Machine,
                   effects: &mut Effects,
                   events: &mut Vec<_>,
                   changed: &mut BTreeSet<_>| {
        for job in machine.give_up(failed, at, effects) {
            changed.insert(job);
            events.push((job, Event::Ordered(Order::GiveUp)));
        }
    };
    // Before anything more is submitted.
    give_up(machine, &mut effects, &mut events, &mut changed);
    let mut added = Vec::new();
    loop {
        let due = machine.pass_time(at, &mut effects);
        events.extend(due.iter().map(|job| (*job, Event::TimePassed)));
        give_up(machine, &mut effects, &mut events, &mut changed);
        changed.extend(due);
        // What follows from ends is recorded with them.
        let more = growth.grow(machine, &std::mem::take(&mut effects.settled), at);
        if more.jobs.is_empty() {
            break;
        }
        changed.extend(more.jobs.iter().map(|(job, _)| *job));
        events.extend(more.events);
        added.extend(more.jobs);
    }
    if !machine.needs_scheduler() {
        silence.answered(); // Nothing is outstanding, so silence means nothing.
    }
    promises.extend(
        replies
            .into_iter()
            .filter_map(|reply| acknowledge(machine, reply, stay)),
    );
    let jobs: Vec<_> = changed
        .into_iter()
        .filter_map(|id| machine.job(id).cloned())
        .collect();
    let mut attempts = effects.ended;
    attempts.extend(jobs.iter().filter_map(|job| {
        let active = job.active()?;
        Some((job.id, active.report(None)))
    }));
    let tally = *machine.tally();
    Decision {
        changes: Changes {
            at,
            events,
            jobs,
            attempts,
            measured: effects.measured,
            added,
            all_jobs: Some(tally.counts.total).filter(|now| *now != before.counts.total),
            tally: Some(tally).filter(|now| *now != before),
        },
        promises,
        actions: effects.actions,
        detach,
    }
}

fn acknowledge(
    machine: &Machine,
    (job, attempt, sequence, reply): (JobId, Attempt, Sequence, Reply),
    stay: Stay,
) -> Option<Promise> {
    Some(match reply {
        Reply::Nobody => return None,
        Reply::Outbox => Promise::OutboxTaken {
            job,
            attempt,
            sequence,
        },
        Reply::Supervisor(to) => {
            let answer = match stay {
                Stay::UntilTheNext if machine.starts_when_it_leaves(job, attempt) => {
                    FromServer::Stay(sequence)
                }
                _ => {
                    let answer = acknowledgement(machine, job, attempt, sequence);
                    FromServer::Acknowledgement(answer)
                }
            };
            Promise::Supervisor(to, answer)
        }
    })
}

/// The answer to a supervisor that has just connected.
fn greet(machine: &Machine, job: JobId, attempt: Attempt) -> FromServer {
    match machine.job(job) {
        Some(known) if attempt < known.next_attempt => {
            let heard = known.active().filter(|active| active.attempt == attempt);
            let sequence = heard.map_or(Sequence(0), |active| active.last_sequence);
            FromServer::Welcome(acknowledgement(machine, job, attempt, sequence))
        }
        _ => FromServer::Refused(format!(
            "attempt {attempt} of job {job} was never submitted by this run"
        )),
    }
}

fn acknowledgement(
    machine: &Machine,
    job: JobId,
    attempt: Attempt,
    sequence: Sequence,
) -> Acknowledgement {
    let active = machine.job(job).and_then(|job| job.active());
    let active = active.filter(|active| active.attempt == attempt);
    Acknowledgement {
        sequence,
        wish: active.and_then(|active| active.wish),
    }
}
