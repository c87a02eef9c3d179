//! Writes files of submissions without blocking the caller.

use cu_system::threads::Pool;

use super::Refusal;
use crate::Error;

/// The most threads that write at a time.
const THREADS: usize = 4;

/// Threads that write files.
#[derive(Debug)]
pub struct Writer(Pool);

impl Writer {
    /// Starts the first thread, so that one is there when there is something to write. `name` is shown
    /// to whoever looks at the process.
    ///
    /// # Errors
    /// [`Error::System`] if the system refuses a thread.
    pub fn start(name: &'static str) -> Result<Self, Error> {
        let pool = Pool::start(name, 1, THREADS);
        pool.map(Self).map_err(Error::no_thread)
    }

    /// Does `work` in a thread. It is done even if the caller stops waiting.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if it panics.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let panicked = |_| {
            Refusal::unavailable("writing the submission's files panicked, which is a bug of ours")
        };
        self.0.ask(work).await.map_err(panicked)
    }
}
