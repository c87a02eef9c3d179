//! Random numbers from a seed: the same seed gives the same run.

#[cfg(feature = "simulated")]
use std::time::Duration;

/// A small generator (splitmix64). It is not for secrets, but gives the same numbers on every
/// machine.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to below 1, evenly distributed.
    pub fn fraction(&mut self) -> f64 {
        const STEPS: u32 = 1 << 31;
        f64::from((self.next() >> 33) as u32) / f64::from(STEPS)
    }

    /// `true` with this probability.
    #[cfg(any(feature = "conformance", test))]
    pub fn happens(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// A time from zero to `most`, evenly distributed.
    #[cfg(feature = "simulated")]
    pub fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_fill_the_range_and_repeat_with_the_seed() {
        let mut one = Chance::seeded(1);
        let drawn: Vec<f64> = (0..1000).map(|_| one.fraction()).collect();
        assert!(drawn.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        let mut again = Chance::seeded(1);
        assert_eq!(drawn[0].to_bits(), again.fraction().to_bits());
    }

    #[test]
    fn never_and_always() {
        let mut chance = Chance::seeded(3);
        assert!((0..100).all(|_| !chance.happens(0.0)));
        assert!((0..100).all(|_| chance.happens(1.0)));
    }
}
