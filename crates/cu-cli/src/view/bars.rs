//! A run on a terminal: one line with a bar stays, notices scroll by above it.

use std::time::Instant;

use cu_core::Status;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::View;
use super::estimate::Estimate;
use super::lines::{counts, held_up};
use crate::text::moment;
use crate::text::visible::printable;

/// A progress bar on stderr.
pub struct Bars {
    bar: ProgressBar,
    /// In thousandths. The bar itself forgets it when it is taken away.
    done: u64,
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
            done: 0,
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
        message.push_str(&printable(&held_up(status)));
        self.bar.set_prefix(printable(&status.name).into_owned());
        self.done = status.done_per_mille.into();
        self.bar.set_position(self.done);
        self.bar.set_message(message);
    }

    fn tick(&mut self, _: Instant) {
        self.bar.tick();
    }

    fn notice(&mut self, text: &str) {
        self.bar.suspend(|| crate::terminal::say(text));
    }

    fn pause(&mut self) {
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn go_on(&mut self) {
        if self.bar.is_hidden() {
            self.bar.reset();
            self.bar.set_position(self.done);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}
