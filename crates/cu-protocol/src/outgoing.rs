//! What a writer remembers between two messages, whatever its stream is.

use crate::codec::Wire;
use crate::{Error, Result, Sealer};

#[derive(Debug)]
pub(crate) struct Outgoing {
    sealer: Sealer,
    /// A message was cut off: whatever followed it would be nonsense to the other end.
    broken: bool,
}

impl Outgoing {
    pub(crate) fn new(sealer: Sealer) -> Self {
        let broken = false;
        Self { sealer, broken }
    }

    /// The bytes to send for this message. Unless [`sent`](Self::sent) follows, they were cut off.
    pub(crate) fn seal<T: Wire>(&mut self, message: &T) -> Result<Vec<u8>> {
        if self.broken {
            return Err(Error::Closed);
        }
        let records = self.sealer.seal(message)?;
        self.broken = true;
        Ok(records)
    }

    /// All bytes of the last message are with the stream.
    pub(crate) fn sent(&mut self) {
        self.broken = false;
    }
}
