//! JSON lines: the encoding between a program and its supervisor, one value a line.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::Buffer;
use crate::{Error, ProgramAnswer, ProgramRequest, Result};

/// The most bytes of a line, without its end: 1 MiB.
pub const LINE_LIMIT: usize = 1024 * 1024;

/// The number of characters that an error shows of a reason.
const REASON_LIMIT: usize = 200;

/// A type that travels as a line. Only [`ProgramRequest`] and [`ProgramAnswer`] do.
pub trait Line: sealed::Named + Serialize + DeserializeOwned {}

mod sealed {
    /// How an error describes a line of this type.
    pub trait Named {
        /// A noun with its article.
        const NAME: &str;
        /// An example of such a line.
        const EXAMPLE: &str;
    }
}

impl Line for ProgramRequest {}
impl sealed::Named for ProgramRequest {
    const NAME: &str = "a request";
    const EXAMPLE: &str = r#"{"say":{"progress":0.5}}"#;
}

impl Line for ProgramAnswer {}
impl sealed::Named for ProgramAnswer {
    const NAME: &str = "an answer";
    const EXAMPLE: &str = r#""noted""#;
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

/// Decodes values from bytes that arrive in pieces.
///
/// A line ends with `\n` or `\r\n`; an empty one is ignored. An error concerns one line only: the
/// next call continues with the next line, so that the receiver can answer and the sender can try
/// again.
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
    /// Whether the rest of a line that was too long is being skipped.
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
    /// [`Error::Line`] if the line is not such a value, [`Error::LineTooLong`] if it exceeds the
    /// limit. The next call continues with the next line.
    pub fn next_line(&mut self) -> Result<Option<T>> {
        loop {
            let unread = self.buffer.unread();
            let end = unread[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n');
            let Some(end) = end else {
                return self.wait_for_end();
            };
            let length = self.searched + end;
            let outcome = if self.skipping {
                Ok(None)
            } else if length > self.limit {
                Err(Error::LineTooLong { limit: self.limit })
            } else {
                parse(&unread[..length])
            };
            self.buffer.consume(length + 1);
            self.searched = 0;
            self.skipping = false;
            if !matches!(outcome, Ok(None)) {
                return outcome;
            }
        }
    }

    /// Remembers how far it has searched for the end of the line, or drops a line that is too long.
    fn wait_for_end(&mut self) -> Result<Option<T>> {
        let length = self.buffer.unread().len();
        if !self.skipping && length <= self.limit {
            self.searched = length;
            return Ok(None);
        }
        self.buffer.consume(length);
        self.searched = 0;
        if std::mem::replace(&mut self.skipping, true) {
            return Ok(None);
        }
        Err(Error::LineTooLong { limit: self.limit })
    }

    /// Returns whether all bytes have become values, so that the stream may end here.
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

/// The value on a line; `None` if the line is empty.
fn parse<T: Line>(line: &[u8]) -> Result<Option<T>> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(line)
        .map(Some)
        .map_err(|error| Error::Line(explain::<T>(&error)))
}

/// Explains an error in a line to the author of the program that sent it.
fn explain<T: Line>(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The text is always one line, so show the column alone.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    // The reason may quote what was sent, which may be long.
    let mut shown: String = reason.chars().take(REASON_LIMIT).collect();
    if shown.len() < reason.len() {
        shown.push('…');
    }
    let (column, name, example) = (error.column(), T::NAME, T::EXAMPLE);
    format!("{shown}, at column {column}; {name} looks like {example}")
}
