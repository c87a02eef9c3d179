//! A thread that looks at a run beside its main process: for what takes files, and what the loop need not wait for.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use cu_core::{Operator, Reader, RunDir, Status};
use cu_system::causes::in_one_line;
use tokio::sync::watch;

use crate::cluster_utils::results::Iterations;
use crate::error::{Error, Result};
use crate::optimize::Wanted;
use crate::optimize::early::Early;
use crate::optimize::kept::Kept;

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
    /// Looks at `run` if it has something that needs it.
    pub fn start(
        run: &RunDir,
        operator: &Operator,
        status: watch::Receiver<Status>,
    ) -> Option<Self> {
        let wanted = Wanted::of_run(run)?;
        let early = Early::new(run, &wanted, operator.clone());
        let kept = Kept::new(run, &wanted);
        let iterations = Iterations::new(run, &wanted);
        let boxed: [Option<Box<dyn Beside>>; 3] = [
            early.map(|it| Box::new(it) as Box<dyn Beside>),
            iterations.map(|it| Box::new(it) as Box<dyn Beside>),
            kept.map(|it| Box::new(it) as Box<dyn Beside>),
        ];
        let all: Vec<_> = boxed.into_iter().flatten().collect();
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
