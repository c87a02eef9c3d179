//! Which announcements of progress are kept. A job announces it twice a second, if it likes, for
//! days; of an attempt's, the largest and the last say all that follows from them.

use std::collections::HashMap;

use cu_protocol::{Attempt, Fraction, JobId, Message, Sequence};

use crate::machine::Event;

/// The rows of announcements, by job: those of the attempt that spoke last.
#[derive(Debug, Default)]
pub(super) struct Announcements(HashMap<JobId, Kept>);

#[derive(Debug)]
struct Kept {
    attempt: Attempt,
    largest: (Fraction, i64),
    last: i64,
}

impl Announcements {
    /// Takes down that `event` is row `number`, and tells which rows need no longer be there.
    pub fn supersede(&mut self, number: i64, job: JobId, event: &Event) -> Vec<i64> {
        let Event::Said {
            attempt,
            sequence,
            message: Message::Progress(fraction),
        } = *event
        else {
            return Vec::new();
        };
        // An attempt's first message says more: that it was submitted.
        if sequence == Sequence(1) {
            return Vec::new();
        }
        let new = Kept {
            attempt,
            largest: (fraction, number),
            last: number,
        };
        let Some(kept) = self.0.get_mut(&job).filter(|kept| kept.attempt == attempt) else {
            self.0.insert(job, new);
            return Vec::new();
        };
        let mut superseded = Vec::new();
        if kept.last != kept.largest.1 {
            superseded.push(kept.last);
        }
        if fraction >= kept.largest.0 {
            superseded.push(kept.largest.1);
            *kept = new;
        } else {
            kept.last = number;
        }
        superseded
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cu_protocol::{Metrics, Timestamp};
    use cu_scheduler::ClusterJobId;
    use proptest::prelude::*;

    use super::*;
    use crate::Policy;
    use crate::machine::{Effects, Job, Machine};

    const JOB: JobId = JobId(0);

    fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Job> {
        let mut machine = Machine::new(vec![Job::new(JOB, 3)], Policy::default());
        for event in events {
            machine.step(Timestamp(1), JOB, event, &mut Effects::default());
        }
        machine.jobs().to_vec()
    }

    fn said(number: usize, message: Message) -> Event {
        Event::Said {
            attempt: Attempt(0),
            sequence: Sequence(number as u64 + 1),
            message,
        }
    }

    fn announced(part: u8) -> Message {
        let fraction = Fraction::new(f64::from(part) / 10.0);
        Message::Progress(fraction.expect("from 0 to 1"))
    }

    proptest! {
        #[test]
        fn what_is_kept_says_all_that_was_said(
            parts in prop::collection::vec(prop::option::weighted(0.9, 0..=10_u8), 0..30),
        ) {
            let other = || Message::EarlyMetrics(Metrics::from([("loss".to_owned(), 0.5.into())]));
            let submitted = Event::Submitted {
                attempt: Attempt(0),
                cluster_job: ClusterJobId("1".to_owned()),
            };
            let messages = parts.iter().map(|part| part.map_or_else(other, announced));
            let messages = messages.enumerate().map(|(number, message)| said(number, message));
            let mut all = vec![Event::TimePassed, submitted];
            all.extend(messages);
            let mut announcements = Announcements::default();
            let mut kept = BTreeMap::new();
            for (number, event) in (0..).zip(&all) {
                kept.insert(number, event);
                for superseded in announcements.supersede(number, JOB, event) {
                    prop_assert!(kept.remove(&superseded).is_some(), "it was gone already");
                }
            }
            prop_assert_eq!(fold(kept.values().copied()), fold(&all));
            let is_progress = |event: &&&Event| {
                matches!(event, Event::Said { message: Message::Progress(_), .. })
            };
            prop_assert!(kept.values().filter(is_progress).count() <= 3);
        }
    }
}
