//! How a run looks while it runs: on a terminal, in a pipe, to a program, or not at all.

mod bars;
pub mod estimate;
pub mod json;
mod limit;
mod lines;
pub mod notices;
pub mod summary;
pub mod waiting;

use std::io::IsTerminal;
use std::time::Instant;

use cu_core::Status;

use crate::args::Common;

pub use bars::Bars;
pub use lines::{Lines, states};

/// What shows a run while it runs. It is told everything; it decides what is worth showing.
pub trait View {
    /// The run is now so.
    fn status(&mut self, status: &Status, now: Instant);
    /// A second or so has passed.
    fn tick(&mut self, now: Instant);
    /// Something that a person should read.
    fn notice(&mut self, text: &str);
    /// Make room: a question follows, or the end.
    fn pause(&mut self);
    /// The question is answered.
    fn go_on(&mut self);
}

/// Shows nothing.
pub struct Silent;

impl View for Silent {
    fn status(&mut self, _: &Status, _: Instant) {}
    fn tick(&mut self, _: Instant) {}
    fn notice(&mut self, _: &str) {}
    fn pause(&mut self) {}
    fn go_on(&mut self) {}
}

/// The view for this terminal, or pipe, and these wishes. Log lines would tear a bar, and have all
/// notices among them.
pub fn choose(common: &Common, no_progress: bool) -> Box<dyn View> {
    if common.quiet {
        Box::new(Silent)
    } else if no_progress || common.verbose > 0 || !std::io::stderr().is_terminal() {
        Box::new(Lines::new(crate::terminal::say, common.verbose == 0))
    } else {
        Box::new(Bars::new())
    }
}
