//! The keys of a run's config. `cu config reference` prints the comments here.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::done_when::Done;
use super::git::{Branch, Commit, Repository};
use super::table::table;
use super::units::{
    Bytes, ExitCodes, FileToCreate, Goal, PathFromHere, ResultsAs, SignalName, StopRule, Time,
    ZeroWhenStopped,
};
use crate::backend::keys::Backend;

table! {
    /// The config of a run, in TOML. Unknown keys are errors. Times are text with a unit
    /// ("90s", "50min", "1h 30m") or as Slurm writes them ("1:30:00", "2-12:00:00"), sizes have a unit too
    /// ("512MiB", "4GB", "2GiB" or "2G"). On the command line, `key=value` overrides any key:
    /// `cu run run.toml stop.after=10s settings.seed=2`.
    File {
        /// The run's name. Its directory is {results_dir}/{name}.
        name: String = Example("\"digits\""),
        /// The directory that holds the run directories, relative to the current directory. All other
        /// relative paths start at the config's directory (for options, at the current directory). A
        /// leading "~/" is your home directory; a variable such as $SCRATCH in a path is refused.
        results_dir: PathFromHere = Default("\"results\""),
        /// Program and arguments, without a shell. A program with a slash is relative to
        /// working_directory; one without is searched in PATH. The arguments are not changed, except
        /// that in command, working_directory, stdin and environment these are filled in: {settings.NAME}
        /// (text as it is, other values as JSON), {output_dir}, {job}, {attempt} and {config_dir}, the
        /// config's directory. "{{job}" is a literal "{job}"; other braces stay as they are. An argument
        /// "{cluster_utils}" becomes those of a program for the Python package cluster_utils, and cu then
        /// listens to its messages: see docs/cluster_utils.md.
        command: Vec<String> = Example("[\"python3\", \"train.py\", \"--rate={settings.learning_rate}\"]"),
        /// The directory in which the program starts. One that is named by a placeholder is made:
        /// "{output_dir}" gives each job a directory of its own.
        working_directory: String = Default("\".\""),
        /// A file that is the program's standard input. The default is none.
        stdin: String = Example("\"in.lj\""),
        /// A shell command that is run once when all jobs have ended. On its standard input it gets what
        /// `cu status --json` prints; it starts in the run directory, its output goes to main.log, and it is
        /// ended after a minute.
        on_end: String = Example("\"mail -s 'a run has ended' ada@example.org\""),
        /// A group that may read the run, by its name or number: an advisor's, a laboratory's. The main process
        /// gives the rights every few minutes and when it ends; `cu share` does so at once. The secret, the
        /// commands of jobs with their variables, and backend/ stay private. The default is none.
        group: String = Example("\"lab\""),
        /// The result files and the exit code that the run has. cu: its own. cluster_utils: those that a grid
        /// search or an optimisation of that Python package has; see docs/cluster_utils.md. `cu grid-search` and
        /// `cu hp-optimization` set it.
        results_as: ResultsAs = Default("\"cu\""),
    }
    tables {
        settings: Settings,
        grid: Grid,
        optimize: Optimize,
        environment: Environment,
        resources: Resources,
        stop: Stop,
        resume: Resume,
        git: Git,
        backend: Backend,
    }
}

table! {
    /// The settings of each job, which it finds in the file $CU_SETTINGS: any names, any values.
    free Settings(toml::Table) { "seed" = "1", "optimizer.momentum" = "0.9", }
}

table! {
    /// One job for each combination of these lists. A dotted name reaches into the settings. The
    /// jobs are numbered in the order of the names; the last one varies fastest.
    free Grid(toml::Table) { "learning_rate" = "[0.1, 0.01]", "optimizer.name" = "[\"sgd\", \"adam\"]", }
}

table! {
    /// In the place of a grid: jobs that come one after another. An optimiser chooses the values of each by what came of
    /// those before, so that a metric becomes small or large. See docs/optimize.md.
    Optimize {
        /// How values are chosen. cem: by the cross-entropy method, from a distribution that is fitted to the best jobs.
        /// tpe: by the tree-structured Parzen estimator, a Bayesian method. cmaes: by the evolution strategy with
        /// covariance matrix adaptation. random: evenly.
        method: String = Default("\"cem\""),
        /// The metric, which each job reports with its results.
        metric: String = Example("\"loss\""),
        /// Whether the metric is to become small or large: minimize or maximize.
        goal: Goal = Default("\"minimize\""),
        /// How many jobs the run has in the end.
        jobs: NonZeroU32 = Example("100"),
        /// How many jobs are waiting, queued or running at a time.
        at_once: NonZeroU32 = Default("8"),
        /// Add jobs once this many of these have ended.
        refill_after: NonZeroU32 = Default("1"),
        /// Keep a copy of the output directories of this many best jobs in best_jobs/ of the run directory.
        keep_best: u32 = Default("0"),
        /// Remove the output directory of each completed job once its results are recorded and copied.
        remove_output_dirs: bool = Default("false"),
        /// What chance begins with. The default is drawn by chance, and kept in the run's run.toml.
        seed: u32 = Example("7"),
    }
    tables {
        parameters: OptimizedParameters,
        options: MethodOptions,
        early_stopping: EarlyStopping,
    }
}

table! {
    /// What the optimiser chooses: numbers between two bounds, which are whole if both bounds are, perhaps on a
    /// logarithmic scale; or one of some values. A dotted name reaches into the settings.
    free OptimizedParameters(toml::Table) {
        "learning_rate" = "{ low = 1e-5, high = 0.1, scale = \"log\" }",
        "layers" = "{ low = 1, high = 8 }",
        "optimizer.kind" = "[\"sgd\", \"adam\"]",
    }
}

table! {
    /// Options of the method. cem: elite_size (10), with_restarts (false). tpe: startup (10), best_share (0.1),
    /// candidates (24). cmaes: population, deviation.
    free MethodOptions(toml::Table) { "elite_size" = "10", "with_restarts" = "false", }
}

table! {
    /// Ends jobs that don't get better, by the values of the metric that they announce while they run. Such a job
    /// counts as completed with the last one.
    EarlyStopping {
        /// successive_halving: of the jobs that have announced first_rung values, only the best go on, one of
        /// reduction_factor; and again each time that they have announced reduction_factor times as many. bad_jobs: a job
        /// ends in its first half once it will probably not rank among the best target_rank of the completed ones.
        rule: StopRule = Example("\"successive_halving\""),
        /// successive_halving: after how many values jobs are compared for the first time.
        first_rung: NonZeroU32 = Default("1"),
        /// successive_halving: see above.
        reduction_factor: NonZeroU32 = Default("3"),
        /// bad_jobs: the worst rank that is good enough; the best is 1.
        target_rank: NonZeroU32 = Default("5"),
        /// bad_jobs: how many standard deviations a rank may be off.
        how_many_stds: f64 = Default("2.0"),
    }
}

table! {
    /// Variables added to the program's environment, as text: `$HOME` in it stays as it is, with a warning.
    free Environment(BTreeMap<String, String>) { "OMP_NUM_THREADS" = "\"1\"", }
}

table! {
    /// What each attempt asks of the scheduler.
    Resources {
        /// Processors.
        cpus: NonZeroU32 = Default("1"),
        /// Graphics processors.
        gpus: u32 = Default("0"),
        /// Main memory. The default is the scheduler's, which on HTCondor is 1GiB.
        memory: Bytes = Example("\"2GiB\""),
        /// How long an attempt may run. The default is the scheduler's.
        time_limit: Time = Example("\"1h\""),
    }
}

table! {
    /// When and how the program is asked to stop. It should then save and exit for resume. All of
    /// this also holds for programs that call `should_exit` themselves.
    Stop {
        /// Ask after this time.
        after: Time = Example("\"50min\""),
        /// Ask this long before the time limit.
        before_limit: Time = Example("\"2min\""),
        /// Ask when this file is made or changed, relative to the job's output directory. One that was
        /// there before an attempt does not stop it.
        file: String = Example("\"please_stop\""),
        /// Ask by making this file in the directory where the program starts: "EXIT", or with a content
        /// { file = "STOPCAR", content = "LSTOP = .TRUE.\n" }. It is removed when the program has ended.
        /// Then no signal is sent, unless stop.signal is given as well.
        create: FileToCreate = Example("\"EXIT\""),
        /// How its processes are asked: "auto", each by a signal that it handles; by one signal, which
        /// is HUP, INT, TERM, USR1 or USR2; or "none", by the file $CU_STOP_FILE alone. See
        /// docs/stopping.md.
        signal: SignalName = Default("\"auto\""),
        /// The time from this signal to SIGTERM, and from SIGTERM to SIGKILL. If no process handles the
        /// signal, SIGTERM follows at once.
        grace: Time = Default("\"30s\""),
    }
}

table! {
    /// When a job is submitted again. An attempt with progress costs nothing, however it ended: it
    /// left a newer checkpoint, changed a file in the output directory, behind a link in it or in the
    /// working directory, or announced a larger fraction. A file that can't be examined counts as changed. Each budget
    /// counts the attempts of one job without progress since the last one with progress; 0 allows no
    /// such end at all. See docs/ends.md.
    Resume {
        /// The exit code that means "submit me again", or a list of such codes: [3, 85]. HTCondor is
        /// told of the first alone.
        exit_code: ExitCodes = Default("3"),
        /// What exit code 0 means after the program was asked to stop: "resume", it has saved and
        /// continues with the next attempt; or "completed", the job is done. Nobody has to ask for the
        /// next attempt: see docs/ends.md.
        exit_0_when_stopped: ZeroWhenStopped = Default("\"resume\""),
        /// What shows that a job is done, instead of exit code 0: a file that was made or changed since the
        /// job began, { file = "FINISHED" }; a text in such a file, { file = "md.log", contains = "Done" };
        /// or a text that the program prints, { output = "Total wall time" }. A file is looked for in the
        /// directory in which the program starts, and in the output directory. A program that exits with 0
        /// and has not met this is resumed. See docs/ends.md.
        done_when: Done = Example("{ file = \"FINISHED\" }"),
        /// A job fails after this many attempts in a row without progress.
        stuck_after: NonZeroU32 = Default("3"),
        /// At most this many attempts may end at the time limit.
        time_limits: u32 = Default("20"),
        /// At most this many attempts may be preempted.
        preemptions: u32 = Default("1000"),
        /// At most this many attempts may be lost with their node.
        node_failures: u32 = Default("20"),
        /// At most this many attempts may be removed by the cluster: by a rule of the place, or by its
        /// administrator.
        removals: u32 = Default("20"),
        /// At most this many attempts may end for an unknown reason, or be kept from starting.
        losses: u32 = Default("20"),
        /// Repeat an attempt at most this often in a row if its environment could not be activated where it
        /// ran (`backend.activate`, `backend.modules`).
        activation_retries: u32 = Default("3"),
        /// Repeat an attempt that ran out of memory at most this often, whatever its progress; attempts
        /// that end otherwise and with progress begin the count anew.
        out_of_memory_retries: u32 = Default("0"),
        /// Repeat an attempt that failed by itself at most this often, counted in the same way.
        failure_retries: u32 = Default("0"),
        /// A job may have at most this many attempts, whatever their progress. The default is any number.
        max_attempts: NonZeroU32 = Example("500"),
        /// Don't resume a job any more once its attempts have run for this time together.
        max_time: Time = Example("\"72h\""),
        /// Cancel all other jobs of the run once this many have failed. The default is any number.
        max_failures: NonZeroU32 = Example("10"),
        /// Submit at most this many attempts of one job in an hour; the others wait.
        submissions_per_hour: NonZeroU32 = Default("1000"),
        /// The wait before the first repetition after a loss or failure. It doubles while there is
        /// no progress.
        backoff: Time = Default("\"1s\""),
        /// The longest such wait.
        backoff_max: Time = Default("\"5min\""),
    }
}

table! {
    /// A clone of a git repository, from which the programs run, so that they stay as they are while you go on
    /// working. It is made together with the run, in the run directory. Its commit is recorded, and stays the
    /// same if the clone is made anew. It is removed once all jobs have completed; a failed or stopped run keeps
    /// it. `git` must get at the repository without a question.
    Git {
        /// The repository: a URL, or a path in it. "." is the repository that the config is in. Only with this
        /// key there is a clone. Then working_directory, stdin and {config_dir} are in it: the directory of
        /// the config, or the top of the clone if the config is not in the repository.
        repository: Repository = Example("\".\""),
        /// The branch or tag. The default is what is checked out there, without changes that are not
        /// committed; of a URL, the branch that its server names.
        branch: Branch = Example("\"main\""),
        /// The hash of a commit. The default is the newest of the branch.
        commit: Commit = Example("\"5f2c1ab\""),
        /// Fetch only this many commits. The default is all. A commit that is not among them is fetched, too.
        depth: NonZeroU32 = Example("1"),
        /// Whether the clone has its submodules.
        submodules: bool = Default("true"),
        /// Whether the clone stays when all jobs have completed. It always stays while it has files that are
        /// not in its commit, but for caches of Python.
        keep: bool = Default("false"),
    }
}
