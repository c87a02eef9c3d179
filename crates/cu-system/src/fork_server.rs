//! Starts processes as copies of one that is loaded already, which costs a tenth of loading a large
//! program anew.
//!
//! A **fork server** is a process with one thread that has done nothing yet. On demand it makes a copy of
//! itself that **stands by**: it waits for an order, and does nothing without one. What is ordered is known
//! before it begins: its process has its number already, which its owner can write down first.
//!
//! A copy that has carried out an order **stands by again**, if it can show that nothing of the order is left
//! in it: its variables, directory and outputs are taken back, it has no child, one thread, and as many open
//! files as before the first order. Else it ends, and the server makes another one. So orders of one process
//! follow each other, never overlap, and find nothing of each other.
//!
//! | who ends | what becomes of the others |
//! | --- | --- |
//! | the owner | the server ends, and whoever stands by; who has an order carries it out, then ends |
//! | the server | who stands by ends, or takes an order still; who has an order goes on |
//! | a copy | the server kills its process group, and reports how it ended |
//!
//! ```no_run
//! use cu_system::fork_server::{self, Afterwards, Owner};
//!
//! // In the server, with a socket from the owner as standard input, before there is any thread:
//! let served = fork_server::serve(|| {
//!     let mut orders = 0;
//!     move |words: &[String], owner: &Owner| {
//!         orders += 1;
//!         println!("process {} has the order {words:?}, its {orders}th", std::process::id());
//!         owner.done();
//!         println!("the next one may begin, and this is written meanwhile");
//!         Afterwards::StandsBy(0)
//!     }
//! });
//! # let _ = served;
//! ```

mod passing;
mod serving;

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde::{Deserialize, Serialize};

use self::passing::{receive_with, send_with};
pub use self::serving::{Afterwards, Owner, serve};
use crate::process::{self, ProcessId};

/// The longest report of a server, in bytes.
const LONGEST_REPORT: usize = 512;
/// What a process is called while it stands by, and waits for an order or the end of its owner.
const STANDING_BY: &CStr = c"standing by";
/// How long a copy may take to read its order. It waits for nothing else.
const HANDED_OVER: Duration = Duration::from_secs(10);

/// Whether a process that was a copy of a server has begun what it was ordered. If it stands by still, this
/// waits until it has an order or is dead: a moment, once its owner has ended. After `at_most` the answer is
/// yes.
#[must_use]
pub fn has_begun(copy: ProcessId, at_most: Duration) -> bool {
    let begun = Instant::now();
    loop {
        let name = process::name(copy.pid);
        if name.is_none_or(|name| name.as_bytes() != STANDING_BY.to_bytes()) {
            return true;
        }
        if !copy.is_alive() {
            return false;
        }
        if begun.elapsed() >= at_most {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a process that stands by is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What `serve` is called with.
    pub arguments: Vec<String>,
    /// Variables in addition to those of the server.
    pub environment: Vec<(String, String)>,
    /// The working directory.
    pub directory: PathBuf,
}

/// How a copy of a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It exited with this code.
    Exited(i32),
    /// A signal of this number killed it.
    Signaled(i32),
    /// Nobody knows.
    Unknown,
}

/// What a server reports to its owner.
#[derive(Debug)]
pub enum News {
    /// One more process stands by.
    StandsBy(Standby),
    /// One of its copies has ended, with or without an order, and is waited for.
    Ended {
        /// Its number.
        pid: u32,
        /// How it ended.
        end: Ended,
        /// Whether somebody is left in its process group, who was sent SIGKILL.
        group_lives: bool,
    },
}

#[derive(Serialize, Deserialize)]
enum Report {
    StandsBy(ProcessId),
    Ended {
        pid: u32,
        end: Ended,
        group_lives: bool,
    },
}

/// A process that stands by. It leads a process group of its own. Dropped, it ends.
#[derive(Debug)]
pub struct Standby {
    process: ProcessId,
    orders: UnixStream,
}

impl Standby {
    /// Which process it is.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Gives it an order, with `/dev/null` as standard input and these outputs.
    ///
    /// # Errors
    /// If it has not got the whole order. Then it does nothing, and ends.
    pub fn begin(self, order: &Order, stdout: impl AsFd, stderr: impl AsFd) -> io::Result<Busy> {
        let mut bytes = vec![0; 4];
        serde_json::to_writer(&mut bytes, order)?;
        let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        let outputs = [stdout.as_fd(), stderr.as_fd()];
        let begun = send_with(&self.orders, &bytes, &outputs)?;
        (&self.orders).write_all(&bytes[begun..])?;
        Ok(Busy(self))
    }
}

/// A copy that has an order. Dropped, it goes on, and ends afterwards.
#[derive(Debug)]
pub struct Busy(Standby);

/// The first byte of a [`Word::Done`]. The second means nothing.
const DONE: u8 = 1;
/// The first byte of a [`Word::Over`]. The second is the code.
const OVER: u8 = 2;

/// What a copy says of its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It has done what needs what it was given, and goes on without that: [`Owner::done`].
    Done,
    /// The order has ended, as a process that exits with this code does. The copy stands by again.
    Over(u8),
    /// It will say nothing more: it has ended, or executes another program.
    Nothing,
}

impl Busy {
    /// What it says next; `None` if that is still to come.
    #[must_use]
    pub fn word(&self) -> Option<Word> {
        let mut word = [0; 2];
        match recv(&self.0.orders, &mut word, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Ok((_, 2)) if word[0] == DONE => Some(Word::Done),
            Ok((_, 2)) if word[0] == OVER => Some(Word::Over(word[1])),
            _ => Some(Word::Nothing),
        }
    }

    /// The same process, once it has said that the order is [over](Word::Over).
    #[must_use]
    pub fn stands_by(self) -> Standby {
        self.0
    }
}

impl AsFd for Busy {
    /// Readable when it has said something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.orders.as_fd()
    }
}

/// The owner's end of a fork server. Dropped, the server ends; what it has begun goes on.
#[derive(Debug)]
pub struct ForkServer {
    control: OwnedFd,
    server: Child,
}

impl ForkServer {
    /// Starts one: `command` calls [`serve`]. It leads a process group of its own, and writes nowhere.
    ///
    /// # Errors
    /// If the system does not start it.
    pub fn start(command: &[String]) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = SocketFlags::CLOEXEC;
        let (control, its_end) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let server = Command::new(program)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::from(its_end))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { control, server })
    }

    /// Asks it to have so many more processes stand by. Each is reported, unless the system refuses it.
    ///
    /// # Errors
    /// If the server has ended.
    pub fn ask_for(&self, count: u8) -> io::Result<()> {
        send(&self.control, &[count], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// What it reports next; `None` if there is nothing new.
    ///
    /// # Errors
    /// If the server has ended.
    pub fn news(&self) -> io::Result<Option<News>> {
        let mut bytes = [0; LONGEST_REPORT];
        let received = receive_with(&self.control, &mut bytes, RecvFlags::DONTWAIT);
        let (length, mut received) = match received {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(match serde_json::from_slice(&bytes[..length])? {
            Report::StandsBy(process) => match received.pop() {
                Some(orders) => {
                    let orders = UnixStream::from(orders);
                    orders.set_write_timeout(Some(HANDED_OVER))?;
                    Some(News::StandsBy(Standby { process, orders }))
                }
                None => None,
            },
            Report::Ended {
                pid,
                end,
                group_lives,
            } => Some(News::Ended {
                pid,
                end,
                group_lives,
            }),
        })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// Dismisses it. The caller waits for what is returned once it has ended, which is soon.
    #[must_use]
    pub fn dismiss(self) -> Child {
        self.server
    }
}

impl AsFd for ForkServer {
    /// Readable when there is news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}
