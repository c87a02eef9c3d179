//! The Unix socket to the supervisor: one JSON line asks, one answers, in order.
//!
//! Announcements are written and not waited for: their answers are read when the next one matters.
//! Nothing here waits for longer than the caller says, and nothing here fails because there is no
//! supervisor.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cu_protocol::lines::{self, LineDecoder};
use cu_protocol::{Message, ProgramAnswer, ProgramRequest, StopCause};
use cu_system::users;

use crate::{Error, Result, environment};

/// How long an announcement may be stuck in a full socket before the supervisor is given up.
const PATIENCE_TO_WRITE: Duration = Duration::from_secs(2);

/// So many announcements may be unanswered before further ones are left out.
const MOST_UNANSWERED: usize = 256;

/// The way to the supervisor, if there is one.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Option<PathBuf>,
    state: State,
    /// The latest answer to "should I exit?".
    wish: Option<StopCause>,
}

#[derive(Debug)]
enum State {
    /// Nothing was said yet.
    Fresh,
    Connected(Connection),
    /// It failed, and the user knows. Only what must arrive is tried again.
    GivenUp,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    answers: LineDecoder<ProgramAnswer>,
    /// What the answers still to come are about, in order.
    unanswered: VecDeque<Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Told(&'static str),
    ShouldExit,
}

impl Link {
    /// A link to the supervisor that listens at `socket`; not connected before it is needed.
    pub fn to(socket: Option<PathBuf>) -> Self {
        Self {
            socket,
            state: State::Fresh,
            wish: None,
        }
    }

    /// Says something that the next message of its kind replaces, or that can be done without.
    /// What can't be said is complained about once on standard error.
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

    /// Says something that must arrive, and waits until the supervisor has taken note.
    ///
    /// `Ok` if there is no supervisor: there is nobody who should know.
    pub fn say(&mut self, message: Message, patience: Duration) -> Result<()> {
        let Some(socket) = self.socket.clone() else {
            return Ok(());
        };
        let what = name(&message);
        let request = ProgramRequest::Say(message);
        let until = Instant::now() + patience;
        let mut outcome = self.say_once(&request, what, until);
        // A connection may have ended long ago without anybody noticing. The supervisor tells
        // repeats of such messages from news, so that saying it twice does no harm.
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
                // Half a line may be on its way, or a late answer.
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

    /// Whether, and why, the supervisor wants this program to exit. Waits up to `patience` for the
    /// answer; if it comes later, a later call knows it.
    pub fn wish(&mut self, patience: Duration) -> Option<StopCause> {
        let asked = self.attempt(|connection| {
            if connection.unanswered.contains(&Asked::ShouldExit) {
                return Ok(false);
            }
            connection.write(&ProgramRequest::ShouldExit, Asked::ShouldExit)?;
            Ok(true)
        });
        match asked {
            // A supervisor that owes an answer is slow: it is not waited for again.
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

    /// Does something with the connection. A failure is complained about once; then, and without a
    /// supervisor, `None`.
    fn attempt<T>(&mut self, action: impl FnOnce(&mut Connection) -> io::Result<T>) -> Option<T> {
        let socket = self.socket.as_ref()?.display().to_string();
        if matches!(self.state, State::GivenUp) {
            return None;
        }
        let outcome = self.connected().and_then(action);
        outcome
            .inspect_err(|error| {
                eprintln!(
                    "cu-client: the supervisor at {socket} can't be reached ({error}); \
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

    /// The next answer and what it is about, or `None` if it does not come in time.
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
            io::Error::new(ErrorKind::InvalidData, "an answer that nobody asked for")
        })?;
        Ok(Some((asked, answer)))
    }

    /// Receives some bytes; false if none come in time.
    fn receive(&mut self, until: Instant) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            let remaining = until.saturating_duration_since(Instant::now());
            let immediately = remaining.is_zero();
            self.stream.set_nonblocking(immediately)?;
            if !immediately {
                // The system rounds down, and takes zero for "for ever".
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

/// Whoever says "noted" is believed, so that it must be our supervisor: of our user, or of root. A
/// program that became root (`sudo`) is supervised by the owner of its run.
fn trust(stream: &UnixStream) -> io::Result<()> {
    let Some(user) = users::foreign_peer(stream)? else {
        return Ok(());
    };
    if users::own() == 0 && environment::owner_of_the_run() == Some(user) {
        return Ok(());
    }
    let reason = format!(
        "{} listens there, not our supervisor",
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
        Message::Started(_) | Message::Ended(_) | Message::Waiting(_) | Message::LeftBehind(_) => {
            "what a supervisor says itself"
        }
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
