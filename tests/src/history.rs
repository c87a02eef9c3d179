//! All that a run leaves: what its main processes recorded, what its programs wrote down, and what
//! lies undelivered. Input of the [`checker`](crate::checker).

use std::collections::BTreeMap;

use anyhow::Result;
use cu_core::{JobReport, Reader, RecordedEvent, RunDir};
use cu_protocol::{Attempt, Envelope, JobId};

use crate::steps::{self, Entry};

/// What a run leaves.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Everything that was recorded, in its order.
    pub events: Vec<RecordedEvent>,
    /// The jobs with their chains, as the store has them.
    pub jobs: Vec<JobReport>,
    /// The step logs of the programs, by job, in the order of their lines.
    pub steps: BTreeMap<JobId, Vec<Entry>>,
    /// Messages that lie in outboxes: durable, and not taken yet.
    pub undelivered: Vec<Envelope>,
}

impl History {
    /// That of the run in `run_dir`.
    ///
    /// # Errors
    /// If something can't be read, or is not what it should be.
    pub fn read(run_dir: &RunDir) -> Result<Self> {
        let reader = Reader::open(run_dir)?;
        let mut history = Self {
            events: reader.events()?,
            jobs: reader.jobs()?,
            ..Self::default()
        };
        for job in &history.jobs {
            let entries = steps::read(&run_dir.output_dir(job.job))?;
            history.steps.insert(job.job, entries);
            for number in 0..job.attempts.len() {
                let attempt = Attempt(u32::try_from(number)?);
                let outbox = run_dir.outbox(job.job, attempt);
                let outbox = cu_run_dir::read_outbox(&outbox)?;
                history.undelivered.extend(outbox.messages);
            }
        }
        Ok(history)
    }
}
