//! Chance that repeats: what is drawn for a trial depends on the seed and the number of the trial alone.

use rand::{Rng, RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

/// A source of random numbers for one trial.
pub(crate) struct Chance(Pcg64);

impl Chance {
    /// The source for this trial of a study with this seed.
    pub(crate) fn new(seed: u64, trial: usize) -> Self {
        Self(Pcg64::seed_from_u64(mixed(seed ^ mixed(trial as u64))))
    }

    /// A number from 0 up to, but without, 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// A number with mean 0 and standard deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        self.0.sample(StandardNormal)
    }

    /// A whole number below `count`, which is at least 1.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// A seed for a library's own generator.
    pub(crate) fn seed(&mut self) -> u64 {
        self.0.random()
    }

    /// The generator itself, for a library that draws from one.
    pub(crate) fn generator(&mut self) -> &mut impl Rng {
        &mut self.0
    }
}

/// Spreads numbers that differ in few bits over all (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
