//! The only place that polls for a condition, always with a bound.

use std::time::{Duration, Instant};

/// The bound for anything that takes milliseconds on an idle machine.
pub const BOUND: Duration = Duration::from_secs(60);

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Polls `look` until it returns a value, and fails the test after [`BOUND`]. `what` follows
/// "waited in vain for".
///
/// # Panics
/// If it waited in vain.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(BOUND, what, look)
}

/// The same with another bound.
///
/// # Panics
/// If it waited in vain.
pub fn until_within<T>(bound: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < bound, "waited in vain for {what}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
