//! From the wish to stop to SIGKILL: what is done to the program, and when. No clock of its own.

use std::time::{Duration, Instant};

use cu_protocol::StopCause;

/// What is done to the program next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// The stop file appears, and the signal of the user's choice is sent: save and exit.
    Ask,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Whether and why the program is asked to stop, and how far that has gone.
#[derive(Debug)]
pub(crate) struct Stop {
    grace: Duration,
    cause: Option<StopCause>,
    next: Option<(Instant, Push)>,
}

impl Stop {
    /// Nobody has asked yet. `grace` lies between two pushes.
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            cause: None,
            next: None,
        }
    }

    /// Why the program is asked to stop, if it is. The first cause stays, but a cancel goes before
    /// all others.
    pub fn cause(&self) -> Option<StopCause> {
        self.cause
    }

    /// Somebody wishes it. Only the first wish starts the pushes.
    pub fn wish(&mut self, cause: StopCause, now: Instant) {
        if self.cause.is_none() {
            self.next = Some((now, Push::Ask));
        }
        if self.cause.is_none() || cause == StopCause::Cancel {
            self.cause = Some(cause);
        }
    }

    /// The program says that it is about to exit: SIGTERM after the grace time, should it stay.
    pub fn expect_end(&mut self, now: Instant) {
        if self.cause.is_none() && self.next.is_none() {
            self.next = now.checked_add(self.grace).map(|at| (at, Push::Terminate));
        }
    }

    /// The scheduler's last warning: SIGTERM at once, if it has not been sent.
    pub fn hurry(&mut self, now: Instant) {
        if let Some((at, Push::Terminate)) = &mut self.next {
            *at = now.min(*at);
        }
    }

    /// The push that is due, once.
    pub fn due(&mut self, now: Instant) -> Option<Push> {
        let (_, push) = self.next.take_if(|(at, _)| *at <= now)?;
        self.next = match push {
            Push::Ask => now.checked_add(self.grace).map(|at| (at, Push::Terminate)),
            Push::Terminate => now.checked_add(self.grace).map(|at| (at, Push::Kill)),
            Push::Kill => None,
        };
        Some(push)
    }

    /// When the next push is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[test]
    fn signal_grace_sigterm_grace_sigkill() {
        let mut stop = Stop::new(GRACE);
        let start = Instant::now();
        assert_eq!((stop.due(start), stop.next_deadline()), (None, None));
        stop.wish(StopCause::TimeBudget, start);
        assert_eq!(stop.due(start), Some(Push::Ask));
        assert_eq!(stop.due(start + GRACE / 2), None);
        stop.wish(StopCause::StopFile, start + GRACE / 2);
        assert_eq!(stop.next_deadline(), Some(start + GRACE));
        assert_eq!(stop.due(start + GRACE), Some(Push::Terminate));
        assert_eq!(stop.due(start + GRACE), None);
        assert_eq!(stop.due(start + 2 * GRACE), Some(Push::Kill));
        assert_eq!(stop.next_deadline(), None);
        assert_eq!(stop.cause(), Some(StopCause::TimeBudget));
    }

    #[test]
    fn a_last_warning_shortens_the_first_grace_only() {
        let mut stop = Stop::new(GRACE);
        let start = Instant::now();
        stop.hurry(start);
        assert_eq!(stop.due(start), None);
        stop.wish(StopCause::Signal(10), start);
        assert_eq!(stop.due(start), Some(Push::Ask));
        stop.hurry(start);
        assert_eq!(stop.due(start), Some(Push::Terminate));
        stop.hurry(start);
        assert_eq!(stop.due(start), None);
        assert_eq!(stop.next_deadline(), Some(start + GRACE));
    }

    #[test]
    fn who_says_that_it_exits_has_the_grace_time_for_it() {
        let mut stop = Stop::new(GRACE);
        let start = Instant::now();
        stop.expect_end(start);
        // Said again, it gains nothing.
        stop.expect_end(start + GRACE / 2);
        assert_eq!(stop.due(start + GRACE / 2), None);
        assert_eq!(stop.due(start + GRACE), Some(Push::Terminate));
        stop.expect_end(start + GRACE);
        assert_eq!(stop.due(start + 2 * GRACE), Some(Push::Kill));
        assert_eq!((stop.cause(), stop.next_deadline()), (None, None));
    }

    #[test]
    fn who_is_asked_to_stop_gains_nothing_by_saying_that_it_exits() {
        let mut stop = Stop::new(GRACE);
        let start = Instant::now();
        stop.wish(StopCause::Operator, start);
        assert_eq!(stop.due(start), Some(Push::Ask));
        stop.expect_end(start + GRACE / 2);
        assert_eq!(stop.due(start + GRACE), Some(Push::Terminate));
    }

    #[test]
    fn a_cancel_goes_before_every_other_cause() {
        let mut stop = Stop::new(GRACE);
        let now = Instant::now();
        stop.wish(StopCause::Operator, now);
        stop.wish(StopCause::Cancel, now);
        stop.wish(StopCause::TimeLimit, now);
        assert_eq!(stop.cause(), Some(StopCause::Cancel));
        assert_eq!(stop.due(now), Some(Push::Ask));
        assert_eq!(stop.due(now), None);
    }
}
