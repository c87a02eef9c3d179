//! The keys of `[backend.local]`. The comments here are part of the reference.

use std::num::{NonZeroU32, NonZeroUsize};

use crate::config::table::table;

table! {
    /// This machine as a backend.
    Local {
        /// How many processors the attempts may use in all; left out, as many as there are.
        cpus: NonZeroU32 = Example("8"),
        /// How many graphics processors they may use: the first ones that CUDA_VISIBLE_DEVICES names
        /// where `cu` starts, else by their index from 0.
        gpus: u32 = Default("0"),
    }
}

/// An attempt in the queue of this machine has files and is kept in memory. More would only wait there.
const LONGEST_QUEUE: u32 = 1000;

impl Local {
    /// How many attempts of a run with very many jobs are queued or running at a time, if the config does not
    /// say.
    pub fn longest_queue(&self) -> NonZeroU32 {
        let cpus = self.cpus.map_or_else(
            || std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            |cpus| cpus.get() as usize,
        );
        let running = u32::try_from(cpus).unwrap_or(u32::MAX);
        let most = running.saturating_mul(2).max(LONGEST_QUEUE);
        NonZeroU32::new(most).unwrap_or(NonZeroU32::MAX)
    }
}
