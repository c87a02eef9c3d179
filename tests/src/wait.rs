//! The one place where a condition is polled for, always with a bound.

use std::time::{Duration, Instant};

/// How long anything may take that is done in milliseconds on an idle machine.
pub const BOUND: Duration = Duration::from_secs(60);

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Looks until there is something, and fails the test if there is nothing for [`BOUND`]. `what`
/// follows "waited in vain for".
///
/// # Panics
/// If it was waited for in vain.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(BOUND, what, look)
}

/// The same for what takes longer.
///
/// # Panics
/// If there is nothing for so long.
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
