//! The keys of `[backend.local]`. The comments here are part of the reference.

use std::num::NonZeroU32;

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
