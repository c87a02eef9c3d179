//! Ctrl-C and its kin: end the main process, or stop the jobs, or ask which.

use std::io::BufRead;

use cu_protocol::{OperatorRequest, Selection};
use cu_system::process::{self, SignalSet};
use cu_system::threads;
use rustix::process::Signal;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::OnInterrupt;
use crate::error::{Error, Result};
use crate::terminal::{can_ask, say, warn};

/// Of the thread that reads one line.
const STACK_BYTES: usize = 256 * 1024;

/// The reaction to an interruption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Make this request to the loop.
    Request(OperatorRequest),
    /// Clear the view and ask the person.
    Question,
    /// Continue as if nothing had happened.
    GoOn,
    /// End at once. The run is as safe as in any crash: `cu resume` continues it.
    EndNow,
}

/// An interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Ctrl-C.
    CtrlC,
    /// SIGTERM.
    Termination,
    /// The terminal is gone.
    HangUp,
    /// A person has answered the question.
    Answer(Choice),
}

/// A person's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// End the main process; attempts continue.
    Detach,
    /// Have attempts save and end, and start none until a person continues.
    Pause,
    /// Cancel all jobs.
    Stop,
    /// None of these.
    GoOn,
}

impl Choice {
    /// The cautious choice, which cancels nothing.
    const WITHOUT_AN_ANSWER: Self = Self::Detach;

    fn read(line: &str) -> Self {
        match line.trim() {
            "d" | "detach" => Self::Detach,
            "p" | "pause" => Self::Pause,
            "s" | "stop" => Self::Stop,
            _ => Self::GoOn,
        }
    }
}

/// The question, in lines that a narrow terminal does not break within a word.
const QUESTION: &str = "\
Interrupted. Type a letter, then Enter:
  d: detach (running attempts continue)
  p: pause (they save, and wait for you)
  s: stop all jobs for good
  c: continue
Ctrl-C again ends this process at once.";

/// Decides what an interruption means.
#[derive(Debug)]
pub struct Interrupts {
    on_interrupt: OnInterrupt,
    before: bool,
}

impl Interrupts {
    /// Follows `--on-interrupt`. By default it asks on a terminal, and else detaches.
    pub fn new(on_interrupt: Option<OnInterrupt>) -> Self {
        let on_interrupt = match on_interrupt {
            None | Some(OnInterrupt::Ask) if can_ask() => OnInterrupt::Ask,
            Some(OnInterrupt::Stop) => OnInterrupt::Stop,
            _ => OnInterrupt::Detach,
        };
        Self {
            on_interrupt,
            before: false,
        }
    }

    /// Whether there was an interruption that was not taken back.
    pub fn interrupted(&self) -> bool {
        self.before
    }

    /// The reaction to `interruption`.
    pub fn react(&mut self, interruption: Interruption) -> Reaction {
        let detach = Reaction::Request(OperatorRequest::Detach);
        let stop = Reaction::Request(OperatorRequest::Stop(Selection::All));
        let before = std::mem::replace(&mut self.before, true);
        match interruption {
            Interruption::Answer(Choice::Detach)
            | Interruption::Termination
            | Interruption::HangUp => detach,
            Interruption::Answer(Choice::Stop) => stop,
            Interruption::Answer(Choice::Pause) => {
                // The run is still watched, and the next Ctrl-C asks again.
                self.before = false;
                Reaction::Request(OperatorRequest::Pause(Selection::All))
            }
            Interruption::Answer(Choice::GoOn) => {
                self.before = false;
                Reaction::GoOn
            }
            Interruption::CtrlC if before => Reaction::EndNow,
            Interruption::CtrlC => match self.on_interrupt {
                OnInterrupt::Detach => detach,
                OnInterrupt::Stop => stop,
                OnInterrupt::Ask => Reaction::Question,
            },
        }
    }
}

/// The sources of interruptions: three signals, and the answer to the question. SIGINT and SIGHUP mean nothing if
/// they were ignored when this process started, as `nohup` and a script's `&` have it. They are handled all the
/// same, since programs that are started here would inherit that they are ignored.
#[derive(Debug)]
pub struct Sources {
    ignored: SignalSet,
    interrupt: Listener,
    terminate: Listener,
    hang_up: Listener,
    answers: mpsc::Receiver<Choice>,
    answer: mpsc::Sender<Choice>,
}

impl Sources {
    /// Listens from now on.
    ///
    /// # Errors
    /// If a signal can't be listened to.
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::system("listen to signals"));
        let (answer, answers) = mpsc::channel(1);
        Ok(Self {
            // Evaluated first, before the lines below change what is ignored.
            ignored: process::ignored_signals(),
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            answers,
            answer,
        })
    }

    /// The next one. Can be dropped without losing any.
    pub async fn next(&mut self) -> Interruption {
        let matters = |signal| !self.ignored.has(signal);
        tokio::select! {
            Some(()) = self.interrupt.recv(), if matters(Signal::INT) => Interruption::CtrlC,
            _ = self.terminate.recv() => Interruption::Termination,
            Some(()) = self.hang_up.recv(), if matters(Signal::HUP) => Interruption::HangUp,
            Some(choice) = self.answers.recv() => Interruption::Answer(choice),
        }
    }

    /// Asks the person at the terminal. The answer comes as an [`Interruption`]. A thread of its
    /// own reads it, since nothing can end a read from a terminal but the end of the process.
    pub fn ask(&self) {
        say(QUESTION);
        let answer = self.answer.clone();
        let asking = threads::spawn("question", STACK_BYTES, move || {
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            let choice = match read {
                Ok(1..) => Choice::read(&line),
                _ => Choice::WITHOUT_AN_ANSWER,
            };
            // The process may be about to end.
            let _ = answer.try_send(choice);
        });
        if let Err(error) = asking {
            warn(&format!("can't read the answer: {error}"));
            let _ = self.answer.try_send(Choice::WITHOUT_AN_ANSWER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interrupts(on_interrupt: OnInterrupt) -> Interrupts {
        Interrupts {
            on_interrupt,
            before: false,
        }
    }

    #[test]
    fn the_second_ends_at_once() {
        let stop = Reaction::Request(OperatorRequest::Stop(Selection::All));
        let detach = Reaction::Request(OperatorRequest::Detach);
        for (on_interrupt, first) in [
            (OnInterrupt::Stop, stop),
            (OnInterrupt::Detach, detach),
            (OnInterrupt::Ask, Reaction::Question),
        ] {
            let mut interrupts = interrupts(on_interrupt);
            assert!(!interrupts.interrupted());
            assert_eq!(interrupts.react(Interruption::CtrlC), first);
            assert!(interrupts.interrupted());
            assert_eq!(interrupts.react(Interruption::CtrlC), Reaction::EndNow);
        }
    }

    #[test]
    fn after_continue_the_next_ctrl_c_asks_again() {
        let mut interrupts = interrupts(OnInterrupt::Ask);
        assert_eq!(interrupts.react(Interruption::CtrlC), Reaction::Question);
        let choice = Choice::read("\n");
        assert_eq!(
            interrupts.react(Interruption::Answer(choice)),
            Reaction::GoOn
        );
        assert!(!interrupts.interrupted());
        assert_eq!(interrupts.react(Interruption::CtrlC), Reaction::Question);
        let choice = Choice::read("p\n");
        let pause = Reaction::Request(OperatorRequest::Pause(Selection::All));
        assert_eq!(interrupts.react(Interruption::Answer(choice)), pause);
        assert_eq!(interrupts.react(Interruption::CtrlC), Reaction::Question);
        let choice = Choice::read("s\n");
        let stop = Reaction::Request(OperatorRequest::Stop(Selection::All));
        assert_eq!(interrupts.react(Interruption::Answer(choice)), stop);
    }

    #[test]
    fn a_termination_detaches_whatever_ctrl_c_does() {
        let mut interrupts = interrupts(OnInterrupt::Stop);
        let detach = Reaction::Request(OperatorRequest::Detach);
        assert_eq!(interrupts.react(Interruption::Termination), detach);
        assert_eq!(interrupts.react(Interruption::HangUp), detach);
    }
}
