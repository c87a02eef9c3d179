//! Receives the client's datagrams.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::rc::Rc;
use std::time::Instant;

use cu_protocol::JobId;
use rustix::event::{PollFd, PollFlags};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::said::{Refusal, Said, read};
use crate::event::{Event, Happening, Ready, Source, Then};
use crate::{Error, Result};

/// As many are read in one turn. The others wait in the kernel, which drops what is too much.
const AT_ONCE: usize = 256;
/// The room for datagrams in the kernel; it may give less.
const KERNEL_BYTES: usize = 4 << 20;
/// No datagram is longer.
const LONGEST: usize = 64 * 1024;
/// The kernel's room holds fewer. What comes later is not of the program, which has ended.
const MOST_LEFT: usize = 20_000;

/// A message, or why a datagram is none.
type Heard = std::result::Result<Said, Refusal>;

/// A socket on the loopback, and what arrived there.
#[derive(Debug)]
pub(super) struct Datagrams {
    port: u16,
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    socket: UdpSocket,
    job: JobId,
    arrived: RefCell<Vec<Heard>>,
    is_closed: Cell<bool>,
}

impl Datagrams {
    /// Listens for messages of this job. [`Event::MessageForClusterUtils`] follows when some have arrived.
    ///
    /// # Errors
    /// If the system refuses a socket.
    pub fn listen(job: JobId, happening: &Happening) -> Result<Self> {
        let failed = || Error::system("listen on 127.0.0.1");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
        socket.set_nonblocking(true).map_err(failed())?;
        let port = socket.local_addr().map_err(failed())?.port();
        // If it gives less, a burst loses messages that decide nothing.
        let _ = set_socket_recv_buffer_size(&socket, KERNEL_BYTES);
        let inner = Rc::new(Inner {
            socket,
            job,
            arrived: RefCell::default(),
            is_closed: Cell::new(false),
        });
        happening.add(Arriving(inner.clone()));
        Ok(Self { port, inner })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What has arrived since this was called last.
    pub fn arrived(&self) -> Vec<Heard> {
        self.inner.arrived.take()
    }

    /// Takes what lies in the socket, and nothing that comes later.
    pub fn close(&mut self) {
        self.inner.read(MOST_LEFT);
        self.inner.is_closed.set(true);
    }
}

impl Inner {
    /// Reads at most so many datagrams.
    fn read(&self, most: usize) {
        let mut datagram = vec![0; LONGEST];
        let mut arrived = self.arrived.borrow_mut();
        for _ in 0..most {
            let Some(length) = receive(&self.socket, &mut datagram) else {
                return;
            };
            arrived.push(read(&datagram[..length], self.job));
        }
    }
}

/// The part of it that waits.
#[derive(Debug)]
struct Arriving(Rc<Inner>);

impl Source for Arriving {
    fn awaits<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
        if !self.0.is_closed.get() {
            descriptors.push(PollFd::new(&self.0.socket, PollFlags::IN));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn turn(&mut self, ready: &Ready, _: Instant, events: &mut VecDeque<Event>) -> Then {
        if self.0.is_closed.get() {
            return Then::Ends;
        }
        if ready.has(&self.0.socket) {
            self.0.read(AT_ONCE);
            events.push_back(Event::MessageForClusterUtils);
        }
        Then::Continues
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
