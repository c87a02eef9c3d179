//! The signals that come to the supervisor, and what they mean.
//!
//! HUP, INT, TERM, USR1 and USR2 are the wish to stop, whoever sends them: a scheduler before the
//! time limit or a preemption, or a person. CONT, which Slurm sends along with every other, means
//! nothing.

use nix::sys::signal::{SigSet, Signal as Caught};
use rustix::process::Signal;
use signal_hook::iterator::{Handle, Signals as Arriving};

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

/// While this lives, signals become events. Afterwards they are ignored.
#[derive(Debug)]
pub(crate) struct Signals(Handle);

impl Signals {
    /// From now on.
    pub fn to_events(events: Events) -> Result<Self> {
        let mut arriving = Arriving::new(CAUGHT.map(|signal| signal as i32))
            .map_err(Error::system("catch signals"))?;
        // Whoever started us may have blocked some, which we inherit, and the program from us: we
        // would never hear of its end, nor it of a wish to stop.
        SigSet::from_iter(CAUGHT)
            .thread_unblock()
            .map_err(|errno| Error::system("unblock signals")(errno.into()))?;
        let handle = arriving.handle();
        crate::spawn_thread("signals", move || {
            for number in arriving.forever() {
                let event = match Signal::from_named_raw(number) {
                    Some(Signal::CHILD) => Event::ChildEnded,
                    Some(signal) => Event::StopSignal(signal),
                    None => continue,
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self(handle))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The signal of this name, without `SIG`, that a config may choose.
pub(crate) fn stop_signal(name: &str) -> Option<Signal> {
    match name {
        "HUP" => Some(Signal::HUP),
        "INT" => Some(Signal::INT),
        "TERM" => Some(Signal::TERM),
        "USR1" => Some(Signal::USR1),
        "USR2" => Some(Signal::USR2),
        _ => None,
    }
}
