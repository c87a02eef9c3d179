//! A run's machine and store without the loop around them, so that what a turn costs can be measured.

use cu_protocol::{JobId, Timestamp};

use crate::decide::decide;
use crate::growth::Growth;
use crate::inbox::{Batch, Item, Reply};
use crate::machine::{Action, Event, Machine};
use crate::silence::Silence;
use crate::store::Store;
use crate::succession::Stay;
use crate::{Result, RunDir, lock};

/// A run that is opened, and to which nothing happens by itself.
#[derive(Debug)]
pub struct BareRun {
    machine: Machine,
    silence: Silence,
    growth: Growth,
    store: Store,
}

impl BareRun {
    /// Opens the run in `run_dir`. As long as this lives, no main process can.
    ///
    /// # Errors
    /// [`Error::InUse`](crate::Error::InUse), [`Error::NewerVersion`](crate::Error::NewerVersion),
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::Read`](crate::Error::Read).
    pub fn open(run_dir: &RunDir) -> Result<Self> {
        let lock = lock::take(run_dir)?.name()?;
        let store = Store::open(run_dir, lock)?;
        let loaded = store.load()?;
        Ok(Self {
            machine: Machine::new(loaded.jobs, loaded.policy),
            silence: Silence::default(),
            growth: Growth::default(),
            store,
        })
    }

    /// Decides what follows from what happened to these jobs at `at`, and records it. Returns what is to be done.
    ///
    /// # Errors
    /// [`Error::Record`](crate::Error::Record).
    pub fn turn(&mut self, at: Timestamp, happened: Vec<(JobId, Event)>) -> Result<Vec<Action>> {
        let items = happened.into_iter().map(|(job, event)| Item::Happened {
            job,
            event,
            reply: Reply::Nobody,
        });
        let batch = Batch {
            at,
            items: items.collect(),
        };
        let decision = decide(
            &mut self.machine,
            &mut self.silence,
            &mut self.growth,
            batch,
            Stay::Never,
        );
        self.store.commit(&decision.changes)?;
        Ok(decision.actions)
    }

    /// The jobs of the run, as they are known.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}
