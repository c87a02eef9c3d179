//! Wait: gathers the news from server, outboxes, scheduler and operators into one batch with one time.

use std::pin::pin;
use std::time::Duration;

use cu_protocol::{
    Attempt, FromServer, JobId, Message, OperatorAnswer, OperatorRequest, Timestamp,
};
use cu_scheduler::ClusterState;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until};

use crate::clock::Clock;
use crate::machine::Event;

/// At most this many items are decided and recorded at once. More than a hundred gain nothing.
const BATCH: usize = 256;

/// How long news that nobody waits for may wait for company. An attempt's submission and start are then
/// recorded with what follows, and a commit costs more than most of what it records.
const GATHERING: Duration = Duration::from_millis(20);

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
    /// Whether somebody waits until it is recorded, or something is to be done about it at once.
    fn is_urgent(&self) -> bool {
        let Self::Happened { event, .. } = self else {
            return true;
        };
        match event {
            // After a crash before it is recorded, the submission is found by its name.
            Event::Submitted { .. } => false,
            Event::Said { message, .. } => is_awaited(message),
            Event::Observed { observation, .. } => !matches!(
                observation.state,
                ClusterState::Queued { .. } | ClusterState::Running { .. }
            ),
            _ => true,
        }
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
            clock,
        };
        (sender, inbox)
    }

    /// Waits until something comes in, or `deadline`. What is not urgent waits a moment for what is.
    pub async fn wait(&mut self, deadline: Option<Timestamp>) -> Batch {
        if !self.early.is_empty() {
            return self.rest();
        }
        let mut items = Vec::new();
        let due = async {
            match deadline {
                Some(at) => sleep_until(self.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        let mut due = pin!(due);
        tokio::select! {
            biased;
            _ = self.receiver.recv_many(&mut items, BATCH) => {}
            () = &mut due => {}
        }
        let mut gathered = pin!(sleep(GATHERING));
        let mut seen = 0;
        while (1..BATCH).contains(&items.len()) && !items[seen..].iter().any(Item::is_urgent) {
            seen = items.len();
            let room = BATCH - seen;
            tokio::select! {
                biased;
                count = self.receiver.recv_many(&mut items, room) => if count == 0 { break },
                () = &mut gathered => break,
                () = &mut due => break,
            }
        }
        Batch {
            at: self.clock.now(),
            items,
        }
    }

    /// Takes out whatever has come in.
    pub fn rest(&mut self) -> Batch {
        let mut items = std::mem::take(&mut self.early);
        while let Ok(item) = self.receiver.try_recv() {
            items.push(item);
        }
        Batch {
            at: self.clock.now(),
            items,
        }
    }

    /// Whether anything has come in that was not taken out yet.
    pub fn has_news(&self) -> bool {
        !self.early.is_empty() || !self.receiver.is_empty()
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
