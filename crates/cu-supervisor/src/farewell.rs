//! The last words of an attempt to the main process, and how long its place is kept after them.

use std::time::{Duration, Instant, SystemTime};

use cu_protocol::{ExitRecord, Message};

use crate::event::{Event, Happening};
use crate::mail::Mail;

/// How long the end waits for the main process to acknowledge it, if there is a connection, or the
/// first one is just being made. If the main process was not reached the last time, nothing waits.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long an attempt that is over stays at its place until the next one is submitted. That takes less, unless
/// so many jobs end all the time that the scheduler looks for work anyway.
const LONGEST_STAY: Duration = Duration::from_secs(2);

/// What a supervisor does when all is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Leaves,
    /// Until the main process has submitted the next attempt.
    Stays,
}

/// Says how the attempt ended. Waits for the answer only as long as there is hope of one.
pub(crate) fn say(happening: &Happening, mail: &mut Mail, record: ExitRecord) -> Afterwards {
    if let Some(condition) = &record.condition {
        mail.say(Message::Condition(condition.clone()));
    }
    if !record.noticed.is_empty() {
        mail.say(Message::Noticed(record.noticed.clone()));
    }
    mail.say(Message::Ended(record));
    let start = Instant::now();
    let there_is_hope = |mail: &Mail| mail.is_connected() || mail.is_first_connection_due();
    let (mut is_asked_to_stay, mut is_asked_to_stop) = (false, false);
    while !mail.is_all_acknowledged() && there_is_hope(mail) {
        let left = FAREWELL.saturating_sub(start.elapsed());
        match happening.within(left) {
            Some(Event::Connected(link, welcome)) => {
                mail.connected(link, welcome.sequence, Instant::now());
            }
            Some(Event::Acknowledged(acknowledgement)) => {
                mail.acknowledged(acknowledgement.sequence);
            }
            Some(Event::Stay(sequence)) => {
                mail.acknowledged(sequence);
                is_asked_to_stay = true;
            }
            Some(Event::Unreachable) => mail.disconnected(Instant::now()),
            Some(Event::StopSignal(_)) => is_asked_to_stop = true,
            Some(_) => {}
            None => break,
        }
    }
    match is_asked_to_stay && mail.is_connected() && !is_asked_to_stop {
        true => Afterwards::Stays,
        false => Afterwards::Leaves,
    }
}

/// Waits until the main process has submitted the next attempt: then it ends the connection, and our own end
/// makes the scheduler look for work. Everything that was said is durable, and the fence is free. Nobody stays
/// for more than half the time that is left until `limit`.
pub(crate) fn stay(happening: &Happening, limit: Option<SystemTime>) {
    let until = Instant::now() + longest_stay(limit, SystemTime::now());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match happening.within(left) {
            // The main process may also have been killed, and whoever sends a signal wants the place.
            None | Some(Event::Unreachable | Event::StopSignal(_)) => return,
            Some(_) => {}
        }
    }
}

fn longest_stay(limit: Option<SystemTime>, now: SystemTime) -> Duration {
    let to_limit = limit.map(|limit| limit.duration_since(now).unwrap_or_default());
    to_limit.map_or(LONGEST_STAY, |it| LONGEST_STAY.min(it / 2))
}

#[cfg(test)]
mod tests {
    use cu_protocol::Sequence;
    use rustix::process::Signal;

    use super::*;

    #[test]
    fn an_attempt_does_not_stay_until_its_time_limit() {
        let now = SystemTime::now();
        let stay = |seconds| longest_stay(Some(now + Duration::from_secs(seconds)), now);
        assert_eq!(stay(3600), LONGEST_STAY);
        assert_eq!(stay(2), Duration::from_secs(1));
        let passed = now.checked_sub(Duration::from_secs(1));
        assert_eq!(longest_stay(passed, now), Duration::ZERO);
        assert_eq!(longest_stay(None, now), LONGEST_STAY);
    }

    #[test]
    fn an_attempt_leaves_with_the_connection_or_at_a_signal() {
        for last in [Event::Unreachable, Event::StopSignal(Signal::TERM)] {
            let happening = Happening::new();
            happening.happens(Event::ChildEnded);
            happening.happens(last);
            happening.happens(Event::Stay(Sequence(1)));
            stay(&happening, None);
            let left = happening.within(Duration::ZERO);
            assert!(matches!(left, Some(Event::Stay(_))), "{left:?}");
        }
    }
}
