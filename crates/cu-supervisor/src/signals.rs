//! The signals that come to the supervisor, and what they mean.
//!
//! HUP, INT, TERM, USR1 and USR2 are the wish to stop, whoever sends them: a scheduler before the
//! time limit or a preemption, or a person. CONT, which Slurm sends along with every other, means
//! nothing.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal as Caught};
use rustix::process::Signal;
use signal_hook::iterator::backend::{Handle, SignalDelivery};
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::event::{Event, Events};
use crate::{Error, Result};

/// A child's end, and the wishes to stop.
const CAUGHT: [Caught; 6] = [
    Caught::SIGCHLD,
    Caught::SIGHUP,
    Caught::SIGINT,
    Caught::SIGTERM,
    Caught::SIGUSR1,
    Caught::SIGUSR2,
];

/// How often we look for signals that were caught but not announced: the handler announces them through a
/// socket, which may fail.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long nothing is read from a socket that has failed.
const READ_AGAIN: Duration = Duration::from_millis(100);

type Arriving = SignalDelivery<UnixStream, SignalOnly>;

/// While this lives, signals become events. Afterwards they are ignored.
#[derive(Debug)]
pub(crate) struct Signals(Handle);

impl Signals {
    /// From now on.
    pub fn to_events(events: Events) -> Result<Self> {
        let caught = CAUGHT.map(|signal| signal as i32);
        let catch = || {
            let (read, write) = UnixStream::pair()?;
            read.set_read_timeout(Some(LOOK_EVERY))?;
            SignalDelivery::with_pipe(read, write, SignalOnly, caught)
        };
        let mut arriving = catch().map_err(Error::system("catch signals"))?;
        // Our parent may have blocked some, which we inherit, and the program from us: we
        // would never hear of its end, nor it of a wish to stop.
        SigSet::from_iter(CAUGHT)
            .thread_unblock()
            .map_err(|errno| Error::system("unblock signals")(errno.into()))?;
        let handle = arriving.handle();
        crate::spawn_thread("signals", move || {
            // A panic has been told where it arose. Signals that nobody hears any more would have us
            // wait for ever.
            while catch_unwind(AssertUnwindSafe(|| forward(&mut arriving, &events))).is_err() {
                std::thread::sleep(READ_AGAIN);
            }
        })?;
        Ok(Self(handle))
    }
}

/// Until nobody listens any more.
fn forward(arriving: &mut Arriving, events: &Events) {
    while !arriving.handle().is_closed() {
        if arriving.poll_pending(&mut has_arrived).is_err() {
            // What has arrived is known all the same.
            std::thread::sleep(READ_AGAIN);
        }
        for number in arriving.pending() {
            let event = match Signal::from_named_raw(number) {
                Some(Signal::CHILD) => Event::ChildEnded,
                Some(signal) => Event::StopSignal(signal),
                None => continue,
            };
            if events.send(event).is_err() {
                return;
            }
        }
    }
}

fn has_arrived(socket: &mut UnixStream) -> std::io::Result<bool> {
    match socket.read(&mut [0]) {
        Ok(count) => Ok(count > 0),
        Err(error) => match error.kind() {
            ErrorKind::Interrupted | ErrorKind::WouldBlock => Ok(false),
            _ => Err(error),
        },
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.close();
    }
}
