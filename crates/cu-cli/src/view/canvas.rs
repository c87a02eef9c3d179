//! Some lines at the bottom of a terminal that are drawn anew again and again, while other lines scroll by
//! above them. It moves the cursor only within what it has drawn itself, so that it needs no answer from the
//! terminal, no raw mode, and nothing to put in order at the end.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::AutoStream;
use crossterm::cursor::MoveToPreviousLine;
use crossterm::terminal::{Clear, ClearType};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};
use signal_hook::consts::signal::SIGCONT;

use crate::text::width::columns;

/// The size that is assumed if the terminal does not tell.
const USUAL: (usize, usize) = (80, 24);

/// The lines at the bottom of the terminal at stderr.
#[derive(Debug)]
pub struct Canvas {
    /// The widths of the lines that are drawn, above the cursor.
    drawn: Vec<usize>,
    /// Whether this process was stopped since the last look. Then the shell has written below the lines.
    continued: Arc<AtomicBool>,
    has_colors: bool,
}

/// A text with its form for a terminal with colours. Its width is that of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Without colours.
    pub plain: String,
    /// With them.
    pub colored: String,
}

impl Line {
    /// A line without colours.
    pub fn plain(text: impl Into<String>) -> Self {
        let plain = text.into();
        Self {
            colored: plain.clone(),
            plain,
        }
    }
}

impl Canvas {
    /// An empty one, if stderr is a terminal that can move its cursor.
    pub fn new() -> Option<Self> {
        let is_able =
            std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if !is_able || !io::stderr().is_terminal() {
            return None;
        }
        let continued = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGCONT, continued.clone()).ok()?;
        Some(Self {
            drawn: Vec::new(),
            continued,
            has_colors: AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never,
        })
    }

    /// Its width and height.
    pub fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stderr());
        let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        size.ok()
            .filter(|(width, height)| *width > 0 && *height > 0)
            .unwrap_or(USUAL)
    }

    /// Whether the person looks at this process: in the background another one has the terminal.
    pub fn is_in_front(&self) -> bool {
        let stderr = io::stderr();
        tcgetpgrp(stderr.as_fd()).map_or(true, |front| front == getpgrp())
    }

    /// Draws `lines` in the place of those that are drawn.
    pub fn draw(&mut self, lines: &[Line]) {
        let mut text = self.erased();
        for line in lines {
            text.push_str(match self.has_colors {
                true => &line.colored,
                false => &line.plain,
            });
            text.push('\n');
        }
        self.drawn = lines.iter().map(|line| columns(&line.plain)).collect();
        write(&text);
    }

    /// Removes the lines that are drawn.
    pub fn clear(&mut self) {
        let text = self.erased();
        self.drawn.clear();
        write(&text);
    }

    /// Leaves the lines that are drawn where they are, and draws the next ones below.
    pub fn leave(&mut self) {
        self.drawn.clear();
    }

    /// What removes the lines that are drawn.
    fn erased(&self) -> String {
        let mut text = String::new();
        let was_stopped = self.continued.swap(false, Ordering::Relaxed);
        if self.drawn.is_empty() || was_stopped {
            return text;
        }
        // A terminal that was made narrower shows a long line as several.
        let (width, height) = self.size();
        let rows = self.drawn.iter().map(|line| line.div_ceil(width).max(1));
        let rows = rows.sum::<usize>().min(height.saturating_sub(1)).max(1);
        let rows = u16::try_from(rows).unwrap_or(u16::MAX);
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "{}{}",
            MoveToPreviousLine(rows),
            Clear(ClearType::FromCursorDown)
        );
        text
    }
}

/// All at once, so that nobody sees a part. An error is ignored: there is nowhere to report it.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}
