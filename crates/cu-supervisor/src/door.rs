//! The program's door: a Unix socket that takes one JSON line at a time and answers each.
//!
//! Several connections may be open, since a shell connects anew for each `cu job …`. Whatever a
//! program sends, it is answered or the line is refused; nothing it does harms the supervisor.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use cu_protocol::lines::{LineDecoder, to_line};
use cu_protocol::{ProgramAnswer, ProgramRequest};
use cu_system::causes::in_one_line;
use cu_system::{trust, users};
use tempfile::TempDir;

use crate::event::{Event, Events};
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
/// How long a connection waits for a thread where the machine has none left.
const THREAD_PATIENCE: Duration = Duration::from_secs(1);
/// How long a program may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// An open door. Dropped, its socket is gone.
#[derive(Debug)]
pub(crate) struct Door {
    directory: TempDir,
    closing: Arc<AtomicBool>,
}

impl Door {
    /// Opens one in a fresh directory that only this user may enter, where no other can put another in
    /// its place: in `last_resort` if there is no such place among those for temporary files.
    pub fn open(events: Events, last_resort: &Path) -> Result<Self> {
        let directory = fresh_directory(&parents(last_resort))?;
        let path = socket_in(directory.path());
        let listener = UnixListener::bind(&path).map_err(Error::file("listen on", &path))?;
        let closing = Arc::new(AtomicBool::new(false));
        let acceptor = Acceptor {
            listener,
            closing: Arc::clone(&closing),
            open: AtomicUsize::new(0).into(),
            inside: Arc::new(Inside(events)),
        };
        crate::spawn_thread("door", move || acceptor.run())?;
        Ok(Self { directory, closing })
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
        self.closing.store(true, Ordering::Release);
        // Wakes the acceptor. If this fails, it is gone already.
        let _ = UnixStream::connect(self.path());
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

/// Held by each thread that may still produce requests. The last one that drops it reports that.
struct Inside(Events);

impl Drop for Inside {
    fn drop(&mut self) {
        // The supervisor may have stopped listening.
        let _ = self.0.send(Event::DoorClosed);
    }
}

struct Acceptor {
    listener: UnixListener,
    closing: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    inside: Arc<Inside>,
}

impl Acceptor {
    fn run(self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) if is_ours(&stream) => self.admit(stream),
                Ok((stream, _)) => refuse(stream, "this socket belongs to another user"),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // A connection that was given up before it was accepted, or no descriptor is left.
                Err(_) if self.closing.load(Ordering::Acquire) => return,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
            if self.closing.load(Ordering::Acquire) && self.listener.set_nonblocking(true).is_err()
            {
                return;
            }
        }
    }

    fn admit(&self, stream: UnixStream) {
        let _ = stream.set_write_timeout(Some(WRITE_TIMEOUT));
        if self.open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
            self.open.fetch_sub(1, Ordering::AcqRel);
            let reason = format!("{CONNECTIONS} connections are open already; close some");
            refuse(stream, &reason);
            return;
        }
        // Handed over once there is a thread: until then it can be refused.
        let until = Instant::now() + THREAD_PATIENCE;
        loop {
            let (hand_over, handed_over) = mpsc::channel();
            let open = Arc::clone(&self.open);
            let inside = Arc::clone(&self.inside);
            let started = crate::spawn_thread("program", move || {
                if let Ok(stream) = handed_over.recv() {
                    // An error here is the program's: it has gone.
                    let _ = serve(stream, &inside.0);
                    open.fetch_sub(1, Ordering::AcqRel);
                }
            });
            match started {
                Ok(()) => {
                    let _ = hand_over.send(stream);
                    return;
                }
                Err(error) if Instant::now() >= until => {
                    self.open.fetch_sub(1, Ordering::AcqRel);
                    refuse(stream, &format!("{}; try again", in_one_line(&error)));
                    return;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
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

/// One line, one answer, until the program leaves. One that has left without waiting for its answers
/// has still said what it said.
fn serve(mut stream: UnixStream, events: &Events) -> std::io::Result<()> {
    let mut decoder = LineDecoder::<ProgramRequest>::new();
    let mut chunk = [0; 4096];
    let mut is_listened_to = true;
    loop {
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        decoder.feed(&chunk[..count]);
        loop {
            let answer = match decoder.next_line() {
                Ok(None) => break,
                Ok(Some(request)) => answer(request, events, ANSWER_TIMEOUT),
                Err(error) => ProgramAnswer::Refused(in_one_line(&error)),
            };
            if is_listened_to && stream.write_all(&to_line(&answer)).is_err() {
                is_listened_to = false;
                // Should it only have been slow, it must not wait for the rest of a cut line.
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
}

fn answer(request: ProgramRequest, events: &Events, patience: Duration) -> ProgramAnswer {
    if let ProgramRequest::Say(message) = &request
        && message.is_of_supervisor()
    {
        return ProgramAnswer::Refused("only the supervisor sends this message".to_owned());
    }
    let (reply, answer) = mpsc::channel();
    let ended = || ProgramAnswer::Refused("the attempt is over".to_owned());
    if events.send(Event::Asked(request, reply)).is_err() {
        return ended();
    }
    answer
        .recv_timeout(patience)
        .unwrap_or_else(|error| match error {
            RecvTimeoutError::Disconnected => ended(),
            RecvTimeoutError::Timeout => ProgramAnswer::Refused(format!(
                "no answer within {} s, perhaps because a disk hangs; the message may still be noted",
                patience.as_secs()
            )),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_may_enter() {
        let (events, _happening) = mpsc::channel();
        let door = Door::open(events, Path::new("/tmp")).unwrap();
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
        let (events, happening) = mpsc::channel();
        let refusal = || match answer(ProgramRequest::ShouldExit, &events, Duration::ZERO) {
            ProgramAnswer::Refused(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(refusal().starts_with("no answer within 0 s"));
        drop(happening);
        assert_eq!(refusal(), "the attempt is over");
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

        let (events, _happening) = mpsc::channel();
        let door = Door::open(events, Path::new("/tmp")).unwrap();
        assert!(survives(door.directory()), "it lives");

        let dead = make("cu-dead", 0o700);
        clear_away(&dead);
        assert!(!dead.exists());
    }
}
