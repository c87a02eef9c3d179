//! Wait: gathers the news from server, outboxes, scheduler and operators into one batch with one time.

use std::time::Duration;

use cu_protocol::{
    Attempt, FromServer, JobId, Message, OperatorAnswer, OperatorRequest, Timestamp,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::machine::Event;

/// At most this many items are decided and recorded at once. More than a hundred gain nothing.
const BATCH: usize = 256;

/// How long news that nobody waits for may wait for company. An attempt's submission and start, and what the
/// scheduler reports of it, are then recorded with what follows, and a commit costs more than most of what it
/// records.
pub(crate) const GATHERING: Duration = Duration::from_millis(100);

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
        reply: oneshot::Sender<FromServer>,
    },
    /// An operator asks for something.
    Operator {
        request: OperatorRequest,
        reply: oneshot::Sender<OperatorAnswer>,
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
    /// Whether somebody waits until it is recorded, or something is to be done about it at once. What the
    /// scheduler reports is older than the moment that it may wait here.
    fn is_urgent(&self) -> bool {
        match self {
            Self::Happened { event, .. } => match event {
                // After a crash before it is recorded, the submission is found by its name, and the
                // scheduler is asked again.
                Event::Submitted { .. } | Event::Observed { .. } => false,
                Event::Said { message, .. } => is_awaited(message),
                _ => true,
            },
            Self::Answered | Self::RoomMade { .. } => false,
            Self::Hello { .. }
            | Self::Operator { .. }
            | Self::EndEarly { .. }
            | Self::Silent { .. }
            | Self::BackendEnded { .. } => true,
        }
    }

    fn is_greeting(&self) -> bool {
        matches!(self, Self::Hello { .. })
    }
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
    Supervisor(oneshot::Sender<FromServer>),
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
            clock,
        };
        (sender, inbox)
    }

    /// Waits until something comes in, or `deadline`. What is not urgent waits a moment for what is. A
    /// greeting is answered at once, and needs no record: it takes along nothing of what waits.
    pub async fn wait(&mut self, deadline: Option<Timestamp>) -> Batch {
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
            let is_urgent = |item: &Item| item.is_urgent() && !item.is_greeting();
            let is_full = items.len() >= room;
            if is_over || is_full || items.iter().any(is_urgent) {
                self.gathered.extend(items);
                return self.gathered();
            }
            let (greetings, others) = items.into_iter().partition(Item::is_greeting);
            self.gathered.extend::<Vec<_>>(others);
            if !self.gathered.is_empty() && self.gathers_until.is_none() {
                self.gathers_until = Some(Instant::now() + GATHERING);
            }
            let greetings: Vec<_> = greetings;
            if !greetings.is_empty() {
                return self.batch(greetings);
            }
        }
    }

    fn gathered(&mut self) -> Batch {
        self.gathers_until = None;
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
    ) -> Batch {
        match first.take() {
            Some(first) => first,
            None => self.wait(deadline).await,
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
            reply: oneshot::channel().0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_greetings_nor_the_scheduler_have_it_recorded() {
        let (sender, mut inbox) = Inbox::new(Clock::start(Timestamp::from_millis(0)));
        for item in [submitted(), hello(), submitted()] {
            sender.send(item).expect("it is there");
        }
        let first = inbox.wait(None).await;
        assert!(matches!(first.items[..], [Item::Hello { .. }]));
        assert!(inbox.has_news());
        sender.send(Item::Answered).expect("it is there");
        let moment = GATHERING / 2;
        let early = tokio::time::timeout(moment, inbox.wait(None)).await;
        assert!(early.is_err(), "{early:?}");
        let reason = String::new();
        sender.send(Item::Silent { reason }).expect("it is there");
        let second = inbox.wait(None).await;
        assert_eq!(second.items.len(), 4, "{:?}", second.items);
        assert!(!inbox.has_news());
    }

    #[tokio::test]
    async fn news_without_company_is_not_kept_for_ever() {
        let (sender, mut inbox) = Inbox::new(Clock::start(Timestamp::from_millis(0)));
        sender.send(submitted()).expect("it is there");
        assert_eq!(inbox.wait(None).await.items.len(), 1);
        sender.send(submitted()).expect("it is there");
        drop(tokio::time::timeout(std::time::Duration::ZERO, inbox.wait(None)).await);
        assert_eq!(
            inbox.rest().items.len(),
            1,
            "a wait that was given up lost none"
        );
    }
}
