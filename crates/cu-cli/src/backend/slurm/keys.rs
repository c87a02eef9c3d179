//! The keys of `[backend.slurm]`. The comments here are part of the reference.

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::config::table::table;
use crate::config::units::{FilePath, PathOrName, Surroundings, Time};
use crate::config::values::{Schema, one_of};

table! {
    /// Slurm as a backend. These keys hold for all submissions alike. Slurm counts time limits in whole
    /// minutes, and its warning before the time limit may come up to 30 s early.
    Slurm {
        /// Which cluster, where several can be reached from one login; left out, the one that
        /// $SBATCH_CLUSTERS or $SLURM_CLUSTERS names, else the login's own.
        cluster: String = Example("\"genius\""),
        /// The partition, or several with commas between; left out, $SBATCH_PARTITION, else the
        /// cluster's default. Likewise qos, constraint and reservation.
        partition: String = Example("\"gpu\""),
        /// The account that is charged; left out, $SBATCH_ACCOUNT, else the user's default.
        account: String = Example("\"physics\""),
        /// The quality of service.
        qos: String = Example("\"long\""),
        /// Features that nodes must have.
        constraint: String = Example("\"a100|h100\""),
        /// A reservation.
        reservation: String = Example("\"course\""),
        /// How many nodes an attempt spans; left out, as many as its tasks need.
        nodes: NonZeroU32 = Example("2"),
        /// How many tasks `srun` starts in an attempt; resources.cpus is per task then.
        ntasks: NonZeroU32 = Example("4"),
        /// Generic resources per node. If it names a gpu, it takes the place of resources.gpus.
        gres: String = Example("\"gpu:a100:2\""),
        /// Whether no other job may share the nodes.
        exclusive: bool = Default("false"),
        /// Nodes never to be used.
        exclude_hosts: Vec<String> = Example("[\"node[01-04]\"]"),
        /// Nodes that must all be part of an attempt. You rarely want this: see constraint.
        hosts: Vec<String> = Example("[\"node07\"]"),
        /// The most attempts that are submitted as one job array; 0 or 1 make no arrays.
        array: u32 = Default("1000"),
        /// How many tasks of one array run at once; left out, any number.
        array_throttle: NonZeroU32 = Example("50"),
        /// How a job is resumed. submit: by a new Slurm job, which gives others their turn and can
        /// start at once. requeue: by the same Slurm job, which keeps its id, and its age where
        /// priorities count that, and starts two minutes later at the earliest. If somebody else
        /// requeues it, that counts as one of resume.preemptions.
        resume: Resume = Default("\"submit\""),
        /// Attempts of equal needs share allocations: an allocation that was started takes one attempt after
        /// another for this time, of any job of the run, and then leaves, so that others get their
        /// turn. For many short attempts, which cost a few submissions then. Left out, each attempt has an
        /// allocation of its own. Slurm is asked for resources.time_limit and this time together,
        /// bounds memory and counts costs by allocation.
        keep: Time = Example("\"20min\""),
        /// Texts in Slurm's reasons for a hold that end the attempt, which then counts as one that did not
        /// start: the held job is cancelled, and the next attempt submitted within resume.losses. A job that
        /// is held for another reason waits for a person.
        hold_end: Vec<String> = Example("[\"launch failed\", \"user env retrieval failed\"]"),
        /// Modules that the batch script loads, for what wrapper and container.command need. Those of the
        /// program belong into backend.modules.
        modules: Vec<String> = Example("[\"cuda/12.4\"]"),
        /// A script that the batch script sources, likewise; see backend.activate.
        activate: FilePath = Example("\"/home/ada/venv/bin/activate\""),
        /// The variables that a program finds beside those of environment. inherit: those of the main
        /// process. clean: those of a fresh login on the node.
        environment: Surroundings = Default("\"inherit\""),
        /// A command in front of each attempt's. It ends by executing its arguments, or passes
        /// signals on to them. A launcher such as srun belongs into command instead, where an
        /// attempt has several tasks or nodes.
        wrapper: Vec<String> = Example("[\"numactl\", \"--localalloc\"]"),
        /// More options of sbatch, each with its value.
        extra: Vec<String> = Example("[\"--mail-type=FAIL\"]"),
        /// The options of a batch script, each with its value, as `cu sbatch` finds them. They take the place of
        /// resources.cpus, gpus and memory and of nodes, ntasks and gres; for the rest the defaults of
        /// sbatch hold.
        sbatch: Vec<String> = Example("[\"--ntasks-per-node=4\", \"--mem-per-cpu=2G\"]"),
        /// Options of sbatch for a job's first attempt alone.
        first_attempt: Vec<String> = Example("[\"--begin=22:00\"]"),
        /// A file to which what programs print is copied while they run, beside the files of the run, with %j and
        /// the other patterns of sbatch. It is relative to a job's output directory.
        output: String = Example("\"/home/ada/logs/%j.out\""),
        /// The same for standard error; left out, it goes with output.
        error: String = Example("\"/home/ada/logs/%j.err\""),
        /// Whether a job's first attempt empties these files (truncate) or not (append). Later attempts
        /// add to them.
        open_mode: OpenMode = Default("\"truncate\""),
        /// How often Slurm is asked when nothing is expected. Administrators ask for this or more.
        poll: Time = Default("\"30s\""),
        /// The directory that holds sbatch, squeue, sacct, scancel and scontrol, relative to the
        /// config's; left out, they are looked up in PATH.
        commands: FilePath = Example("\"/opt/slurm/bin\""),
    }
    tables {
        container: Container,
    }
}

table! {
    /// The container in which attempts run: COMMAND ARGUMENTS IMAGE and then cu with the program. cu
    /// and the run directory must be found in it under the same paths.
    Container {
        /// The image; left out, there is no container. A file is relative to the config's directory.
        image: PathOrName = Example("\"/images/science.sif\""),
        /// The command that runs a program in it.
        command: Vec<String> = Default("[\"apptainer\", \"exec\"]"),
        /// Arguments between that and the image.
        arguments: Vec<String> = Example("[\"--nv\"]"),
    }
}

/// What becomes of what a file of output held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenMode {
    /// It is gone.
    Truncate,
    /// It stays.
    Append,
}

/// How Slurm continues a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// By a new Slurm job.
    Submit,
    /// By the same one.
    Requeue,
}

impl Schema for Resume {
    fn schema() -> serde_json::Value {
        one_of(&["submit", "requeue"])
    }
}

impl Schema for OpenMode {
    fn schema() -> serde_json::Value {
        one_of(&["truncate", "append"])
    }
}
