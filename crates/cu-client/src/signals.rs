//! Notes signals that ask a program to stop. Acts on none as long as a job lives: the program may be
//! saving.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::{SigId, flag, low_level};

/// TERM and INT of the process, from its first job on.
static ENDING: Mutex<Option<Ending>> = Mutex::new(None);

/// The last signal that came since this was made, 0 if none did. Dropped with its job: from then on TERM
/// and INT do again what they did before, if no other job is there.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    last: Arc<AtomicUsize>,
    noting: Vec<SigId>,
}

/// Whether TERM and INT end the process. The handlers of a process can't be taken away again, so these
/// flags decide what they do.
#[derive(Debug)]
struct Ending {
    terminate: Arc<AtomicBool>,
    interrupt: Arc<AtomicBool>,
    jobs: usize,
}

impl Signals {
    /// Notes USR1, USR2, TERM and INT from now on, however often they come. Handlers that were
    /// installed before still run.
    ///
    /// If `second_interrupt_ends`, a second INT ends the process as without handlers, for a person at a
    /// terminal.
    pub fn noted(second_interrupt_ends: bool) -> io::Result<Self> {
        let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let ending = match &mut *ending {
            Some(ending) => ending,
            none => none.insert(Ending::install()?),
        };
        ending.set(false);
        ending.jobs += 1;
        let mut signals = Self::default();
        if second_interrupt_ends {
            let interrupt = Arc::clone(&ending.interrupt);
            signals.noting.push(flag::register(SIGINT, interrupt)?);
        }
        for signal in [SIGUSR1, SIGUSR2, SIGTERM, SIGINT] {
            let number = usize::try_from(signal).expect("the numbers of signals are positive");
            let noting = flag::register_usize(signal, Arc::clone(&signals.last), number)?;
            signals.noting.push(noting);
        }
        Ok(signals)
    }

    /// The number of the last signal.
    pub fn last(&self) -> Option<i32> {
        // Relaxed: nothing but the number itself is shared.
        match self.last.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if self.noting.is_empty() {
            return;
        }
        for noting in self.noting.drain(..) {
            low_level::unregister(noting);
        }
        let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = &mut *ending {
            ending.jobs -= 1;
            if ending.jobs == 0 {
                ending.set(true);
            }
        }
    }
}

impl Ending {
    /// Comes before anything notes a signal, so that the first INT finds its flag as it was.
    fn install() -> io::Result<Self> {
        let ending = Self {
            terminate: Arc::default(),
            interrupt: Arc::default(),
            jobs: 0,
        };
        for (signal, ends) in [(SIGTERM, &ending.terminate), (SIGINT, &ending.interrupt)] {
            // A handler of the program's own, or its wish to ignore the signal, stays all there is.
            if has_default_action(signal) {
                flag::register_conditional_default(signal, Arc::clone(ends))?;
            }
        }
        Ok(ending)
    }

    fn set(&self, ends: bool) {
        self.terminate.store(ends, Ordering::Relaxed);
        self.interrupt.store(ends, Ordering::Relaxed);
    }
}

/// Whether nobody in this process handles or ignores the signal.
fn has_default_action(signal: c_int) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_in = |field| {
        let mask = status.lines().find_map(|line| line.strip_prefix(field));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
    };
    !is_in("SigCgt:") && !is_in("SigIgn:")
}
