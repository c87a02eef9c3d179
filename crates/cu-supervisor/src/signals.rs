//! The signals that come to the supervisor, and what they mean.
//!
//! HUP, INT, TERM, USR1 and USR2 are the wish to stop, whoever sends them: a scheduler before the
//! time limit or a preemption, or a person. CONT, which Slurm sends along with every other, means
//! nothing.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as Caught};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use signal_hook::iterator::backend::{Handle, SignalDelivery};
use signal_hook::iterator::exfiltrator::SignalOnly;

use crate::event::{Event, Happening, Ready, Source, Then};
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

/// While this lives, signals become events. Afterwards they are ignored.
#[derive(Debug)]
pub(crate) struct Signals(Handle);

impl Signals {
    /// From now on.
    pub fn catch(happening: &Happening) -> Result<Self> {
        let caught = CAUGHT.map(|signal| signal as i32);
        let catch = || {
            let (read, write) = UnixStream::pair()?;
            SignalDelivery::with_pipe(read, write, SignalOnly, caught)
        };
        let delivery = catch().map_err(Error::system("catch signals"))?;
        // Our parent may have blocked some, which we inherit, and the program from us: we
        // would never hear of its end, nor it of a wish to stop.
        SigSet::from_iter(CAUGHT)
            .thread_unblock()
            .map_err(|errno| Error::system("unblock signals")(errno.into()))?;
        let handle = delivery.handle();
        happening.add(Arriving {
            delivery,
            look_at: Instant::now(),
        });
        Ok(Self(handle))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Debug)]
struct Arriving {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    look_at: Instant,
}

impl Source for Arriving {
    fn awaits<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
        descriptors.push(PollFd::new(self.delivery.get_read(), PollFlags::IN));
    }

    fn next_deadline(&self) -> Option<Instant> {
        Some(self.look_at)
    }

    fn turn(&mut self, ready: &Ready, now: Instant, events: &mut VecDeque<Event>) -> Then {
        if self.delivery.handle().is_closed() {
            return Then::Ends;
        }
        if ready.has(self.delivery.get_read()) || self.look_at <= now {
            self.look_at = now + LOOK_EVERY;
            for number in self.delivery.pending() {
                events.extend(match Signal::from_named_raw(number) {
                    Some(Signal::CHILD) => Some(Event::ChildEnded),
                    Some(signal) => Some(Event::StopSignal(signal)),
                    None => None,
                });
            }
        }
        Then::Continues
    }
}
