//! After a crash: find by name what may have been submitted, watch what was, read what the attempts
//! have left meanwhile. And the same, gently, for attempts without a connection while we live.

use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::act::Actor;
use crate::inbox::Reply;
use crate::machine::{Event, Job, LONGEST_READING, Machine, Stage};

/// How often the files of attempts without a connection are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long the files of one attempt keep those of the next from being read.
const TURN: Duration = Duration::from_secs(1);

/// Takes up what the main process before has left.
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
        tasks.spawn(read_in_turn(actor.clone(), left)); // As when they have just ended.
    }
    // At the end they are looked at in any case.
    if !machine.is_settled() {
        look_at_the_given_up(machine, actor, tasks);
    }
    if !unanswered.is_empty() {
        tasks.spawn(look_up(actor.clone(), unanswered));
    }
}

/// Reads what attempts have left that had been given up, of settled jobs too: what their programs were
/// told is noted lies there, if they could not reach anybody. As one of `tasks`, which are waited for
/// at the end, for a bounded time.
pub(crate) fn look_at_the_given_up(machine: &Machine, actor: &Actor, tasks: &mut JoinSet<()>) {
    let of = |job: &Job| {
        let id = job.id;
        let attempts = job.unheard.clone().into_iter();
        attempts.map(move |attempt| (id, attempt))
    };
    let given_up: Vec<_> = machine.jobs().iter().flat_map(of).collect();
    if given_up.is_empty() {
        return;
    }
    tasks.spawn(read_in_turn(actor.clone(), given_up));
}

/// What may have been submitted, and how far its submission was.
type Unanswered = (JobId, Attempt, Stage);

/// Looks up what may have been submitted. Its files first: they tell of an attempt that has ended
/// meanwhile, and that a scheduler may have forgotten. Without them it would be submitted again, and
/// what it asked for would be lost. One whose files can't be read keeps only itself waiting.
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
    actor.look_up_now(read).await;
    while let Some(read) = late.join_next().await {
        // Nothing in it panics, and nobody cancels it.
        actor.look_up_now(read.unwrap_or_default()).await;
    }
}

impl Actor {
    /// Looks these up by their names.
    async fn look_up_now(&self, unanswered: Vec<Unanswered>) {
        let mut lookups = Vec::new();
        for (job, attempt, stage) in unanswered {
            if stage == Stage::Uncertain {
                lookups.push((job, attempt));
                continue;
            }
            let event = Event::SubmitUncertain {
                attempt,
                reason: "the main process ended before the scheduler's answer was recorded"
                    .to_owned(),
            };
            self.happened(job, event, Reply::Nobody);
        }
        if !lookups.is_empty() {
            self.clone().find(lookups).await;
        }
    }
}

/// Reads the files of attempts that have run and have no connection, for ever. A thousand of them on
/// a file system that others use too are not asked for every few seconds: to read takes a tenth of the
/// time at most.
pub(crate) async fn look_now_and_then(actor: Actor) {
    let mut pause = LOOK;
    loop {
        sleep(pause).await;
        let begun = Instant::now();
        let mut unconnected = actor.unread.attempts();
        unconnected.retain(|(job, attempt)| !actor.connections.has(*job, *attempt));
        read_in_turn(actor.clone(), unconnected).await;
        pause = LOOK.max(begun.elapsed() * 9);
    }
}

/// Reads the files of one attempt after the other. Those that can't be read now are left to their
/// thread, and passed over as long as that goes on.
pub(crate) async fn read_in_turn(actor: Actor, attempts: Vec<(JobId, Attempt)>) {
    for (job, attempt) in attempts {
        if !actor.readers.are_at(job, attempt) {
            let _ = timeout(TURN, actor.readers.read(job, attempt)).await;
        }
    }
}
