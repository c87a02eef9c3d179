//! Limits how often announced progress is sent over the socket.

use std::time::{Duration, Instant};

use cu_protocol::{Fraction, Message};

use crate::link::Link;

/// The shortest time between two messages.
const SEND_EVERY: Duration = Duration::from_millis(100);

/// The last announcement, and whether it was sent.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: Option<Fraction>,
    last_sent: Option<Instant>,
}

impl Progress {
    /// Remembers a fraction, and sends it if the last message is old enough.
    pub fn announce(&mut self, fraction: Fraction, link: &mut Link) {
        self.waiting = Some(fraction);
        if self
            .last_sent
            .is_none_or(|sent| sent.elapsed() >= SEND_EVERY)
        {
            self.flush(link);
        }
    }

    /// Sends the last fraction if it was not sent yet.
    pub fn flush(&mut self, link: &mut Link) {
        if let Some(fraction) = self.waiting.take() {
            link.announce(Message::Progress(fraction));
            self.last_sent = Some(Instant::now());
        }
    }
}
