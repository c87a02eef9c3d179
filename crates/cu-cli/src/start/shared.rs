//! Keeps a run readable for the group of its config while a main process works on it, and at the end.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use cu_core::RunDir;
use cu_system::causes::in_one_line;
use cu_system::threads;

use crate::runs::share::{Group, share};
use crate::terminal;

/// How often files that are new get their rights.
const EVERY: Duration = Duration::from_secs(300);
/// How long the last time may take: the files may lie on a file server that is gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shares the run until it is dropped, and once more then.
pub struct Shared {
    run: RunDir,
    group: Group,
    /// Dropped before the last time, which ends the thread.
    lives: Option<Sender<()>>,
}

impl Shared {
    /// Begins, if the run's config names a group.
    pub fn begin(run: &RunDir) -> Option<Self> {
        let group = match Group::of(run) {
            Ok(group) => group?,
            Err(error) => {
                // It was there when the run was made.
                terminal::warn(&format!("the run is not shared: {error}"));
                return None;
            }
        };
        let (lives, ended) = mpsc::channel::<()>();
        let (of_thread, mut is_warned) = (run.clone(), false);
        let work = move || {
            loop {
                if let Err(error) = share(&of_thread, group)
                    && !std::mem::replace(&mut is_warned, true)
                {
                    tracing::warn!(
                        "the run is not shared with its group: {}",
                        in_one_line(&error)
                    );
                }
                if ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let begun = thread::Builder::new().name("share".to_owned()).spawn(work);
        if let Err(error) = begun {
            tracing::warn!(%error, "the run is shared with its group only at its end");
        }
        Some(Self {
            run: run.clone(),
            group,
            lives: Some(lives),
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.lives = None;
        let (run, group) = (self.run.clone(), self.group);
        let done = threads::within("share", PATIENCE, move || {
            share(&run, group).map_err(|error| in_one_line(&error))
        });
        let failure = match done {
            Some(Ok(())) => return,
            Some(Err(error)) => error,
            None => "it took too long".to_owned(),
        };
        let text = format!("the run is not shared with its group: {failure}");
        tracing::warn!("{text}");
        terminal::warn(&text);
    }
}
