//! What can happen to a running attempt, and the one place that waits for it.
//!
//! A supervisor has one thread. What it hears of comes from [`Source`]s, which never block: signals, the
//! program at its door, the main process. [`Happening`] waits for all of them at once. Other threads, where
//! there are any, send by [`Events`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cu_protocol::{Acknowledgement, ProgramAnswer, ProgramRequest};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::Signal;

use crate::relay::Link;
use crate::{Error, Result};

/// Something has happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A child has ended. The kernel knows which.
    ChildEnded,
    /// A signal that asks to stop.
    StopSignal(Signal),
    /// The program asks; it waits for the answer.
    Asked(ProgramRequest, mpsc::Sender<ProgramAnswer>),
    /// Messages for cluster_utils have arrived.
    MessageForClusterUtils,
    /// The door is closed, and every program that stood in it has left.
    DoorClosed,
    /// There is a connection to the main process.
    Connected(Link, Acknowledgement),
    /// The main process acknowledges something, or has a wish.
    Acknowledged(Acknowledgement),
    /// The main process was not reached, or the connection to it has ended. It is being tried again.
    Unreachable,
}

/// Something that events come from.
pub(crate) trait Source: fmt::Debug {
    /// Adds the descriptors that it waits for. One that is closed by the other end must be left out as
    /// long as nothing is read from it: it would always be ready.
    fn awaits<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>);

    /// When it wants its turn even if nothing is ready.
    fn next_deadline(&self) -> Option<Instant>;

    /// Does what can be done without a wait. Adds what has happened to `events`.
    fn turn(&mut self, ready: &Ready, now: Instant, events: &mut VecDeque<Event>) -> Then;
}

/// What follows a turn of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Continues,
    /// Nothing will come of it any more.
    Ends,
}

/// The descriptors that are ready.
#[derive(Debug, Default)]
pub(crate) struct Ready(Vec<RawFd>);

impl Ready {
    pub fn has(&self, descriptor: impl AsFd) -> bool {
        self.0.contains(&descriptor.as_fd().as_raw_fd())
    }
}

/// The end into which other threads put what happens. It wakes the one that waits.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: mpsc::Sender<Event>,
    wake: Arc<OwnedFd>,
}

impl Events {
    /// Fails if nobody waits any more.
    #[expect(clippy::result_large_err, reason = "it gives back what was sent")]
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "everything comes from sources now")
    )]
    pub fn send(&self, event: Event) -> Result<(), mpsc::SendError<Event>> {
        self.sender.send(event)?;
        // It fails only if the counter is full, and then it wakes all the same.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        Ok(())
    }
}

/// Everything that happens, one event after the other. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Happening(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: RefCell<Vec<Box<dyn Source>>>,
    events: RefCell<VecDeque<Event>>,
    receiver: mpsc::Receiver<Event>,
    sender: Events,
}

impl Happening {
    /// Nothing happens yet.
    pub fn new() -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = wake.map_err(|errno| Error::system("make an eventfd")(errno.into()))?;
        let (sender, receiver) = mpsc::channel();
        Ok(Self(Rc::new(Inner {
            sources: RefCell::default(),
            events: RefCell::default(),
            receiver,
            sender: Events {
                sender,
                wake: Arc::new(wake),
            },
        })))
    }

    /// For other threads.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "everything comes from sources now")
    )]
    pub fn events(&self) -> Events {
        self.0.sender.clone()
    }

    /// From now on, events come from this source, too.
    pub fn add(&self, source: impl Source + 'static) {
        self.0.sources.borrow_mut().push(Box::new(source));
    }

    /// The next event, if one comes within this time.
    pub fn within(&self, wait: Duration) -> Option<Event> {
        // An end that no clock can reach is none.
        let until = Instant::now().checked_add(wait);
        let mut ready = Ready::default();
        loop {
            if let Some(event) = self.next(&ready) {
                return Some(event);
            }
            let now = Instant::now();
            if until.is_some_and(|until| until <= now) {
                return None;
            }
            ready = self.poll(until, now);
        }
    }

    /// Gives all sources their turn, if there is no event yet.
    fn next(&self, ready: &Ready) -> Option<Event> {
        let mut events = self.0.events.borrow_mut();
        if events.is_empty() || !ready.0.is_empty() {
            let now = Instant::now();
            let mut sources = self.0.sources.borrow_mut();
            sources.retain_mut(|source| source.turn(ready, now, &mut events) == Then::Continues);
            if ready.has(&self.0.sender.wake) {
                let _ = rustix::io::read(&self.0.sender.wake, &mut [0; 8]);
            }
            events.extend(self.0.receiver.try_iter());
        }
        events.pop_front()
    }

    /// Waits until something is ready, or due.
    fn poll(&self, until: Option<Instant>, now: Instant) -> Ready {
        let sources = self.0.sources.borrow();
        let wake = &self.0.sender.wake;
        let mut descriptors = vec![PollFd::new(wake, PollFlags::IN)];
        for source in sources.iter() {
            source.awaits(&mut descriptors);
        }
        let deadlines = sources.iter().filter_map(|source| source.next_deadline());
        let wait = deadlines.chain(until).min();
        let wait = wait.map(|at| at.saturating_duration_since(now));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut descriptors, wait.as_ref()) {
            Ok(_) => {
                let ready = descriptors.iter().filter(|it| !it.revents().is_empty());
                Ready(ready.map(|it| it.as_fd().as_raw_fd()).collect())
            }
            // A signal, which its source reports.
            Err(rustix::io::Errno::INTR) => Ready::default(),
            // Memory is short: each source looks at its next deadline.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                Ready::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_another_thread_ends_the_wait() {
        let happening = Happening::new().unwrap();
        let events = happening.events();
        std::thread::scope(|scope| {
            scope.spawn(move || events.send(Event::ChildEnded).unwrap());
            let event = happening.within(Duration::from_secs(60));
            assert!(matches!(event, Some(Event::ChildEnded)), "{event:?}");
        });
        assert!(happening.within(Duration::ZERO).is_none());
    }
}
