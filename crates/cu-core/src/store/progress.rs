//! Decides which announcements are kept. A job may announce progress twice a second, and metrics at every
//! step, for days. Only the largest and the last progress of an attempt have consequences, and only the last
//! early metric of each name.

use std::collections::HashMap;

use cu_protocol::{Attempt, Fraction, JobId, Message, Metrics, Sequence};

use crate::machine::Event;

/// The rows of announcements, by job: those of the attempt that announced last.
#[derive(Debug, Default)]
pub(super) struct Announcements(HashMap<JobId, Kept>);

#[derive(Debug)]
struct Kept {
    attempt: Attempt,
    progress: Option<Progress>,
    metrics: Latest,
}

#[derive(Debug)]
struct Progress {
    largest: (Fraction, i64),
    last: i64,
}

/// The row with the newest value of each metric.
#[derive(Debug, Default)]
struct Latest {
    of: HashMap<String, i64>,
    /// How many metrics have their newest value in a row.
    count: HashMap<i64, usize>,
    /// A row without any metric, which the next one makes superfluous.
    empty: Option<i64>,
}

impl Announcements {
    /// Notes that `event` is row `number`, and returns the rows that it makes superfluous.
    pub fn supersede(&mut self, number: i64, job: JobId, event: &Event) -> Vec<i64> {
        if is_end(event) {
            // Else there would be an entry for each job of a run at last.
            self.0.remove(&job);
            return Vec::new();
        }
        let Event::Said {
            attempt,
            sequence,
            message: message @ (Message::Progress(_) | Message::EarlyMetrics(_)),
        } = event
        else {
            return Vec::new();
        };
        // An attempt's first message also shows that it was submitted.
        if *sequence == Sequence(1) {
            return Vec::new();
        }
        let new = || Kept {
            attempt: *attempt,
            progress: None,
            metrics: Latest::default(),
        };
        let kept = self.0.entry(job).or_insert_with(new);
        if kept.attempt != *attempt {
            *kept = new();
        }
        match message {
            Message::EarlyMetrics(metrics) => kept.metrics.supersede(number, metrics),
            Message::Progress(fraction) => match &mut kept.progress {
                Some(progress) => progress.supersede(number, *fraction),
                none => {
                    *none = Some(Progress::new(number, *fraction));
                    Vec::new()
                }
            },
            _ => Vec::new(),
        }
    }
}

/// Whether an attempt announces nothing more.
fn is_end(event: &Event) -> bool {
    match event {
        Event::Said { message, .. } => matches!(message, Message::Ended(_)),
        Event::RecordFound { .. } | Event::RecordsRead { .. } => true,
        _ => false,
    }
}

impl Progress {
    fn new(number: i64, fraction: Fraction) -> Self {
        Self {
            largest: (fraction, number),
            last: number,
        }
    }

    fn supersede(&mut self, number: i64, fraction: Fraction) -> Vec<i64> {
        let mut superseded = Vec::new();
        if self.last != self.largest.1 {
            superseded.push(self.last);
        }
        if fraction >= self.largest.0 {
            superseded.push(self.largest.1);
            *self = Self::new(number, fraction);
        } else {
            self.last = number;
        }
        superseded
    }
}

impl Latest {
    fn supersede(&mut self, number: i64, metrics: &Metrics) -> Vec<i64> {
        let mut superseded: Vec<_> = self.empty.take().into_iter().collect();
        if metrics.is_empty() {
            self.empty = Some(number);
            return superseded;
        }
        for name in metrics.keys() {
            let before = match self.of.get_mut(name) {
                Some(row) => std::mem::replace(row, number),
                None => {
                    self.of.insert(name.clone(), number);
                    continue;
                }
            };
            if let Some(count) = self.count.get_mut(&before) {
                *count -= 1;
                if *count == 0 {
                    self.count.remove(&before);
                    superseded.push(before);
                }
            }
        }
        self.count.insert(number, metrics.len());
        superseded
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cu_protocol::Timestamp;
    use cu_scheduler::ClusterJobId;
    use proptest::prelude::*;

    use super::*;
    use crate::machine::{Effects, Job, Machine};
    use crate::{ExitRules, Policy};

    const JOB: JobId = JobId(0);

    fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Job> {
        let mut machine =
            Machine::new(vec![Job::new(JOB, ExitRules::default())], Policy::default());
        for event in events {
            machine.step(
                Timestamp::from_millis(1),
                JOB,
                event,
                &mut Effects::default(),
            );
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

    const NAMES: u8 = 4;

    fn any_part() -> impl Strategy<Value = Message> {
        let name = (0..NAMES).prop_map(|name| format!("metric {name}"));
        let metrics = prop::collection::btree_map(name, any::<i64>(), 0..3);
        let metrics = metrics.prop_map(|metrics| -> Metrics {
            let metrics = metrics.into_iter();
            metrics.map(|(name, value)| (name, value.into())).collect()
        });
        prop_oneof![
            4 => (0..=10_u8).prop_map(announced),
            4 => metrics.clone().prop_map(Message::EarlyMetrics),
            1 => metrics.prop_map(Message::Results),
        ]
    }

    proptest! {
        #[test]
        fn kept_announcements_say_all_that_was_announced(
            parts in prop::collection::vec(any_part(), 0..40),
        ) {
            let submitted = Event::Submitted {
                attempt: Attempt(0),
                cluster_job: ClusterJobId("1".to_owned()),
            };
            let messages = parts.into_iter().enumerate();
            let messages = messages.map(|(number, message)| said(number, message));
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
            let is_early = |event: &&&Event| {
                matches!(event, Event::Said { message: Message::EarlyMetrics(_), .. })
            };
            // One for each name, the first message, and an empty one.
            prop_assert!(kept.values().filter(is_early).count() <= usize::from(NAMES) + 2);
        }
    }
}
