//! Logs what was recorded: submissions, starts and ends of attempts, one line each.

use cu_protocol::Message;

use crate::Names;
use crate::machine::{Event, one_line, was_asked};
use crate::store::Changes;

/// Logs what happened to attempts in `changes`.
pub(crate) fn log(changes: &Changes, names: &Names) {
    if tracing::enabled!(tracing::Level::INFO) {
        lines(changes, names).for_each(|line| tracing::info!("{line}"));
    }
}

fn lines(changes: &Changes, names: &Names) -> impl Iterator<Item = String> {
    let begun = changes.events.iter().filter_map(|(job, event)| {
        Some(match event {
            Event::Submitted {
                attempt,
                cluster_job,
            } => format!("job {job}: attempt {attempt} is submitted as {cluster_job}"),
            Event::Said {
                attempt,
                message: Message::Started(started),
                ..
            } => format!(
                "job {job}: attempt {attempt} has started on {}",
                started.host
            ),
            Event::Said {
                attempt,
                message: Message::Stopped(stopped),
                ..
            } => {
                let keys = (names.of_stop)(stopped);
                let rest = if keys.is_empty() {
                    keys
                } else {
                    format!(" ({keys})")
                };
                format!("job {job}: attempt {attempt} {}{rest}", was_asked(stopped))
            }
            _ => return None,
        })
    });
    let ended = changes.attempts.iter().filter_map(|(job, report)| {
        let detail = one_line(report.detail.as_ref()?);
        Some(format!("job {job}: attempt {} {detail}", report.attempt))
    });
    begun.chain(ended)
}

#[cfg(test)]
mod tests {
    use cu_protocol::{Attempt, JobId, Sequence, Started, Timestamp};
    use cu_scheduler::ClusterJobId;

    use super::*;
    use crate::AttemptEnd;
    use crate::machine::Active;

    #[test]
    fn submissions_starts_and_ends_are_logged() {
        let (job, attempt) = (JobId(2), Attempt(1));
        let started = Message::Started(Started {
            host: "n1".to_owned(),
            supervisor: 1,
            program: 2,
            at: Timestamp::from_millis(0),
            checkpoint: None,
        });
        let active = Active::intended(attempt, Timestamp::from_millis(0));
        let end = (
            AttemptEnd::Lost,
            Timestamp::from_millis(0),
            "was\n lost".to_owned(),
        );
        let changes = Changes {
            events: vec![
                (job, Event::TimePassed),
                (
                    job,
                    Event::Submitted {
                        attempt,
                        cluster_job: ClusterJobId("812.0".to_owned()),
                    },
                ),
                (
                    job,
                    Event::Said {
                        attempt,
                        sequence: Sequence(1),
                        message: started,
                    },
                ),
            ],
            attempts: vec![(job, active.report(Some(end))), (job, active.report(None))],
            ..Changes::default()
        };
        let logged: Vec<_> = lines(&changes, &Names::default()).collect();
        let expected = [
            "job 2: attempt 1 is submitted as 812.0",
            "job 2: attempt 1 has started on n1",
            "job 2: attempt 1 was / lost",
        ];
        assert_eq!(logged, expected);
    }
}
