//! What is waited for while an attempt is with the scheduler, in one sentence.

use cu_protocol::{Attempt, Waiting, Wish};
use cu_scheduler::ClusterState;

use super::end::moment;
use super::job::{Active, Job, Reading, Stage};
use super::step::{CANCELLED, OUTPUT_REMADE, late_results};
use super::witnesses::{Verdict, judge};
use crate::Policy;

pub(super) fn sentence(job: &Job, active: &Active, policy: &Policy) -> String {
    let attempt = active.attempt;
    if active.is_being_cancelled() {
        let cause = active
            .needless
            .map_or_else(|| CANCELLED.to_owned(), late_results);
        return match active.stage {
            Stage::Submitted(_) => format!(
                "{cause}; attempt {attempt} is being ended by the scheduler, which is asked again \
                 every minute"
            ),
            Stage::Submitting | Stage::Uncertain => format!(
                "{cause}; whether the scheduler has attempt {attempt} is not known yet, and if it \
                 has, it is told to end it"
            ),
        };
    }
    let verdict = judge(
        active,
        job.resume_exit_code,
        policy.record_grace,
        cu_protocol::Timestamp(0),
    );
    if let Verdict::Unread(due) = verdict {
        return format!(
            "attempt {attempt} is over; until {} its own record of its end is waited for, then its \
             files are read for it, and without one the scheduler's word decides",
            moment(due)
        );
    }
    if let (Verdict::Until(until), Some(Reading::Begun(_))) = (verdict, active.evidence.reading) {
        return format!(
            "attempt {attempt} is over; its files are being read for its own record of its end, and \
             without one, or if they can't be read until {}, the scheduler's word decides",
            moment(until)
        );
    }
    if let Verdict::Until(until) = verdict {
        return format!(
            "attempt {attempt} is over; until {} a better account of its end is waited for, then \
             what is known decides",
            moment(until)
        );
    }
    match &active.stage {
        Stage::Submitting => {
            return format!("attempt {attempt} is being submitted; the scheduler's answer is due");
        }
        Stage::Uncertain => {
            let reason = in_parentheses(active.unclear.as_deref());
            return format!(
                "nobody knows whether attempt {attempt} was submitted{reason}; the scheduler is asked \
                 for its name, and if it has no such submission it is submitted again"
            );
        }
        Stage::Submitted(_) => {}
    }
    if let Some(reason) = &active.unknown {
        return format!(
            "the scheduler can't tell what has become of attempt {attempt} ({reason}); it is asked \
             again, and nothing follows until it can, or the attempt itself tells its end; stop the \
             job if it stays so"
        );
    }
    if let Some(waiting) = active.waiting.as_ref().filter(|_| active.started.is_none()) {
        return waits(attempt, waiting);
    }
    let place = active.host.as_deref().unwrap_or("an unknown host");
    let cluster = active.evidence.cluster.as_ref().map(|(_, state)| state);
    let doing = match cluster {
        Some(ClusterState::Held { reason }) if !active.is_running() => {
            return format!(
                "attempt {attempt} is held by the scheduler ({reason}); release it there, or stop \
                 the job"
            );
        }
        Some(ClusterState::Queued { reason }) if active.evidence.requeued => {
            let reason = in_parentheses(reason.as_deref());
            return format!(
                "attempt {attempt} was put back into the queue by the scheduler{reason}; once it is \
                 started there again, it ends, and the job is resumed"
            );
        }
        _ if active.started.is_some() => format!("runs on {place}"),
        Some(ClusterState::Running { .. }) => {
            format!("has been started on {place} and has not reported yet")
        }
        Some(ClusterState::Queued { reason }) => {
            format!("is queued{}", in_parentheses(reason.as_deref()))
        }
        _ => "is queued".to_owned(),
    };
    let then = match (&active.evidence.request, active.wish) {
        (Some(_), _) => "it has asked to be resumed, and is once it has ended",
        (None, Some(Wish::CheckpointAndExit)) if active.has_spoken() => {
            "it was asked to checkpoint and exit"
        }
        (None, Some(Wish::CheckpointAndExit)) => {
            "as soon as it reports, it is asked to checkpoint and exit"
        }
        (None, Some(Wish::Cancel)) => "it was asked to end",
        (None, None) if active.evidence.results => {
            "it has delivered its results, and is done once it has ended"
        }
        (None, None) => "its end, or its request to be resumed, is waited for",
    };
    let anew = match active.output_remade {
        true => format!("; {OUTPUT_REMADE} before it"),
        false => String::new(),
    };
    format!("attempt {attempt} {doing}; {then}{anew}")
}

/// What an attempt waits for that runs and has not started its program.
pub(super) fn waits(attempt: Attempt, waiting: &Waiting) -> String {
    format!(
        "attempt {attempt} waits on {} and has not started its program: {}; it starts as soon as it may, \
         and if that is not before {}, it ends without having started anything, and the job is resumed",
        waiting.host,
        waiting.reason,
        moment(waiting.until)
    )
}

fn in_parentheses(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}
