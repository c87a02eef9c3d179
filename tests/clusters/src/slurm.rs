//! Slurm in four versions: the shared clusters, clusters of a test's own, and their lanes.

use std::fmt::Write as _;
use std::ops::Deref;

use crate::instance::Instance;
use crate::lane::{Held, SLOTS};
use crate::wait;

/// A Debian release, and with it a version of Slurm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Slurm 20.11.
    Bullseye,
    /// Slurm 22.05.
    Bookworm,
    /// Slurm 24.11.
    Trixie,
    /// Slurm 26.05.
    Forky,
}

impl Suite {
    /// All of them, the oldest first.
    pub const ALL: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Forky];

    /// As Debian writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }

    /// Its Slurm: year and month.
    #[must_use]
    pub const fn slurm(self) -> (u32, u32) {
        match self {
            Self::Bullseye => (20, 11),
            Self::Bookworm => (22, 5),
            Self::Trixie => (24, 11),
            Self::Forky => (26, 5),
        }
    }
}

/// How a Slurm of a test's own differs from the shared one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmSettings {
    /// Whether there is accounting: slurmdbd and its database. Without, a cluster is up sooner.
    pub accounting: bool,
    /// Lines of `slurm.conf`, as `KillWait=30`. They replace those of the same key.
    pub lines: Vec<String>,
}

impl Default for SlurmSettings {
    fn default() -> Self {
        Self {
            accounting: true,
            lines: Vec::new(),
        }
    }
}

/// A Slurm that is up. Its daemons: `slurmctld`, `slurmdbd`, `mariadbd`, `munged`, `slurmd-n0` to
/// `slurmd-n8`.
#[derive(Debug)]
pub struct SlurmCluster {
    suite: Suite,
    instance: Instance,
}

impl SlurmCluster {
    /// The one that all tests share, brought up if it isn't yet.
    ///
    /// # Panics
    /// If it can't be: with what the script said.
    #[must_use]
    pub fn up(suite: Suite) -> Self {
        let instance = Instance::shared("slurm", Some(suite.name()));
        Self { suite, instance }
    }

    /// A fresh one for one test, which may break it. It lasts as long as the value.
    ///
    /// # Panics
    /// If it can't be brought up: with what the script said.
    #[must_use]
    pub fn own(suite: Suite, settings: &SlurmSettings) -> Self {
        let mut lines = String::new();
        for line in &settings.lines {
            writeln!(lines, "{line}").expect("a string can be written");
        }
        let accounting = if settings.accounting { "1" } else { "0" };
        let environment = [("CU_ACCOUNTING", accounting)];
        let instance = Instance::own("slurm", Some(suite.name()), &lines, &environment);
        Self { suite, instance }
    }

    /// A fresh one beside this one, of the same version and with the same accounting, which calls it
    /// `second`: commands of either reach both by `--clusters`. Drop it first.
    ///
    /// # Panics
    /// As [`own`](Self::own).
    #[must_use]
    pub fn beside(&self) -> Self {
        let suite = self.suite;
        let environment = [("CU_BESIDE", self.instance.name())];
        let instance = Instance::own("slurm", Some(suite.name()), "", &environment);
        Self { suite, instance }
    }

    /// Installs the programs of the recipes in its root, unless they are there. `all` includes the large ones.
    ///
    /// # Panics
    /// If they can't be installed: with what the script said.
    pub fn add_programs(&self, all: bool) {
        let which: &[&str] = if all { &["all"] } else { &[] };
        self.instance.run("programs", which, &[]);
    }

    /// Which Slurm it is.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// A place that no other test uses, with nothing queued and all processors free.
    ///
    /// # Panics
    /// If none becomes free.
    #[must_use]
    pub fn lane(&self) -> SlurmLane<'_> {
        let held = Held::take(self.home());
        let lane = SlurmLane {
            partition: format!("lane{}", held.number()),
            held,
            cluster: self,
        };
        lane.clear();
        lane
    }
}

impl Deref for SlurmCluster {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

/// A node of three processors, with partitions of its own. What is in them is cancelled when it is
/// dropped.
#[derive(Debug)]
pub struct SlurmLane<'cluster> {
    partition: String,
    held: Held,
    cluster: &'cluster SlurmCluster,
}

impl SlurmLane<'_> {
    /// The usual partition. The default time limit is an hour, and there is no longest.
    #[must_use]
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// One that takes no time limit beyond 2 minutes.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}-short", self.partition)
    }

    /// One whose jobs [`preempting`](Self::preempting) requeues.
    #[must_use]
    pub fn requeued(&self) -> String {
        format!("{}-low", self.partition)
    }

    /// One whose jobs [`preempting`](Self::preempting) ends, 5 seconds after SIGTERM.
    #[must_use]
    pub fn scavenging(&self) -> String {
        format!("{}-scavenge", self.partition)
    }

    /// One whose jobs take the processors of those in [`requeued`](Self::requeued) and
    /// [`scavenging`](Self::scavenging).
    #[must_use]
    pub fn preempting(&self) -> String {
        format!("{}-high", self.partition)
    }

    /// Its node. The daemon `slurmd-NODE` may be stopped without disturbing others.
    #[must_use]
    pub fn node(&self) -> String {
        format!("n{}", self.held.number())
    }

    /// How many jobs of one processor run at once.
    #[must_use]
    pub fn slots(&self) -> u32 {
        SLOTS
    }

    /// What `squeue` says of each job in this lane.
    fn jobs(&self, format: &str) -> Vec<String> {
        let partitions = [
            self.partition.clone(),
            self.short(),
            self.requeued(),
            self.scavenging(),
            self.preempting(),
        ];
        let partitions = partitions.join(",");
        let jobs = self
            .cluster
            .ask("squeue", &["-h", "-o", format, "-p", &partitions]);
        jobs.lines().map(str::to_owned).collect()
    }

    fn cancel_all(&self) {
        let jobs = self.jobs("%A");
        if !jobs.is_empty() {
            let jobs: Vec<_> = jobs.iter().map(String::as_str).collect();
            self.cluster.ask("scancel", &jobs);
        }
    }

    /// Cancels what another test left, and waits until that is gone and the node is there.
    fn clear(&self) {
        self.cancel_all();
        let node = self.node();
        let state = || self.cluster.ask("sinfo", &["-h", "-n", &node, "-o", "%T"]);
        if state().contains("down") || state().contains('*') {
            self.cluster.start(&format!("slurmd-{node}"));
        }
        // That its processors are free is told by the queue, which has jobs until they are: Slurm
        // 26.05 was seen to call a node mixed for minutes after its last one.
        let is_there = |state: &str| {
            let there = ["idle", "planned", "mixed", "allocated", "completing"];
            there.contains(&state.trim_end_matches('-'))
        };
        let is_free = || {
            let free = state().lines().all(is_there) && self.jobs("%A").is_empty();
            free.then_some(())
        };
        wait::until_or(wait::BOUND, is_free, || {
            let name = self.cluster.suite.name();
            let jobs = self.jobs("job %i %T (%r), to start %S");
            let there = self.cluster.ask("scontrol", &["show", "node", &node]);
            format!("node {node} of {name} to be free: {jobs:?}\n{there}")
        });
    }
}

impl Drop for SlurmLane<'_> {
    fn drop(&mut self) {
        // If the controller is away, who takes the lane next cleans up.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.cancel_all()));
    }
}
