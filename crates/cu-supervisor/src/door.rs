//! The program's door: a Unix socket that takes one JSON line at a time and answers each.
//!
//! Several connections may be open, since a shell connects anew for each `cu job …`. Whatever a
//! program sends, it is answered or the line is refused; nothing it does harms the supervisor.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use cu_protocol::lines::{LineDecoder, to_line};
use cu_protocol::{ProgramAnswer, ProgramRequest};
use cu_system::causes::in_one_line;
use cu_system::users;
use rustix::event::{PollFd, PollFlags};

use crate::Result;
use crate::doorway::Doorway;
use crate::event::{Event, Happening, Ready, Source, Then};

/// How many connections are served at once. The next one is refused.
const CONNECTIONS: usize = 64;
/// How long an answer may take: longer than any wait for the main process.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is accepted after no descriptor was left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);
/// How long a program may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// An open door. Dropped, its socket is gone.
#[derive(Debug)]
pub(crate) struct Door {
    doorway: Rc<Doorway>,
    socket: PathBuf,
    is_closing: Rc<Cell<bool>>,
}

impl Door {
    /// Opens one in this doorway.
    ///
    /// # Errors
    /// If the socket can't be put there.
    pub fn open(happening: &Happening, doorway: Rc<Doorway>) -> Result<Self> {
        let socket = doorway.open()?;
        let is_closing = Rc::new(Cell::new(false));
        happening.add(Hall {
            doorway: Some(doorway.clone()),
            accepts_from: None,
            is_closing: is_closing.clone(),
            inside: Vec::new(),
        });
        Ok(Self {
            doorway,
            socket,
            is_closing,
        })
    }

    /// The directory that is there for the socket alone.
    pub fn directory(&self) -> &Path {
        self.doorway.directory()
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.socket
    }

    /// Keeps the socket from looking old.
    pub fn renew(&self) {
        self.doorway.renew(&self.socket);
    }

    /// Serves the programs that are connected, and no more. [`Event::DoorClosed`] follows when the last has
    /// left.
    pub fn close(&self) {
        if !self.is_closing.replace(true) {
            self.doorway.close(&self.socket);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

/// Behind the door: those who come in, and those who are in.
#[derive(Debug)]
struct Hall {
    /// `None` once the door is closed.
    doorway: Option<Rc<Doorway>>,
    /// Nobody is let in before.
    accepts_from: Option<Instant>,
    is_closing: Rc<Cell<bool>>,
    inside: Vec<Guest>,
}

impl Source for Hall {
    fn awaits<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
        let open = self.doorway.iter();
        let open = open.filter(|_| self.accepts_from.is_none());
        descriptors.extend(open.map(|doorway| PollFd::new(doorway.listener(), PollFlags::IN)));
        for guest in &self.inside {
            // One that is awaited is not asked: if it has left, that would be said all the time.
            descriptors.extend(match guest {
                Guest { unsent, .. } if !unsent.is_empty() => {
                    Some(PollFd::new(&guest.stream, PollFlags::OUT))
                }
                Guest {
                    awaited: Some(_), ..
                } => None,
                _ => Some(PollFd::new(&guest.stream, PollFlags::IN)),
            });
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_guests = self.inside.iter().filter_map(Guest::next_deadline);
        of_guests.chain(self.accepts_from).min()
    }

    fn turn(&mut self, ready: &Ready, now: Instant, events: &mut VecDeque<Event>) -> Then {
        let is_closing = self.is_closing.get();
        let may_accept = self.accepts_from.is_none_or(|at| at <= now);
        if let Some(doorway) = self.doorway.take() {
            let listener = doorway.listener();
            let is_asked = ready.has(listener) || is_closing || self.accepts_from.is_some();
            if may_accept && is_asked {
                self.accept(listener, now);
            }
            // All that stood before the door are in now.
            self.doorway = (!is_closing).then_some(doorway);
        }
        self.inside
            .retain_mut(|guest| guest.turn(ready, now, events) == Then::Continues);
        if self.doorway.is_none() && self.inside.is_empty() {
            events.push_back(Event::DoorClosed);
            return Then::Ends;
        }
        Then::Continues
    }
}

impl Hall {
    fn accept(&mut self, listener: &UnixListener, now: Instant) {
        self.accepts_from = None;
        loop {
            match listener.accept() {
                Ok((stream, _)) if !is_ours(&stream) => {
                    refuse(stream, "this socket belongs to another user");
                }
                Ok((stream, _)) if self.inside.len() >= CONNECTIONS => {
                    let reason = format!("{CONNECTIONS} connections are open already; close some");
                    refuse(stream, &reason);
                }
                // If this fails, it could hold everything up.
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_ok() {
                        self.inside.push(Guest::new(stream));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A connection that was given up before it was accepted.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                    ) => {}
                // No descriptor is left.
                Err(_) => {
                    self.accepts_from = Some(now + ACCEPT_AGAIN);
                    return;
                }
            }
        }
    }
}

/// A connection of the program's: one line, one answer, until it leaves. One that has left without waiting
/// for its answers has still said what it said.
#[derive(Debug)]
struct Guest {
    stream: UnixStream,
    decoder: LineDecoder<ProgramRequest>,
    /// The answer to the line that was read last, and until when it is waited for.
    awaited: Option<(mpsc::Receiver<ProgramAnswer>, Instant)>,
    unsent: Vec<u8>,
    /// Until when the program must have read something of what is unsent.
    unsent_until: Option<Instant>,
    is_listening: bool,
    has_left: bool,
}

impl Guest {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: LineDecoder::new(),
            awaited: None,
            unsent: Vec::new(),
            unsent_until: None,
            is_listening: true,
            has_left: false,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let awaited = self.awaited.as_ref().map(|(_, until)| *until);
        awaited.into_iter().chain(self.unsent_until).min()
    }

    fn turn(&mut self, ready: &Ready, now: Instant, events: &mut VecDeque<Event>) -> Then {
        let mut may_read = ready.has(&self.stream);
        loop {
            self.send(now);
            // What was said before is answered first.
            if !self.unsent.is_empty() || self.is_awaiting(now) {
                return Then::Continues;
            }
            if self.take_a_line(now, events) {
                continue;
            }
            if self.has_left {
                return Then::Ends;
            }
            if !std::mem::take(&mut may_read) {
                return Then::Continues;
            }
            self.read();
        }
    }

    /// Whether the answer to what was said last has still to come. If it has come, it is sent.
    fn is_awaiting(&mut self, now: Instant) -> bool {
        let Some((answer, until)) = &self.awaited else {
            return false;
        };
        let answer = match answer.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) if now < *until => return true,
            Err(TryRecvError::Empty) => ProgramAnswer::Refused(format!(
                "no answer within {} s, perhaps because a disk hangs; the message may still be noted",
                ANSWER_TIMEOUT.as_secs()
            )),
            Err(TryRecvError::Disconnected) => {
                ProgramAnswer::Refused("the attempt is over".to_owned())
            }
        };
        self.awaited = None;
        self.answer(&answer, now);
        self.send(now);
        !self.unsent.is_empty()
    }

    /// Passes the next line on, or refuses it. `false` if there is none.
    fn take_a_line(&mut self, now: Instant, events: &mut VecDeque<Event>) -> bool {
        match self.decoder.next_line() {
            Ok(None) => return false,
            Ok(Some(ProgramRequest::Say(message))) if message.is_of_supervisor() => {
                let reason = "only the supervisor sends this message".to_owned();
                self.answer(&ProgramAnswer::Refused(reason), now);
            }
            Ok(Some(request)) => {
                let (reply, answer) = mpsc::channel();
                self.awaited = Some((answer, now + ANSWER_TIMEOUT));
                events.push_back(Event::Asked(request, reply));
            }
            Err(error) => self.answer(&ProgramAnswer::Refused(in_one_line(&error)), now),
        }
        true
    }

    fn answer(&mut self, answer: &ProgramAnswer, now: Instant) {
        if self.is_listening {
            self.unsent.extend(to_line(answer));
            self.unsent_until = Some(now + WRITE_TIMEOUT);
        }
    }

    fn send(&mut self, now: Instant) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && self.unsent_until.is_some_and(|until| now < until) =>
                {
                    return;
                }
                Err(_) => {
                    self.is_listening = false;
                    self.unsent.clear();
                    // Should it only have been slow, it must not wait for the rest of a cut line.
                    let _ = self.stream.shutdown(Shutdown::Write);
                }
            }
        }
        self.unsent_until = None;
    }

    fn read(&mut self) {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.has_left = true,
            Ok(count) => self.decoder.feed(&chunk[..count]),
            Err(error) => {
                let comes_again = [ErrorKind::WouldBlock, ErrorKind::Interrupted];
                self.has_left = !comes_again.contains(&error.kind());
            }
        }
    }
}

/// Nobody else can enter the directory; should its mode have been changed, he still says nothing. Root
/// may: programs run by `sudo`.
fn is_ours(stream: &UnixStream) -> bool {
    matches!(users::foreign_peer(stream), Ok(None))
}

/// Says why, unless nobody reads it.
fn refuse(mut stream: UnixStream, reason: &str) {
    let _ = stream.set_nonblocking(true);
    let _ = stream.write_all(&to_line(&ProgramAnswer::Refused(reason.to_owned())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_program_is_not_told_the_attempt_is_over() {
        let happening = Happening::new();
        let (stream, mut program) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut guest = Guest::new(stream);
        program
            .write_all(&to_line(&ProgramRequest::ShouldExit))
            .unwrap();
        guest.read();
        let (now, mut events) = (Instant::now(), VecDeque::new());
        let turn = |guest: &mut Guest, now, events: &mut VecDeque<Event>| {
            assert_eq!(guest.turn(&Ready::default(), now, events), Then::Continues);
        };
        turn(&mut guest, now, &mut events);
        assert!(matches!(events[0], Event::Asked(..)));
        turn(&mut guest, now + ANSWER_TIMEOUT, &mut events);
        let mut answer = [0; 1024];
        let count = program.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.contains("no answer within 30 s"), "{answer}");
        drop(happening);
    }
}
