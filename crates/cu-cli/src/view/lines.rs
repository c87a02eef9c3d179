//! A run in a pipe or a log: a line when something changed, at most one every few seconds.

use std::time::{Duration, Instant};

use cu_core::{Counts, RunState, Status};

use super::View;
use super::estimate::Estimate;
use crate::text::{moment, plural};

/// The least time between two lines.
const PAUSE: Duration = Duration::from_secs(5);

/// Prints lines.
pub struct Lines {
    say: fn(&str),
    has_notices: bool,
    estimate: Estimate,
    shown: Option<(Instant, String)>,
    waiting: Option<Status>,
}

impl Lines {
    /// Prints by `say`, notices among it or not.
    pub fn new(say: fn(&str), has_notices: bool) -> Self {
        Self {
            say,
            has_notices,
            estimate: Estimate::default(),
            shown: None,
            waiting: None,
        }
    }

    fn show(&mut self, status: &Status, now: Instant) {
        let counts = counts(status) + &held_up(status);
        let changed = self
            .shown
            .as_ref()
            .is_none_or(|(_, shown)| *shown != counts);
        if changed {
            let left = self.estimate.left(status, now);
            let left = left.map(|left| format!(", about {} left", moment::rounded(left)));
            (self.say)(&format!(
                "{}: {counts}{}",
                status.name,
                left.unwrap_or_default()
            ));
            self.shown = Some((now, counts));
        }
    }
}

/// `3 of 10 jobs completed, 4 waiting, 2 running, 1 failed, 6 resumes`, without zeros.
pub fn counts(status: &Status) -> String {
    let jobs = &status.jobs;
    let mut text = format!("{} of {} jobs completed", jobs.completed, jobs.total);
    for other in not_completed(jobs) {
        text.push_str(&format!(", {other}"));
    }
    if status.resumes > 0 {
        text.push_str(&format!(", {}", plural(status.resumes, "resume")));
    }
    text
}

/// What the line of a run ends with if something holds its main process up.
pub fn held_up(status: &Status) -> String {
    let held_up = status.held_up.as_ref();
    held_up.map_or_else(String::new, |text| {
        format!("; {}", moment::in_local_time(text))
    })
}

/// `3 completed, 4 waiting`, without zeros.
pub fn states(jobs: &Counts) -> String {
    let completed = (jobs.completed > 0).then(|| format!("{} completed", jobs.completed));
    let all: Vec<_> = completed.into_iter().chain(not_completed(jobs)).collect();
    all.join(", ")
}

fn not_completed(jobs: &Counts) -> impl Iterator<Item = String> {
    let states = [
        (jobs.waiting.saturating_sub(jobs.paused), "waiting"),
        (jobs.paused, "paused"),
        (jobs.queued, "queued"),
        (jobs.running, "running"),
        (jobs.failed, "failed"),
        (jobs.cancelled, "cancelled"),
    ];
    let states = states.into_iter().filter(|(count, _)| *count > 0);
    states.map(|(count, name)| format!("{count} {name}"))
}

impl View for Lines {
    fn status(&mut self, status: &Status, now: Instant) {
        let due = self
            .shown
            .as_ref()
            .is_none_or(|(last, _)| now.duration_since(*last) >= PAUSE);
        if due || status.state != RunState::Running {
            self.waiting = None;
            self.show(status, now);
        } else {
            self.waiting = Some(status.clone());
        }
    }

    fn tick(&mut self, now: Instant) {
        if let Some(status) = self.waiting.take() {
            self.status(&status, now);
        }
    }

    fn notice(&mut self, text: &str) {
        if self.has_notices {
            (self.say)(text);
        }
    }

    fn pause(&mut self) {}

    fn go_on(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::super::estimate::tests::status;
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn said() -> Vec<String> {
        SAID.take()
    }

    #[test]
    fn a_line_on_change_and_not_too_often() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let say = |text: &str| SAID.with_borrow_mut(|said| said.push(text.to_owned()));
        let mut lines = Lines::new(say, true);
        let mut status = status(0);
        lines.status(&status, at(0));
        let first = "3 of 10 jobs completed, 4 waiting, 2 running, 1 failed, 6 resumes";
        assert_eq!(said(), [format!("digits: {first}")]);

        lines.status(&status, at(10));
        assert_eq!(said(), [""; 0], "nothing has changed");

        status.resumes = 7;
        status.done_per_mille = 500;
        lines.status(&status, at(11));
        let line = "digits: 3 of 10 jobs completed, 4 waiting, 2 running, 1 failed, 7 resumes";
        assert_eq!(said(), [line]);

        status.resumes = 8;
        lines.status(&status, at(12));
        lines.tick(at(13));
        assert_eq!(said(), [""; 0], "too early");
        status.resumes = 9;
        lines.status(&status, at(14));
        lines.tick(at(16));
        let lines_said = said();
        assert_eq!(lines_said.len(), 1, "{lines_said:?}");
        assert!(lines_said[0].contains("9 resumes"), "{lines_said:?}");

        status.state = RunState::Completed;
        status.jobs.completed = 10;
        lines.status(&status, at(17));
        assert_eq!(said().len(), 1, "the end is shown at once");
    }
}
