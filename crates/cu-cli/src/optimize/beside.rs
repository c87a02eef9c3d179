//! A thread that looks at a run beside its main process: for what takes files, and what the loop need not wait for.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use cu_core::{Reader, RunDir, Status};
use cu_system::causes::in_one_line;
use tokio::sync::watch;

use crate::error::{Error, Result};

/// The time between two looks. Looking takes at most a tenth of the time.
const PAUSE: Duration = Duration::from_millis(500);

/// Looks at a run again and again.
pub trait Beside: Send {
    /// Looks, and does what follows.
    ///
    /// # Errors
    /// If the run can't be read, or a file can't be read or written. The next look tries again.
    fn look(&mut self, reader: &Reader) -> Result<()>;
}

/// The thread. It ends soon after this is dropped, and nobody waits for that.
#[derive(Debug)]
pub struct Looking {
    _open: Sender<()>,
}

impl Looking {
    /// Has all of these look at `run`, until no job of `status` is open.
    pub fn start(
        run: &RunDir,
        all: Vec<Box<dyn Beside>>,
        status: watch::Receiver<Status>,
    ) -> Option<Self> {
        if all.is_empty() {
            return None;
        }
        let (open, ends) = mpsc::channel();
        let run = run.clone();
        let thread = std::thread::Builder::new().name("beside".to_owned());
        let started = thread.spawn(move || look_until(&ends, &run, &status, all));
        match started {
            Ok(_) => Some(Self { _open: open }),
            Err(error) => {
                tracing::warn!("no thread could be started to look at the run: {error}");
                None
            }
        }
    }
}

fn look_until(
    ends: &mpsc::Receiver<()>,
    run: &RunDir,
    status: &watch::Receiver<Status>,
    mut all: Vec<Box<dyn Beside>>,
) {
    let mut last = String::new();
    let mut pause = PAUSE;
    while ends.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        // The main process is about to close the store, in which nobody should read then.
        let counts = status.borrow().jobs;
        if counts.settled() == counts.total {
            return;
        }
        let begun = Instant::now();
        let looked = Reader::open(run).map_err(Error::from);
        let looked = looked.and_then(|reader| all.iter_mut().try_for_each(|it| it.look(&reader)));
        if let Err(error) = looked {
            let text = in_one_line(&error);
            if text != last {
                tracing::warn!("{text}");
                last = text;
            }
        }
        pause = PAUSE.max(begun.elapsed() * 9);
    }
}
