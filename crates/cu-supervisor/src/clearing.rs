//! What the program left behind when it ended: first a moment to end by itself, then SIGTERM, then
//! SIGKILL. No clock of its own.
//!
//! A filter or `tee` that still has something to read gets more than a moment: up to the grace time.

use std::time::{Duration, Instant};

/// How long everybody has to end by itself.
const MOMENT: Duration = Duration::from_secs(1);
/// Between two rounds of SIGKILL, and how many there are. What survives them hangs in the kernel.
const KILL_INTERVAL: Duration = Duration::from_millis(500);
const KILL_ROUNDS: u32 = 10;

/// What is done to what was left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// SIGTERM to all. If not yet `all`, those who read what others wrote are left out as long as they
    /// may have something to read, and [`Clearing::is_draining`] is called.
    Terminate { all: bool },
    /// SIGKILL to all.
    Kill,
    /// Nothing helps.
    GiveUp,
}

/// How far that has gone.
#[derive(Debug)]
pub(crate) struct Clearing {
    grace: Duration,
    drain_until: Instant,
    was_read_out: bool,
    /// Never if that is beyond all time.
    next: Option<(Instant, Sweep)>,
    rounds: u32,
}

impl Clearing {
    /// Begins now. `kill_by` is when SIGKILL must be sent at the latest, if there is such a time.
    pub fn new(grace: Duration, kill_by: Option<Instant>, now: Instant) -> Self {
        let grace = match kill_by {
            Some(by) => grace.min(by.saturating_duration_since(now) / 2),
            None => grace,
        };
        let all = kill_by.is_some();
        Self {
            grace,
            drain_until: now.checked_add(grace).unwrap_or(now),
            was_read_out: false,
            next: Some((now + MOMENT.min(grace), Sweep::Terminate { all })),
            rounds: 0,
        }
    }

    /// There is no time left.
    pub fn hurry(&mut self, now: Instant) {
        self.next = Some((now, Sweep::Kill));
    }

    /// What is due, once.
    pub fn due(&mut self, now: Instant) -> Option<Sweep> {
        let (_, sweep) = self.next.filter(|(at, _)| *at <= now)?;
        self.next = match sweep {
            Sweep::Terminate { .. } => now.checked_add(self.grace).map(|at| (at, Sweep::Kill)),
            Sweep::Kill if self.rounds >= KILL_ROUNDS => Some((now + KILL_INTERVAL, Sweep::GiveUp)),
            Sweep::Kill => Some((now + KILL_INTERVAL, Sweep::Kill)),
            Sweep::GiveUp => None,
        };
        self.rounds += u32::from(sweep == Sweep::Kill);
        Some(sweep)
    }

    /// Whether there was nothing left to read at the last look, and is nothing now: who has just read the
    /// last line is still at work on it.
    pub fn is_read_out(&mut self, now: bool) -> bool {
        std::mem::replace(&mut self.was_read_out, now) && now
    }

    /// Somebody still has something to read: SIGTERM for all comes later.
    pub fn is_draining(&mut self, now: Instant) {
        let all = now + MOMENT >= self.drain_until;
        let at = (now + MOMENT).min(self.drain_until);
        self.next = Some((at, Sweep::Terminate { all }));
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[test]
    fn a_moment_sigterm_grace_sigkill_and_an_end() {
        let start = Instant::now();
        let mut clearing = Clearing::new(GRACE, None, start);
        assert_eq!(clearing.due(start), None);
        let terminate = start + MOMENT;
        assert_eq!(
            clearing.due(terminate),
            Some(Sweep::Terminate { all: false })
        );
        assert_eq!(clearing.next_deadline(), Some(terminate + GRACE));
        let mut now = terminate + GRACE;
        for _ in 0..=KILL_ROUNDS {
            assert_eq!(clearing.due(now), Some(Sweep::Kill));
            now += KILL_INTERVAL;
        }
        assert_eq!(clearing.due(now), Some(Sweep::GiveUp));
        assert_eq!(clearing.next_deadline(), None);
    }

    #[test]
    fn the_last_line_is_read_out_a_look_later() {
        let mut clearing = Clearing::new(GRACE, None, Instant::now());
        let looks = [true, false, true, true, false].map(|now| clearing.is_read_out(now));
        assert_eq!(looks, [false, false, false, true, false]);
    }

    #[test]
    fn reading_takes_no_longer_than_the_grace_time() {
        let start = Instant::now();
        let mut clearing = Clearing::new(GRACE, None, start);
        let now = loop {
            let now = clearing.next_deadline().expect("something is to come");
            match clearing.due(now) {
                Some(Sweep::Terminate { all: false }) => clearing.is_draining(now),
                sweep => {
                    assert_eq!(sweep, Some(Sweep::Terminate { all: true }));
                    break now;
                }
            }
        };
        assert_eq!(now, start + GRACE);
        assert_eq!(clearing.next_deadline(), Some(now + GRACE));
    }

    #[test]
    fn before_the_schedulers_sigkill_there_is_time_for_all_of_it() {
        let start = Instant::now();
        let kill_by = start + Duration::from_secs(4);
        let mut clearing = Clearing::new(GRACE, Some(kill_by), start);
        let terminate = clearing.next_deadline().expect("SIGTERM is to come");
        assert_eq!(
            clearing.due(terminate),
            Some(Sweep::Terminate { all: true })
        );
        assert!(clearing.next_deadline().expect("SIGKILL is to come") <= kill_by);
        clearing.hurry(terminate);
        assert_eq!(clearing.due(terminate), Some(Sweep::Kill));
    }
}
