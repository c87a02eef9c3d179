//! Starts processes as copies of one that is loaded already, which costs a tenth of loading a large
//! program anew.
//!
//! A **fork server** is a process with one thread that has done nothing yet. On demand it makes a copy of
//! itself that **stands by**: it waits for an order, and does nothing without one. Each copy takes at most
//! one order and ends, so nothing of one order is left for the next. What is ordered is known before it
//! begins: its process has its number already, which its owner can write down first.
//!
//! | who ends | what becomes of the others |
//! | --- | --- |
//! | the owner | the server ends, and whoever stands by; who has an order goes on |
//! | the server | who stands by ends, or takes an order still; who has an order goes on |
//! | a copy | the server kills its process group, and reports how it ended |
//!
//! ```no_run
//! use cu_system::fork_server;
//!
//! // In the server, with a socket from the owner as standard input, before there is any thread:
//! let served = fork_server::serve(|words, owner| {
//!     println!("process {} has the order {words:?}", std::process::id());
//!     owner.done();
//!     println!("the next one may begin, and this is written meanwhile");
//!     0
//! });
//! # let _ = served;
//! ```
#![allow(unsafe_code)] // `fork`, and the environment of a copy.

use std::ffi::CStr;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{ForkResult, fork};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg,
    socketpair,
};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, setpgid,
    test_kill_process_group, waitid,
};
use serde::{Deserialize, Serialize};

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

    /// Gives it its order, with `/dev/null` as standard input and these outputs.
    ///
    /// # Errors
    /// If it has not got the whole order. Then it does nothing, and ends.
    pub fn begin(self, order: &Order, stdout: impl AsFd, stderr: impl AsFd) -> io::Result<Busy> {
        let order = serde_json::to_vec(order)?;
        self.orders.set_write_timeout(Some(HANDED_OVER))?;
        let outputs = [stdout.as_fd(), stderr.as_fd()];
        let begun = send_with(&self.orders, &order, &outputs)?;
        (&self.orders).write_all(&order[begun..])?;
        self.orders.shutdown(Shutdown::Write)?;
        Ok(Busy(self.orders))
    }
}

/// A copy that has its order. Dropped, it goes on.
#[derive(Debug)]
pub struct Busy(UnixStream);

/// What a copy says of its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It has done what needs what it was given, and goes on without that: [`Owner::done`].
    Done,
    /// It will say nothing: it has ended, or executes another program.
    Nothing,
}

impl Busy {
    /// What it has said; `None` if that is still to come. Nothing comes after it.
    #[must_use]
    pub fn word(&self) -> Option<Word> {
        let mut word = [0];
        match recv(&self.0, &mut word, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            Ok((_, 1)) => Some(Word::Done),
            _ => Some(Word::Nothing),
        }
    }
}

impl AsFd for Busy {
    /// Readable when it has said something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The owner whose order a copy obeys.
#[derive(Debug)]
pub struct Owner(UnixStream);

impl Owner {
    /// Reports that what the order was given, such as processors, is free for the next, though this process
    /// has not ended.
    pub fn done(&self) {
        // Without an owner, nothing waits for it.
        let _ = send(&self.0, &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
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
            Report::StandsBy(process) => received.pop().map(|orders| {
                News::StandsBy(Standby {
                    process,
                    orders: orders.into(),
                })
            }),
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

/// Is a fork server until its owner ends, whose socket is the standard input. `work` is called in each
/// copy that gets an order, with the arguments of that and its owner; what it returns is the exit code of the copy.
///
/// Call it before there are threads, children or locks. It leaves `/dev/null` as standard input.
///
/// # Errors
/// If the standard input is not the socket of an owner, or this process has threads, or the system lacks
/// something.
pub fn serve(work: impl Fn(&[String], &Owner) -> u8) -> io::Result<()> {
    // A lock that another thread holds would be held for ever in a copy.
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a fork server must have one thread"));
    }
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let mut copies: Vec<(Pid, OwnedFd)> = Vec::new();
    loop {
        let watched = copies.iter().map(|(_, pidfd)| pidfd).chain([&control]);
        let mut watched: Vec<_> = watched
            .map(|watched| PollFd::new(watched, PollFlags::IN))
            .collect();
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let stirred: Vec<bool> = watched.iter().map(|it| !it.revents().is_empty()).collect();
        let (asked, dead) = stirred.split_last().unwrap_or((&false, &[]));
        for place in (0..dead.len()).rev().filter(|place| dead[*place]) {
            if let Some(report) = see_out(&copies[place]) {
                copies.swap_remove(place);
                send(&control, &serde_json::to_vec(&report)?, SendFlags::NOSIGNAL)?;
            }
        }
        if !asked {
            continue;
        }
        let mut count = [0];
        match recv(&control, &mut count, RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => return Ok(()),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        for _ in 0..count[0] {
            let (owners, its_end) = UnixStream::pair()?;
            // SAFETY: this process has one thread, as was checked above, so that the copy is as whole as
            // this one.
            match unsafe { fork() } {
                Ok(ForkResult::Parent { child }) => {
                    drop(its_end);
                    let child = Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
                    let _ = setpgid(Some(child), Some(child));
                    copies.push((child, pidfd_open(child, PidfdFlags::empty())?));
                    let pid = child.as_raw_nonzero().get().unsigned_abs();
                    let process = ProcessId::of(pid).ok_or(io::ErrorKind::NotFound)?;
                    let report = serde_json::to_vec(&Report::StandsBy(process))?;
                    send_with(&control, &report, &[owners.as_fd()])?;
                }
                Ok(ForkResult::Child) => {
                    drop((owners, control, copies));
                    let order = stand_by(&its_end);
                    let code = order.map_or(0, |order| obey(&order, &Owner(its_end), &work));
                    std::process::exit(code.into());
                }
                // Its owner does without.
                Err(_) => break,
            }
        }
    }
}

/// Waits for a copy that is dead; `None` if it isn't.
fn see_out((pid, _): &(Pid, OwnedFd)) -> Option<Report> {
    // Until it is waited for, the number of the group stays its own.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let is_alive = matches!(
        waitid(WaitId::Pid(*pid), look | WaitIdOptions::NOWAIT),
        Ok(None)
    );
    if is_alive {
        return None;
    }
    let _ = kill_process_group(*pid, Signal::KILL);
    let status = waitid(WaitId::Pid(*pid), look).ok().flatten();
    let exited = |status: &rustix::process::WaitIdStatus| status.exit_status().map(Ended::Exited);
    let end = status.and_then(|status| {
        exited(&status).or_else(|| status.terminating_signal().map(Ended::Signaled))
    });
    Some(Report::Ended {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        end: end.unwrap_or(Ended::Unknown),
        group_lives: test_kill_process_group(*pid).is_ok(),
    })
}

/// Waits for an order. `None` if there will be none, or only half of one came.
fn stand_by(mut orders: &UnixStream) -> Option<Order> {
    let name = rustix::thread::name().ok()?;
    rustix::thread::set_name(STANDING_BY).ok()?;
    let mut start = [0; 4096];
    let received = loop {
        match receive_with(orders, &mut start, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            received => break received.ok()?,
        }
    };
    let (length, outputs) = received;
    let mut order = start[..length].to_vec();
    orders.read_to_end(&mut order).ok()?;
    let order: Order = serde_json::from_slice(&order).ok()?;
    let [stdout, stderr] = &outputs[..] else {
        return None;
    };
    rustix::stdio::dup2_stdout(stdout).ok()?;
    rustix::stdio::dup2_stderr(stderr).ok()?;
    rustix::thread::set_name(&name).ok()?;
    Some(order)
}

fn obey(order: &Order, owner: &Owner, work: impl Fn(&[String], &Owner) -> u8) -> u8 {
    /// As shells have it, if a command can't be executed.
    const NOT_STARTED: u8 = 126;
    let moved = std::env::set_current_dir(&order.directory);
    if let Err(error) = moved {
        let text = format!("can't start in {}: {error}\n", order.directory.display());
        let _ = io::stderr().write_all(text.as_bytes());
        return NOT_STARTED;
    }
    for (name, value) in &order.environment {
        // SAFETY: this process has one thread, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    work(&order.arguments, owner)
}

/// Sends bytes with descriptors beside the first of them. Returns how many of the bytes were sent.
fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(descriptors));
    sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )
}

/// Receives bytes, and the descriptors beside them.
fn receive_with(
    socket: impl AsFd,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(bytes)],
        &mut beside,
        flags | RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(these) = message {
            descriptors.extend(these);
        }
    }
    Ok((received.bytes, descriptors))
}
