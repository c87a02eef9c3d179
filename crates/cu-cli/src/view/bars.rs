//! A run on a terminal: one line that stays, with a bar; notices scroll by above it.

use std::time::Instant;

use cu_core::Status;
use indicatif::{ProgressBar, ProgressStyle};

use super::View;
use super::estimate::Estimate;
use super::lines::counts;
use crate::moment;

/// A progress bar on stderr.
pub struct Bars {
    bar: ProgressBar,
    estimate: Estimate,
}

impl Bars {
    /// An empty bar.
    pub fn new() -> Self {
        let bar = ProgressBar::new(1000);
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        Self {
            bar,
            estimate: Estimate::default(),
        }
    }
}

impl View for Bars {
    fn status(&mut self, status: &Status, now: Instant) {
        let mut message = counts(status);
        if let Some(left) = self.estimate.left(status, now) {
            message.push_str(&format!(", about {} left", moment::rounded(left)));
        }
        self.bar.set_prefix(status.name.clone());
        self.bar.set_position(status.done_per_mille.into());
        self.bar.set_message(message);
    }

    fn tick(&mut self, _: Instant) {
        self.bar.tick();
    }

    fn notice(&mut self, text: &str) {
        self.bar.suspend(|| crate::terminal::say(text));
    }

    fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.bar.reset();
    }
}
