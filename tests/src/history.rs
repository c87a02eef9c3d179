//! All traces of a run: the records of its main processes, the logs of its programs, and
//! undelivered messages. Input of the [`checker`](crate::checker).

use std::collections::BTreeMap;

use anyhow::Result;
use cu_core::{JobReport, Reader, RecordedEvent, RunDir};
use cu_protocol::{Attempt, Envelope, JobId};

use crate::steps::{self, Entry};

/// The traces of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All recorded events, in order.
    pub events: Vec<RecordedEvent>,
    /// The jobs with their chains, as the store has them.
    pub jobs: Vec<JobReport>,
    /// The step logs of the programs, by job, in the order of their lines.
    pub steps: BTreeMap<JobId, Vec<Entry>>,
    /// Messages in outboxes, durable but not taken yet.
    pub undelivered: Vec<Envelope>,
}

impl History {
    /// Reads the history of the run in `run_dir`.
    ///
    /// # Errors
    /// If a file can't be read, or does not have the expected form.
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
