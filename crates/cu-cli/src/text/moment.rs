//! Shows times: moments as ISO 8601 in UTC for programs and as local time for people, durations in two units.

use std::time::SystemTime;

use cu_protocol::Timestamp;
pub use cu_system::durations::shown as rounded;
use jiff::tz::TimeZone;

/// The last millisecond of the year 9999: ISO 8601 has four digits for a year.
const LAST: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// `2026-11-24T16:48:32.120Z`.
pub fn iso(moment: Timestamp) -> String {
    moment.min(LAST).to_string()
}

/// `2026-11-24 17:48:32`, by the clock on this machine's wall.
pub fn local(moment: Timestamp) -> String {
    local_in(moment, TimeZone::system())
}

/// `3 min ago`, or the local date of what was more than a month before `now`. A clock of another machine may be
/// ahead.
pub fn ago(moment: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(moment).as_secs();
    match seconds {
        0..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        86_400..172_800 => "1 day ago".to_owned(),
        172_800..2_678_400 => format!("{} days ago", seconds / 86_400),
        _ => local(moment)
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// The moment at which this is called.
pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// The same text with each moment in UTC that it names, such as `2026-11-24T16:48:32Z`, as local time.
pub fn in_local_time(text: &str) -> String {
    in_time_of(text, &TimeZone::system())
}

fn in_time_of(text: &str, zone: &TimeZone) -> String {
    const FORM: &[u8] = b"0000-00-00T00:00:00Z";
    let has_form = |piece: &[u8]| {
        let mut pairs = piece.iter().zip(FORM);
        piece.len() == FORM.len()
            && pairs.all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                form => byte == form,
            })
    };
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.as_bytes().windows(FORM.len()).position(has_form) {
        let (before, behind) = rest.split_at(at);
        let (moment, behind) = behind.split_at(FORM.len());
        shown.push_str(before);
        match moment.parse::<jiff::Timestamp>() {
            Ok(at) => shown.push_str(&shown_in(at, zone.clone())),
            Err(_) => shown.push_str(moment),
        }
        rest = behind;
    }
    shown + rest
}

fn shown_in(moment: jiff::Timestamp, zone: TimeZone) -> String {
    moment.to_zoned(zone).strftime("%F %T").to_string()
}

fn local_in(moment: Timestamp, zone: TimeZone) -> String {
    let millis = i64::try_from(moment.min(LAST).millis()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(moment) => shown_in(moment, zone),
        // Beyond what the library counts, which the last moments of the year 9999 are.
        Err(_) => iso(moment),
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
    fn a_moment_that_was_not_long_ago_is_told_by_the_time_since() {
        let now = Timestamp::from_millis(1_795_538_912_120);
        let before = |seconds: u64| Timestamp::from_millis(now.millis() - seconds * 1000);
        for (seconds, expected) in [
            (0, "just now"),
            (59, "59 s ago"),
            (200, "3 min ago"),
            (3_599, "59 min ago"),
            (7_300, "2 h ago"),
            (90_000, "1 day ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago(before(seconds), now), expected);
        }
        assert_eq!(
            ago(now, before(100)),
            "just now",
            "of a clock that is ahead"
        );
        assert!(ago(Timestamp::from_millis(0), now).starts_with("19"));
    }

    #[test]
    fn moments_in_a_sentence_are_of_the_readers_own_clock() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let shown = |text: &str| in_time_of(text, &zone);
        assert_eq!(
            shown("tried until 2026-11-24T23:48:32Z, not after 2026-11-25T00:00:00Z"),
            "tried until 2026-11-25 01:48:32, not after 2026-11-25 02:00:00"
        );
        for other in [
            "",
            "é 2026-11-24",
            "2026-13-24T23:48:32Z",
            "x2026-11-24T23:48:32",
        ] {
            assert_eq!(shown(other), other);
        }
    }

    #[test]
    fn people_read_the_time_of_their_own_clock() {
        let moment = Timestamp::from_millis(1_795_538_912_120);
        for (hours, expected) in [
            (0, "2026-11-24 16:48:32"),
            (1, "2026-11-24 17:48:32"),
            (-17, "2026-11-23 23:48:32"),
        ] {
            let zone = TimeZone::fixed(jiff::tz::offset(hours));
            assert_eq!(local_in(moment, zone), expected);
        }
        for millis in [0, u64::MAX] {
            let text = local_in(Timestamp::from_millis(millis), TimeZone::UTC);
            assert!(!text.is_empty());
        }
    }
}
