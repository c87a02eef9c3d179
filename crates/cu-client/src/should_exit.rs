//! Answers the question of a resumable program, "should I save and exit?".

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use cu_protocol::StopCause;

use crate::signals::Signals;

/// The shortest time between two looks at the stop file and the supervisor. A call in between costs
/// at most two readings of the clock.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The least time to keep before the time limit, for a save and for the end of the process.
pub const LEAST_MARGIN: Duration = Duration::from_secs(10);

/// A save may take this many times as long as the slowest one so far, since file systems of
/// clusters have bad moments.
const SLOWEST_SAVE_TIMES: u32 = 3;

/// The default time from the last save to the next.
pub const SAVE_EVERY: Duration = Duration::from_secs(600);

/// Periodic saves take at most one part in this many of the time.
const SHARE_OF_SAVES: u32 = 20;

/// The criteria, and the measured times.
#[derive(Debug)]
pub(crate) struct ShouldExit {
    started: Instant,
    after_steps: Option<u64>,
    after: Option<Duration>,
    deadline: Option<Instant>,
    margin: Option<Duration>,
    save_every: Duration,
    stop_file: Option<PathBuf>,
    signals: Signals,

    questions: u64,
    last_question: Option<Instant>,
    longest_step: Duration,
    longest_save: Duration,
    last_save: Instant,
    last_look: Option<Instant>,
    reason: Option<StopCause>,
}

impl ShouldExit {
    pub fn new(deadline: Option<SystemTime>, stop_file: Option<PathBuf>, signals: Signals) -> Self {
        let started = Instant::now();
        // By the monotonic clock, which nobody sets while we run. A deadline in the past is due at
        // once.
        let deadline = deadline.map(|deadline| {
            let left = deadline.duration_since(SystemTime::now());
            let far = Duration::from_secs(u32::MAX.into());
            started + left.unwrap_or_default().min(far)
        });
        Self {
            started,
            after_steps: None,
            after: None,
            deadline,
            margin: None,
            save_every: SAVE_EVERY,
            stop_file,
            signals,
            questions: 0,
            last_question: None,
            longest_step: Duration::ZERO,
            longest_save: Duration::ZERO,
            last_save: started,
            last_look: None,
            reason: None,
        }
    }

    pub fn after_steps(&mut self, count: u64) {
        self.after_steps = Some(count);
    }

    pub fn after(&mut self, budget: Duration) {
        self.after = Some(budget);
    }

    pub fn margin(&mut self, margin: Duration) {
        self.margin = Some(margin);
    }

    pub fn save_every(&mut self, interval: Duration) {
        self.save_every = interval;
    }

    pub fn reason(&self) -> Option<StopCause> {
        self.reason
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes how long a save took.
    pub fn saved(&mut self, took: Duration) {
        self.longest_save = self.longest_save.max(took);
        self.last_save = Instant::now();
    }

    /// Returns whether a periodic save is due.
    pub fn should_save(&self) -> bool {
        self.save_is_due(Instant::now())
    }

    fn save_is_due(&self, now: Instant) -> bool {
        let interval = self.save_every.max(self.longest_save * SHARE_OF_SAVES);
        now.saturating_duration_since(self.last_save) >= interval
    }

    /// Answers the question; `wish` asks the supervisor. Once the answer was yes, it stays yes.
    pub fn ask(&mut self, wish: impl FnOnce() -> Option<StopCause>) -> bool {
        let now = Instant::now();
        self.ask_at(now, wish);
        self.reason.is_some()
    }

    fn ask_at(&mut self, now: Instant, wish: impl FnOnce() -> Option<StopCause>) {
        self.questions += 1;
        if let Some(last) = self.last_question.replace(now) {
            self.longest_step = self.longest_step.max(now.saturating_duration_since(last));
        }
        if self.reason.is_none() {
            self.reason = self.cause_at(now, wish);
        }
    }

    fn cause_at(
        &mut self,
        now: Instant,
        wish: impl FnOnce() -> Option<StopCause>,
    ) -> Option<StopCause> {
        if let Some(signal) = self.signals.last() {
            return Some(StopCause::Signal(signal));
        }
        if self
            .after_steps
            .is_some_and(|steps| self.questions >= steps)
        {
            return Some(StopCause::Steps);
        }
        let elapsed = now.saturating_duration_since(self.started);
        if self.after.is_some_and(|budget| elapsed >= budget) {
            return Some(StopCause::TimeBudget);
        }
        if self
            .deadline
            .is_some_and(|deadline| deadline.saturating_duration_since(now) <= self.time_to_leave())
        {
            return Some(StopCause::TimeLimit);
        }
        let looked = self
            .last_look
            .map(|look| now.saturating_duration_since(look));
        if looked.is_some_and(|since| since < LOOK_EVERY) {
            return None;
        }
        self.last_look = Some(now);
        // The supervisor knows the cause, so ask it first.
        wish().or_else(|| self.stop_file_exists().then_some(StopCause::StopFile))
    }

    /// How long before the time limit to answer yes. The program asks only once a step, and then it
    /// saves.
    fn time_to_leave(&self) -> Duration {
        let margin = self
            .margin
            .unwrap_or_else(|| LEAST_MARGIN.max(self.longest_save * SLOWEST_SAVE_TIMES));
        margin.saturating_add(self.longest_step)
    }

    fn stop_file_exists(&self) -> bool {
        self.stop_file.as_deref().is_some_and(Path::exists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn nothing_asked(deadline: Option<Duration>) -> ShouldExit {
        let deadline = deadline.map(|left| SystemTime::now() + left);
        ShouldExit::new(deadline, None, Signals::default())
    }

    /// Asks at `after` the start, with a supervisor that asks for nothing.
    fn reason_at(question: &mut ShouldExit, after: Duration) -> Option<StopCause> {
        question.ask_at(question.started + after, || None);
        question.reason
    }

    #[test]
    fn without_any_criterion_the_answer_is_no() {
        assert_eq!(reason_at(&mut nothing_asked(None), 1000 * SECOND), None);
    }

    #[test]
    fn the_nth_step_is_the_last() {
        let mut question = nothing_asked(None);
        question.after_steps(3);
        assert_eq!(reason_at(&mut question, SECOND), None);
        assert_eq!(reason_at(&mut question, SECOND), None);
        assert_eq!(reason_at(&mut question, SECOND), Some(StopCause::Steps));
    }

    #[test]
    fn a_budget_is_used_up_exactly_at_its_end() {
        let mut question = nothing_asked(None);
        question.after(2 * SECOND);
        let just_before = 2 * SECOND - Duration::from_nanos(1);
        assert_eq!(reason_at(&mut question, just_before), None);
        assert_eq!(
            reason_at(&mut question, 2 * SECOND),
            Some(StopCause::TimeBudget)
        );
    }

    #[test]
    fn yes_stays_yes_with_its_first_reason() {
        let mut question = nothing_asked(None);
        question.ask_at(question.started, || Some(StopCause::Operator));
        question.after_steps(1);
        assert_eq!(reason_at(&mut question, SECOND), Some(StopCause::Operator));
    }

    #[test]
    fn the_margin_covers_a_step_and_three_slow_saves() {
        let limit = 1000 * SECOND;
        let mut question = nothing_asked(Some(limit));
        assert_eq!(question.time_to_leave(), LEAST_MARGIN);
        question.longest_save = 7 * SECOND;
        assert_eq!(question.time_to_leave(), 21 * SECOND);
        assert_eq!(reason_at(&mut question, 900 * SECOND), None);
        assert_eq!(reason_at(&mut question, 930 * SECOND), None);
        assert_eq!(question.time_to_leave(), 51 * SECOND);
        assert_eq!(
            reason_at(&mut question, 955 * SECOND),
            Some(StopCause::TimeLimit)
        );

        let mut question = nothing_asked(Some(limit));
        question.margin(100 * SECOND);
        assert_eq!(question.time_to_leave(), 100 * SECOND);
        assert_eq!(
            reason_at(&mut question, 901 * SECOND),
            Some(StopCause::TimeLimit)
        );
        question.margin(Duration::MAX);
        question.longest_step = SECOND;
        assert_eq!(question.time_to_leave(), Duration::MAX);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_and_one_far_away_is_not() {
        let past = ShouldExit::new(Some(SystemTime::UNIX_EPOCH), None, Signals::default());
        let far = SystemTime::now() + Duration::from_secs(1 << 40);
        for (mut question, reason) in [
            (past, Some(StopCause::TimeLimit)),
            (ShouldExit::new(Some(far), None, Signals::default()), None),
        ] {
            assert_eq!(reason_at(&mut question, SECOND), reason);
        }
    }

    #[test]
    fn looks_at_once_and_then_not_too_often() {
        let mut question = nothing_asked(None);
        let mut looks = 0;
        for millis in [0, 1, 50, 99, 100, 101, 199, 200] {
            let now = question.started + Duration::from_millis(millis);
            question.ask_at(now, || {
                looks += 1;
                None
            });
        }
        assert_eq!(looks, 3);
    }

    #[test]
    fn the_stop_file_answers_even_if_the_supervisor_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("stop");
        let mut question = ShouldExit::new(None, Some(file.clone()), Signals::default());
        assert_eq!(reason_at(&mut question, SECOND), None);
        std::fs::write(file, "").unwrap();
        assert_eq!(
            reason_at(&mut question, 2 * SECOND),
            Some(StopCause::StopFile)
        );
    }

    #[test]
    fn saves_are_due_by_the_clock_unless_they_are_slow() {
        let mut question = nothing_asked(None);
        question.save_every(60 * SECOND);
        assert!(!question.save_is_due(question.started + 59 * SECOND));
        assert!(question.save_is_due(question.started + 60 * SECOND));
        question.longest_save = 10 * SECOND;
        assert!(!question.save_is_due(question.started + 199 * SECOND));
        assert!(question.save_is_due(question.started + 200 * SECOND));
    }
}
