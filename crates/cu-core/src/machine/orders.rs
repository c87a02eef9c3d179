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
    let ordered = |job: &Job| Some((job.id, order(job, request)?));
    match selection(request) {
        None => Ok(Vec::new()),
        Some(Selection::All) => Ok(jobs.iter().filter_map(ordered).collect()),
        Some(Selection::Jobs(chosen)) => {
            let found = chosen.iter().map(|id| {
                jobs.get(id.0 as usize).ok_or(Error::NoJob {
                    job: *id,
                    jobs: jobs.len() as u32, // Each has a number of its own, of that width.
                })
            });
            let found = found.collect::<Result<Vec<_>>>()?;
            Ok(found.into_iter().filter_map(ordered).collect())
        }
    }
}

/// The jobs that a request is about, if it is about jobs.
pub(crate) fn selection(request: &OperatorRequest) -> Option<&Selection> {
    match request {
        OperatorRequest::Ping | OperatorRequest::Detach => None,
        OperatorRequest::Stop(selection)
        | OperatorRequest::Pause(selection)
        | OperatorRequest::Continue(selection)
        | OperatorRequest::Checkpoint(selection)
        | OperatorRequest::Retry(selection) => Some(selection),
    }
}

/// What a request that is about `job` means for it.
pub(crate) fn order(job: &Job, request: &OperatorRequest) -> Option<Order> {
    let is_settled = job.state().is_settled();
    let goes_on = !is_settled && !job.is_being_cancelled();
    let is_paused = job.wanted == Wanted::Pause;
    let is_running = job.state() == JobState::Running;
    let (order, fits) = match request {
        OperatorRequest::Ping | OperatorRequest::Detach => return None,
        OperatorRequest::Stop(_) => (Order::Stop, !is_settled),
        OperatorRequest::Pause(_) => (Order::Pause, goes_on && !is_paused),
        OperatorRequest::Continue(_) => (Order::Continue, goes_on && is_paused),
        OperatorRequest::Checkpoint(_) => (Order::Checkpoint, goes_on && is_running && !is_paused),
        OperatorRequest::Retry(_) => (Order::Retry, job.can_be_retried()),
    };
    fits.then_some(order)
}
