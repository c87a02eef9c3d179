//! Prints data to stdout and messages for people to stderr. A reader that has gone away is harmless.
//! Texts of programs are harmless, too: they give no orders to a terminal and hide nothing. The rule is
//! in [`visible`](crate::text::visible); only [`bytes`] is exempt.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;

use clap::ValueEnum;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::text::visible::{Visible, is_order, printable};

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
    /// Applies this choice to all later output.
    pub fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Prints data that people read and a newline to stdout.
///
/// # Errors
/// If stdout can't be written. A closed pipe is not an error: the reader has what it wanted. A closed
/// terminal is not one either.
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

/// Prints the output of programs to stdout: as it is to a file or a program, and in visible form to a
/// terminal.
#[derive(Debug, Default)]
pub struct Written {
    /// Converts it for a terminal.
    visible: Option<Visible>,
}

impl Written {
    /// As it is, if `raw` or if stdout is not a terminal.
    pub fn new(raw: bool) -> Self {
        let is_shown = !raw && io::stdout().is_terminal();
        Self {
            visible: is_shown.then(Visible::default),
        }
    }

    /// Prints what comes next. Breaks if the reader has gone away.
    ///
    /// # Errors
    /// As [`data`].
    pub fn print(&mut self, next: &[u8]) -> Result<ControlFlow<()>> {
        let Some(visible) = &mut self.visible else {
            return bytes(next);
        };
        let mut text = String::with_capacity(next.len());
        visible.show(next, &mut text);
        bytes(text.as_bytes())
    }

    /// Prints what the last piece has left unfinished.
    ///
    /// # Errors
    /// As [`data`].
    pub fn end(mut self) -> Result<()> {
        let mut text = String::new();
        if let Some(visible) = &mut self.visible {
            visible.end(&mut text);
        }
        bytes(text.as_bytes()).map(drop)
    }
}

/// Prints one JSON value to stdout. An escape sequence is data here, and JSON has its own escapes for
/// it.
///
/// # Errors
/// As [`data`].
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(Error::internal("write JSON"))?;
    bytes(format!("{}\n", escaped(&text)).as_bytes()).map(drop)
}

/// A JSON value in one line.
pub fn json_line(value: &serde_json::Value) -> String {
    escaped(&value.to_string())
}

/// A text in JSON in which no character moves a cursor or hides.
fn escaped(text: &str) -> String {
    // JSON may hold these unescaped in texts, and nowhere else.
    let mut escaped = String::with_capacity(text.len() + 1);
    for part in text.split_inclusive(is_order) {
        match part.chars().next_back().filter(|last| is_order(*last)) {
            Some(last) => {
                escaped.push_str(&part[..part.len() - last.len_utf8()]);
                for unit in last.encode_utf16(&mut [0; 2]) {
                    // Writing to a String can't fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
            None => escaped.push_str(part),
        }
    }
    escaped
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

/// Prints a line for people on stderr. An error there is ignored: there is nowhere to report it.
pub fn say(text: &str) {
    say_styled(&printable(text));
}

/// Warns of something that is allowed but probably not meant.
pub fn warn(text: &str) {
    use owo_colors::OwoColorize;
    let text = printable(text);
    say_styled(&format!("{} {text}", "warning:".yellow().bold()));
}

/// As [`say`], for a text with colours of our own, in which all else is printable.
pub fn say_styled(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Whether stderr is a terminal on which this process is in the foreground: a bar of a command that was
/// started with `&` would cover the prompt.
pub fn is_in_front() -> bool {
    let stderr = io::stderr();
    // A terminal that is not the controlling one has no foreground of ours.
    let front = rustix::termios::tcgetpgrp(&stderr).ok();
    stderr.is_terminal() && front.is_none_or(|front| front == rustix::process::getpgrp())
}

/// The width of the terminal to which stdout goes, in columns; `None` if it goes elsewhere.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The columns for text on stdout: as many as its terminal has, 80 elsewhere.
pub fn columns() -> usize {
    width().map_or(80, |columns| columns.max(40))
}

/// Asks the person at the terminal. Anything but a yes is a no.
pub fn agrees(question: &str) -> bool {
    say(question);
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    read.is_ok() && matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

/// Whether a person can be asked: stdin and stderr are a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
