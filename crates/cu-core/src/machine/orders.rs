//! What an operator's request means for each job.

use cu_protocol::{JobId, OperatorRequest, Selection};

use super::event::Order;
use super::job::{Job, Wanted};
use crate::{Error, JobState, Result};

/// Which jobs a request changes, and what it means for each.
///
/// # Errors
/// [`Error::NoJob`].
pub fn orders(jobs: &[Job], request: &OperatorRequest) -> Result<Vec<(JobId, Order)>> {
    let goes_on = |job: &Job| !job.state().is_settled() && !job.is_being_cancelled();
    let (selection, order, fits): (_, _, &dyn Fn(&Job) -> bool) = match request {
        OperatorRequest::Ping | OperatorRequest::Detach => return Ok(Vec::new()),
        OperatorRequest::Stop(selection) => {
            (selection, Order::Stop, &|job| !job.state().is_settled())
        }
        OperatorRequest::Pause(selection) => (selection, Order::Pause, &|job| {
            goes_on(job) && job.wanted != Wanted::Pause
        }),
        OperatorRequest::Continue(selection) => (selection, Order::Continue, &|job| {
            goes_on(job) && job.wanted == Wanted::Pause
        }),
        OperatorRequest::Checkpoint(selection) => (selection, Order::Checkpoint, &|job| {
            goes_on(job) && job.state() == JobState::Running && job.wanted != Wanted::Pause
        }),
        OperatorRequest::Retry(selection) => (selection, Order::Retry, &Job::can_be_retried),
    };
    let all: Vec<JobId>;
    let chosen = match selection {
        Selection::All => {
            all = jobs.iter().map(|job| job.id).collect();
            &all
        }
        Selection::Jobs(chosen) => chosen,
    };
    let mut orders = Vec::new();
    for id in chosen {
        let job = jobs.get(id.0 as usize).ok_or(Error::NoJob {
            job: *id,
            jobs: jobs.len() as u32, // Each has a number of its own, of that width.
        })?;
        if fits(job) {
            orders.push((*id, order));
        }
    }
    Ok(orders)
}
