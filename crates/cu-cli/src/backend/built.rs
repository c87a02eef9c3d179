//! Lists the backends that this build has. No other code asks which these are.

use super::Kind;
use super::interface::Backend;

/// The backend `kind`; `None` if this build does not have it.
pub fn built(kind: Kind) -> Option<&'static dyn Backend> {
    match kind {
        #[cfg(feature = "local")]
        Kind::Local => Some(&super::local::LocalBackend),
        #[cfg(feature = "slurm")]
        Kind::Slurm => Some(&super::slurm::SlurmBackend),
        #[cfg(feature = "htcondor")]
        Kind::Htcondor => Some(&super::htcondor::HtcondorBackend),
        #[cfg(not(all(feature = "local", feature = "slurm", feature = "htcondor")))]
        _ => None,
    }
}
