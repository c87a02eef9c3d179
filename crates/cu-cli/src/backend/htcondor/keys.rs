//! The keys of `[backend.htcondor]`. The comments here are part of the reference.

use serde::Deserialize;

use crate::config::table::table;
use crate::config::units::{Bytes, FilePath, PathOrName, Surroundings, Time};
use crate::config::values::{Schema, one_of};

table! {
    /// HTCondor as a backend. These keys hold for all submissions alike. The run directory must be on a
    /// file system that the access point and the machines share, which /tmp seldom is.
    Htcondor {
        /// How a job is resumed. submit: by a new submission, which gives others their turn, and
        /// works everywhere. requeue: the same cluster job goes on, which keeps its id, and gives
        /// others their turn. checkpoint: the same cluster job goes on in the same slot, at once,
        /// without letting others in: for short attempts, and where a machine is expensive to set up.
        resume: Resume = Default("\"submit\""),
        /// Attempts of equal needs share cluster jobs: a cluster job that was started takes one attempt after
        /// another for this time, of any job of the run, and then leaves, so that others get their
        /// turn. For many short attempts, which cost a few submissions then. Left out, each attempt has a
        /// cluster job of its own. HTCondor is asked for resources.time_limit and this time together,
        /// bounds memory and counts costs by cluster job.
        keep: Time = Example("\"20min\""),
        /// With checkpoint: how often a job goes on in one slot before it gives others their turn;
        /// left out, as often as it likes.
        max_restarts: u32 = Example("20"),
        /// With checkpoint: how long the slot is kept for the next attempt.
        slot_wait: Time = Default("\"1min\""),
        /// vanilla: on the machine as it is. container: in whichever kind of container the machine
        /// has. docker: in a Docker container.
        universe: Universe = Default("\"vanilla\""),
        /// The image for container (a file or a directory, relative to the config's directory, or
        /// docker://NAME) and docker. cu and the program must be found in it under the same paths:
        /// they lie in the image, or the pool shows their directories. The run directory is shown in a
        /// container anyway; in docker, by the pool alone.
        image: PathOrName = Example("\"docker://debian:13\""),
        /// Disk space in the scratch directory; left out, HTCondor's guess.
        request_disk: Bytes = Example("\"10GiB\""),
        /// The least memory of each graphics processor.
        gpu_memory: Bytes = Example("\"20GiB\""),
        /// The abilities that graphics processors must have: "7.5" for at least that CUDA capability,
        /// an operator and a number, or an expression on their properties.
        cuda_requirement: String = Example("\"8.0\""),
        /// Limits that the pool counts, each NAME or NAME:COUNT.
        concurrency_limits: Vec<String> = Example("[\"licence:2\"]"),
        /// The group whose share is used.
        accounting_group: String = Example("\"group_physics\""),
        /// The user in whose name it is used.
        accounting_group_user: String = Example("\"ada\""),
        /// An expression on a machine; a greater value is preferred.
        rank: String = Example("\"KFlops\""),
        /// An expression on a machine that must be true.
        requirements: String = Example("\"OpSysMajorVer >= 12\""),
        /// An expression on a job in the queue: an attempt of which it is true is removed.
        periodic_remove: String = Example("\"ImageSize > 8000000\""),
        /// Only these machines, by full or short name.
        hosts: Vec<String> = Example("[\"node07\"]"),
        /// None of these machines.
        exclude_hosts: Vec<String> = Example("[\"node01\", \"node02\"]"),
        /// The limit of attempts that have no resources.time_limit. With checkpoint it counts over
        /// all attempts in one slot.
        allowed_job_duration: Time = Example("\"1day\""),
        /// HTCondor's limit on the time without transfers. It is kept only where files are
        /// transferred, and therefore refused: resources.time_limit is kept.
        allowed_execute_duration: Time = Example("\"1h\""),
        /// Whether files are transferred to the machine. Only false is supported: attempts work in
        /// the run directory.
        transfer: bool = Default("false"),
        /// The bid for an attempt, where a pool has that.
        bid: u32 = Example("100"),
        /// The command that submits, with what goes before all other arguments; left out,
        /// condor_submit, and with a bid condor_submit_bid.
        submit_command: Vec<String> = Example("[\"condor_submit_bid\"]"),
        /// Hold codes that wait for a person. A held job whose code says how it ended (over its
        /// memory, over its time, never started) is otherwise taken as ended, and removed.
        hold_keep: Vec<i32> = Example("[34]"),
        /// Further hold codes that end the attempt.
        hold_end: Vec<i32> = Example("[1]"),
        /// The variables that a program finds beside those of environment. inherit: those of the main
        /// process. clean: those that HTCondor sets, and a PATH.
        environment: Surroundings = Default("\"inherit\""),
        /// A command in front of each attempt's. It ends by executing its arguments, or passes
        /// signals on to them.
        wrapper: Vec<String> = Example("[\"nice\"]"),
        /// More lines of the submit description, each key = value.
        extra: Vec<String> = Example("[\"+WantFlocking = true\"]"),
        /// How often the queue is asked beside the event log.
        poll: Time = Default("\"30s\""),
        /// The directory that holds condor_submit and the like, relative to the config's; left out,
        /// they are looked up in PATH.
        commands: FilePath = Example("\"/opt/condor/bin\""),
        /// The access point whose queue takes the jobs, as condor_status -schedd names it; left out, the
        /// one that the commands speak to by themselves.
        access_point: String = Example("\"ap2@submit.example\""),
    }
}

/// How HTCondor continues a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// By a new submission.
    #[default]
    Submit,
    /// By the same cluster job.
    Requeue,
    /// By the same cluster job in the same slot.
    Checkpoint,
}

/// The container or machine in which an attempt runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Universe {
    /// The machine as it is.
    #[default]
    Vanilla,
    /// Any container.
    Container,
    /// A Docker container.
    Docker,
}

impl Schema for Resume {
    fn schema() -> serde_json::Value {
        one_of(&["submit", "requeue", "checkpoint"])
    }
}

impl Schema for Universe {
    fn schema() -> serde_json::Value {
        one_of(&["vanilla", "container", "docker"])
    }
}
