//! Timestamps of messages and records.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::codec::Encode;

/// Milliseconds since the Unix epoch, UTC. Serialised as that number, displayed as ISO 8601.
///
/// ```
/// use std::time::Duration;
/// use cu_protocol::Timestamp;
///
/// let leap_day = Timestamp::from_millis(1_709_164_800_000);
/// assert_eq!(leap_day.to_string(), "2024-02-29T00:00:00.000Z");
/// assert_eq!(leap_day.after(Duration::from_secs(90)).since(leap_day).as_secs(), 90);
/// ```
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Encode,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last moment that can be decoded: databases and other languages have 63 bits for a number.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The moment this many milliseconds after the Unix epoch, but at most [`MAX`](Self::MAX).
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 {
            return Self::MAX;
        }
        Self(millis)
    }

    /// The milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// This moment plus `duration`, but at most [`MAX`](Self::MAX).
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis)).min(Self::MAX)
    }

    /// The time since `earlier`; zero if `earlier` is later than this.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A number of milliseconds beyond the last moment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} ms after 1970 is later than the last timestamp that is supported")]
pub struct InvalidTimestamp(pub u64);

impl TryFrom<u64> for Timestamp {
    type Error = InvalidTimestamp;

    fn try_from(millis: u64) -> Result<Self, InvalidTimestamp> {
        match Self(millis) {
            time if time <= Self::MAX => Ok(time),
            _ => Err(InvalidTimestamp(millis)),
        }
    }
}

impl From<Timestamp> for u64 {
    fn from(time: Timestamp) -> Self {
        time.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        let (year, month, day) = date(self.0 / DAY);
        let millis = self.0 % DAY;
        let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
        let (seconds, millis) = (millis / 1000 % 60, millis % 1000);
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z"
        )
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts years from the first of March, so that a leap day is the last day of its year, of its
/// four years and of its four centuries.
fn date(days_since_epoch: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    const FOUR_CENTURIES: u64 = 146_097;
    const CENTURY: u64 = 36_524;
    const FOUR_YEARS: u64 = 1461;
    const YEAR: u64 = 365;
    const MONTHS: [(u64, u64); 12] = [
        (3, 31),
        (4, 30),
        (5, 31),
        (6, 30),
        (7, 31),
        (8, 31),
        (9, 30),
        (10, 31),
        (11, 30),
        (12, 31),
        (1, 31),
        (2, 29),
    ];
    let days = days_since_epoch + EPOCH;
    let (four_centuries, rest) = (days / FOUR_CENTURIES, days % FOUR_CENTURIES);
    // The last of four centuries, and of four years, is one day longer: it has no fifth.
    let century = (rest / CENTURY).min(3);
    let rest = rest - century * CENTURY;
    let (four_years, rest) = (rest / FOUR_YEARS, rest % FOUR_YEARS);
    let year = (rest / YEAR).min(3);
    let mut day = rest - year * YEAR;
    let year = 400 * four_centuries + 100 * century + 4 * four_years + year;
    for (month, length) in MONTHS {
        if day < length {
            return (year + u64::from(month <= 2), month, day + 1);
        }
        day -= length;
    }
    unreachable!("a year has at most 366 days");
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self::default().after(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Timestamp, date};
    use crate::{Message, Started, codec};

    #[test]
    fn every_date_of_eight_centuries_follows_the_one_before() {
        let leap = |year| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut expected = (1970, 1, 1);
        for days in 0..300_000 {
            assert_eq!(date(days), expected, "{days} days after the epoch");
            let (year, month, day) = expected;
            let length = match month {
                2 if leap(year) => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = if day < length {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }

    #[test]
    fn a_time_beyond_the_last_moment_is_refused_in_both_forms() {
        for (time, is_fine) in [
            (Timestamp::MAX, true),
            (Timestamp(Timestamp::MAX.0 + 1), false),
            (Timestamp(u64::MAX), false),
        ] {
            let started = Message::Started(Started {
                host: "n1".to_owned(),
                supervisor: 1,
                program: 2,
                at: time,
                checkpoint: None,
            });
            let mut bytes = Vec::new();
            codec::encode(&started, &mut bytes).expect("it is written");
            assert_eq!(codec::decode::<Message>(&bytes).is_ok(), is_fine);
            let json = serde_json::to_string(&started).expect("it is written");
            assert_eq!(serde_json::from_str::<Message>(&json).is_ok(), is_fine);
        }
    }

    #[test]
    fn no_constructor_exceeds_the_last_moment() {
        assert_eq!(Timestamp::from_millis(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(5).after(Duration::MAX), Timestamp::MAX);
        let last = Timestamp::MAX.millis();
        assert_eq!(Timestamp::try_from(last), Ok(Timestamp::MAX));
        assert!(Timestamp::try_from(last + 1).is_err());
    }

    #[test]
    fn the_last_moment_has_a_date() {
        let last = Timestamp::MAX.to_string();
        assert_eq!(last, "292278994-08-17T07:12:55.807Z");
    }
}
