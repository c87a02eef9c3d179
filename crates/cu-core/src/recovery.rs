//! After a crash: find by name what may have been submitted, watch what was, read what the attempts
//! have left meanwhile. And the same, gently, for attempts without a connection while we live.

use std::panic::resume_unwind;
use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::act::Actor;
use crate::inbox::Reply;
use crate::machine::{Event, Job, LONGEST_READING, Machine, Stage};
use crate::records;

/// How often the files of attempts without a connection are looked at.
const LOOK: Duration = Duration::from_secs(5);

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
        drop(records::read(actor, left)); // As when they have just ended.
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
    let actor = actor.clone();
    tasks.spawn(async move {
        if let Err(error) = records::read(&actor, given_up).await
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    });
}

/// Looks up what may have been submitted. Its files first: they tell of an attempt that has ended
/// meanwhile, and that a scheduler may have forgotten. Without them it would be submitted again, and
/// what it asked for would be lost.
async fn look_up(actor: Actor, unanswered: Vec<(JobId, Attempt, Stage)>) {
    let attempts = unanswered.iter().map(|(job, attempt, _)| (*job, *attempt));
    let reading = records::read(&actor, attempts.collect());
    if let Ok(Err(error)) = timeout(LONGEST_READING, reading).await
        && let Ok(panic) = error.try_into_panic()
    {
        resume_unwind(panic);
    }
    let mut lookups = Vec::new();
    for (job, attempt, stage) in unanswered {
        if stage == Stage::Uncertain {
            lookups.push((job, attempt));
            continue;
        }
        let event = Event::SubmitUncertain {
            attempt,
            reason: "the main process ended before the scheduler's answer was recorded".to_owned(),
        };
        actor.happened(job, event, Reply::Nobody);
    }
    if !lookups.is_empty() {
        actor.find(lookups).await;
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
        if !unconnected.is_empty()
            && let Err(error) = records::read(&actor, unconnected).await
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
        pause = LOOK.max(begun.elapsed() * 9);
    }
}
