//! Where words go: data to stdout, what is said to people to stderr. A reader that has gone away
//! is harmless, and so is what programs have said: it never gives orders to a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;

use clap::ValueEnum;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::{Error, Result};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Makes all that is printed from now on follow this choice.
    pub fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// `text` with all control characters but the ends of lines and tabulators made visible.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_order = |character: char| character.is_control() && !"\n\t".contains(character);
    if !text.contains(is_order) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_order(character) {
            // Writing to a String can't fail.
            true => drop(write!(printable, "\\x{:02x}", u32::from(character))),
            false => printable.push(character),
        }
    }
    Cow::Owned(printable)
}

/// Prints data that people read and a newline to stdout.
///
/// # Errors
/// If stdout can't be written. A closed pipe is no error: the reader has what it wanted. Nor is a
/// closed terminal.
pub fn data(text: &str) -> Result<()> {
    data_styled(&printable(text))
}

/// As [`data`], for a text with colours of our own, in which all else is printable.
///
/// # Errors
/// As [`data`].
pub fn data_styled(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if !is_gone(&error) => Err(cant_write_stdout(error)),
        _ => Ok(()),
    }
}

/// Prints bytes to stdout as they are. Breaks if the reader has gone away.
///
/// # Errors
/// As [`data`].
pub fn bytes(bytes: &[u8]) -> Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if is_gone(&error) => Ok(ControlFlow::Break(())),
        Err(error) => Err(cant_write_stdout(error)),
    }
}

/// Prints one JSON value to stdout. What looks like an escape sequence is data here, and JSON has
/// escapes of its own for it.
///
/// # Errors
/// As [`data`].
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::system("write JSON")(error.into()))?;
    // JSON may have these in texts as they are, and has no other place for them.
    let is_raw = |character: char| character.is_control() && character > '\x1f';
    let mut escaped = String::with_capacity(text.len() + 1);
    for part in text.split_inclusive(is_raw) {
        match part.chars().next_back().filter(|last| is_raw(*last)) {
            Some(last) => {
                escaped.push_str(&part[..part.len() - last.len_utf8()]);
                // Writing to a String can't fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(last));
            }
            None => escaped.push_str(part),
        }
    }
    escaped.push('\n');
    bytes(escaped.as_bytes()).map(drop)
}

/// Whether `error` at stdout says that nobody reads there any more.
fn is_gone(error: &io::Error) -> bool {
    let closed_terminal = || {
        let stat = rustix::fs::fstat(io::stdout());
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_char_device())
    };
    error.kind() == io::ErrorKind::BrokenPipe
        || error.raw_os_error() == Some(Errno::IO.raw_os_error()) && closed_terminal()
}

fn cant_write_stdout(error: io::Error) -> Error {
    Error::write("write to", Path::new("stdout"))(error)
}

/// Says something to people: a line on stderr. If nobody can hear it, so be it.
pub fn say(text: &str) {
    say_styled(&printable(text));
}

/// Says that something is allowed and yet probably not meant.
pub fn warn(text: &str) {
    use owo_colors::OwoColorize;
    let text = printable(text);
    say_styled(&format!("{} {text}", "warning:".yellow().bold()));
}

/// As [`say`], for a text with colours of our own, in which all else is printable.
pub fn say_styled(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Whether a person can be asked: both ends of the conversation are a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let orders = "\x1b]0;title\x07\x1b[2J\r\u{9b}31m\x7f";
        let shown = r"\x1b]0;title\x07\x1b[2J\x0d\x9b31m\x7f";
        assert_eq!(printable(orders), shown);
        let harmless = "µ = 1\n\tb";
        assert!(matches!(printable(harmless), Cow::Borrowed(text) if text == harmless));
    }
}
