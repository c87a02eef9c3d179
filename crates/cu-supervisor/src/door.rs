//! The program's door: a Unix socket that takes one JSON line at a time and answers each.
//!
//! Several connections may be open, since a shell connects anew for each `cu job …`. Whatever a
//! program sends, it is answered or the line is refused; nothing it does harms the supervisor.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use cu_protocol::lines::{LineDecoder, to_line};
use cu_protocol::{Message, ProgramAnswer, ProgramRequest};
use tempfile::TempDir;

use crate::event::{Event, Events};
use crate::{Error, Result};

/// The longest path that a socket can have, its end included.
const SOCKET_PATH_LIMIT: usize = 108;
/// How many connections are served at once. The next one is refused.
const CONNECTIONS: usize = 64;
/// How long an answer may take: longer than any wait for the main process.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a program may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// An open door. Dropped, its socket is gone.
#[derive(Debug)]
pub(crate) struct Door {
    directory: TempDir,
    closing: Arc<AtomicBool>,
}

impl Door {
    /// Opens one in a fresh directory that only this user may enter.
    pub fn open(events: Events) -> Result<Self> {
        let directory = fresh_directory()?;
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

    /// The socket.
    pub fn path(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// Serves whoever stands in line, then nobody. [`Event::DoorClosed`] tells when the last has
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

/// In the first directory that is writable and whose path is short enough.
fn fresh_directory() -> Result<TempDir> {
    let preferred = std::env::temp_dir();
    let mut builder = tempfile::Builder::new();
    // Whatever the umask lets others do: who gets in here can say the program's results.
    let builder = builder
        .prefix("cu-")
        .permissions(Permissions::from_mode(0o700));
    let mut failure = None;
    for parent in [
        preferred.as_path(),
        Path::new("/tmp"),
        Path::new("/dev/shm"),
    ] {
        match builder.tempdir_in(parent) {
            Ok(directory) if socket_in(directory.path()).as_os_str().len() < SOCKET_PATH_LIMIT => {
                return Ok(directory);
            }
            Ok(_) => {}
            Err(error) => failure = Some(Error::file("create a directory in", parent)(error)),
        }
    }
    Err(failure.unwrap_or_else(|| {
        let kind = std::io::ErrorKind::InvalidFilename;
        Error::file("create a socket in", &preferred)(kind.into())
    }))
}

/// Held by whoever may still produce requests; dropped by the last, it says so.
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
                Ok((stream, _)) => self.admit(stream),
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

    fn admit(&self, mut stream: UnixStream) {
        let _ = stream.set_write_timeout(Some(WRITE_TIMEOUT));
        if self.open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
            self.open.fetch_sub(1, Ordering::AcqRel);
            let reason = format!("{CONNECTIONS} connections are open already; close some");
            let _ = stream.write_all(&to_line(&ProgramAnswer::Refused(reason)));
            return;
        }
        let open = Arc::clone(&self.open);
        let inside = Arc::clone(&self.inside);
        let serve = move || {
            // An error here is the program's: it has gone.
            let _ = serve(stream, &inside.0);
            open.fetch_sub(1, Ordering::AcqRel);
        };
        if crate::spawn_thread("program", serve).is_err() {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
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
                Ok(Some(request)) => answer(request, events),
                Err(error) => ProgramAnswer::Refused(error.to_string()),
            };
            if is_listened_to && stream.write_all(&to_line(&answer)).is_err() {
                is_listened_to = false;
                // Should it only have been slow, it must not wait for the rest of a cut line.
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
}

fn answer(request: ProgramRequest, events: &Events) -> ProgramAnswer {
    if let ProgramRequest::Say(Message::Started(_) | Message::Ended(_)) = request {
        return ProgramAnswer::Refused("only the supervisor says this".to_owned());
    }
    let (reply, answer) = mpsc::channel();
    let ended = || ProgramAnswer::Refused("the attempt is over".to_owned());
    if events.send(Event::Asked(request, reply)).is_err() {
        return ended();
    }
    answer
        .recv_timeout(ANSWER_TIMEOUT)
        .unwrap_or_else(|_| ended())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_may_enter() {
        let (events, _happening) = mpsc::channel();
        let door = Door::open(events).unwrap();
        let metadata = door.directory.path().metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
        UnixStream::connect(door.path()).unwrap();
    }
}
