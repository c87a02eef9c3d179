//! The state of a writer between two messages, for blocking and asynchronous streams alike.

use crate::codec::Wire;
use crate::frame::Frame;
use crate::{Error, Result, Sealer};

#[derive(Debug)]
pub(crate) struct Outgoing {
    sealer: Sealer,
    /// Whether a message was cut off. The other end could not decode anything that followed it.
    broken: bool,
}

impl Outgoing {
    pub(crate) fn new(sealer: Sealer) -> Self {
        let broken = false;
        Self { sealer, broken }
    }

    /// Returns the bytes to send for this message. Call [`sent`](Self::sent) once they are sent;
    /// otherwise the message counts as cut off.
    pub(crate) fn seal<T: Wire>(&mut self, message: &T) -> Result<Vec<u8>> {
        self.seal_frame(&Frame::new(message)?)
    }

    /// The same for a message that is encoded already.
    pub(crate) fn seal_frame<T>(&mut self, frame: &Frame<T>) -> Result<Vec<u8>> {
        if self.broken {
            return Err(Error::Closed);
        }
        let records = self.sealer.seal_frame(frame)?;
        self.broken = true;
        Ok(records)
    }

    /// Notes that the stream has taken all bytes of the last message.
    pub(crate) fn sent(&mut self) {
        self.broken = false;
    }
}
