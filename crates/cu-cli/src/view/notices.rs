//! Gathers notices for a moment, so that equal ones of many jobs are one line.

use std::collections::HashMap;

use cu_core::Notice;

use super::limit;
use crate::text::plural;

/// The notices since the last lines.
#[derive(Debug, Default)]
pub struct Notices {
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

    /// Takes all of them, as one line each.
    pub fn take(&mut self) -> Vec<String> {
        self.places.clear();
        let line = |(notice, more): (Notice, u64)| {
            let text = limit::with_key(&notice.to_string(), notice.limit);
            match more {
                0 => text,
                more => format!("{text} (… and {})", plural(more, "more job")),
            }
        };
        self.gathered.drain(..).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use cu_core::Level;
    use cu_protocol::{JobId, Timestamp};

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
            notices.take(),
            ["job 7: no (… and 41 more jobs)", "job 3: never"]
        );
        assert_eq!(notices.take(), [""; 0]);
    }
}
