//! What may stand in a run's config. The comments here are the reference that `cu config
//! reference` prints.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::table::table;
use super::units::{Bytes, ExitCode, SignalName, Time};
use crate::backend::keys::Backend;

table! {
    /// The config of a run, in TOML. Unknown keys are errors. Times are text with a unit
    /// ("90s", "50min", "1h 30m"), sizes too ("512MiB", "2GiB", "4GB"). On the command line,
    /// `key=value` overrides any key: `cu run run.toml stop.after=10s settings.seed=2`.
    File {
        /// The run's name. Its directory is {results_dir}/{name}.
        name: String = Example("\"digits\""),
        /// Where run directories are made, relative to the current directory.
        results_dir: String = Default("\"results\""),
        /// Program and arguments; no shell reads them. A program with a slash is relative to the
        /// config's directory, one without is looked up in PATH. An argument that names a file in the
        /// config's directory becomes its absolute path, unless working_directory is given. For
        /// programs that read no settings.json, "--rate={settings.learning_rate}" has the setting
        /// filled in: text as it is, all else as in JSON. "{{settings." stands for "{settings." itself.
        command: Vec<String> = Example("[\"python3\", \"train.py\"]"),
        /// Where the program starts, relative to the config's directory. Left out, it is the job's
        /// output directory.
        working_directory: String = Example("\".\""),
    }
    tables {
        settings: Settings,
        grid: Grid,
        environment: Environment,
        resources: Resources,
        stop: Stop,
        resume: Resume,
        backend: Backend,
    }
}

table! {
    /// What each job finds in its settings.json: any names, any values.
    free Settings(toml::Table) { "seed" = "1", "optimizer.momentum" = "0.9", }
}

table! {
    /// One job for each combination of these lists. A dotted name reaches into the settings. The
    /// jobs are numbered in the order of the names, the last one varying fastest.
    free Grid(toml::Table) { "learning_rate" = "[0.1, 0.01]", "optimizer.name" = "[\"sgd\", \"adam\"]", }
}

table! {
    /// Variables added to the program's environment, as text.
    free Environment(BTreeMap<String, String>) { "OMP_NUM_THREADS" = "\"1\"", }
}

table! {
    /// What each attempt asks of the scheduler.
    Resources {
        /// Processors.
        cpus: NonZeroU32 = Default("1"),
        /// Graphics processors.
        gpus: u32 = Default("0"),
        /// Main memory; left out, the scheduler's default, which on HTCondor is 1GiB.
        memory: Bytes = Example("\"2GiB\""),
        /// How long an attempt may run; left out, the scheduler's default.
        time_limit: Time = Example("\"1h\""),
    }
}

table! {
    /// When the program is asked to stop, and how. It should then save and exit for resume. This
    /// is for programs that don't ask `should_exit` themselves as well as for those that do.
    Stop {
        /// After this time.
        after: Time = Example("\"50min\""),
        /// This long before the time limit.
        before_limit: Time = Example("\"2min\""),
        /// When this file exists; relative to the job's output directory.
        file: String = Example("\"please_stop\""),
        /// The signal to those of its processes that handle it: HUP, INT, TERM, USR1 or USR2.
        signal: SignalName = Default("\"USR1\""),
        /// How long after the signal SIGTERM follows, and how long after that SIGKILL.
        grace: Time = Default("\"30s\""),
    }
}

table! {
    /// When a job is submitted again. Budgets count the attempts of one job. A resume that the
    /// program asks for is free as long as there is progress: a newer checkpoint, a changed file
    /// in the output directory or behind a link in it, or a larger fraction announced. What could
    /// not be looked at counts as progress.
    Resume {
        /// The exit code that by itself says "submit me again".
        exit_code: ExitCode = Default("3"),
        /// A job fails after this many attempts in a row without progress.
        stuck_after: NonZeroU32 = Default("3"),
        /// How many attempts may end at the time limit.
        time_limits: u32 = Default("20"),
        /// How many attempts may be preempted.
        preemptions: u32 = Default("1000"),
        /// How many attempts may be lost with their node.
        node_failures: u32 = Default("20"),
        /// How many attempts may end without anybody knowing how, or be kept from starting.
        losses: u32 = Default("20"),
        /// How often an attempt that ran out of memory is repeated.
        out_of_memory_retries: u32 = Default("0"),
        /// How often an attempt that failed by itself is repeated.
        failure_retries: u32 = Default("0"),
        /// The most attempts of one job that are submitted in an hour. More of them wait.
        submissions_per_hour: NonZeroU32 = Default("1000"),
        /// The wait before the first repetition after a loss or failure. It doubles while there is
        /// no progress.
        backoff: Time = Default("\"1s\""),
        /// The longest such wait.
        backoff_max: Time = Default("\"5min\""),
    }
}
