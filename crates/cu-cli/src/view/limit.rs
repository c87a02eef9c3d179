//! Names the key of the config behind a limit, and behind the end of a program that was stopped.

use std::time::Duration;

use cu_core::{JobReport, Limit, Names};
use cu_protocol::{StopRule, Stopped};
use humantime::format_duration;

use crate::text::moment::in_local_time;

/// The keys, for `main.log`.
pub const NAMES: Names = Names { with_key, of_stop };

/// Why the job is as it is, with the key of the limit that decides it, for people.
pub fn why(job: &JobReport) -> String {
    in_local_time(&written_why(job))
}

/// The same for programs: moments are in UTC.
pub fn written_why(job: &JobReport) -> String {
    with_key(&job.why, job.limit)
}

/// `text`, with the key that sets `limit` and its value.
pub fn with_key(text: &str, limit: Option<Limit>) -> String {
    match limit {
        Some(limit @ Limit::MaxTime(seconds)) => {
            let time = format_duration(Duration::from_secs(seconds.into()));
            format!("{text} ({} = \"{time}\")", key(limit))
        }
        Some(limit) => format!("{text} ({} = {})", key(limit), limit.value()),
        None => text.to_owned(),
    }
}

/// The keys that decided when and how a program was stopped, with their values: `stop.after = 50min`.
/// Empty if none did.
pub fn of_stop(stopped: &Stopped) -> String {
    let rule = stopped.rule.as_ref().map(|rule| match rule {
        StopRule::After(time) => format!("stop.after = {}", milliseconds(*time)),
        StopRule::BeforeLimit(time) => format!("stop.before_limit = {}", milliseconds(*time)),
        StopRule::File(file) => format!("stop.file = {file}"),
    });
    let killed = stopped.kill().map(|_| grace(stopped));
    let keys: Vec<_> = rule.into_iter().chain(killed).collect();
    keys.join(", ")
}

/// What to do about a program that was killed while it saved.
pub fn more_grace(stopped: &Stopped) -> Option<String> {
    stopped.kill()?;
    let doubled = milliseconds(stopped.grace_milliseconds.saturating_mul(4));
    Some(format!(
        "if it was saving, that takes longer than 2 × stop.grace ({}); give it more time: --grace {doubled}",
        grace(stopped)
    ))
}

fn grace(stopped: &Stopped) -> String {
    format!("stop.grace = {}", milliseconds(stopped.grace_milliseconds))
}

/// As a config has it: `1h30min`.
fn milliseconds(time: u64) -> String {
    let text = format_duration(Duration::from_millis(time)).to_string();
    let word = |word: &str| match word.strip_suffix('m') {
        Some(minutes) => format!("{minutes}min"),
        None => word.to_owned(),
    };
    text.split(' ').map(word).collect()
}

fn key(limit: Limit) -> &'static str {
    match limit {
        Limit::StuckAfter(_) => "resume.stuck_after",
        Limit::TimeLimits(_) => "resume.time_limits",
        Limit::Preemptions(_) => "resume.preemptions",
        Limit::NodeFailures(_) => "resume.node_failures",
        Limit::Removals(_) => "resume.removals",
        Limit::Losses(_) => "resume.losses",
        Limit::ActivationRetries(_) => "resume.activation_retries",
        Limit::OutOfMemoryRetries(_) => "resume.out_of_memory_retries",
        Limit::FailureRetries(_) => "resume.failure_retries",
        Limit::MaxAttempts(_) => "resume.max_attempts",
        Limit::MaxTime(_) => "resume.max_time",
        Limit::MaxFailures(_) => "resume.max_failures",
        Limit::SubmissionsPerHour(_) => "resume.submissions_per_hour",
        Limit::MaxSubmitted(_) => "backend.max_submitted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_names_a_key_of_the_reference() {
        let reference = include_str!("../../docs/config.toml");
        let all = [
            Limit::StuckAfter(1),
            Limit::TimeLimits(1),
            Limit::Preemptions(1),
            Limit::NodeFailures(1),
            Limit::Removals(1),
            Limit::Losses(1),
            Limit::ActivationRetries(1),
            Limit::OutOfMemoryRetries(1),
            Limit::FailureRetries(1),
            Limit::MaxAttempts(1),
            Limit::MaxTime(1),
            Limit::MaxFailures(1),
            Limit::SubmissionsPerHour(1),
            Limit::MaxSubmitted(1),
        ];
        for limit in all {
            let (table, name) = key(limit).split_once('.').expect("a table and a name");
            let (_, table) = reference
                .split_once(&format!("\n[{table}]"))
                .unwrap_or_else(|| panic!("there is no table {table}"));
            let table = table.split("\n[").next().unwrap_or_default();
            assert!(table.contains(&format!("{name} = ")), "{}", key(limit));
        }
        let text = with_key("two ended like this", Some(Limit::Losses(2)));
        assert_eq!(text, "two ended like this (resume.losses = 2)");
    }
}
