//! The life of a simulated attempt: its program, its limits, and the actions of the cluster.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use super::world::{Order, Ready, Stop};
use super::{Run, Shared};
use crate::{Cancel, EndCause, Signal};

/// Starts the next jobs of the queue that fit, and wakes callers that wait for a change.
pub(super) fn start_what_fits(shared: &Arc<Shared>) {
    let mut started = false;
    loop {
        let (orders, received) = mpsc::unbounded_channel();
        let Some(ready) = shared.world().start_next(orders) else {
            break;
        };
        started = true;
        tokio::spawn(live(shared.clone(), ready, received));
    }
    if started {
        shared.announce();
    }
}

/// One attempt from its start to its end.
async fn live(shared: Arc<Shared>, ready: Ready, orders: UnboundedReceiver<Order>) {
    let job = ready.job.clone();
    let (cause, requeue) = match run(&shared, ready, orders).await {
        Some(cause) => {
            let by_the_cluster = matches!(cause, EndCause::Preempted | EndCause::NodeFailure);
            (Some(cause), by_the_cluster && shared.options.requeues)
        }
        None => (None, false),
    };
    shared.world().end(&job, cause, requeue);
    shared.announce();
    start_what_fits(&shared);
    if requeue {
        tokio::time::sleep(shared.options.queue_delay).await;
        start_what_fits(&shared);
    }
}

/// Returns how it ended; `None` if the cluster lost it.
async fn run(
    shared: &Shared,
    ready: Ready,
    mut orders: UnboundedReceiver<Order>,
) -> Option<EndCause> {
    let begun = Instant::now();
    let resources = ready.submission.resources.clone();
    let (signals, received) = mpsc::unbounded_channel();
    let listens = Arc::new(AtomicBool::new(false));
    let mut program = (shared.program)(Run {
        submission: ready.submission,
        job: ready.job,
        restarts: ready.restarts,
        signals: received,
        listens: listens.clone(),
    });
    let limit = resources.time_limit.or(shared.options.default_time_limit);
    let mut limit_at = limit.map(|limit| begun + limit);
    let mut warning = resources.warning.zip(limit).map(|(warning, limit)| {
        let after = limit.saturating_sub(warning.before_limit);
        (begun + after, warning.signal)
    });
    let mut failure = ready.failure.map(|(after, stop)| (begun + after, stop));
    let mut kill_at = None;
    let mut ending = None;
    loop {
        let signal = tokio::select! {
            cause = &mut program => return Some(ending.unwrap_or(cause)),
            () = at(kill_at) => return ending,
            () = at(limit_at.filter(|_| ending.is_none())) => {
                limit_at = None;
                ending = Some(EndCause::TimeLimit);
                kill_at = Some(Instant::now() + shared.options.grace);
                Signal::Term
            }
            () = at(warning.map(|(at, _)| at)) => {
                match warning.take() {
                    Some((_, signal)) => signal,
                    None => continue,
                }
            }
            order = next(&mut orders, &mut failure) => match order {
                Order::Cancel(Cancel::Kill) => return Some(ending.unwrap_or(EndCause::Cancelled)),
                Order::Cancel(Cancel::Terminate) if ending.is_some() => continue,
                Order::Stop(Stop::Preempted) if ending.is_some() => continue,
                Order::Stop(Stop::NodeFailure) => return Some(EndCause::NodeFailure),
                Order::Stop(Stop::OutOfMemory) => return Some(EndCause::OutOfMemory),
                Order::Stop(Stop::Lost) => return None,
                Order::Cancel(Cancel::Terminate) => {
                    ending = Some(EndCause::Cancelled);
                    kill_at = Some(Instant::now() + shared.options.grace);
                    Signal::Term
                }
                Order::Stop(Stop::Preempted) => {
                    ending = Some(EndCause::Preempted);
                    kill_at = Some(Instant::now() + shared.options.grace);
                    Signal::Term
                }
            },
        };
        if ending.is_some() {
            warning = None;
        }
        if !deliver(&signals, &listens, signal) {
            return Some(ending.unwrap_or(EndCause::Signaled(number(signal))));
        }
    }
}

/// The next order, from a caller or by chance.
async fn next(
    orders: &mut UnboundedReceiver<Order>,
    failure: &mut Option<(Instant, Stop)>,
) -> Order {
    tokio::select! {
        Some(order) = orders.recv() => order,
        stop = chance(failure) => Order::Stop(stop),
    }
}

async fn chance(failure: &mut Option<(Instant, Stop)>) -> Stop {
    at(failure.map(|(at, _)| at)).await;
    match failure.take() {
        Some((_, stop)) => stop,
        None => future::pending().await,
    }
}

/// Returns `false` if the signal ends a program that does not listen.
fn deliver(signals: &UnboundedSender<Signal>, listens: &AtomicBool, signal: Signal) -> bool {
    let listens = listens.load(Ordering::Acquire);
    if listens {
        // A program that has dropped its `Run` ignores all signals.
        signals.send(signal).ok();
    }
    listens
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// Its number on Linux.
fn number(signal: Signal) -> i32 {
    match signal {
        Signal::Hup => 1,
        Signal::Int => 2,
        Signal::Usr1 => 10,
        Signal::Usr2 => 12,
        Signal::Term => 15,
    }
}
