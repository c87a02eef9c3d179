//! Receives the client's datagrams, in a thread of its own.

use std::io::{ErrorKind, PipeReader, PipeWriter};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use cu_protocol::JobId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::said::{Refusal, Said, read};
use crate::event::{Event, Events};
use crate::{Error, Result};

/// As many read messages wait for the supervisor. Then the datagrams wait in the kernel, which drops what
/// is too much.
const READ_AHEAD: usize = 256;
/// The room for datagrams in the kernel; it may give less.
const KERNEL_BYTES: usize = 4 << 20;
/// No datagram is longer.
const LONGEST: usize = 64 * 1024;
/// The kernel's room holds fewer. What comes later is not of the program, which has ended.
const MOST_LEFT: usize = 20_000;
/// How long the rest may take once the program has ended. It is there already.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message, or why a datagram is none.
type Heard = std::result::Result<Said, Refusal>;

/// A socket on the loopback, and what arrived there.
#[derive(Debug)]
pub(super) struct Datagrams {
    port: u16,
    /// Open as long as more is expected.
    more: Option<PipeWriter>,
    arrived: mpsc::Receiver<Heard>,
}

impl Datagrams {
    /// Listens for messages of this job. [`Event::MessageForClusterUtils`] follows for each.
    ///
    /// # Errors
    /// If the system refuses a socket or a thread.
    pub fn listen(job: JobId, events: Events) -> Result<Self> {
        let failed = || Error::system("listen on 127.0.0.1");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
        socket.set_nonblocking(true).map_err(failed())?;
        let port = socket.local_addr().map_err(failed())?.port();
        // If it gives less, a burst loses messages that decide nothing.
        let _ = set_socket_recv_buffer_size(&socket, KERNEL_BYTES);
        let (until, more) = std::io::pipe().map_err(Error::system("make a pipe"))?;
        let (read_ahead, arrived) = mpsc::sync_channel(READ_AHEAD);
        crate::spawn_thread("datagrams", move || {
            let mut datagram = vec![0; LONGEST];
            loop {
                let is_more_expected = await_more(&socket, &until);
                let most = if is_more_expected {
                    READ_AHEAD
                } else {
                    MOST_LEFT
                };
                for _ in 0..most {
                    let Some(length) = receive(&socket, &mut datagram) else {
                        break;
                    };
                    if read_ahead.send(read(&datagram[..length], job)).is_err() {
                        return;
                    }
                    let _ = events.send(Event::MessageForClusterUtils);
                }
                if !is_more_expected {
                    return;
                }
            }
        })?;
        Ok(Self {
            port,
            more: Some(more),
            arrived,
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What has arrived by now; after [`close`](Self::close), the rest.
    pub fn arrived(&self) -> Vec<Heard> {
        if self.more.is_some() {
            return self.arrived.try_iter().take(READ_AHEAD).collect();
        }
        std::iter::from_fn(|| self.arrived.recv_timeout(PATIENCE).ok()).collect()
    }

    /// Takes what lies in the socket, and nothing that comes later.
    pub fn close(&mut self) {
        self.more = None;
    }
}

/// Waits for a datagram, or for the end of `until`. Returns whether more is expected.
fn await_more(socket: &UdpSocket, until: &PipeReader) -> bool {
    let mut both = [
        PollFd::new(socket, PollFlags::IN),
        PollFd::new(until, PollFlags::IN),
    ];
    match poll(&mut both, None) {
        Ok(_) => both[1].revents().is_empty(),
        // Interrupted.
        Err(_) => true,
    }
}

/// The length of the next datagram, if there is one.
fn receive(socket: &UdpSocket, datagram: &mut [u8]) -> Option<usize> {
    loop {
        match socket.recv(datagram) {
            Ok(length) => return Some(length),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Nothing is there, or the kernel has an error for us that concerns one datagram.
            Err(_) => return None,
        }
    }
}
