//! One event of HTCondor's log, from its text.
//!
//! An event is a header line `NNN (CLUSTER.PROC.SUBPROC) DATE TIME TEXT` and indented lines. The
//! date is in the local time of the access point, without a zone, so it is not read. What is not
//! understood is [`Kind::Other`]: it says of a job no more than that it is there.

use std::time::{Duration, SystemTime};

use crate::{ClusterJobId, SubmissionName};

/// A job in HTCondor's own numbers; `812.0` for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id {
    pub cluster: u32,
    pub proc: u32,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub id: Id,
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// 000, with our note.
    Submitted { name: Option<SubmissionName> },
    /// 001. It can follow another 001.
    Executing { host: Option<String> },
    /// 004. No end by itself: what follows says what it was.
    Evicted { reason: Option<String> },
    /// 004 of a job that ended by itself and is kept in the queue by `on_exit_remove`.
    Requeued { exit: Exit },
    /// 005.
    Terminated { exit: Exit, at: Option<SystemTime> },
    /// 009, with who did it or why.
    Aborted { reason: String },
    /// 012.
    Held {
        reason: String,
        code: i32,
        subcode: i32,
    },
    /// 013.
    Released,
    /// 024: the machine, or what kept the job there, is lost.
    ReconnectFailed { reason: String },
    /// Any other, by its number.
    Other(u16),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Id {
    pub fn to_cluster(self) -> ClusterJobId {
        ClusterJobId(self.to_string())
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.cluster, self.proc)
    }
}

impl std::str::FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (cluster, proc) = text.split_once('.').ok_or(())?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(cluster) || !digits(proc) {
            return Err(());
        }
        let number = |text: &str| text.parse().map_err(|_| ());
        Ok(Self {
            cluster: number(cluster)?,
            proc: number(proc)?,
        })
    }
}

/// Reads one event, without the line `...` that ends it. `None` if it is of no job of ours: of a
/// whole cluster, or no event at all.
pub(super) fn parse(text: &str) -> Option<Event> {
    let mut lines = text.lines();
    let header = lines.next()?;
    let (number, rest) = header.split_once(" (")?;
    let (id, rest) = rest.split_once(')')?;
    if number.len() != 3 {
        return None;
    }
    let number: u16 = number.parse().ok()?;
    let mut parts = id.split('.');
    let (cluster, proc) = (parts.next()?, parts.next()?);
    let id = Id {
        cluster: cluster.parse().ok()?,
        proc: proc.parse().ok()?,
    };
    let body: Vec<&str> = lines.map(str::trim).collect();
    Some(Event {
        id,
        kind: kind(number, rest, &body),
    })
}

fn kind(number: u16, header: &str, body: &[&str]) -> Kind {
    let first = || body.first().copied().unwrap_or_default().to_owned();
    match number {
        0 => Kind::Submitted {
            name: body.iter().find_map(|line| line.parse().ok()),
        },
        1 => Kind::Executing {
            host: host(header, body),
        },
        4 => match exit(body) {
            Some(exit) => Kind::Requeued { exit },
            None => Kind::Evicted {
                reason: eviction(body),
            },
        },
        5 => match exit(body) {
            Some(exit) => Kind::Terminated {
                exit,
                at: body.iter().find_map(|line| own_accord(line)),
            },
            None => Kind::Other(number),
        },
        9 => Kind::Aborted { reason: first() },
        12 => held(body),
        13 => Kind::Released,
        24 => Kind::ReconnectFailed { reason: first() },
        _ => Kind::Other(number),
    }
}

/// `(1) Normal termination (return value 3)`, `(0) Abnormal termination (signal 9)`.
fn exit(body: &[&str]) -> Option<Exit> {
    let between = |line: &str, before: &str| {
        let line = line.strip_prefix(before)?;
        line.strip_suffix(')')?.parse().ok()
    };
    body.iter().find_map(|line| {
        let code = between(line, "(1) Normal termination (return value ");
        let signal = || between(line, "(0) Abnormal termination (signal ");
        code.map(Exit::Code).or_else(|| signal().map(Exit::Signal))
    })
}

/// The line of an eviction that is text instead of a figure, if there is one.
fn eviction(body: &[&str]) -> Option<String> {
    let after = body
        .iter()
        .position(|line| line.ends_with("Run Bytes Received By Job"))?;
    let reason = body.get(after + 1)?;
    let is_reason = !reason.is_empty() && !reason.starts_with("Partitionable Resources");
    is_reason.then(|| (*reason).to_owned())
}

fn held(body: &[&str]) -> Kind {
    let codes = |line: &str| {
        let (code, subcode) = line.strip_prefix("Code ")?.split_once(" Subcode ")?;
        Some((code.parse().ok()?, subcode.parse().ok()?))
    };
    let last = body.iter().rposition(|line| codes(line).is_some());
    let (code, subcode) = last.and_then(|at| codes(body[at])).unwrap_or((0, 0));
    Kind::Held {
        reason: body[..last.unwrap_or(body.len())].join(" "),
        code,
        subcode,
    }
}

/// The machine, from the slot's name (`SlotName: slot1_2@node7`), or else from the address in the
/// header.
fn host(header: &str, body: &[&str]) -> Option<String> {
    let slot = body.iter().find_map(|line| line.strip_prefix("SlotName: "));
    if let Some((_, host)) = slot.and_then(|slot| slot.rsplit_once('@')) {
        return Some(host.to_owned());
    }
    let (_, address) = header.split_once('<')?;
    let end = address.find(['?', '>'])?;
    Some(address[..end].to_owned())
}

/// `Job terminated of its own accord at 2026-11-24T16:06:11Z with exit-code 3.`
fn own_accord(line: &str) -> Option<SystemTime> {
    let (_, rest) = line.split_once(" at ")?;
    let (time, _) = rest.split_once('Z')?;
    let (date, time) = time.split_once('T')?;
    let numbers = |text: &str, separator: char| -> Option<[u64; 3]> {
        let parts: Option<Vec<u64>> = text.split(separator).map(|it| it.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let valid = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    // Only then: of numbers of any size the sum may be beyond all numbers.
    valid.then(|| {
        let days = days_since_1970(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    })
}

/// Days from 1 January 1970 in the Gregorian calendar. The year is taken to begin in March, so that
/// the leap day is its last.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    days.saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_two_numbers() {
        assert_eq!(
            "812.0".parse(),
            Ok(Id {
                cluster: 812,
                proc: 0
            })
        );
        for other in [
            "", "812", "812.", ".0", "cu", "1.0.0", "+1.0", "-1.0", "1.0 2.0",
        ] {
            assert!(other.parse::<Id>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_year_of_fifteen_digits_is_not_a_time() {
        let told = |time: &str| own_accord(&format!("Job terminated of its own accord at {time}Z"));
        assert!(told("2026-11-24T16:06:11").is_some());
        for time in [
            "999999999999999-11-24T16:06:11",
            "18446744073709551615-01-01T00:00:00",
            "2026-18446744073709551615-01T00:00:00",
            "0-01-01T00:00:00",
            "2026-11-24T18446744073709551615:06:11",
        ] {
            assert_eq!(told(time), None, "{time}");
        }
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2026, 11, 24), 20_781);
    }

    #[test]
    fn a_whole_cluster_is_no_job() {
        let text = "036 (217.-01.000) 2026-11-24 16:06:53 Cluster removed\n\tMaterialized 5";
        assert_eq!(parse(text), None);
    }

    #[test]
    fn a_hold_has_its_reason_and_codes() {
        let text = "012 (195.000.000) 2026-11-24 16:06:32 Job was held.\n\tOne line,\n\tand more\n\
                    \tCode 46 Subcode 2\n";
        let kind = Kind::Held {
            reason: "One line, and more".into(),
            code: 46,
            subcode: 2,
        };
        assert_eq!(parse(text).map(|event| event.kind), Some(kind));
    }
}
