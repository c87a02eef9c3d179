//! Runs whose jobs come one after another: what comes next depends on how others have ended.
//!
//! New jobs are recorded in the same commit as the ends that led to them. So whenever the main process is killed, the
//! next one finds both or neither, and a source that hears the recorded history once more knows what it knew.

use std::fmt::Debug;

use cu_protocol::{JobId, Metrics, Timestamp};

use crate::machine::{Effects, Event, Job, Machine, Order};
use crate::store::{PlanText, Reader};
use crate::{Error, JobPlan, JobState, Result};

/// Decides which jobs a run gets next.
///
/// When a run is opened, its source hears all that was recorded, in the order in which it was recorded:
/// [`added`](Self::added) for each job, also for those that the run was made with, and [`settled`](Self::settled) for
/// each job that has ended. From then on it hears of each further end, and is asked for [`next`](Self::next) jobs. It
/// is asked in the loop, so it must not block.
pub trait JobSource: Send + Debug {
    /// The run has this job, recorded earlier.
    ///
    /// # Errors
    /// In words, if it can't have come from such a source.
    fn added(&mut self, job: JobId, plan: &JobPlan) -> Result<(), String>;

    /// The job has ended with these metrics. One that is retried ends again.
    fn settled(&mut self, job: JobId, state: JobState, metrics: &Metrics);

    /// The jobs to add now, while `open` jobs are not settled: at most `to_come`, and perhaps none yet. `None` if no
    /// more come at all. They get the next numbers, in this order, and are not told to [`added`](Self::added) again.
    fn next(&mut self, open: u32, to_come: u32) -> Option<Vec<JobPlan>>;
}

/// The growth of a run during its main process.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    source: Option<Box<dyn JobSource>>,
    /// Whether the source was asked since the last end of a job.
    is_asked: bool,
}

/// What the growth of a run adds to a commit.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub jobs: Vec<(JobId, PlanText)>,
    pub events: Vec<(JobId, Event)>,
}

impl Growth {
    /// The growth by `source`, which hears here what `reader` finds recorded.
    pub fn resumed(mut source: Box<dyn JobSource>, reader: &Reader) -> Result<Self> {
        let plans = reader.plans()?;
        let mut machine = reader.beginning()?;
        for job in machine.jobs() {
            let plan = &plans[job.id.0 as usize];
            source
                .added(job.id, plan)
                .map_err(|it| refused(job.id, &it))?;
        }
        let mut last = 0;
        loop {
            let recorded = reader.recorded(last)?;
            if recorded.is_empty() {
                break;
            }
            for (number, at, job, event) in recorded {
                last = number;
                let mut effects = Effects::default();
                if event == Event::Added {
                    let plan = &plans[job.0 as usize];
                    machine.add(plan.exit_rules.clone());
                    source.added(job, plan).map_err(|it| refused(job, &it))?;
                }
                machine.step(at, job, &event, &mut effects);
                tell(source.as_mut(), &machine, &effects.settled);
            }
        }
        Ok(Self {
            source: Some(source),
            is_asked: false,
        })
    }

    /// Checks that something decides which jobs are still to come.
    pub fn check(&self, machine: &Machine) -> Result<()> {
        match self.source {
            None if machine.to_come() > 0 => Err(Error::Plan(format!(
                "{} jobs are still to come, and nothing decides which",
                machine.to_come()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether the source is still to be asked.
    pub fn is_due(&self, machine: &Machine) -> bool {
        self.source.is_some() && !self.is_asked && machine.to_come() > 0
    }

    /// Has the source hear of `settled`, the jobs that have ended at `at`, and adds the jobs that come next.
    pub fn grow(&mut self, machine: &mut Machine, settled: &[JobId], at: Timestamp) -> Added {
        let mut added = Added::default();
        let Some(source) = &mut self.source else {
            return added;
        };
        tell(source.as_mut(), machine, settled);
        self.is_asked &= settled.is_empty();
        if self.is_asked || machine.is_closed() || machine.to_come() == 0 {
            return added;
        }
        self.is_asked = true;
        let counts = machine.tally().counts;
        let open = counts.known() - counts.settled();
        let to_come = machine.to_come();
        let mut next = source.next(open, to_come);
        // Else nothing would ever happen again.
        if open == 0 && next.as_ref().is_some_and(Vec::is_empty) {
            next = None;
        }
        let Some(plans) = next else {
            machine.set_to_come(0);
            return added;
        };
        // They come in the place of jobs that are paused.
        let is_paused = machine.is_paused(settled);
        for plan in plans.iter().take(to_come as usize) {
            let id = machine.add(plan.exit_rules.clone());
            added.jobs.push((id, PlanText::of(plan)));
            added.events.push((id, Event::Added));
            if is_paused {
                let event = Event::Ordered(Order::Pause);
                machine.step(at, id, &event, &mut Effects::default());
                added.events.push((id, event));
            }
        }
        added
    }
}

fn refused(job: JobId, reason: &str) -> Error {
    Error::Plan(format!(
        "what decides on further jobs can't take up job {job}: {reason}"
    ))
}

fn tell(source: &mut dyn JobSource, machine: &Machine, settled: &[JobId]) {
    let jobs = settled.iter().filter_map(|id| machine.job(*id));
    jobs.filter(|job| job.state().is_settled())
        .for_each(|job: &Job| source.settled(job.id, job.state(), &job.metrics));
}
