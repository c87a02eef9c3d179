//! The keys of `[backend]`: those of every backend, and the table of each.

use std::num::NonZeroU32;
use std::path::Path;

use super::htcondor::keys::Htcondor;
use super::kind::{Kind, kind_or_auto};
use super::local::keys::Local;
use super::slurm::keys::Slurm;
use crate::config::table::table;
use crate::config::units::Time;

table! {
    /// The backend: the machine or cluster on which attempts run.
    Backend {
        /// auto, local, slurm or htcondor. auto is Slurm if its command sbatch is here, else HTCondor
        /// if condor_submit is, else this machine. The run keeps what was chosen.
        #[serde(deserialize_with = "kind_or_auto")]
        kind: Kind = Default("\"auto\""),
        /// The most attempts that are queued or running at a time; left out, any number.
        max_submitted: NonZeroU32 = Example("100"),
        /// How long to wait for an attempt's own record once the scheduler reports its end; after that
        /// the scheduler's report decides.
        record_grace: Time = Default("\"5s\""),
        /// How long the scheduler may be unreachable before the main process ends with a message.
        patience: Time = Default("\"1day\""),
    }
    tables {
        local: Local,
        slurm: Slurm,
        htcondor: Htcondor,
    }
}

impl Backend {
    /// The directory that the config names for the commands of a backend.
    pub fn commands(&self, kind: Kind) -> Option<&Path> {
        let commands = match kind {
            Kind::Local => &None,
            Kind::Slurm => &self.slurm.commands,
            Kind::Htcondor => &self.htcondor.commands,
        };
        commands.as_ref().map(|path| path.0.as_path())
    }
}
