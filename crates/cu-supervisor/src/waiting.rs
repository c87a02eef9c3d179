//! Reports to the main process what an attempt waits for before it starts its program.
//!
//! The report has a connection of its own, which ends with the wait; the program's messages go over
//! another one. Without a connection the report is dropped: it is soon out of date.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};

use cu_protocol::{Envelope, Message, Sequence, Timestamp, Waiting};
use cu_system::causes::in_one_line;
use cu_system::machine::host;

use crate::event::Event;
use crate::relay::{Encoded, Identity, Link, Relay};
use crate::tell;

/// A shorter wait is not reported: the attempt before is just clearing up.
const SHORT: Duration = Duration::from_secs(1);

/// Reports a wait.
#[derive(Debug)]
pub(crate) struct Herald {
    identity: Identity,
    since: Instant,
    until: Timestamp,
    waiting: Option<Waiting>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    /// `None` if it can't be tried for.
    _relay: Option<Relay>,
    happening: Receiver<Event>,
    link: Option<Link>,
}

impl Herald {
    /// For a wait that begins now and lasts at most `patience`.
    pub fn new(identity: Identity, now: Instant, patience: Duration) -> Self {
        let until = SystemTime::now().checked_add(patience);
        Self {
            identity,
            since: now,
            until: until.map_or(Timestamp::MAX, Timestamp::from),
            waiting: None,
            connection: None,
        }
    }

    /// Reports this reason: once, and again on a new connection.
    pub fn tell(&mut self, reason: &str, now: Instant) {
        if now.saturating_duration_since(self.since) < SHORT {
            return;
        }
        let is_known = matches!(&self.waiting, Some(waiting) if waiting.reason == reason);
        if !is_known {
            self.waiting = Some(Waiting {
                host: host(),
                reason: reason.to_owned(),
                until: self.until,
            });
        }
        let is_connected = self.listen();
        if is_connected || !is_known {
            self.say();
        }
    }

    /// Ends the report.
    pub fn hush(&mut self) {
        self.connection = None;
    }

    /// Whether there is a new connection.
    fn listen(&mut self) -> bool {
        let identity = &self.identity;
        let connection = self.connection.get_or_insert_with(|| {
            let (events, happening) = mpsc::channel();
            let relay = Relay::start(identity.clone(), events);
            Connection {
                _relay: relay.inspect_err(|error| tell(&in_one_line(error))).ok(),
                happening,
                link: None,
            }
        });
        let mut is_new = false;
        for event in connection.happening.try_iter() {
            match event {
                Event::Connected(link, _) => {
                    connection.link = Some(link);
                    is_new = true;
                }
                Event::Unreachable => connection.link = None,
                // The main process repeats its wish once the program runs.
                _ => {}
            }
        }
        is_new
    }

    fn say(&self) {
        let link = self.connection.iter().find_map(|it| it.link.as_ref());
        if let (Some(link), Some(waiting)) = (link, &self.waiting) {
            let encoded = Encoded::new(Envelope {
                job: self.identity.job,
                attempt: self.identity.attempt,
                sequence: Sequence(0),
                message: Message::Waiting(waiting.clone()),
            });
            match encoded {
                Ok(encoded) => link.send(encoded.into()),
                Err(error) => tell(&in_one_line(&error)),
            }
        }
    }
}
