//! Checks how the times of a config fit together, on any backend.

use std::time::Duration;

use super::error::Result;
use super::source::Parsed;

/// Checks the times against each other. Returns warnings about values that are probably not meant.
///
/// # Errors
/// The first contradiction.
pub fn check(parsed: &Parsed) -> Result<Vec<String>> {
    let file = &parsed.file;
    let shown = |time: Duration| humantime::format_duration(time).to_string();
    let policy = file.policy();
    let stop = file.stop_policy();
    let limit = file.resources.time_limit.map(|time| time.0);
    let mut warnings = Vec::new();
    for (key, time) in [("resources.time_limit", limit), ("stop.after", stop.after)] {
        if time.is_some_and(|time| time.is_zero()) {
            return Err(parsed.wrong(key, "expected a time above 0"));
        }
    }
    if policy.backoff > policy.backoff_max {
        let reason = format!(
            "{} is more than resume.backoff_max, which is {}",
            shown(policy.backoff),
            shown(policy.backoff_max)
        );
        return Err(parsed.wrong("resume.backoff", reason));
    }
    if let Some(limit) = limit {
        for (key, time) in [
            ("stop.before_limit", stop.before_limit),
            ("stop.after", stop.after),
        ] {
            if let Some(time) = time.filter(|time| *time >= limit) {
                let reason = format!(
                    "{} is not less than resources.time_limit, which is {}",
                    shown(time),
                    shown(limit)
                );
                return Err(parsed.wrong(key, reason));
            }
        }
        if stop.before_limit.is_none() && stop.after.is_none() {
            warnings.push(format!(
                "the program is killed at its time limit of {} without notice; \
                 `--stop-before-limit 1min`, or stop.before_limit in the config, asks it to save first",
                shown(limit)
            ));
        }
        if let Some(after) = stop
            .after
            .filter(|after| after.saturating_add(stop.grace) > limit)
        {
            warnings.push(format!(
                "stop.after = {} leaves {} until the time limit, which is less than stop.grace = {}",
                shown(after),
                shown(limit.saturating_sub(after)),
                shown(stop.grace)
            ));
        }
        if let Some(before) = stop.before_limit.filter(|before| *before < stop.grace) {
            warnings.push(format!(
                "stop.before_limit = {} is less than stop.grace = {}: the time limit ends the grace \
                 time early",
                shown(before),
                shown(stop.grace)
            ));
        }
    } else if let Some(before) = stop.before_limit {
        warnings.push(format!(
            "stop.before_limit = {} has no effect without resources.time_limit, unless the cluster \
             sets a limit of its own",
            shown(before)
        ));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::tests::parsed;

    fn checked(overrides: &[&str]) -> Result<Vec<String>> {
        check(&parsed("", overrides)?)
    }

    #[test]
    fn contradictions_are_errors() {
        for (overrides, expected) in [
            (
                &["stop.grace=300000000000years"][..],
                "`stop.grace`: expected a time of at most 100 years, found \"300000000000years\"",
            ),
            (
                &["stop.after=1h", "resources.time_limit=1h"],
                "`stop.after`: 1h is not less",
            ),
            (
                &["stop.before_limit=2h", "resources.time_limit=1h"],
                "`stop.before_limit`: 2h",
            ),
            (
                &["resources.time_limit=0s"],
                "`resources.time_limit`: expected a time above 0",
            ),
            (&["stop.after=0s"], "`stop.after`: expected a time above 0"),
            (
                &["resume.backoff=2s", "resume.backoff_max=1s"],
                "`resume.backoff`: 2s is more",
            ),
        ] {
            let error = checked(overrides).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn times_that_are_probably_not_meant_are_warnings() {
        for (overrides, expected) in [
            (&["stop.before_limit=1min"][..], "has no effect without"),
            (&["resources.time_limit=1h"], "without notice"),
            (
                &["resources.time_limit=60s", "stop.after=50s"],
                "leaves 10s until the time limit",
            ),
            (
                &["resources.time_limit=1h", "stop.before_limit=10s"],
                "ends the grace time early",
            ),
        ] {
            let warnings = checked(overrides).expect("consistent");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
        assert_eq!(checked(&["stop.after=10s"]).expect("consistent"), [""; 0]);
    }
}
