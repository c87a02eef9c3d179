//! Real clusters for tests: four versions of Slurm and an HTCondor pool, each in a Debian root of
//! its own on this machine, started by the scripts beside this crate. Only root can do that.
//!
//! ```no_run
//! use cu_cluster_tests::{SlurmCluster, Suite};
//!
//! let cluster = SlurmCluster::up(Suite::Bookworm);
//! let lane = cluster.lane(); // 3 processors that no other test uses
//! let work = cluster.work_directory(); // jobs see it under the same path
//! let user = cluster.become_user(); // of whom the files are, and who submits
//! let mut sbatch = cluster.command("sbatch");
//! sbatch.args(["--partition", lane.partition(), "--wrap", "true"]);
//! sbatch.current_dir(work.path());
//! assert!(sbatch.status().unwrap().success());
//! ```
//!
//! # Sharing
//! Tests of several files run at once and share the clusters that `up` brings up, which go on
//! running afterwards. So that they don't disturb each other:
//! - A test takes a [lane](SlurmCluster::lane): a partition with a node of its own (Slurm) or a slot
//!   of its own (HTCondor). Eight tests find place beside each other, and the slow ones, which wait
//!   for time limits, wait together.
//! - A test that stops daemons or wants other settings takes [a cluster of its
//!   own](SlurmCluster::own), with its own state and ports, which lasts as long as the value. That
//!   takes two to seven seconds and some 150 MB of memory. The other way, a lock that is shared by all but
//!   exclusive for outages, would let every outage wait for the slowest time limit, and every
//!   ordinary test for every outage.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`slurm`], [`htcondor`] | the two kinds of cluster |
//! | [`instance`] | what they share: commands, directories, outages |
//! | [`lane`] | places for one test at a time |
//! | [`user`] | to be an ordinary user for a while |
//! | [`login`] | commands that such a user types |
//! | [`place`] | where a run of the real `cu` takes place |
//! | [`processes`] | processes, as `/proc` shows them |
//! | [`counted`] | commands whose calls are counted |
//! | [`programs`] | `cu` and what jobs run, linked statically |
//! | [`runs`], [`image`], [`recipe`], [`own`] | what tests of whole runs, containers, recipes and broken Slurms share |
//! | [`wait`] | the one place where a condition is polled for |
#![forbid(unsafe_code)]
// A harness has nobody to hand an error to: it says what went wrong and fails the test.
#![allow(clippy::unwrap_used)]

pub mod counted;
pub mod htcondor;
pub mod image;
pub mod instance;
pub mod lane;
pub mod login;
pub mod own;
pub mod place;
pub mod processes;
pub mod programs;
pub mod recipe;
pub mod runs;
pub mod slurm;
pub mod user;
pub mod wait;

pub use htcondor::{CondorLane, CondorPool};
pub use instance::Instance;
pub use login::Login;
pub use slurm::{SlurmCluster, SlurmLane, SlurmSettings, Suite};
pub use user::{USER, User};
