//! Durations as people read them. All that is printed or logged for people uses this one form.

use std::time::Duration;

/// A duration in its two largest units, without what is zero: `12 min`, `1 h 2 min`, `3 d`. Below ten
/// seconds it has a decimal, below one second it is in milliseconds.
///
/// ```
/// use cu_system::durations::shown;
/// use std::time::Duration;
///
/// assert_eq!(shown(Duration::from_secs(720)), "12 min");
/// assert_eq!(shown(Duration::from_secs(3725)), "1 h 2 min");
/// assert_eq!(shown(Duration::from_millis(500)), "500 ms");
/// ```
#[must_use]
pub fn shown(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => return "0 s".to_owned(),
        1..1000 => return format!("{milliseconds} ms"),
        1000..10_000 if milliseconds % 1000 >= 100 => {
            return format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100);
        }
        _ => {}
    }
    let seconds = duration.as_secs();
    let units = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let largest = units.iter().position(|(count, _)| *count > 0);
    let two = units.iter().skip(largest.unwrap_or(3)).take(2);
    let two = two.filter(|(count, _)| *count > 0);
    let texts: Vec<_> = two.map(|(count, unit)| format!("{count} {unit}")).collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (milliseconds, text) in [
            (0, "0 s"),
            (7, "7 ms"),
            (1000, "1 s"),
            (1090, "1 s"),
            (2500, "2.5 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (3_600_000, "1 h"),
            (3_605_000, "1 h"),
            (11_525_000, "3 h 12 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(shown(Duration::from_millis(milliseconds)), text);
        }
    }
}
