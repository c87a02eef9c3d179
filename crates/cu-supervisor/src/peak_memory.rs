//! How much memory the attempt's processes needed.

use nix::sys::resource::{UsageWho, getrusage};

/// The greatest resident memory of any one of the descendants that have ended and been waited for,
/// in bytes.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?.max_rss();
    u64::try_from(kibibytes)
        .ok()
        .filter(|kibibytes| *kibibytes > 0)
        .map(|kibibytes| kibibytes * 1024)
}
