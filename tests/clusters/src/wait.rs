//! The one place where a condition is polled for, always with a bound.

use std::time::{Duration, Instant};

/// How long anything may take that is done in seconds on an idle machine.
pub const BOUND: Duration = Duration::from_secs(120);

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Looks until there is something, and fails the test if there is nothing for `bound`. `what`
/// follows "waited in vain for".
///
/// # Panics
/// If it was waited for in vain.
pub fn until<T>(what: &str, bound: Duration, look: impl FnMut() -> Option<T>) -> T {
    until_or(bound, look, || what.to_owned())
}

/// As [`until`], with a `what` that describes the present state.
///
/// # Panics
/// If it was waited for in vain.
pub fn until_or<T>(
    bound: Duration,
    mut look: impl FnMut() -> Option<T>,
    what: impl FnOnce() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if start.elapsed() >= bound {
            panic!("waited in vain for {}", what());
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
