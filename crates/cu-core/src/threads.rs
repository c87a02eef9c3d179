//! Threads for calls that block. They are started at the beginning, so that no limit on threads ends a
//! run later. They are never awaited, so that a file that can't be read blocks nothing else.

use std::any::Any;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use cu_system::threads::Pool;

use crate::{Error, Result};

/// How long the end of the loop waits for a commit in progress.
const LAST_COMMIT: Duration = Duration::from_secs(10);

/// Threads for one kind of work.
#[derive(Debug)]
pub(crate) enum Lane {
    Own(Pool),
    /// The runtime's, for tests under virtual time: that stands still only while the runtime itself has
    /// work in threads.
    OfRuntime,
}

/// The outcome of work in a thread; an error is its panic.
pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = thread::Result<T>> + Send>>;

impl Lane {
    /// With `least` threads from now on and `most` when all are busy. To be called within a runtime.
    ///
    /// # Errors
    /// [`Error::System`] if the system refuses a thread.
    pub fn start(name: &'static str, least: usize, most: usize) -> Result<Self> {
        if time_is_virtual() {
            return Ok(Self::OfRuntime);
        }
        let started = Pool::start(name, least, most);
        started.map(Self::Own).map_err(|source| Error::System {
            what: "start a thread",
            source,
        })
    }

    /// Hands the work over. It is done even if the answer is dropped.
    pub fn ask<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        match self {
            Self::Own(pool) => Box::pin(pool.ask(work)),
            Self::OfRuntime => {
                let asked = tokio::task::spawn_blocking(work);
                Box::pin(async {
                    let ended = asked.await;
                    ended.map_err(|error| match error.try_into_panic() {
                        Ok(panic) => panic,
                        Err(error) => Box::new(error.to_string()) as Box<dyn Any + Send>,
                    })
                })
            }
        }
    }
}

/// Whether the runtime's clock stands still between its timers: then it is not ours.
fn time_is_virtual() -> bool {
    let before = Instant::now();
    let of_runtime = tokio::time::Instant::now().into_std();
    !(before..=Instant::now()).contains(&of_runtime)
}

/// The thread that commits. Dropping it waits a while for a commit in progress: if the process ended within
/// it, the next main process would have to roll it back.
#[derive(Debug)]
pub(crate) struct Recorder(Lane);

impl Recorder {
    /// As [`Lane::start`].
    pub fn start() -> Result<Self> {
        Lane::start("record", 1, 1).map(Self)
    }

    /// As [`Lane::ask`].
    pub fn ask<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        self.0.ask(work)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Lane::Own(pool) = &self.0 {
            pool.settle(LAST_COMMIT);
        }
    }
}
