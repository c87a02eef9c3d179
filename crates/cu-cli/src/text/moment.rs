//! Shows times: ISO 8601 in UTC for programs, durations in two units for people.

use cu_protocol::Timestamp;
pub use cu_system::durations::shown as rounded;

/// The last millisecond of the year 9999: ISO 8601 has four digits for a year.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// `2026-11-24T16:48:32.120Z`.
pub fn iso(moment: Timestamp) -> String {
    moment.min(LAST).to_string()
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
}
