//! The messages that the main process has not acknowledged: kept in order, sent, repeated on a new
//! connection, and put into the outbox if the main process does not take them in time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cu_protocol::{
    Attempt, Envelope, Fraction, JobId, Message, Metrics, ProgramAnswer, Sequence, check_metrics,
};
use cu_run_dir::{EarlyResults, remove_from_outbox, write_to_outbox};
use cu_system::causes::in_one_line;

use crate::relay::{Encoded, Link};

/// How long a program waits for the main process before its message goes to the outbox.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much longer, if the outbox can't be written.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// Progress is sent no more often than this.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// How many messages may be on their way. A program that says more is refused.
const MOST_ON_THEIR_WAY: usize = 1000;

#[derive(Debug)]
struct Letter {
    message: Arc<Encoded>,
    /// It lies in the outbox.
    is_in_outbox: bool,
    /// Those in the outbox that this one makes superfluous.
    replaces: Vec<Sequence>,
}

impl Letter {
    fn envelope(&self) -> &Envelope {
        &self.message.envelope
    }
}

/// A program that waits until its message is durable.
#[derive(Debug)]
struct Waiting {
    sequence: Sequence,
    until: Instant,
    /// The outbox has failed already.
    is_last_chance: bool,
    reply: mpsc::Sender<ProgramAnswer>,
}

/// All of an attempt's messages.
#[derive(Debug)]
pub(crate) struct Mail {
    job: JobId,
    attempt: Attempt,
    outbox: PathBuf,
    last: Sequence,
    letters: VecDeque<Letter>,
    waiting: Vec<Waiting>,
    /// What the job has measured, all that was announced here included.
    measured: Metrics,
    /// The series of what is announced, which messages don't keep.
    early_results: EarlyResults,
    /// Whether the results are among it.
    has_results: bool,
    /// The attempt's stderr reports a refusal once: a program need not read its answers.
    has_refused: bool,
    has_progress: bool,
    progress: Option<Fraction>,
    next_progress: Option<Instant>,
    link: Option<Link>,
    /// Until when programs wait for the first connection. `None` once there has been one, or the
    /// first try has failed.
    first_connection: Option<Instant>,
}

impl Mail {
    /// Nothing has been said yet, and the first connection is being tried for from now on. `measured`
    /// is what the job has measured before.
    pub fn new(
        (job, attempt): (JobId, Attempt),
        outbox: PathBuf,
        (measured, early_results): (Metrics, EarlyResults),
        now: Instant,
    ) -> Self {
        Self {
            job,
            attempt,
            outbox,
            last: Sequence(0),
            letters: VecDeque::new(),
            waiting: Vec::new(),
            measured,
            early_results,
            has_results: false,
            has_refused: false,
            has_progress: false,
            progress: None,
            next_progress: None,
            link: None,
            first_connection: Some(now + PATIENCE),
        }
    }

    /// Whether there is a connection to the main process.
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Whether the first connection is still being tried for.
    pub fn is_first_connection_due(&self) -> bool {
        self.first_connection.is_some()
    }

    /// Whether the program has announced a fraction: then that is what shows its progress.
    pub fn has_progress(&self) -> bool {
        self.has_progress
    }

    /// Whether the main process has recorded all that was said.
    pub fn is_all_acknowledged(&self) -> bool {
        self.letters.is_empty()
    }

    /// Takes a message of the supervisor's own; nobody waits for it.
    pub fn say(&mut self, message: Message) {
        self.post_progress();
        self.post_own(message);
    }

    /// Takes a message of the program's. The answer comes now, or as soon as the message is durable. Returns
    /// whether it was taken; if not, the program reads the reason.
    pub fn take(
        &mut self,
        message: Message,
        reply: mpsc::Sender<ProgramAnswer>,
        now: Instant,
    ) -> bool {
        if let Err(reason) = self.check(&message) {
            self.refuse(&reply, reason);
            return false;
        }
        if let Message::Progress(fraction) = message {
            self.progress = Some(fraction);
            self.has_progress = true;
            self.post_progress_if_due(now);
            answer(&reply, ProgramAnswer::Noted);
            return true;
        }
        self.post_progress();
        let announced = match &message {
            Message::EarlyMetrics(metrics) => metrics.clone(),
            _ => Metrics::new(),
        };
        let is_results = matches!(message, Message::Results(_));
        let sequence = match self.post(message) {
            Ok(sequence) => sequence,
            Err(error) => {
                self.refuse(&reply, in_one_line(&error));
                return false;
            }
        };
        self.has_results |= is_results;
        self.keep(&announced);
        self.measured.extend(announced);
        self.waiting.push(Waiting {
            sequence,
            until: match &self.link {
                Some(_) => now + PATIENCE,
                // It takes milliseconds, and the outbox takes some too, and leaves files behind.
                None => self.first_connection.unwrap_or(now),
            },
            is_last_chance: false,
            reply,
        });
        self.lose_patience(now);
        true
    }

    /// There is a connection: everything that is not acknowledged is said on it again.
    pub fn connected(&mut self, link: Link, acknowledged: Sequence, now: Instant) {
        self.acknowledged(acknowledged);
        for waiting in &mut self.waiting {
            waiting.until = waiting.until.max(now + PATIENCE);
        }
        for letter in &self.letters {
            link.send(letter.message.clone());
        }
        self.link = Some(link);
        self.first_connection = None;
    }

    /// There is no connection: nobody waits for an answer any longer.
    pub fn disconnected(&mut self, now: Instant) {
        self.link = None;
        self.first_connection = None;
        for waiting in &mut self.waiting {
            if !waiting.is_last_chance {
                waiting.until = now;
            }
        }
        self.lose_patience(now);
    }

    /// The main process has recorded everything up to this message.
    pub fn acknowledged(&mut self, up_to: Sequence) {
        let is_done = |letter: &Letter| letter.envelope().sequence <= up_to;
        let count = self.letters.partition_point(is_done);
        for letter in self.letters.drain(..count) {
            let in_outbox = letter.is_in_outbox.then_some(letter.envelope().sequence);
            for sequence in letter.replaces.into_iter().chain(in_outbox) {
                // If it stays, the main process recognises the repeat.
                let _ = remove_from_outbox(&self.outbox, sequence);
            }
        }
        for done in self
            .waiting
            .extract_if(.., |waiting| waiting.sequence <= up_to)
        {
            answer(&done.reply, ProgramAnswer::Noted);
        }
    }

    /// Does what is due by now.
    pub fn due(&mut self, now: Instant) {
        self.post_progress_if_due(now);
        self.lose_patience(now);
    }

    /// When something will be due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let progress = self.progress.and(self.next_progress);
        let patience = self.waiting.iter().map(|waiting| waiting.until).min();
        [progress, patience].into_iter().flatten().min()
    }

    /// The attempt ends: what the program said and nobody acknowledged goes to the outbox. Start and
    /// end are in the exit record.
    pub fn leave_the_rest(&mut self) {
        self.post_progress();
        let is_in_record = |letter: &&Letter| {
            matches!(
                letter.envelope().message,
                Message::Started(_)
                    | Message::Condition(_)
                    | Message::Noticed(_)
                    | Message::Ended(_)
            )
        };
        let Some(last) = self.letters.iter().rfind(|letter| !is_in_record(letter)) else {
            return;
        };
        if let Err(error) = self.put_in_outbox(last.envelope().sequence) {
            crate::tell(&format!("messages may be lost: {}", in_one_line(&error)));
        }
    }

    fn keep(&mut self, announced: &Metrics) {
        match self.early_results.append(announced) {
            Ok(true) => {}
            Ok(false) => {
                let most = EarlyResults::MOST_BYTES >> 20;
                crate::tell(&format!(
                    "the job has announced {most} MiB: what it announces from now on is not added to \
                     early_results.csv"
                ));
            }
            // The newest values arrive all the same.
            Err(error) => crate::tell(&in_one_line(&error)),
        }
    }

    fn refuse(&mut self, reply: &mpsc::Sender<ProgramAnswer>, reason: String) {
        if !std::mem::replace(&mut self.has_refused, true) {
            crate::tell(&format!("a message of the program was refused: {reason}"));
        }
        answer(reply, ProgramAnswer::Refused(reason));
    }

    fn check(&self, message: &Message) -> Result<(), String> {
        if self.letters.len() >= MOST_ON_THEIR_WAY {
            return Err(format!(
                "{MOST_ON_THEIR_WAY} messages wait for the main process already"
            ));
        }
        let checked = match message {
            Message::EarlyMetrics(metrics) => check_metrics(&self.measured, metrics),
            // They take the place of all that was announced.
            Message::Results(metrics) => check_metrics(&Metrics::new(), metrics),
            Message::ResumeRequest(_) if self.has_results => {
                return Err("the results were delivered before, so the job is done".to_owned());
            }
            _ => return Ok(()),
        };
        checked.map_err(|error| in_one_line(&error))
    }

    /// Encodes the message that comes next.
    fn encode(&self, message: Message) -> cu_protocol::Result<Encoded> {
        Encoded::new(Envelope {
            job: self.job,
            attempt: self.attempt,
            sequence: self.last.next(),
            message,
        })
    }

    fn post(&mut self, message: Message) -> cu_protocol::Result<Sequence> {
        let mut encoded = self.encode(message)?;
        let replaces = self.replace(&mut encoded);
        self.last = encoded.envelope.sequence;
        let message = Arc::new(encoded);
        if let Some(link) = &self.link {
            link.send(message.clone());
        }
        self.letters.push_back(Letter {
            message,
            is_in_outbox: false,
            replaces,
        });
        Ok(self.last)
    }

    /// Posts a message that no program waits for.
    fn post_own(&mut self, message: Message) {
        if let Err(error) = self.post(message) {
            crate::tell(&format!("a message is lost: {}", in_one_line(&error)));
        }
    }

    /// Takes earlier letters back that `next` says again, so that no program can fill memory or
    /// outbox with what only counts in its latest form. Metrics from before the results stay where
    /// they are: said again after them, they would take their place.
    fn replace(&mut self, next: &mut Encoded) -> Vec<Sequence> {
        let is_related = |letter: &Letter| {
            matches!(
                (&next.envelope.message, &letter.envelope().message),
                (Message::Progress(_), Message::Progress(_))
                    | (
                        Message::EarlyMetrics(_),
                        Message::EarlyMetrics(_) | Message::Results(_)
                    )
            )
        };
        let Some(place) = self.letters.iter().rposition(is_related) else {
            return Vec::new();
        };
        match (
            &next.envelope.message,
            &self.letters[place].envelope().message,
        ) {
            (_, Message::Results(_)) => return Vec::new(),
            (Message::EarlyMetrics(new), Message::EarlyMetrics(old)) => {
                let mut all = old.clone();
                all.extend(new.clone());
                match self.encode(Message::EarlyMetrics(all)) {
                    Ok(all) => *next = all,
                    Err(_) => return Vec::new(),
                }
            }
            _ => {}
        }
        let Some(letter) = self.letters.remove(place) else {
            return Vec::new();
        };
        // A program that waits for the removed letter now waits for the one that replaces it.
        for waiting in &mut self.waiting {
            if waiting.sequence == letter.envelope().sequence {
                waiting.sequence = self.last.next();
            }
        }
        let in_outbox = letter.is_in_outbox.then_some(letter.envelope().sequence);
        letter.replaces.into_iter().chain(in_outbox).collect()
    }

    fn post_progress(&mut self) {
        if let Some(fraction) = self.progress.take() {
            self.post_own(Message::Progress(fraction));
        }
    }

    fn post_progress_if_due(&mut self, now: Instant) {
        let is_due = self.next_progress.is_none_or(|at| at <= now);
        if self.progress.is_some() && is_due {
            self.next_progress = Some(now + PROGRESS_INTERVAL);
            self.post_progress();
        }
    }

    /// The outbox takes what programs have waited for long enough.
    fn lose_patience(&mut self, now: Instant) {
        let overdue = |waiting: &&Waiting| waiting.until <= now;
        let Some(last) = self
            .waiting
            .iter()
            .filter(overdue)
            .map(|it| it.sequence)
            .max()
        else {
            return;
        };
        let failure = self
            .put_in_outbox(last)
            .err()
            .map(|error| in_one_line(&error));
        let is_connected = self.is_connected();
        self.waiting.retain_mut(|waiting| {
            if waiting.sequence > last {
                return true;
            }
            let Some(failure) = &failure else {
                answer(&waiting.reply, ProgramAnswer::Noted);
                return false;
            };
            if waiting.until > now {
                return true;
            }
            if is_connected && !waiting.is_last_chance {
                waiting.is_last_chance = true;
                waiting.until = now + LAST_PATIENCE;
                return true;
            }
            let reason = format!("the main process can't be reached, and {failure}");
            answer(&waiting.reply, ProgramAnswer::Refused(reason));
            false
        });
    }

    /// All of them up to this one, in their order: a repeat is recognised by its number, so a later
    /// message must not overtake an earlier one.
    fn put_in_outbox(&mut self, up_to: Sequence) -> cu_run_dir::Result<()> {
        for letter in &mut self.letters {
            if letter.envelope().sequence > up_to {
                break;
            }
            if letter.is_in_outbox {
                continue;
            }
            write_to_outbox(&self.outbox, letter.envelope())?;
            letter.is_in_outbox = true;
            for sequence in letter.replaces.drain(..) {
                // If it stays, the newer one still comes after it.
                let _ = remove_from_outbox(&self.outbox, sequence);
            }
        }
        Ok(())
    }
}

fn answer(reply: &mpsc::Sender<ProgramAnswer>, answer: ProgramAnswer) {
    // The program may have left.
    let _ = reply.send(answer);
}

#[cfg(test)]
mod tests;
