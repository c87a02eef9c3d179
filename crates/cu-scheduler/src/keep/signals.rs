//! The signals that come to an allocation.

use std::io;

use tokio::signal::unix::{Signal as Arriving, SignalKind, signal};

use crate::Signal;

/// The signals of a scheduler, or of a person, to the allocation.
pub(super) struct Signals([(Signal, Arriving); 5]);

impl Signals {
    pub fn caught() -> io::Result<Self> {
        let one = |kind: Signal, caught: SignalKind| Ok::<_, io::Error>((kind, signal(caught)?));
        Ok(Self([
            one(Signal::Term, SignalKind::terminate())?,
            one(Signal::Hup, SignalKind::hangup())?,
            one(Signal::Int, SignalKind::interrupt())?,
            one(Signal::Usr1, SignalKind::user_defined1())?,
            one(Signal::Usr2, SignalKind::user_defined2())?,
        ]))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Signal {
        let [term, hup, int, usr1, usr2] = &mut self.0;
        let (signal, _) = tokio::select! {
            got = term.1.recv() => (term.0, got),
            got = hup.1.recv() => (hup.0, got),
            got = int.1.recv() => (int.0, got),
            got = usr1.1.recv() => (usr1.0, got),
            got = usr2.1.recv() => (usr2.0, got),
        };
        signal
    }
}
