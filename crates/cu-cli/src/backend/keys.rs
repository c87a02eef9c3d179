//! The keys of `[backend]`: those of every backend, and the table of each.

use std::num::NonZeroU32;
use std::path::Path;

use super::htcondor::keys::Htcondor;
use super::kind::{Kind, kind_or_auto};
use super::local::keys::Local;
use super::slurm::keys::Slurm;
use crate::config::table::table;
use crate::config::units::{FilePath, Surroundings, Time};

table! {
    /// The backend: the machine or cluster on which attempts run.
    Backend {
        /// auto, local, slurm or htcondor. auto is Slurm if its command sbatch is here, else HTCondor
        /// if condor_submit is, else this machine. The run keeps what was chosen.
        #[serde(deserialize_with = "kind_or_auto")]
        kind: Kind = Default("\"auto\""),
        /// The most attempts that are queued or running at a time; left out, any number, but on this machine
        /// 1000 or twice its processors.
        max_submitted: NonZeroU32 = Example("100"),
        /// How long to wait for an attempt's own record once the scheduler reports its end; after that
        /// the scheduler's report decides.
        record_grace: Time = Default("\"5s\""),
        /// How long the scheduler may be unreachable before the main process ends with a message.
        patience: Time = Default("\"1day\""),
        /// Modules that are loaded before each attempt's program starts, in this order, by a login shell on
        /// the attempt's machine.
        modules: Vec<String> = Example("[\"cuda/12.4\"]"),
        /// A script that bash sources after that, such as one that activates a virtual environment; relative
        /// to the config's directory. The program itself is not started by a shell; one without a slash is
        /// searched in the PATH that it has then.
        activate: FilePath = Example("\"venv/bin/activate\""),
    }
    tables {
        local: Local,
        slurm: Slurm,
        htcondor: Htcondor,
    }
}

impl Backend {
    /// Whether an attempt's PATH is another one than that of the main process, by what the config activates.
    pub fn changes_path(&self) -> bool {
        let slurm = &self.slurm;
        let changes = |modules: &Option<Vec<String>>, activate: &Option<FilePath>| {
            modules.as_ref().is_some_and(|it| !it.is_empty()) || activate.is_some()
        };
        changes(&self.modules, &self.activate)
            || self.kind == Some(Kind::Slurm) && changes(&slurm.modules, &slurm.activate)
    }

    /// How many attempts are queued or running at a time if the config does not say; any number if `None`.
    pub fn longest_queue(&self) -> Option<NonZeroU32> {
        let is_local = self.kind == Some(Kind::Local);
        is_local.then(|| self.local.longest_queue())
    }

    /// Whether attempts run in a container, which has files of its own.
    pub fn has_image(&self) -> bool {
        match self.kind {
            Some(Kind::Slurm) => self.slurm.container.image.is_some(),
            Some(Kind::Htcondor) => self.htcondor.image.is_some(),
            Some(Kind::Local) | None => false,
        }
    }

    /// Whether programs find the variables of the main process.
    pub fn inherits(&self) -> bool {
        let surroundings = match self.kind {
            Some(Kind::Slurm) => self.slurm.environment,
            Some(Kind::Htcondor) => self.htcondor.environment,
            Some(Kind::Local) | None => None,
        };
        !matches!(surroundings, Some(Surroundings::Clean))
    }

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
