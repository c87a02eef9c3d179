//! Decides which jobs a run with `[optimize]` gets next.

use cu_core::{JobPlan, JobSource, JobState, Reader, RunDir};
use cu_optimize::{Event, Optimizer, Outcome, Study};
use cu_protocol::{JobId, MetricValue, Metrics};

use crate::config::{Further, Source, Wanted};
use crate::error::Result;

/// What decides which jobs the run in `run` gets next; `None` if all its jobs were there from the beginning.
///
/// # Errors
/// If the config that is kept with the run can't be read, or is wrong.
pub fn source_of(run: &RunDir) -> Result<Option<Box<dyn JobSource>>> {
    // Without the file, its backend is still known; that no jobs can be added, the loop reports.
    if !run.config().exists() {
        return Ok(None);
    }
    let parsed = Source::read_own(&run.config())?.parse()?;
    let Some(wanted) = Wanted::of(&parsed)? else {
        return Ok(None);
    };
    let (_, first) = Reader::open(run)?.in_force()?;
    let further = Further::new(parsed, first);
    Ok(Some(Box::new(Search::new(wanted, further))))
}

/// A search, each trial of which is the job of the same number.
#[derive(Debug)]
pub(super) struct Search {
    wanted: Wanted,
    study: Study,
    /// What the study was asked and told.
    history: Vec<Event>,
    further: Further,
}

impl Search {
    pub(super) fn new(wanted: Wanted, further: Further) -> Self {
        Self {
            study: wanted.study(),
            history: Vec::new(),
            further,
            wanted,
        }
    }

    fn record(&mut self, event: Event) -> Result<(), String> {
        let recorded = self.study.record(event.clone());
        recorded.map_err(|error| error.to_string())?;
        self.history.push(event);
        Ok(())
    }
}

impl JobSource for Search {
    fn added(&mut self, _: JobId, plan: &JobPlan) -> Result<(), String> {
        let names = self.wanted.setup.space.parameters().iter();
        let values = names.filter_map(|it| {
            let value = plan.parameters.get(&it.name)?;
            Some((it.name.clone(), value.clone()))
        });
        self.record(Event::Asked(values.collect()))
            .map_err(|error| format!("{error}; were the parameters in run.toml edited?"))
    }

    fn settled(&mut self, job: JobId, state: JobState, metrics: &Metrics) {
        let trial = job.0 as usize;
        let value = metrics.get(&self.wanted.metric).and_then(number);
        let outcome = match (state, value) {
            (JobState::Completed, Some(value)) => Outcome::Value(value),
            _ => Outcome::Failed,
        };
        // A job that was retried has an outcome already, which was another one.
        if self
            .study
            .trials()
            .get(trial)
            .is_some_and(|it| it.outcome.is_some())
        {
            let is_told =
                |event: &Event| matches!(event, Event::Told { trial: told, .. } if *told == trial);
            self.history.retain(|event| !is_told(event));
            let setup = self.wanted.setup.clone();
            match Study::replay(setup, self.history.iter().cloned()) {
                Ok(study) => self.study = study,
                Err(error) => tracing::error!("job {job}: {error}"),
            }
        }
        if let Err(error) = self.record(Event::Told { trial, outcome }) {
            tracing::error!("job {job}: {error}");
        }
    }

    fn next(&mut self, open: u32, to_come: u32) -> Option<Vec<JobPlan>> {
        let free = self.wanted.at_once.saturating_sub(open);
        if free < self.wanted.refill_after && open > 0 {
            return Some(Vec::new());
        }
        let count = free.min(to_come);
        let mut plans = Vec::new();
        for _ in 0..count {
            let asked = self.study.ask();
            self.history.push(Event::Asked(asked.values.clone()));
            match self.further.with(&asked.values) {
                Ok(plan) => plans.push(plan),
                Err(error) => {
                    tracing::error!("no further jobs can be made: {error}");
                    return None;
                }
            }
        }
        Some(plans)
    }
}

/// A metric as a number.
pub fn number(value: &MetricValue) -> Option<f64> {
    match value {
        MetricValue::Integer(number) => Some(*number as f64),
        MetricValue::Float(number) => Some(*number).filter(|number| number.is_finite()),
        MetricValue::Boolean(truth) => Some(f64::from(u8::from(*truth))),
        MetricValue::Null | MetricValue::Text(_) => None,
    }
}
