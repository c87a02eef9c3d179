//! What can happen to a running attempt, and the one place that waits for it.
//!
//! A supervisor has one thread. What it hears of comes from [`Source`]s, which never block: signals, the
//! program at its door, the main process. [`Happening`] waits for all of them at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cu_protocol::{Acknowledgement, ProgramAnswer, ProgramRequest, Sequence};
use rustix::event::{PollFd, Timespec, poll};
use rustix::process::Signal;

use crate::relay::Link;

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
    /// As an acknowledgement of this message, and the attempt is to stay until the connection ends.
    Stay(Sequence),
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

/// Everything that happens, one event after the other. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Happening(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    sources: RefCell<Vec<Box<dyn Source>>>,
    events: RefCell<VecDeque<Event>>,
}

impl Happening {
    /// Nothing happens yet.
    pub fn new() -> Self {
        Self(Rc::new(Inner {
            sources: RefCell::default(),
            events: RefCell::default(),
        }))
    }

    /// Lets something happen.
    #[cfg(test)]
    pub fn happens(&self, event: Event) {
        self.0.events.borrow_mut().push_back(event);
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
        }
        events.pop_front()
    }

    /// Waits until something is ready, or due.
    fn poll(&self, until: Option<Instant>, now: Instant) -> Ready {
        let sources = self.0.sources.borrow();
        let mut descriptors = Vec::new();
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
    use std::io::{PipeReader, Read, Write};

    use rustix::event::PollFlags;

    use super::*;

    /// A child has ended for each byte.
    #[derive(Debug)]
    struct Bytes(PipeReader);

    impl Source for Bytes {
        fn awaits<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
            descriptors.push(PollFd::new(&self.0, PollFlags::IN));
        }

        fn next_deadline(&self) -> Option<Instant> {
            None
        }

        fn turn(&mut self, ready: &Ready, _: Instant, events: &mut VecDeque<Event>) -> Then {
            if ready.has(&self.0) {
                self.0.read_exact(&mut [0]).unwrap();
                events.push_back(Event::ChildEnded);
            }
            Then::Continues
        }
    }

    #[test]
    fn a_source_that_is_ready_ends_the_wait() {
        let happening = Happening::new();
        let (reader, mut writer) = std::io::pipe().unwrap();
        happening.add(Bytes(reader));
        std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&[1]).unwrap());
            let event = happening.within(Duration::from_secs(60));
            assert!(matches!(event, Some(Event::ChildEnded)), "{event:?}");
        });
        assert!(happening.within(Duration::ZERO).is_none());
    }
}
