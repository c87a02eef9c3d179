//! From the wish to stop to SIGKILL: what is done to the program, and when. No clock of its own.

use std::time::{Duration, Instant};

use cu_protocol::StopCause;

/// Before the scheduler's SIGKILL there is at least so much time to record the program's end.
const LEAST_TO_RECORD: Duration = Duration::from_secs(1);

/// What is done to the program next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// The stop file appears, and the signal of the user's choice is sent: save and exit.
    Ask,
    /// SIGTERM. It follows at once if nobody could be asked.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Whether and why the program is asked to stop, and how far that has gone.
#[derive(Debug)]
pub(crate) struct Stop {
    grace: Duration,
    cause: Option<StopCause>,
    /// When the first of the causes came.
    since: Option<Instant>,
    next: Option<(Instant, Push)>,
    /// By when SIGTERM and SIGKILL are to be sent, so that there is time to record the end before
    /// the scheduler kills us too.
    last_moments: Option<(Instant, Instant)>,
}

impl Stop {
    /// Nobody has asked yet. `grace` lies between two pushes.
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            cause: None,
            since: None,
            next: None,
            last_moments: None,
        }
    }

    /// Why the program is asked to stop, if it is. The first cause stays, but a cancel goes before
    /// all others.
    pub fn cause(&self) -> Option<StopCause> {
        self.cause
    }

    /// Since when the program is asked to stop, if it is.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Somebody wishes it. Only the first wish starts the pushes.
    pub fn wish(&mut self, cause: StopCause, now: Instant) {
        if self.cause.is_none() {
            self.next = Some((now, Push::Ask));
            self.since = Some(now);
        }
        if self.cause.is_none() || cause == StopCause::Cancel {
            self.cause = Some(cause);
        }
    }

    /// Nobody could be asked: SIGTERM at once.
    pub fn nobody_hears(&mut self, now: Instant) {
        if let Some((at, Push::Terminate)) = &mut self.next {
            *at = now;
        }
    }

    /// The program says that it is about to exit: SIGTERM after the grace time, should it stay.
    pub fn expect_end(&mut self, now: Instant) {
        if self.cause.is_none() && self.next.is_none() {
            self.next = now.checked_add(self.grace).map(|at| (at, Push::Terminate));
        }
    }

    /// The scheduler has sent its SIGTERM, and kills everything after `left`.
    ///
    /// Slurm sends it to the program as well. Many programs end at once at a second one, which
    /// would cut off what they save because of the first. So ours comes late: it is for those who
    /// have not got the scheduler's.
    pub fn hurry(&mut self, left: Duration, now: Instant) {
        if self.last_moments.is_none() {
            let kill = left.saturating_sub(LEAST_TO_RECORD.max(left / 10));
            let moment = |after| now.checked_add(after);
            self.last_moments = moment(kill - kill / 3).zip(moment(kill));
        }
    }

    /// The scheduler has sent its SIGTERM at the time limit, and kills everything after `left`. A program
    /// that has not saved by now was warned in vain or wants no warning: SIGTERM at once.
    pub fn end(&mut self, left: Duration, now: Instant) {
        self.wish(StopCause::TimeLimit, now);
        self.hurry(left, now);
        if !matches!(self.next, Some((_, Push::Kill))) {
            self.next = Some((now, Push::Terminate));
        }
    }

    /// The push that is due, once.
    pub fn due(&mut self, now: Instant) -> Option<Push> {
        let (_, push) = self.coming().filter(|(at, _)| *at <= now)?;
        self.next = match push {
            Push::Ask => now.checked_add(self.grace).map(|at| (at, Push::Terminate)),
            Push::Terminate => now.checked_add(self.grace).map(|at| (at, Push::Kill)),
            Push::Kill => None,
        };
        Some(push)
    }

    /// By when SIGKILL is to be sent, so that there is time to record the end before the scheduler
    /// kills us too.
    pub fn kill_by(&self) -> Option<Instant> {
        self.last_moments.map(|(_, kill)| kill)
    }

    /// When the next push is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.coming().map(|(at, _)| at)
    }

    fn coming(&self) -> Option<(Instant, Push)> {
        let (at, push) = self.next?;
        let at = match (push, self.last_moments) {
            (Push::Terminate, Some((terminate, _))) => at.min(terminate),
            (Push::Kill, Some((_, kill))) => at.min(kill),
            _ => at,
        };
        Some((at, push))
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
    fn sigterm_is_immediate_where_no_process_hears_the_wish() {
        let mut stop = Stop::new(GRACE);
        let start = Instant::now();
        stop.wish(StopCause::Operator, start);
        assert_eq!(stop.due(start), Some(Push::Ask));
        stop.nobody_hears(start);
        assert_eq!(stop.due(start), Some(Push::Terminate));
        // Once it is killed for good, this changes nothing.
        stop.nobody_hears(start);
        assert_eq!(stop.next_deadline(), Some(start + GRACE));
        assert_eq!(stop.due(start + GRACE), Some(Push::Kill));
    }

    #[test]
    fn sigterm_of_the_scheduler_leaves_time_to_save_and_record() {
        let start = Instant::now();
        for asked_before in [false, true] {
            let mut stop = Stop::new(20 * GRACE);
            if asked_before {
                stop.wish(StopCause::Signal(10), start);
                assert_eq!(stop.due(start), Some(Push::Ask));
            }
            stop.hurry(GRACE, start);
            stop.wish(StopCause::Signal(15), start);
            assert_eq!(stop.due(start), (!asked_before).then_some(Push::Ask));
            // The scheduler may have sent one to the program itself: two could end it as it saves.
            assert_eq!(stop.due(start + GRACE / 2), None);
            // A repeat gives no more time.
            stop.hurry(GRACE, start + GRACE / 2);
            assert_eq!(stop.due(start + GRACE * 6 / 10), Some(Push::Terminate));
            assert_eq!(stop.due(start + GRACE * 8 / 10), None);
            assert_eq!(stop.due(start + GRACE * 9 / 10), Some(Push::Kill));
        }
    }

    #[test]
    fn a_shorter_grace_is_kept_however_much_the_scheduler_leaves() {
        let mut stop = Stop::new(GRACE);
        let start = Instant::now();
        stop.wish(StopCause::Signal(15), start);
        stop.hurry(20 * GRACE, start);
        assert_eq!(stop.due(start), Some(Push::Ask));
        assert_eq!(stop.next_deadline(), Some(start + GRACE));
        // Nothing that is left is too short.
        let mut stop = Stop::new(GRACE);
        stop.hurry(Duration::ZERO, start);
        stop.wish(StopCause::Signal(15), start);
        let pushes = [(); 3].map(|()| stop.due(start));
        assert_eq!(pushes, [Push::Ask, Push::Terminate, Push::Kill].map(Some));
    }

    #[test]
    fn a_program_that_announces_its_exit_has_the_grace_time() {
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
    fn announcing_its_exit_after_a_wish_gains_no_time() {
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

    #[test]
    fn times_beyond_all_time_are_never() {
        let mut stop = Stop::new(Duration::MAX);
        let now = Instant::now();
        stop.hurry(Duration::MAX, now);
        stop.wish(StopCause::Operator, now);
        assert_eq!(stop.due(now), Some(Push::Ask));
        assert_eq!(stop.next_deadline(), None);
    }

    #[test]
    fn at_the_time_limit_sigterm_comes_at_once_and_sigkill_in_time() {
        let start = Instant::now();
        let left = Duration::from_secs(10);
        for warned in [false, true] {
            let mut stop = Stop::new(GRACE);
            if warned {
                stop.wish(StopCause::Signal(10), start);
                assert_eq!(stop.due(start), Some(Push::Ask));
            }
            stop.end(left, start);
            assert_eq!(stop.due(start), Some(Push::Terminate));
            let kill = stop.next_deadline().expect("SIGKILL is to come");
            assert!(kill < start + left, "warned: {warned}");
            // The same SIGTERM again begins nothing anew.
            stop.end(left, start);
            assert_eq!(stop.next_deadline(), Some(kill));
            assert_eq!(stop.due(kill), Some(Push::Kill));
        }
    }
}
