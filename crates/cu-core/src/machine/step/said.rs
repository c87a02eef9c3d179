//! Decide: what follows from a message of an attempt, also from one that was given up.

use std::sync::Arc;

use cu_protocol::{Attempt, Message, Sequence, Waiting};

use super::{Measured, Step};
use crate::Level;
use crate::machine::job::{Late, LateWord, Outcome, Phase};
use crate::machine::reason::Reason;
use crate::machine::words;

impl Step<'_> {
    pub fn said(&mut self, attempt: Attempt, sequence: Sequence, message: &Message) {
        let at = self.at;
        if let Message::Waiting(waiting) = message {
            return self.waits(attempt, waiting);
        }
        let Some(active) = self.active(attempt) else {
            return self.said_late(attempt, message);
        };
        if sequence <= active.last_sequence {
            return; // A repeat: recorded already, and acknowledged again.
        }
        active.last_sequence = sequence;
        match message {
            Message::Started(started) => {
                active.host = Some(started.host.clone());
                active.started = Some(started.at);
                active.waiting = None;
            }
            Message::Waiting(_) => {} // Taken in above.
            Message::LeftBehind(left) => {
                active.left_behind = Some(left.clone());
                let text = format!("attempt {attempt} {}", words::left_behind(left));
                self.notify(Level::Warning, text);
            }
            Message::Progress(fraction) => {
                if self.job.fraction.is_none_or(|known| *fraction > known) {
                    self.job.fraction = Some(*fraction);
                    if let Some(active) = self.active(attempt) {
                        active.advanced = true;
                    }
                }
                return; // Not evidence of an end, and not always kept in the history.
            }
            Message::EarlyMetrics(metrics) => {
                // After the results, nothing is early.
                if !active.evidence.results {
                    self.measured(Measured::More(metrics.clone()));
                }
                return; // As progress.
            }
            Message::Results(metrics) => {
                active.evidence.results = true;
                self.measured(Measured::Results(metrics.clone()));
            }
            Message::ResumeRequest(request) => active.evidence.request = Some(request.clone()),
            Message::Failed(failure) => active.evidence.failure = Some(failure.text.clone()),
            Message::Condition(condition) => active.evidence.condition = Some(condition.clone()),
            Message::Noticed(noticed) => {
                active.evidence.noticed = noticed.clone();
                return; // The record follows.
            }
            Message::Stopped(stopped) => {
                active.evidence.stopped = Some(stopped.clone());
                return; // The record follows.
            }
            Message::Ended(record) => {
                let mut record = record.clone();
                record.condition = record.condition.or(active.evidence.condition.clone());
                if record.noticed.is_empty() {
                    record.noticed.clone_from(&active.evidence.noticed);
                }
                active.evidence.record = Some((at, record));
            }
        }
        self.judge();
    }

    /// This message has no place in the order of an attempt's messages: a repeat has the same content.
    fn waits(&mut self, attempt: Attempt, waiting: &Waiting) {
        let Some(active) = self.active(attempt) else {
            return;
        };
        if active.has_spoken() || active.waiting.as_ref() == Some(waiting) {
            return;
        }
        active.host.get_or_insert_with(|| waiting.host.clone());
        active.waiting = Some(waiting.clone());
        let text = words::waits(attempt, waiting);
        self.notify(Level::Warning, text);
    }

    /// Takes in a message of an attempt whose end has been judged: without its record, or by the record
    /// if the file was faster than the connection. A late success beats an early end: results complete
    /// the job, whatever has begun meanwhile. An attempt that may be with the scheduler is cancelled
    /// first, so that no job is completed while one of its attempts runs. A settled job stays as it is.
    fn said_late(&mut self, attempt: Attempt, message: &Message) {
        if attempt >= self.job.next_attempt {
            return;
        }
        let metrics = match message {
            Message::Results(metrics) => metrics,
            Message::Ended(_) => return self.heard(attempt),
            Message::EarlyMetrics(_) => return self.note_late(attempt, LateWord::EarlyMetrics),
            Message::ResumeRequest(_) => return self.note_late(attempt, LateWord::ResumeRequest),
            Message::Failed(_) => return self.note_late(attempt, LateWord::Failure),
            _ => return,
        };
        match &mut self.job.phase {
            Phase::Settled { .. } => self.note_late(attempt, LateWord::Results),
            Phase::Waiting { .. } => {
                self.measured(Measured::Results(metrics.clone()));
                self.settle(Outcome::Completed, &Reason::LateResults(attempt));
            }
            Phase::Active(active) if active.evidence.results => {}
            Phase::Active(active) => {
                active.evidence.results = true;
                active.superseded_by = Some(attempt);
                self.measured(Measured::Results(metrics.clone()));
                self.cancel();
                self.judge();
            }
        }
    }

    /// Notes a message that changes nothing, so that people read of it. Ignores an attempt whose record
    /// is there: it only repeats itself.
    fn note_late(&mut self, attempt: Attempt, said: LateWord) {
        if !self.job.ended_without_record.contains(&attempt) {
            return;
        }
        let late = Late { attempt, said };
        if self.job.late.replace(late) != Some(late) {
            self.notify(Level::Warning, words::too_late(late));
        }
    }

    fn measured(&mut self, measured: Measured) {
        match &measured {
            Measured::More(metrics) => {
                Arc::make_mut(&mut self.job.metrics).extend(metrics.clone());
            }
            Measured::Results(metrics) => self.job.metrics = Arc::new(metrics.clone()),
        }
        self.effects.measured.push((self.job.id, measured));
    }
}
