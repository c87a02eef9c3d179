//! What blocks is done in threads that are made at the start, so that no limit on threads ends a run
//! later, and that are never waited for, so that a file that can't be read holds up nobody.

use std::any::Any;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use cu_system::threads::Pool;

use crate::{Error, Result};

/// How long the end of the loop waits for a commit that goes on.
const LAST_COMMIT: Duration = Duration::from_secs(10);

/// Threads for one kind of work.
#[derive(Debug)]
pub(crate) enum Lane {
    Own(Pool),
    /// The runtime's, under whose virtual time tests run: it stands still only as long as the
    /// runtime itself has work in threads.
    OfRuntime,
}

/// What comes of work in a thread; an error is its panic.
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

    /// Has it done. The work is on its way when this returns, whatever becomes of the answer.
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

/// The thread that commits. Whoever drops it waits for a commit that goes on, a while: one that is
/// cut off by the end of the process must be rolled back by the next.
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
