//! The program's door: a Unix socket that takes one JSON line at a time and answers each.
//!
//! Several connections may be open, since a shell connects anew for each `cu job …`. Whatever a
//! program sends, it is answered or the line is refused; nothing it does harms the supervisor.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use cu_protocol::lines::{LineDecoder, to_line};
use cu_protocol::{ProgramAnswer, ProgramRequest};
use cu_system::causes::in_one_line;
use cu_system::{trust, users};
use rustix::event::{PollFd, PollFlags};
use tempfile::TempDir;

use crate::event::{Event, Happening, Ready, Source, Then};
use crate::{Error, Result, tell};

/// The longest path that a socket can have, its end included.
const SOCKET_PATH_LIMIT: usize = 108;
/// What the name of a socket's directory begins with.
const DIRECTORY_PREFIX: &str = "cu-";
/// Only this user may enter.
const DIRECTORY_MODE: u32 = 0o700;
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
    directory: TempDir,
    is_closing: Rc<Cell<bool>>,
}

impl Door {
    /// Opens one in a fresh directory that only this user may enter, where no other can put another in
    /// its place: in `last_resort` if there is no such place among those for temporary files.
    pub fn open(happening: &Happening, last_resort: &Path) -> Result<Self> {
        let directory = fresh_directory(&parents(last_resort))?;
        let path = socket_in(directory.path());
        let listener = UnixListener::bind(&path).map_err(Error::file("listen on", &path))?;
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.map_err(Error::file("listen on", &path))?;
        let is_closing = Rc::new(Cell::new(false));
        happening.add(Hall {
            listener: Some(listener),
            accepts_from: None,
            is_closing: is_closing.clone(),
            inside: Vec::new(),
        });
        Ok(Self {
            directory,
            is_closing,
        })
    }

    /// The directory that is there for the socket alone.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The socket.
    pub fn path(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// Serves the programs that are connected, and no more. [`Event::DoorClosed`] follows when the last has
    /// left.
    pub fn close(&self) {
        self.is_closing.set(true);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("socket")
}

/// Removes the directory that the door of a dead supervisor has left behind. It must be this user's alone,
/// with nothing in it but a socket on which nobody listens: the record that names it may be wrong.
pub(crate) fn clear_away(directory: &Path) {
    let socket = socket_in(directory);
    if is_left_behind(directory, &socket).unwrap_or(false) {
        // What was put there meanwhile keeps the directory.
        let _ = std::fs::remove_file(&socket).and_then(|()| std::fs::remove_dir(directory));
    }
}

fn is_left_behind(directory: &Path, socket: &Path) -> std::io::Result<bool> {
    let name = directory.file_name().unwrap_or_default();
    let us = rustix::process::geteuid().as_raw();
    // A link itself is examined, not its target.
    let found = directory.symlink_metadata()?;
    let is_ours = found.is_dir() && found.uid() == us && found.mode() & 0o777 == DIRECTORY_MODE;
    let is_called_so = name
        .as_encoded_bytes()
        .starts_with(DIRECTORY_PREFIX.as_bytes());
    if !is_ours || !is_called_so || !socket.symlink_metadata()?.file_type().is_socket() {
        return Ok(false);
    }
    let is_alone = std::fs::read_dir(directory)?.count() == 1;
    let is_dead = UnixStream::connect(socket)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    Ok(is_alone && is_dead)
}

/// Where the socket may be, the likeliest place first.
fn parents(last_resort: &Path) -> Vec<PathBuf> {
    let mut parents = vec![std::env::temp_dir(), "/tmp".into(), "/dev/shm".into()];
    // For this user alone, but gone as soon as he logs out, which attempts outlive.
    parents.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    parents.push(last_resort.to_owned());
    parents.retain(|parent| parent.is_absolute());
    parents
}

/// In the first of `parents` that is writable, whose path is short enough, and where no other user can
/// put a directory of his own in the place of ours. Where there is none such, in the first that will
/// do: programs ask who listens, so that a stranger there can keep messages from us, but not take
/// them.
fn fresh_directory(parents: &[PathBuf]) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    // Whatever the umask lets others do: who gets in here can say the program's results.
    let builder = builder
        .prefix(DIRECTORY_PREFIX)
        .permissions(Permissions::from_mode(DIRECTORY_MODE));
    let mut failure = None;
    let mut second_best = None;
    for parent in parents {
        match builder.tempdir_in(parent) {
            Ok(directory) if socket_in(directory.path()).as_os_str().len() < SOCKET_PATH_LIMIT => {
                let Some(risk) = risk(parent) else {
                    return Ok(directory);
                };
                tell(&format!(
                    "the socket can't be in {}: {risk}",
                    parent.display()
                ));
                second_best.get_or_insert(directory);
            }
            Ok(_) => {}
            Err(error) => failure = Some(Error::file("create a directory in", parent)(error)),
        }
    }
    if let Some(directory) = second_best {
        let path = directory.path().display();
        tell(&format!(
            "the socket is in {path} nevertheless: there is no better place"
        ));
        return Ok(directory);
    }
    Err(failure.unwrap_or_else(|| {
        let parent = parents.first().map_or(Path::new("/tmp"), PathBuf::as_path);
        let kind = std::io::ErrorKind::InvalidFilename;
        Error::file("create a socket in", parent)(kind.into())
    }))
}

/// Why somebody else could replace what is in `parent`, if so.
fn risk(parent: &Path) -> Option<String> {
    // Asked for something in it.
    match trust::risks(&socket_in(parent)) {
        Ok(risks) => risks.first().map(ToString::to_string),
        Err(error) => Some(format!("can't find out who may write there: {error}")),
    }
}

/// Behind the door: those who come in, and those who are in.
#[derive(Debug)]
struct Hall {
    /// `None` once the door is closed.
    listener: Option<UnixListener>,
    /// Nobody is let in before.
    accepts_from: Option<Instant>,
    is_closing: Rc<Cell<bool>>,
    inside: Vec<Guest>,
}

impl Source for Hall {
    fn awaits<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
        let open = self.listener.iter();
        let open = open.filter(|_| self.accepts_from.is_none());
        descriptors.extend(open.map(|listener| PollFd::new(listener, PollFlags::IN)));
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
        if let Some(listener) = self.listener.take() {
            let is_asked = ready.has(&listener) || is_closing || self.accepts_from.is_some();
            if may_accept && is_asked {
                self.accept(&listener, now);
            }
            // All that stood before the door are in now.
            self.listener = (!is_closing).then_some(listener);
        }
        self.inside
            .retain_mut(|guest| guest.turn(ready, now, events) == Then::Continues);
        if self.listener.is_none() && self.inside.is_empty() {
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
    fn only_this_user_may_enter() {
        let happening = Happening::new();
        let door = Door::open(&happening, Path::new("/tmp")).unwrap();
        let metadata = door.directory.path().metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
        UnixStream::connect(door.path()).unwrap();
    }

    #[test]
    fn a_place_where_others_may_rename_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name: &str, mode| {
            let directory = scratch.path().join(name);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
            directory
        };
        let open = make("open", 0o777);
        let below = make("open/below", 0o700);
        let own = make("own", 0o755);
        let parent = |parents: &[PathBuf]| {
            let made = fresh_directory(parents).unwrap();
            made.path().parent().map(Path::to_owned)
        };
        let all = [open.clone(), below.clone(), own.clone()];
        assert_eq!(parent(&all), Some(own.clone()));
        assert_eq!(parent(&all[..2]), Some(open), "for want of a better place");
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0, "all is tidy");
        make("own", 0o1777);
        assert_eq!(parent(&all), Some(own));
    }

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

    #[test]
    fn only_what_is_a_dead_door_beyond_doubt_is_cleared_away() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name: &str, mode| {
            let directory = scratch.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
            // Closed again at once; the socket stays.
            drop(UnixListener::bind(socket_in(&directory)).unwrap());
            directory
        };
        let survives = |directory: &Path| {
            clear_away(directory);
            socket_in(directory).exists()
        };
        assert!(survives(&make("xy-abc", 0o700)), "called otherwise");
        assert!(survives(&make("cu-open", 0o755)), "others can enter");
        let shared = make("cu-shared", 0o700);
        std::fs::write(shared.join("file"), "").unwrap();
        assert!(survives(&shared), "something else is there");
        let link = scratch.path().join("cu-link");
        std::os::unix::fs::symlink(make("cu-target", 0o700), &link).unwrap();
        assert!(survives(&link), "a link");

        let happening = Happening::new();
        let door = Door::open(&happening, Path::new("/tmp")).unwrap();
        assert!(survives(door.directory()), "it lives");

        let dead = make("cu-dead", 0o700);
        clear_away(&dead);
        assert!(!dead.exists());
    }
}
