//! Tests that need a right, mostly root's: leaves them out if the tester allows that, and fails else.
#![forbid(unsafe_code)]

use std::fmt::Display;

/// Leaves out the tests of `what`, which are impossible here since `why`.
///
/// # Panics
/// Unless the variable `CU_TESTS_UNPRIVILEGED` is 1: a test that is silently left out tests nothing.
pub fn leave_out(what: &str, why: impl Display) {
    let is_allowed = std::env::var_os("CU_TESTS_UNPRIVILEGED").is_some_and(|set| set == "1");
    assert!(
        is_allowed,
        "can't test {what}: {why}. Run the tests as root, or set CU_TESTS_UNPRIVILEGED=1 to leave \
         this out"
    );
    eprintln!("NOT TESTED: {what}, since {why}");
}
