//! When a command gets which signal.

use std::time::{Duration, Instant, SystemTime};

use super::process;
use super::table::Signals;
use crate::Resources;

/// A warning never comes before a command has had this long to install its handler, or half its
/// limit if that is shorter.
const FIRST_WARNING: Duration = Duration::from_secs(1);

/// Schedules the signals for a command that has run since `since`.
pub(super) fn of(
    limits: &Resources,
    since: SystemTime,
    now: Instant,
    clock: SystemTime,
) -> Signals {
    let Some(limit) = limits.time_limit else {
        return Signals::default();
    };
    let run = clock.duration_since(since).unwrap_or_default();
    let after_start = |after: Duration| now.checked_add(after.saturating_sub(run));
    let warn = limits.warning.and_then(|warning| {
        let earliest = FIRST_WARNING.min(limit / 2);
        let after = limit.saturating_sub(warning.before_limit).max(earliest);
        Some((after_start(after)?, process::to_system(warning.signal)))
    });
    Signals {
        warn,
        limit: after_start(limit),
        kill: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Warning;

    fn limits(limit: u64, before: u64) -> Resources {
        Resources {
            time_limit: Some(Duration::from_secs(limit)),
            warning: Some(Warning {
                signal: crate::Signal::Usr1,
                before_limit: Duration::from_secs(before),
            }),
            ..Resources::default()
        }
    }

    #[test]
    fn time_that_has_run_counts_towards_the_limit() {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let since = clock - Duration::from_secs(40);
        let signals = of(&limits(60, 15), since, now, clock);
        assert_eq!(signals.limit, Some(now + Duration::from_secs(20)));
        let warn = signals.warn.map(|(at, _)| at);
        assert_eq!(warn, Some(now + Duration::from_secs(5)));
    }

    #[test]
    fn a_limit_that_passed_meanwhile_is_due_at_once() {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let since = clock - Duration::from_secs(61);
        assert_eq!(of(&limits(60, 1), since, now, clock).limit, Some(now));
    }

    #[test]
    fn a_warning_as_long_as_the_limit_leaves_time_for_a_handler() {
        let (now, clock) = (Instant::now(), SystemTime::now());
        let warn = of(&limits(60, 600), clock, now, clock).warn;
        assert_eq!(warn.map(|(at, _)| at), Some(now + FIRST_WARNING));
    }
}
