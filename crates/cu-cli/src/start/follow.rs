//! Follows a run that another process works on, without touching it: what `cu wait` and `cu watch` do.

use std::time::{Duration, Instant};

use cu_core::{MainProcessSeen, Reader, RunDir, RunState, Status, ask};
use cu_protocol::OperatorRequest;
use tokio::time::{sleep, sleep_until};

use super::interrupt::Sources;
use crate::error::Result;
use crate::view::View;

/// The pause between two looks, if looking takes next to no time.
const PAUSE: Duration = Duration::from_millis(500);
/// Looking takes at most this part of the time: one look, then a pause of so many.
const PAUSES: u32 = 10;
/// A run may be without a main process for this long: one has just begun, or another takes over.
const GRACE: Duration = Duration::from_secs(3);
/// How often a main process on another host is asked whether it lives.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Why it is not followed any more.
#[derive(Debug)]
pub enum End {
    /// All jobs have ended.
    Settled(Status),
    /// Jobs are left, and no main process works on them.
    Abandoned(Status),
    /// The time is over.
    TimedOut(Status),
    /// The person does not want to look any more.
    Interrupted(Status),
}

/// Follows the run until it ends, or for as long as `timeout`.
///
/// # Errors
/// If it can't be read.
pub async fn follow(run: &RunDir, timeout: Option<Duration>, view: &mut dyn View) -> Result<End> {
    let end = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let mut sources = Sources::listen()?;
    let reader = Reader::open(run)?;
    let mut presence = Presence::default();
    loop {
        let began = Instant::now();
        let status = reader.status()?;
        let took = began.elapsed();
        match status.state {
            RunState::Completed | RunState::Failed | RunState::Stopped => {
                return Ok(End::Settled(status));
            }
            RunState::Interrupted if presence.is_abandoned(run, &reader).await => {
                // It may have ended between the look at its jobs and the look at its lock.
                let status = reader.status()?;
                return Ok(match status.state {
                    RunState::Interrupted | RunState::Running => End::Abandoned(status),
                    _ => End::Settled(status),
                });
            }
            RunState::Interrupted => {}
            RunState::Running => presence = Presence::default(),
        }
        view.status(&status, Instant::now());
        view.tick(Instant::now());
        if view.is_over() {
            return Ok(End::Interrupted(status));
        }
        let pause = sleep(PAUSE.max(took * PAUSES));
        tokio::select! {
            () = pause => {}
            _ = sources.next() => return Ok(End::Interrupted(status)),
            () = until(end) => return Ok(End::TimedOut(status)),
        }
    }
}

async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// What is known of a main process whose lock is not held.
#[derive(Debug, Default)]
struct Presence {
    /// Since when none is seen.
    absent: Option<Instant>,
    /// When one on another host was last found to live, or could not be asked.
    lives: Option<Instant>,
}

impl Presence {
    /// Whether no main process works on the run, for longer than another one takes to begin.
    async fn is_abandoned(&mut self, run: &RunDir, reader: &Reader) -> bool {
        match reader.main_process() {
            MainProcessSeen::Alive { .. } => {
                *self = Self::default();
                return false;
            }
            MainProcessSeen::Absent => {}
            // On some file systems each host sees only its own locks.
            MainProcessSeen::Unclear { .. } => {
                if self.lives.is_some_and(|lives| lives.elapsed() < ASK_AGAIN) {
                    return false;
                }
                let answer = ask(run, OperatorRequest::Ping).await;
                if !matches!(answer, Err(cu_core::Error::NoMainProcess { .. })) {
                    self.lives = Some(Instant::now());
                    return false;
                }
            }
        }
        self.absent.get_or_insert_with(Instant::now).elapsed() >= GRACE
    }
}
