//! Gathers notices for a moment, so that equal ones of many jobs are one line.

use std::collections::HashMap;

use cu_core::Notice;

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
        let line = |(notice, more): (Notice, u64)| match more {
            0 => notice.to_string(),
            more => format!("{notice} (… and {})", plural(more, "more job")),
        };
        self.gathered.drain(..).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use cu_core::machine::Level;
    use cu_protocol::{JobId, Timestamp};

    use super::*;

    #[test]
    fn equal_ones_of_many_jobs_are_one_line() {
        let mut notices = Notices::default();
        let mut add = |job, text: &str| {
            notices.add(Notice {
                at: Timestamp(0),
                job: Some(JobId(job)),
                level: Level::Info,
                text: text.to_owned(),
            });
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
