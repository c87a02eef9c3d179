//! How a run looks while it runs: on a terminal, in a pipe, to a program, or not at all.

pub mod balance;
mod canvas;
mod display;
pub mod estimate;
pub mod failures;
mod frame;
mod hints;
pub mod job;
pub mod jobs;
pub mod json;
pub mod limit;
mod lines;
pub mod notices;
pub mod refused;
pub mod report;
pub mod summary;
pub mod table;
pub mod waiting;

use std::time::Instant;

use cu_core::{RunDir, Status};
use cu_protocol::{Attempt, ExitRecord, JobId, ProgramEnd, StopCause};
use cu_run_dir::SignalsFile;

use crate::args::Common;

use display::Display;
pub use lines::{Lines, counts, states};

/// A view of a run while it runs. It gets everything, and decides what to show.
pub trait View {
    /// The state of the run has changed.
    fn status(&mut self, status: &Status, now: Instant);
    /// A second or so has passed.
    fn tick(&mut self, now: Instant);
    /// A message that a person should read.
    fn notice(&mut self, text: &str);
    /// Makes room: a question follows, or the end.
    fn pause(&mut self);
    /// The question was answered.
    fn go_on(&mut self);
    /// Whether nobody looks any more.
    fn is_over(&self) -> bool {
        false
    }
}

/// What the supervisor of an attempt has left in files.
#[derive(Debug, Default)]
pub struct Files {
    record: Option<ExitRecord>,
    /// The signals that it sent.
    pub signals: SignalsFile,
}

impl Files {
    /// Reads them. A file that is missing or damaged counts as empty: the rest says more than nothing.
    pub fn read(run: &RunDir, job: JobId, attempt: Attempt) -> Self {
        let record = cu_run_dir::read_exit_record(&run.exit_record(job, attempt));
        let signals = SignalsFile::read(&run.signals(job, attempt));
        Self {
            record: record.ok().flatten(),
            signals: signals.unwrap_or_default(),
        }
    }

    /// The most memory that the attempt used, in bytes.
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        self.record.as_ref()?.peak_memory_bytes
    }

    /// How the program ended.
    pub fn end(&self) -> Option<&ProgramEnd> {
        Some(&self.record.as_ref()?.end)
    }

    /// Why the program was asked to stop, if it was.
    pub fn stop(&self) -> Option<StopCause> {
        self.record.as_ref()?.stop
    }
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

/// The view for this terminal or pipe and these options. Log lines would tear a bar, and contain all
/// notices.
pub fn choose(common: &Common, no_progress: bool) -> Box<dyn View> {
    if common.quiet {
        Box::new(Silent)
    } else if no_progress || common.verbose > 0 || !crate::terminal::is_in_front() {
        Box::new(Lines::new(crate::terminal::say, common.verbose == 0))
    } else {
        match Display::new() {
            Some(display) => Box::new(display),
            None => Box::new(Lines::new(crate::terminal::say, true)),
        }
    }
}
