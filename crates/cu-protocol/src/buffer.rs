//! A buffer for bytes that have arrived and are not decoded yet.

/// The capacity that an empty buffer keeps. A long message needs more, which is freed after it.
const KEPT_WHEN_EMPTY: usize = 64 * 1024;

/// A queue of bytes: pushed at the back, consumed at the front, seen as one slice.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes at the front are consumed. They are removed at the next push, so that many
    /// short messages in one push don't move the rest many times.
    consumed: usize,
}

impl Buffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.consumed);
        self.consumed = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(KEPT_WHEN_EMPTY);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes that are not consumed yet.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Takes `count` bytes off the front, at most as many as are unread.
    pub(crate) fn consume(&mut self, count: usize) {
        self.consumed = self.bytes.len().min(self.consumed + count);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unread().is_empty()
    }
}
