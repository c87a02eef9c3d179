//! Random numbers from a seed. The seed is printed, so a failed test shows it.

use std::time::Duration;

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// Seeds the sequence from `CU_SEED`, else from the clock.
    ///
    /// # Panics
    /// If `CU_SEED` is not a number.
    #[must_use]
    pub fn from_environment() -> Self {
        let seed = match std::env::var("CU_SEED") {
            Ok(text) => text.parse().expect("CU_SEED is a number"),
            Err(_) => crate::steps::nanoseconds(),
        };
        println!("seed: repeat with CU_SEED={seed}");
        Self { state: seed }
    }

    /// The next number: SplitMix64.
    #[must_use]
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A time from zero to `longest`, in microseconds.
    #[must_use]
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let microseconds = longest.as_micros() as u64;
        Duration::from_micros(self.number() % (microseconds + 1))
    }

    /// Random bytes.
    #[must_use]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.number().to_le_bytes());
        words.flatten().take(count).collect()
    }
}
