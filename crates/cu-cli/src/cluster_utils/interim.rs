//! Writes the result files of a grid search while it goes on, so that one that is aborted in any way leaves them as
//! far as it got.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cu_core::{RunDir, Status};
use cu_system::threads;

use super::results;

/// The least time from one writing to the next.
const LEAST: Duration = Duration::from_secs(10);

/// Writing takes at most about this part of the time.
const PART: u32 = 20;

const STACK_BYTES: usize = 512 << 10;

/// Knows when the files were written last.
#[derive(Debug)]
pub struct Interim {
    run: RunDir,
    /// How many jobs had ended by then.
    settled: u32,
    next: Option<Instant>,
    is_writing: Arc<AtomicBool>,
    /// How long the last writing took.
    took_millis: Arc<AtomicU64>,
}

impl Interim {
    /// For `run`, if it has such files.
    pub fn of(run: &RunDir) -> Option<Self> {
        results::are_meant(run).then(|| Self {
            run: run.clone(),
            settled: 0,
            next: None,
            is_writing: Arc::default(),
            took_millis: Arc::default(),
        })
    }

    /// Writes them in a thread, if jobs have ended since and it is time. The end of the run writes them by itself.
    pub fn tick(&mut self, status: &Status, now: Instant) {
        let settled = status.jobs.settled();
        let is_early = self.next.is_some_and(|next| now < next);
        if settled == self.settled || settled == status.jobs.total || is_early {
            return;
        }
        if self.is_writing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.settled = settled;
        let took = Duration::from_millis(self.took_millis.load(Ordering::Relaxed));
        self.next = Some(now + LEAST.max(took * PART));
        let (run, status) = (self.run.clone(), status.clone());
        let (is_writing, took_millis) = (self.is_writing.clone(), self.took_millis.clone());
        let write = move || {
            let begun = Instant::now();
            // The last one, which counts, reports errors.
            if let Err(error) = results::write(&run, &status, true) {
                tracing::warn!("the results so far can't be written: {error}");
            }
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            took_millis.store(took, Ordering::Relaxed);
            is_writing.store(false, Ordering::Release);
        };
        if threads::spawn("results", STACK_BYTES, write).is_err() {
            self.is_writing.store(false, Ordering::Release);
        }
    }
}
