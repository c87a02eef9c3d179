//! Progress as it is announced: often by the program, seldom over the socket.

use std::time::{Duration, Instant};

use cu_protocol::{Fraction, Message};

use crate::link::Link;

/// At most one is sent in this time.
const SEND_EVERY: Duration = Duration::from_millis(100);

/// What was announced last, and whether it was sent.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: Option<Fraction>,
    last_sent: Option<Instant>,
}

impl Progress {
    /// Takes a fraction over, and sends it if it is time.
    pub fn announce(&mut self, fraction: Fraction, link: &mut Link) {
        self.waiting = Some(fraction);
        if self
            .last_sent
            .is_none_or(|sent| sent.elapsed() >= SEND_EVERY)
        {
            self.flush(link);
        }
    }

    /// Sends what waits.
    pub fn flush(&mut self, link: &mut Link) {
        if let Some(fraction) = self.waiting.take() {
            link.announce(Message::Progress(fraction));
            self.last_sent = Some(Instant::now());
        }
    }
}
