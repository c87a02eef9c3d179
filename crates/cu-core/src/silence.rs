//! How long the scheduler has not answered, although it was asked: when people read of it, and when the
//! main process gives up.

use std::time::Duration;

use cu_protocol::Timestamp;
use cu_scheduler::ClusterState;

use crate::machine::{Event, moment, one_line};
use crate::{Error, Policy, Result};

/// People read of a silence that lasts this long: the scheduler has been asked a few times by then.
const SEEN_AFTER: Duration = Duration::from_secs(10);

/// How often it is looked whether patience is over. That need not be exact.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// The silence of a scheduler, if it is silent.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    /// Since when it has answered nothing at all, and what came first in place of an answer.
    since: Option<(Timestamp, String)>,
    /// The same for questions, which may fail while submissions go well. People read of a submission that
    /// fails anyway.
    unanswered: Option<(Timestamp, String)>,
    /// Since when it has been silent, as people read last.
    seen: Option<Timestamp>,
    /// The backend has ended, in its own words.
    ended: Option<String>,
    now: Timestamp,
}

/// What people are to read of a silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It lasts.
    Begins(String),
    /// It is over.
    Ends(String),
}

impl Silence {
    /// It is `at`.
    pub fn pass_time(&mut self, at: Timestamp) {
        self.now = at;
    }

    /// A question was not answered.
    pub fn unanswered(&mut self, reason: String) {
        let (now, reason) = (self.now, one_line(&reason));
        self.unanswered.get_or_insert((now, reason.clone()));
        self.since.get_or_insert((now, reason));
    }

    /// A question was answered, or none is open.
    pub fn answered(&mut self) {
        self.unanswered = None;
        self.since = None;
    }

    /// The backend has ended, and answers no more.
    pub fn backend_ended(&mut self, reason: String) {
        self.ended = Some(reason);
    }

    /// Takes in what an event shows of the scheduler.
    pub fn hear(&mut self, event: &Event) {
        match event {
            // With `retry_after` it answered, so it is not silent.
            Event::SubmitDelayed {
                reason,
                retry_after: None,
                ..
            } => {
                self.since.get_or_insert((self.now, reason.clone()));
            }
            Event::SubmitDelayed { .. } | Event::Submitted { .. } => self.since = None,
            // A watcher that can't ask reports this, too. If it could, it says so itself.
            Event::Observed { observation, .. }
                if matches!(observation.state, ClusterState::Unknown { .. }) => {}
            Event::NotFound { .. } | Event::Observed { .. } => self.answered(),
            _ => {}
        }
    }

    /// What people are to read now. Each silence begins once and ends once.
    pub fn news(&mut self, policy: &Policy) -> Option<News> {
        match (&self.unanswered, self.seen) {
            (Some((since, reason)), None) if self.now.since(*since) >= SEEN_AFTER => {
                self.seen = Some(*since);
                Some(News::Begins(format!(
                    "the scheduler has not answered since {}: {reason}; it is asked again and again, and \
                     attempts go on; if it answers nothing until {}, the main process ends, and `cu resume` \
                     takes the run up again",
                    moment(*since),
                    moment(since.after(policy.scheduler_patience))
                )))
            }
            (None, Some(since)) => {
                self.seen = None;
                let seconds = self.now.since(since).as_secs();
                Some(News::Ends(format!(
                    "the scheduler answers again, after {seconds} s"
                )))
            }
            _ => None,
        }
    }

    /// The earlier of `deadline` and the next moment at which a silence matters.
    pub fn bounds(&self, deadline: Option<Timestamp>) -> Option<Timestamp> {
        let look = self.since.as_ref().map(|_| self.now.after(BETWEEN_LOOKS));
        let unseen = self.unanswered.as_ref().filter(|_| self.seen.is_none());
        let seen = unseen.map(|(since, _)| since.after(SEEN_AFTER));
        [deadline, look, seen].into_iter().flatten().min()
    }

    /// Fails if patience is over, or the backend has ended.
    pub fn check(&self, policy: &Policy) -> Result<()> {
        if let Some(reason) = &self.ended {
            return Err(Error::BackendEnded {
                reason: reason.clone(),
            });
        }
        match &self.since {
            Some((since, reason)) if self.now.since(*since) >= policy.scheduler_patience => {
                Err(Error::SchedulerUnreachable {
                    after: self.now.since(*since),
                    reason: reason.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use cu_protocol::Attempt;
    use cu_scheduler::{ClusterJobId, Observation};

    use super::*;

    fn at(silence: &mut Silence, second: u64) -> Option<News> {
        silence.pass_time(Timestamp::from_millis(second * 1000));
        silence.news(&Policy::default())
    }

    #[test]
    fn a_silence_is_seen_once_and_ends_once() {
        let mut silence = Silence::default();
        silence.unanswered("unrecognized arguments\n\nusage: squeue\n".to_owned());
        assert_eq!(at(&mut silence, 9), None);
        // A submission that goes well answers no question.
        silence.hear(&Event::Submitted {
            attempt: Attempt(0),
            cluster_job: ClusterJobId("7".to_owned()),
        });
        // Nor is it one that nobody could say how an attempt has ended.
        let unknown = ClusterState::Unknown {
            reason: "timed out".to_owned(),
        };
        silence.hear(&Event::Observed {
            attempt: Attempt(0),
            observation: Observation::new(ClusterJobId("7".to_owned()), unknown),
        });
        silence.unanswered("timed out".to_owned());
        assert_eq!(silence.bounds(None), Some(Timestamp::from_millis(10_000)));
        let Some(News::Begins(text)) = at(&mut silence, 10) else {
            panic!("{silence:?}")
        };
        let words = "since 1970-01-01T00:00:00Z: unrecognized arguments / usage: squeue; it is";
        assert!(text.contains(words), "{text}");
        assert_eq!(at(&mut silence, 11), None);
        silence.answered();
        let ends = News::Ends("the scheduler answers again, after 12 s".to_owned());
        assert_eq!(at(&mut silence, 12), Some(ends));
        assert_eq!(at(&mut silence, 13), None);
    }
}
