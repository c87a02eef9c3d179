//! Wait: gathers the news from server, outboxes, scheduler and operators into one batch with one time.

use std::time::Duration;

use cu_protocol::{
    Attempt, FromServer, JobId, Message, OperatorAnswer, OperatorRequest, Timestamp,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::answers::Asker;
use crate::clock::Clock;
use crate::machine::Event;

/// At most this many items are decided and recorded at once. More than a hundred gain nothing.
const BATCH: usize = 256;

/// How long news that nobody waits for may wait for company. An attempt's submission and start, and what the
/// scheduler reports of it, are then recorded with what follows, and a commit costs more than most of what it
/// records.
pub(crate) const GATHERING: Duration = Duration::from_millis(100);

/// How long the end of an attempt may wait for other ends. On this machine its supervisor has given its place back, and
/// others are at work there.
const ENDS: Duration = Duration::from_millis(20);

/// How many ends are worth waiting for, if one came in.
///
/// Each commit is a wait for the disk, a dozen wakings of threads, and a call of the scheduler, however much it
/// holds. An end may wait for others as long as the machine has enough to do besides: attempts that wait for a
/// place, or that run. But nobody waits for a lone attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    ends: usize,
}

impl Patience {
    /// Nothing waits.
    #[cfg(test)]
    pub const NONE: Self = Self { ends: 0 };

    /// For a run with so many attempts that `run`, or have ended without that being recorded, and others that
    /// `wait` for a place.
    ///
    /// Half of those that wait keep all places taken meanwhile. An eighth of those that run is awaited even if nothing
    /// follows them: that costs a job at most an eighth of its attempt's time.
    pub fn of(run: usize, wait: usize) -> Self {
        Self {
            ends: (wait / 2 + run / 8).min(run),
        }
    }
}

/// Something for the loop.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large variant"
)]
pub(crate) enum Item {
    /// Something happened to a job.
    Happened {
        job: JobId,
        event: Event,
        reply: Reply,
    },
    /// A supervisor has connected.
    Hello {
        job: JobId,
        attempt: Attempt,
        reply: Asker<FromServer>,
    },
    /// An operator asks for something.
    Operator {
        request: OperatorRequest,
        reply: Asker<OperatorAnswer>,
    },
    /// These jobs are not worth going on.
    EndEarly { jobs: Vec<JobId> },
    /// The scheduler did not answer.
    Silent { reason: String },
    /// The scheduler answered.
    Answered,
    /// This many cluster jobs of ours have left the scheduler's queue.
    RoomMade { places: usize },
    /// The backend has ended, and answers no more.
    BackendEnded { reason: String },
}

impl Item {
    /// When it is to be recorded. What the scheduler reports is older than the moment that it may wait here.
    fn urgency(&self) -> Urgency {
        match self {
            Self::Happened { event, .. } => match event {
                // After a crash before it is recorded, the submission is found by its name, and the
                // scheduler is asked again.
                Event::Submitted { .. } | Event::Observed { .. } => Urgency::Nobody,
                Event::Said {
                    message: Message::Ended(_),
                    ..
                } => Urgency::End,
                Event::Said { message, .. } if !is_awaited(message) => Urgency::Nobody,
                _ => Urgency::Now,
            },
            Self::Answered | Self::RoomMade { .. } => Urgency::Nobody,
            Self::Hello { .. } => Urgency::Greeting,
            Self::Operator { .. }
            | Self::EndEarly { .. }
            | Self::Silent { .. }
            | Self::BackendEnded { .. } => Urgency::Now,
        }
    }

    fn is_greeting(&self) -> bool {
        self.urgency() == Urgency::Greeting
    }
}

/// When an item is to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// Somebody waits until it is recorded, or something is to be done about it at once.
    Now,
    /// With the ends of other attempts, if there are some. Its supervisor waits, which nobody else does.
    End,
    /// Nobody waits for it.
    Nobody,
    /// It needs no record.
    Greeting,
}

/// Whether a program or supervisor waits until this message is recorded. A start is said again, or is in
/// the exit record.
pub(crate) fn is_awaited(message: &Message) -> bool {
    !matches!(message, Message::Started(_))
}

impl From<&cu_scheduler::Error> for Item {
    fn from(error: &cu_scheduler::Error) -> Self {
        let reason = cu_system::causes::in_one_line(error);
        match error {
            cu_scheduler::Error::Ended { .. } => Self::BackendEnded { reason },
            _ => Self::Silent { reason },
        }
    }
}

/// Where to reply that an event is recorded.
#[derive(Debug)]
pub(crate) enum Reply {
    Nobody,
    /// A supervisor at its connection.
    Supervisor(Asker<FromServer>),
    /// The message in an attempt's outbox is taken away.
    Outbox,
}

/// The items that came in together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub at: Timestamp,
    pub items: Vec<Item>,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Item>,
    /// Items that came in while something else was awaited.
    early: Vec<Item>,
    /// News that nobody waits for, and until when it waits for company.
    gathered: Vec<Item>,
    gathers_until: Option<Instant>,
    /// How many of these are ends.
    ends: usize,
    clock: Clock,
}

/// Unbounded, yet never long: each connection waits for its answer before it reads on, the scheduler is
/// asked again only after it has answered, and files hold a bounded number of messages.
pub(crate) type Sender = mpsc::UnboundedSender<Item>;

impl Inbox {
    pub fn new(clock: Clock) -> (Sender, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let inbox = Self {
            receiver,
            early: Vec::new(),
            gathered: Vec::new(),
            gathers_until: None,
            ends: 0,
            clock,
        };
        (sender, inbox)
    }

    /// Waits until something comes in, or `deadline`. What is not urgent waits a moment for what is, and the end of
    /// an attempt as `patience` says. A greeting is answered at once, and needs no record: it takes along nothing of what
    /// waits.
    pub async fn wait(&mut self, deadline: Option<Timestamp>, patience: Patience) -> Batch {
        if !self.early.is_empty() {
            return self.rest();
        }
        let due = deadline.map(|at| self.clock.instant(at));
        loop {
            let until = due.into_iter().chain(self.gathers_until).min();
            let pause = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let room = BATCH - self.gathered.len();
            let mut items = Vec::new();
            let is_over = tokio::select! {
                biased;
                count = self.receiver.recv_many(&mut items, room) => count == 0,
                () = pause => true,
            };
            let count = |urgency| items.iter().filter(|it| it.urgency() == urgency).count();
            let (urgent, ends, greetings) = (
                count(Urgency::Now),
                count(Urgency::End),
                count(Urgency::Greeting),
            );
            self.ends += ends;
            let are_together = self.ends > 0 && self.ends >= patience.ends;
            if is_over || items.len() >= room || urgent > 0 || are_together {
                self.gathered.extend(items);
                return self.gathered();
            }
            let (greetings, others) = match greetings {
                0 => (Vec::new(), items),
                _ => items.into_iter().partition(Item::is_greeting),
            };
            self.gathered.extend(others);
            if !self.gathered.is_empty() {
                let wait = if ends > 0 { ENDS } else { GATHERING };
                let until = Instant::now() + wait;
                self.gathers_until = self.gathers_until.into_iter().chain([until]).min();
            }
            if !greetings.is_empty() {
                return self.batch(greetings);
            }
        }
    }

    fn gathered(&mut self) -> Batch {
        self.gathers_until = None;
        self.ends = 0;
        let items = std::mem::take(&mut self.gathered);
        self.batch(items)
    }

    fn batch(&self, items: Vec<Item>) -> Batch {
        Batch {
            at: self.clock.now(),
            items,
        }
    }

    /// Takes out `first`, or waits as [`wait`](Self::wait).
    pub async fn begin_with(
        &mut self,
        first: &mut Option<Batch>,
        deadline: Option<Timestamp>,
        patience: Patience,
    ) -> Batch {
        match first.take() {
            Some(first) => first,
            None => self.wait(deadline, patience).await,
        }
    }

    /// Takes out whatever has come in.
    pub fn rest(&mut self) -> Batch {
        let early = std::mem::take(&mut self.early);
        self.gathered.extend(early);
        while let Ok(item) = self.receiver.try_recv() {
            self.gathered.push(item);
        }
        self.gathered()
    }

    /// Whether anything has come in that was not taken out yet.
    pub fn has_news(&self) -> bool {
        !(self.early.is_empty() && self.gathered.is_empty() && self.receiver.is_empty())
    }

    /// Waits until an operator wants the main process to end. No item is lost, even if this is dropped.
    pub async fn detach(&mut self) {
        let mut heard = self.early.iter().any(is_detach);
        while !heard {
            match self.receiver.recv().await {
                Some(item) => {
                    heard = is_detach(&item);
                    self.early.push(item);
                }
                None => std::future::pending().await,
            }
        }
    }
}

fn is_detach(item: &Item) -> bool {
    let Item::Operator { request, .. } = item else {
        return false;
    };
    *request == OperatorRequest::Detach
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitted() -> Item {
        Item::Happened {
            job: JobId(0),
            event: Event::Submitted {
                attempt: Attempt(0),
                cluster_job: cu_scheduler::ClusterJobId("local-1".to_owned()),
            },
            reply: Reply::Nobody,
        }
    }

    fn hello() -> Item {
        Item::Hello {
            job: JobId(0),
            attempt: Attempt(0),
            reply: tokio::sync::oneshot::channel().0,
        }
    }

    fn ended(job: u32) -> Item {
        let record = cu_protocol::ExitRecord {
            end: cu_protocol::ProgramEnd::Exited(3),
            stop: None,
            host: "n1".to_owned(),
            started: None,
            ended: Timestamp::from_millis(0),
            peak_memory_bytes: None,
            checkpoint: None,
            output_changed: cu_protocol::OutputChange::Changed,
            condition: None,
            noticed: cu_protocol::Noticed::default(),
        };
        Item::Happened {
            job: JobId(job),
            event: Event::Said {
                attempt: Attempt(0),
                sequence: cu_protocol::Sequence(1),
                message: Message::Ended(record),
            },
            reply: Reply::Nobody,
        }
    }

    #[test]
    fn a_lone_attempt_or_a_few_never_wait() {
        for (run, wait) in [(0, 0), (0, 100), (1, 0), (1, 1), (2, 0), (8, 0), (2, 2)] {
            assert!(Patience::of(run, wait).ends <= 1, "{run} and {wait}");
        }
        assert_eq!(Patience::of(2, 62).ends, 2, "all that run");
        assert_eq!(Patience::of(64, 0).ends, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_of_attempts_are_recorded_together() {
        let (sender, mut inbox) = Inbox::new(Clock::start(Timestamp::from_millis(0)));
        let patience = Patience::of(3, 10);
        let send = |job| sender.send(ended(job)).expect("it is there");
        let begun = Instant::now();
        (0..3).for_each(send);
        let together = inbox.wait(None, patience).await;
        assert_eq!(together.items.len(), 3);
        assert_eq!(begun.elapsed(), Duration::ZERO, "none is to come");
        send(3);
        let early = tokio::time::timeout(ENDS / 2, inbox.wait(None, patience)).await;
        assert!(early.is_err(), "{early:?}");
        // A greeting is answered meanwhile.
        sender.send(hello()).expect("it is there");
        let greeted = inbox.wait(None, patience).await;
        assert!(matches!(greeted.items[..], [Item::Hello { .. }]));
        send(4);
        assert_eq!(inbox.wait(None, patience).await.items.len(), 2);
        let waited = begun.elapsed();
        assert!(waited <= ENDS + Duration::from_millis(1), "{waited:?}");
        send(5);
        assert_eq!(inbox.wait(None, Patience::NONE).await.items.len(), 1);
        assert_eq!(begun.elapsed(), waited, "nobody waits for a lone attempt");
        // What is urgent takes all of it along.
        send(6);
        let reason = String::new();
        sender.send(Item::Silent { reason }).expect("it is there");
        assert_eq!(inbox.wait(None, patience).await.items.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_greetings_nor_the_scheduler_have_it_recorded() {
        let (sender, mut inbox) = Inbox::new(Clock::start(Timestamp::from_millis(0)));
        for item in [submitted(), hello(), submitted()] {
            sender.send(item).expect("it is there");
        }
        let first = inbox.wait(None, Patience::NONE).await;
        assert!(matches!(first.items[..], [Item::Hello { .. }]));
        assert!(inbox.has_news());
        sender.send(Item::Answered).expect("it is there");
        let moment = GATHERING / 2;
        let early = tokio::time::timeout(moment, inbox.wait(None, Patience::NONE)).await;
        assert!(early.is_err(), "{early:?}");
        let reason = String::new();
        sender.send(Item::Silent { reason }).expect("it is there");
        let second = inbox.wait(None, Patience::NONE).await;
        assert_eq!(second.items.len(), 4, "{:?}", second.items);
        assert!(!inbox.has_news());
    }

    #[tokio::test]
    async fn news_without_company_is_not_kept_for_ever() {
        let (sender, mut inbox) = Inbox::new(Clock::start(Timestamp::from_millis(0)));
        sender.send(submitted()).expect("it is there");
        assert_eq!(inbox.wait(None, Patience::NONE).await.items.len(), 1);
        sender.send(submitted()).expect("it is there");
        drop(
            tokio::time::timeout(std::time::Duration::ZERO, inbox.wait(None, Patience::NONE)).await,
        );
        assert_eq!(
            inbox.rest().items.len(),
            1,
            "a wait that was given up lost none"
        );
    }
}
