//! How much memory the attempt's processes needed.

use cu_system::children::EndedChild;

/// The greatest resident memory of any one of the processes that have ended and been waited for, in bytes. What the
/// kernel counts of all children together would include those of an attempt before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeakMemory(u64);

impl PeakMemory {
    pub fn include(&mut self, ended: &EndedChild) {
        self.0 = self.0.max(ended.peak_memory_bytes);
    }

    /// `None` if the kernel has counted none.
    pub fn bytes(self) -> Option<u64> {
        Some(self.0).filter(|bytes| *bytes > 0)
    }
}
