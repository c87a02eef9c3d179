//! Shows times: ISO 8601 in UTC for programs, rounded durations for people.

use std::time::Duration;

use cu_protocol::Timestamp;

/// The last millisecond of the year 9999: ISO 8601 has four digits for a year.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// `2026-11-24T16:48:32.120Z`.
pub fn iso(moment: Timestamp) -> String {
    moment.min(LAST).to_string()
}

/// `3h 12m`: a duration in its two largest units.
pub fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_moment_has_a_text() {
        assert_eq!(iso(Timestamp::from_millis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            iso(Timestamp::from_millis(1_795_538_912_120)),
            "2026-11-24T16:48:32.120Z"
        );
        assert_eq!(
            iso(Timestamp::from_millis(u64::MAX)),
            "9999-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3 * 3600 + 12 * 60 + 5, "3h 12m"),
            (90_000, "1d 1h"),
        ] {
            assert_eq!(rounded(Duration::from_secs(seconds)), text);
        }
    }
}
