//! JSON lines: the form in which a program and its supervisor talk, one value a line.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::{Error, ProgramAnswer, ProgramRequest, Result};

/// The most bytes of a line, without its end: 1 MiB.
pub const LINE_LIMIT: usize = 1024 * 1024;

/// A type that travels as a line. Only [`ProgramRequest`] and [`ProgramAnswer`] do.
pub trait Line: sealed::Named + Serialize + DeserializeOwned {}

mod sealed {
    /// What a line of this type is called when it is not understood.
    pub trait Named {
        /// A noun with its article.
        const NAME: &str;
    }
}

impl Line for ProgramRequest {}
impl sealed::Named for ProgramRequest {
    const NAME: &str = "a request";
}

impl Line for ProgramAnswer {}
impl sealed::Named for ProgramAnswer {
    const NAME: &str = "an answer";
}

/// One value as a line, its end included.
///
/// ```
/// use cu_protocol::{ProgramRequest, lines};
///
/// assert_eq!(lines::to_line(&ProgramRequest::ShouldExit), b"\"should_exit\"\n");
/// ```
#[must_use]
pub fn to_line<T: Line>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("every message has a form in JSON");
    line.push(b'\n');
    line
}

/// Values from bytes that arrive in pieces.
///
/// A line ends with `\n` or `\r\n`; an empty one is ignored. An error concerns one line: the next
/// call goes on with the next line, so the other end can be told and may try again.
///
/// ```
/// use cu_protocol::{ProgramRequest, lines::LineDecoder};
///
/// let mut decoder = LineDecoder::<ProgramRequest>::new();
/// decoder.feed(b"\"should_exti\"\n\"should_");
/// let error = decoder.next_line().unwrap_err();
/// assert!(error.to_string().contains("unknown variant `should_exti`"));
/// assert_eq!(decoder.next_line()?, None);
/// decoder.feed(b"exit\"\n");
/// assert_eq!(decoder.next_line()?, Some(ProgramRequest::ShouldExit));
/// # Ok::<(), cu_protocol::Error>(())
/// ```
#[derive(Debug)]
pub struct LineDecoder<T> {
    limit: usize,
    buffer: Buffer,
    /// How many unread bytes are known to hold no end of a line.
    searched: usize,
    /// The rest of a line that was too long is being skipped.
    skipping: bool,
    value: PhantomData<fn() -> T>,
}

impl<T: Line> LineDecoder<T> {
    /// A decoder of lines up to [`LINE_LIMIT`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(LINE_LIMIT)
    }

    /// A decoder that refuses lines longer than `bytes`, and in any case those longer than
    /// [`LINE_LIMIT`].
    #[must_use]
    pub fn with_limit(bytes: usize) -> Self {
        Self {
            limit: bytes.min(LINE_LIMIT),
            buffer: Buffer::default(),
            searched: 0,
            skipping: false,
            value: PhantomData,
        }
    }

    /// Takes the bytes that come next.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// The value on the next line; `None` until all of the line has been fed.
    ///
    /// # Errors
    /// [`Error::Line`] if the line holds no such value, [`Error::LineTooLong`] if it exceeds the
    /// limit. The next call goes on with the next line.
    pub fn next_line(&mut self) -> Result<Option<T>> {
        loop {
            let unread = self.buffer.unread();
            let end = unread[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n');
            let length = end.map_or(unread.len(), |position| self.searched + position);
            let too_long = length > self.limit && !self.skipping;
            let line = unread[..length].trim_ascii();
            let outcome = if too_long {
                Err(Error::LineTooLong { limit: self.limit })
            } else if self.skipping || end.is_none() || line.is_empty() {
                Ok(None)
            } else {
                parse(line).map(Some)
            };
            if end.is_some() {
                self.buffer.consume(length + 1);
                self.skipping = false;
                self.searched = 0;
            } else if too_long || self.skipping {
                self.buffer.consume(length);
                self.skipping = true;
                self.searched = 0;
            } else {
                self.searched = length;
            }
            if end.is_none() || !matches!(outcome, Ok(None)) {
                return outcome;
            }
        }
    }

    /// Whether all that was fed has been given out: the stream may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && !self.skipping
    }
}

impl<T: Line> Default for LineDecoder<T> {
    fn default() -> Self {
        Self::new()
    }
}

fn parse<T: Line>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line)
        .map_err(|error| Error::Line(format!("{} was expected, but {}", T::NAME, error)))
}
