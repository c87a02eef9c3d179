//! Gathers notices for a moment, so that equal ones of many jobs are one line.

use std::collections::{HashMap, HashSet};

use cu_core::{Level, Notice};
use cu_protocol::JobId;

use super::limit;
use crate::text::moment::in_local_time;
use crate::text::plural;

/// The notices since the last lines.
///
/// A failure is a line only the first time that a job fails in this way, and only while the run goes on:
/// the report at the end of the run has them all.
#[derive(Debug, Default)]
pub struct Notices {
    /// The failures that were lines.
    told: HashSet<String>,
    /// The first of its kind, and how many equal ones of other jobs have followed.
    gathered: Vec<(Notice, u64)>,
    /// Where in `gathered` a text is.
    places: HashMap<String, usize>,
}

impl Notices {
    /// Adds one.
    pub fn add(&mut self, notice: Notice) {
        match self.places.get(&notice.text) {
            Some(place) => self.gathered[*place].1 += 1,
            None => {
                self.places.insert(notice.text.clone(), self.gathered.len());
                self.gathered.push((notice, 0));
            }
        }
    }

    /// Takes all of them, as one line each; without failures if a report of these follows. `last_line` reads the last
    /// line that a job has printed, which is most often why it failed.
    pub fn take(
        &mut self,
        report_follows: bool,
        last_line: impl Fn(JobId) -> Option<String>,
    ) -> Vec<String> {
        self.places.clear();
        let mut lines = Vec::new();
        for (notice, more) in self.gathered.drain(..) {
            let failed = notice.job.filter(|_| notice.level == Level::Error);
            if failed.is_some() && (report_follows || !self.told.insert(notice.text.clone())) {
                continue;
            }
            let text = limit::with_key(&notice.to_string(), notice.limit);
            let mut text = in_local_time(&text);
            if more > 0 {
                text.push_str(&format!(" (… and {})", plural(more, "more job")));
            }
            if let Some(job) = failed {
                // A limit that gave the job up is the reason itself.
                if let Some(line) = last_line(job).filter(|_| notice.limit.is_none()) {
                    text.push_str(&format!("; last line: {line}"));
                }
                text.push_str(&format!("; see `cu logs {job}`"));
            }
            lines.push(text);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use cu_protocol::Timestamp;

    use super::*;

    #[test]
    fn equal_ones_of_many_jobs_are_one_line() {
        let mut notices = Notices::default();
        let mut add = |job, text: &str| {
            let (at, job) = (Timestamp::from_millis(0), Some(JobId(job)));
            notices.add(Notice::new(at, job, Level::Info, text.to_owned()));
        };
        (7..49).for_each(|job| add(job, "no"));
        add(3, "never");
        assert_eq!(
            notices.take(false, |_| None),
            ["job 7: no (… and 41 more jobs)", "job 3: never"]
        );
        assert_eq!(notices.take(false, |_| None), [""; 0]);
    }

    #[test]
    fn a_failure_is_told_once_and_not_beside_the_report() {
        let mut notices = Notices::default();
        let failed = |job| {
            let (at, job) = (Timestamp::from_millis(0), Some(JobId(job)));
            Notice::new(at, job, Level::Error, "it failed".to_owned())
        };
        notices.add(failed(1));
        assert_eq!(notices.take(true, |_| None), [""; 0]);
        notices.add(failed(2));
        let last_line = |_| Some("no GPU".to_owned());
        assert_eq!(
            notices.take(false, last_line),
            ["job 2: it failed; last line: no GPU; see `cu logs 2`"]
        );
        notices.add(failed(3));
        assert_eq!(notices.take(false, |_| None), [""; 0]);
    }
}
