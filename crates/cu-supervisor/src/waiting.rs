//! Reports to the main process what an attempt waits for before it starts its program.
//!
//! The report has a connection of its own, which ends with the wait; the program's messages go over
//! another one. Without a connection the report is dropped: it is soon out of date.

use std::time::{Duration, Instant, SystemTime};

use cu_protocol::{Envelope, Message, Sequence, Timestamp, Waiting};
use cu_system::causes::in_one_line;
use cu_system::machine::host;

use crate::event::{Event, Happening};
use crate::relay::{Encoded, Identity, Link, Relay};
use crate::tell;

/// A shorter wait is not reported: the attempt before is just clearing up.
const SHORT: Duration = Duration::from_secs(1);

/// How long a connection may hold the wait up for what it is reported over.
const HANDSHAKE: Duration = Duration::from_millis(200);

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
    _relay: Relay,
    happening: Happening,
    link: Option<Link>,
    /// How long to wait for it to be made.
    patience: Duration,
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

    /// Whether there is a new connection. The first time it waits a moment for one.
    fn listen(&mut self) -> bool {
        if self.connection.is_none() {
            let happening = Happening::new();
            self.connection = Some(Connection {
                _relay: Relay::start(self.identity.clone(), &happening),
                happening,
                link: None,
                patience: HANDSHAKE,
            });
        }
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let mut is_new = false;
        let mut patience = std::mem::take(&mut connection.patience);
        while let Some(event) = connection.happening.within(patience) {
            patience = Duration::ZERO;
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
        let Some(connection) = &self.connection else {
            return;
        };
        if let (Some(link), Some(waiting)) = (&connection.link, &self.waiting) {
            let encoded = Encoded::new(Envelope {
                job: self.identity.job,
                attempt: self.identity.attempt,
                sequence: Sequence(0),
                message: Message::Waiting(waiting.clone()),
            });
            match encoded {
                Ok(encoded) => {
                    link.send(encoded.into());
                    // Sends it now. What comes in meanwhile concerns nobody.
                    connection.happening.within(Duration::ZERO);
                }
                Err(error) => tell(&in_one_line(&error)),
            }
        }
    }
}
