//! After a crash: finds by name what may have been submitted, watches what was, reads what the attempts
//! have left meanwhile. Also reads now and then the files of attempts without a connection.

use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::act::Actor;
use crate::attempt_files::TURN;
use crate::machine::{Event, Job, LONGEST_READING, Machine, Stage};

/// How often the files of attempts without a connection are read.
const LOOK: Duration = Duration::from_secs(5);

/// Takes over what the main process before has left.
pub(crate) fn adopt_survivors(machine: &Machine, actor: &Actor, tasks: &mut JoinSet<()>) {
    actor.watch(machine.jobs());
    let mut left = Vec::new();
    let mut unanswered = Vec::new();
    for job in machine.jobs() {
        match job.active() {
            Some(active) if active.cluster_job().is_some() => left.push((job.id, active.attempt)),
            Some(active) => unanswered.push((job.id, active.attempt, active.stage.clone())),
            None => {}
        }
    }
    if !left.is_empty() {
        actor.read_in_turn(left, tasks); // As if they had just ended.
    }
    // The end of the run looks at them in any case.
    if !machine.is_settled() {
        look_at_the_given_up(machine, actor, tasks);
    }
    if !unanswered.is_empty() {
        tasks.spawn(look_up(actor.clone(), unanswered));
    }
}

/// Reads the files of attempts that had been given up, also those of settled jobs: whatever a supervisor
/// without a connection promised its program is there. One of `tasks`, which the end awaits for a bounded
/// time.
pub(crate) fn look_at_the_given_up(machine: &Machine, actor: &Actor, tasks: &mut JoinSet<()>) {
    let of = |job: &Job| {
        let id = job.id;
        let attempts = job.ended_without_record.clone().into_iter();
        attempts.map(move |attempt| (id, attempt))
    };
    let given_up: Vec<_> = machine.jobs().iter().flat_map(of).collect();
    if given_up.is_empty() {
        return;
    }
    actor.read_in_turn(given_up, tasks);
}

/// An attempt that may have been submitted, and how far its submission was.
type Unanswered = (JobId, Attempt, Stage);

/// Looks up what may have been submitted. Its files come first: they show an attempt that has ended
/// meanwhile, and that a scheduler may have forgotten. Without them it would be submitted again, and its
/// requests would be lost. An attempt whose files can't be read delays no other.
async fn look_up(actor: Actor, unanswered: Vec<Unanswered>) {
    let mut read = Vec::new();
    let mut late = JoinSet::new();
    for (job, attempt, stage) in unanswered {
        let mut reading = Box::pin(actor.readers.read(job, attempt));
        match timeout(TURN, &mut reading).await {
            Ok(()) => read.push((job, attempt, stage)),
            Err(_) => {
                late.spawn(async move {
                    let _ = timeout(LONGEST_READING, reading).await;
                    vec![(job, attempt, stage)]
                });
            }
        }
    }
    look_up_now(&actor, read).await;
    while let Some(read) = late.join_next().await {
        // The task neither panics nor is cancelled.
        look_up_now(&actor, read.unwrap_or_default()).await;
    }
}

/// Looks these up by their names.
async fn look_up_now(actor: &Actor, unanswered: Vec<Unanswered>) {
    let mut lookups = Vec::new();
    for (job, attempt, stage) in unanswered {
        if stage == Stage::Uncertain {
            lookups.push((job, attempt));
            continue;
        }
        let event = Event::SubmitUncertain {
            attempt,
            reason: "the main process ended before it recorded the scheduler's answer".to_owned(),
        };
        actor.context.happened(job, event);
    }
    if !lookups.is_empty() {
        actor.submitter.find(lookups).await;
    }
}

/// Reads the files of attempts that have run and have no connection, for ever. Reading takes at most a
/// tenth of the time, so that a thousand attempts do not burden a shared file system.
pub(crate) async fn look_now_and_then(actor: Actor) {
    let mut pause = LOOK;
    loop {
        sleep(pause).await;
        let begun = Instant::now();
        let mut unconnected = actor.unread.attempts();
        unconnected.retain(|(job, attempt)| !actor.connections.has(*job, *attempt));
        actor.readers.read_in_turn(unconnected).await;
        pause = LOOK.max(begun.elapsed() * 9);
    }
}
