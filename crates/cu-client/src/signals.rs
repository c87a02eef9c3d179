//! Notes signals that ask a program to stop. Never acts on them.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

/// The last signal that came, 0 if none did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// Notes USR1, USR2, TERM and INT from now on. Handlers that were installed before still run.
    ///
    /// Only the first TERM or INT is noted. A second one ends the process as without handlers, so
    /// that a program that never calls `should_exit` can still be stopped.
    pub fn noted() -> io::Result<Self> {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGUSR1, SIGUSR2] {
            note(signal, &last)?;
        }
        for signal in [SIGTERM, SIGINT] {
            let came_before = Arc::new(AtomicBool::new(false));
            // Keep this order, so that the first signal finds `false`.
            flag::register_conditional_default(signal, Arc::clone(&came_before))?;
            flag::register(signal, came_before)?;
            note(signal, &last)?;
        }
        Ok(Self(last))
    }

    /// The number of the last signal.
    pub fn last(&self) -> Option<i32> {
        // Relaxed: nothing but the number itself is shared.
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}

fn note(signal: c_int, last: &Arc<AtomicUsize>) -> io::Result<()> {
    let number = usize::try_from(signal).expect("the numbers of signals are positive");
    flag::register_usize(signal, Arc::clone(last), number)?;
    Ok(())
}
