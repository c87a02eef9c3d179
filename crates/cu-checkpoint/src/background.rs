//! Saves in the background: encodes at once, and writes in a thread, one save at a time.

use std::panic;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde::Serialize;

use crate::checkpoints::Checkpoints;
use crate::codec::{self, EncodeFailure};
use crate::error::{Error, Result};
use crate::generation::Generation;

/// Saves values in a thread of its own, at most one at a time.
///
/// Each call returns the outcome of the save before it, and [`finish`](Self::finish) that of the last
/// one. Call `finish` before the program reports that it has saved.
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// # let directory = scratch.path();
/// use cu_checkpoint::{Checkpoints, Generation};
///
/// let mut background = Checkpoints::open(directory)?.in_background();
/// for step in 0..3_u32 {
///     background.save(&step)?; // waits for the save before it, if that still goes on
/// }
/// assert_eq!(background.finish()?, Some(Generation::new(0, 2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "`finish` returns whether the last save succeeded"]
pub struct Background {
    /// The handle for the next save, in the state before the save in flight, if there is one.
    checkpoints: Checkpoints,
    in_flight: Option<InFlight>,
    durable: Option<Generation>,
}

/// The handle of a save, and the outcome.
type Outcome = (Checkpoints, Result<Generation>);

#[derive(Debug)]
enum InFlight {
    Thread(JoinHandle<Outcome>),
    /// The system gave us no thread, so the save was made at once.
    Over(Box<Outcome>),
}

impl Background {
    pub(crate) fn new(checkpoints: Checkpoints) -> Self {
        Self {
            checkpoints,
            in_flight: None,
            durable: None,
        }
    }

    /// Starts to save `value`. Encodes it into memory before it returns, so you may change `value`
    /// afterwards. Waits for the save before, if that is still in flight.
    ///
    /// Returns the newest generation that this handle has made durable, which is not the one that
    /// this call starts.
    ///
    /// # Errors
    /// If the save *before* this one failed; this one is started all the same, since its value is
    /// newer. If `value` cannot be encoded; then no save is started.
    pub fn save<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<Option<Generation>> {
        let mut payload = Vec::new();
        codec::encode(value, &mut payload).map_err(|failure| {
            let source = match failure {
                EncodeFailure::Write(error) => error.into(),
                EncodeFailure::Value(source) => source,
            };
            Error::Encode {
                directory: self.checkpoints.directory.clone(),
                source,
            }
        })?;
        let before = self.wait();
        self.start(payload);
        before
    }

    /// Waits until no save is in flight. Returns the newest generation that this handle has made
    /// durable.
    ///
    /// # Errors
    /// If the save in flight failed.
    pub fn wait(&mut self) -> Result<Option<Generation>> {
        if let Some(in_flight) = self.in_flight.take() {
            let (checkpoints, saved) = match in_flight {
                InFlight::Thread(thread) => thread
                    .join()
                    .unwrap_or_else(|panic| panic::resume_unwind(panic)),
                InFlight::Over(outcome) => *outcome,
            };
            self.checkpoints = checkpoints;
            self.durable = Some(saved?);
        }
        Ok(self.durable)
    }

    /// Waits for the last save. Returns the newest generation that this handle has made durable.
    ///
    /// # Errors
    /// If the last save failed.
    pub fn finish(mut self) -> Result<Option<Generation>> {
        self.wait()
    }

    /// Whether a save is in flight, so that [`save`](Self::save) would wait.
    pub fn is_busy(&self) -> bool {
        matches!(&self.in_flight, Some(InFlight::Thread(thread)) if !thread.is_finished())
    }

    /// The checkpoints, to load from. The save in flight may or may not be found.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    fn start(&mut self, payload: Vec<u8>) {
        let mut checkpoints = self.checkpoints.clone();
        let payload = Arc::new(payload);
        let save = move || {
            let saved = checkpoints.save_encoded(&payload);
            (checkpoints, saved)
        };
        let thread = thread::Builder::new()
            .name("cu-checkpoint".into())
            .spawn(save.clone());
        self.in_flight = Some(match thread {
            Ok(thread) => InFlight::Thread(thread),
            Err(_) => InFlight::Over(Box::new(save())),
        });
    }
}

impl Drop for Background {
    /// Waits for the save in flight. A failure is printed on standard error, since `drop` can't
    /// return it.
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            eprintln!("cu-checkpoint: the last save in the background failed: {error}");
        }
    }
}
