//! `cluster_run.log` in the words that the timeline script of cluster_utils reads.

use std::fmt::Write;

use cu_core::{AttemptEnd, JobReport};
use cu_protocol::Timestamp;
use jiff::tz::TimeZone;

/// The lines for these jobs, each with whether it has results, and so counts as successful there.
pub fn text<'a>(jobs: impl Iterator<Item = (&'a JobReport, bool)>) -> String {
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for (job, has_results) in jobs {
        let number = job.job;
        for (position, attempt) in job.attempts.iter().enumerate() {
            let submitted = if position == 0 {
                "submitted"
            } else {
                "re-submitted"
            };
            let id = attempt.cluster_job_id.as_deref().unwrap_or("unknown");
            lines.push((
                attempt.submitted,
                format!("INFO - Job with id {number} {submitted} with cluster id {id}"),
            ));
            if let Some(started) = attempt.started {
                let host = attempt.host.as_deref().unwrap_or("unknown");
                lines.push((
                    started,
                    format!("INFO - Job {number} started on hostname {host}"),
                ));
            }
            let Some(ended) = attempt.ended else {
                continue;
            };
            let is_last = position + 1 == job.attempts.len();
            let end = match attempt.end {
                _ if is_last && has_results => "INFO - Job {} finished successfully.",
                Some(AttemptEnd::Completed) if is_last => {
                    "INFO - Job {} has concluded, but has not sent results. Considering job failed."
                }
                _ if is_last && job.state.is_settled() => {
                    "INFO - Job {} has ended without results. Considering job failed."
                }
                _ => "INFO - Job {} exited to be resumed.",
            };
            lines.push((ended, end.replace("{}", &number.to_string())));
        }
    }
    lines.sort_by_key(|(moment, _)| *moment);
    lines
        .into_iter()
        .fold(String::new(), |mut text, (moment, line)| {
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "{} - cluster_utils - {line}",
                local(moment, "%F %T,%3f")
            );
            text
        })
}

/// A moment as Python's `datetime.isoformat` has it, by the local clock.
pub fn iso(moment: Timestamp) -> String {
    local(moment, "%FT%T.%6f")
}

fn local(moment: Timestamp, format: &str) -> String {
    let millis = i64::try_from(moment.millis()).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    moment
        .to_zoned(TimeZone::system())
        .strftime(format)
        .to_string()
}
