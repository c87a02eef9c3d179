//! The Unix socket to the supervisor: one JSON line asks, one answers, in order.
//!
//! Announcements are written without waiting: their answers are read later, when an answer matters.
//! No function waits longer than its caller asks, and none fails because there is no supervisor.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cu_protocol::lines::{self, LineDecoder};
use cu_protocol::{Message, ProgramAnswer, ProgramRequest, StopCause};
use cu_system::users;

use crate::{Error, Result, environment};

/// How long an announcement may wait in a full socket before we give up on the supervisor.
const PATIENCE_TO_WRITE: Duration = Duration::from_secs(2);

/// The greatest number of unanswered announcements. Further ones are not sent.
const MOST_UNANSWERED: usize = 256;

/// The connection to the supervisor, if there is one.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Option<PathBuf>,
    state: State,
    /// The latest answer to "should I exit?".
    wish: Option<StopCause>,
}

#[derive(Debug)]
enum State {
    /// Not connected yet.
    Fresh,
    Connected(Connection),
    /// It failed, and that was reported. Only messages that must arrive try again.
    GivenUp,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    answers: LineDecoder<ProgramAnswer>,
    /// The requests that are not answered yet, in order.
    unanswered: VecDeque<Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Told(&'static str),
    ShouldExit,
}

impl Link {
    /// A link to the supervisor that listens at `socket`. It connects when it is first needed.
    pub fn to(socket: Option<PathBuf>) -> Self {
        Self {
            socket,
            state: State::Fresh,
            wish: None,
        }
    }

    /// Sends a message that may be lost. The first failure is reported on standard error.
    pub fn announce(&mut self, message: Message) {
        let said = self.attempt(|connection| {
            if connection.unanswered.len() < MOST_UNANSWERED {
                let what = name(&message);
                connection.write(&ProgramRequest::Say(message), Asked::Told(what))?;
            }
            Ok(())
        });
        if said.is_some() {
            self.take_answers(Duration::ZERO);
        }
    }

    /// Sends a message that must arrive, and waits for the supervisor's confirmation.
    ///
    /// `Ok` if there is no supervisor.
    pub fn say(&mut self, message: Message, patience: Duration) -> Result<()> {
        let Some(socket) = self.socket.clone() else {
            return Ok(());
        };
        let what = name(&message);
        let request = ProgramRequest::Say(message);
        let until = Instant::now() + patience;
        let mut outcome = self.say_once(&request, what, until);
        // The connection may have ended long ago, which only writing shows. The supervisor
        // recognises repeats of such messages, so sending it twice does no harm.
        if let Err(error) = &outcome
            && error.kind() != ErrorKind::TimedOut
        {
            self.state = State::Fresh;
            outcome = self.say_once(&request, what, until);
        }
        match outcome {
            Ok(ProgramAnswer::Refused(reason)) => Err(Error::Refused { what, reason }),
            Ok(_) => Ok(()),
            Err(source) => {
                // Half a line or a late answer may be on its way.
                self.state = State::Fresh;
                Err(Error::Unheard {
                    what,
                    socket,
                    source,
                })
            }
        }
    }

    fn say_once(
        &mut self,
        request: &ProgramRequest,
        what: &'static str,
        until: Instant,
    ) -> io::Result<ProgramAnswer> {
        let connection = self.connected()?;
        connection.write(request, Asked::Told(what))?;
        loop {
            let (asked, answer) = connection.read(until)?.ok_or(ErrorKind::TimedOut)?;
            if connection.unanswered.is_empty() {
                return Ok(answer);
            }
            complain_if_refused(asked, &answer);
        }
    }

    /// Returns whether and why the supervisor wants this program to exit. Waits at most `patience`
    /// for the answer; a later call uses an answer that comes late.
    pub fn wish(&mut self, patience: Duration) -> Option<StopCause> {
        let asked = self.attempt(|connection| {
            if connection.unanswered.contains(&Asked::ShouldExit) {
                return Ok(false);
            }
            connection.write(&ProgramRequest::ShouldExit, Asked::ShouldExit)?;
            Ok(true)
        });
        match asked {
            // A supervisor that still owes an answer is slow, so don't wait for it again.
            Some(false) => self.take_answers(Duration::ZERO),
            Some(true) => self.take_answers(patience),
            None => {}
        }
        self.wish
    }

    /// Reads the answers that come within `patience`.
    fn take_answers(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let answer = self.attempt(|connection| {
                if connection.unanswered.is_empty() {
                    return Ok(None);
                }
                connection.read(until)
            });
            let Some(Some((asked, answer))) = answer else {
                return;
            };
            complain_if_refused(asked, &answer);
            if let ProgramAnswer::ShouldExit(wish) = answer {
                self.wish = wish;
            }
        }
    }

    /// Does something with the connection. `None` without a supervisor and after a failure, which
    /// is reported once.
    fn attempt<T>(&mut self, action: impl FnOnce(&mut Connection) -> io::Result<T>) -> Option<T> {
        let socket = self.socket.as_ref()?.display().to_string();
        if matches!(self.state, State::GivenUp) {
            return None;
        }
        let outcome = self.connected().and_then(action);
        outcome
            .inspect_err(|error| {
                eprintln!(
                    "cu-client: can't reach the supervisor at {socket} ({error}); \
                     the program goes on, and its last message will be tried again"
                );
                self.state = State::GivenUp;
            })
            .ok()
    }

    fn connected(&mut self) -> io::Result<&mut Connection> {
        if !matches!(self.state, State::Connected(_)) {
            let socket = self.socket.as_ref().ok_or(ErrorKind::NotConnected)?;
            let stream = UnixStream::connect(socket)?;
            trust(&stream)?;
            stream.set_write_timeout(Some(PATIENCE_TO_WRITE))?;
            self.state = State::Connected(Connection {
                stream,
                answers: LineDecoder::new(),
                unanswered: VecDeque::new(),
            });
        }
        match &mut self.state {
            State::Connected(connection) => Ok(connection),
            State::Fresh | State::GivenUp => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl Connection {
    fn write(&mut self, request: &ProgramRequest, asked: Asked) -> io::Result<()> {
        self.stream.write_all(&lines::to_line(request))?;
        self.unanswered.push_back(asked);
        Ok(())
    }

    /// Reads the next answer with its request, or `None` if it does not come in time.
    fn read(&mut self, until: Instant) -> io::Result<Option<(Asked, ProgramAnswer)>> {
        let answer = loop {
            let next = self.answers.next_line();
            match next.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))? {
                Some(answer) => break answer,
                None if self.receive(until)? => {}
                None => return Ok(None),
            }
        };
        let asked = self.unanswered.pop_front().ok_or_else(|| {
            io::Error::new(
                ErrorKind::InvalidData,
                "the supervisor sent an answer without a request",
            )
        })?;
        Ok(Some((asked, answer)))
    }

    /// Receives some bytes. False if none come in time.
    fn receive(&mut self, until: Instant) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            let remaining = until.saturating_duration_since(Instant::now());
            let immediately = remaining.is_zero();
            self.stream.set_nonblocking(immediately)?;
            if !immediately {
                // The system rounds down, and zero means no time-out.
                let remaining = remaining.max(Duration::from_millis(1));
                self.stream.set_read_timeout(Some(remaining))?;
            }
            let read = self.stream.read(&mut buffer);
            if immediately {
                self.stream.set_nonblocking(false)?;
            }
            match read {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.answers.feed(&buffer[..count]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Checks that the other end is our supervisor, since the program relies on its confirmations: it
/// must run as our user or as root. The supervisor of a program that became root (`sudo`) runs as
/// the owner of the run.
fn trust(stream: &UnixStream) -> io::Result<()> {
    let Some(user) = users::foreign_peer(stream)? else {
        return Ok(());
    };
    if users::own() == 0 && environment::owner_of_the_run() == Some(user) {
        return Ok(());
    }
    let reason = format!(
        "a process of {} listens there, not our supervisor",
        users::describe(user)
    );
    Err(io::Error::new(ErrorKind::PermissionDenied, reason))
}

fn name(message: &Message) -> &'static str {
    match message {
        Message::Progress(_) => "the progress",
        Message::EarlyMetrics(_) => "the early results",
        Message::Results(_) => "the results",
        Message::ResumeRequest(_) => "the resume request",
        Message::Failed(_) => "the failure",
        Message::Started(_)
        | Message::Ended(_)
        | Message::Waiting(_)
        | Message::LeftBehind(_)
        | Message::Condition(_)
        | Message::Stopped(_)
        | Message::Noticed(_) => "a message that only a supervisor may send",
    }
}

fn complain_if_refused(asked: Asked, answer: &ProgramAnswer) {
    if let ProgramAnswer::Refused(reason) = answer {
        let what = match asked {
            Asked::Told(what) => what,
            Asked::ShouldExit => "a question",
        };
        eprintln!("cu-client: the supervisor refused {what}: {reason}");
    }
}
