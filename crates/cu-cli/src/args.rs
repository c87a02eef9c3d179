//! The arguments of every command but `cu exec` and `cu job`, which are read before.

#[cfg(feature = "htcondor")]
mod condor_submit;
mod config;
mod files;
mod grid_search;
mod hp_optimization;
#[cfg(feature = "slurm")]
mod sbatch;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{FalseyValueParser, OsStringValueParser, StringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::parse_time;
use crate::config::units::PathFromHere;
use crate::error::ExitCode;
use crate::runs::RESULTS_DIR;
use crate::select::{Filter, Key};
use crate::terminal::Color;
use crate::topics;
use crate::unshelled;

#[cfg(feature = "htcondor")]
pub use condor_submit::CondorSubmit;
pub use config::{Config, GivenConfig, Profile, ShowConfig};
pub use files::{Events, Export, List, Report, Rm, Share};
pub use grid_search::{ConfigOfClusterUtils, GridSearch};
pub use hp_optimization::HpOptimization;
#[cfg(feature = "slurm")]
pub use sbatch::Sbatch;

/// Run long work as a chain of short, resumable jobs.
#[derive(Debug, Parser)]
#[command(name = "cu", version, after_help = AFTER_HELP, after_long_help = after_long_help(), subcommand_required = true)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Inside a job:
  cu job …    for a job's shell script; see `cu job --help`
  cu exec …   supervises a job's program; the scheduler calls it

Examples:
  cu run run.toml settings.seed=2
  cu run --stop-after 50min -- ./simulate --steps 1000000
  cu status
  cu show 0";

/// `cu --help` has more than `cu -h`.
fn after_long_help() -> String {
    format!("{AFTER_HELP}\n\n{}\n\n{}", topics::list(), ExitCode::help())
}

/// A path, with the home directory in the place of a leading `~`, and without variables.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|path| match path.to_str() {
        Some(text) => unshelled::path(text),
        None => Ok(PathBuf::from(path)),
    })
}

/// A whole number. A negative one is read too, and refused as a value: it is not an option.
fn count<T: FromStr + Clone + Send + Sync + 'static>() -> impl TypedValueParser<Value = T> {
    let read = |text: String| {
        text.parse()
            .map_err(|_| "expected a whole number, such as 4")
    };
    StringValueParser::new().try_map(read)
}

/// The options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Print one JSON value on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// The directory that holds the runs [default: results]
    #[arg(long, global = true, value_name = "DIR", env = "CU_RESULTS_DIR", value_parser = path())]
    pub results_dir: Option<PathBuf>,
    /// The one of the user's or the site's defaults.
    #[arg(skip)]
    pub default_results_dir: Option<PathBuf>,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print less: no progress, no notices
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more, to stderr as well as to main.log; twice for even more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Common {
    /// The directory in which to look for runs.
    pub fn results_dir(&self) -> &Path {
        self.results_dir_for(None)
    }

    /// The directory in which to make a run whose config names `config`.
    pub fn results_dir_for<'a>(&'a self, config: Option<&'a PathFromHere>) -> &'a Path {
        let given = self.results_dir.as_deref();
        given
            .or(config.map(|path| Path::new(&path.0)))
            .or(self.default_results_dir.as_deref())
            .unwrap_or(Path::new(RESULTS_DIR))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a config or a command until all its jobs have ended
    Run(Box<Run>),
    /// Run a grid search of the Python package cluster_utils, its config as it is
    GridSearch(Box<GridSearch>),
    /// Run an optimisation of the Python package cluster_utils, its config as it is
    HpOptimization(Box<HpOptimization>),
    /// Submit a batch script of Slurm as a run: a chain of jobs instead of one
    #[cfg(feature = "slurm")]
    Sbatch(Sbatch),
    /// Submit a submit description of HTCondor as a run: chains of jobs instead of jobs
    #[cfg(feature = "htcondor")]
    CondorSubmit(CondorSubmit),
    /// Continue a run whose main process has ended
    Resume(Resume),
    /// Change limits, resources, budgets or the partition of a run
    Update(UpdateRun),
    /// Wait until a run has ended; exits as `cu run` would have
    Wait(Wait),
    /// Show a run until it ends, as `cu run` shows it; Ctrl-C leaves the run alone
    Watch(WatchRun),
    /// Show the state of a run
    Status(RunArgument),
    /// List the jobs of a run with their settings, metrics, times and hosts
    Jobs(Jobs),
    /// List the runs of a results directory
    List(List),
    /// Show a job: its attempts, and what it waits for or why it ended
    Show(Show),
    /// Print the output of jobs, joined over their attempts
    Logs(Logs),
    /// Print what happened in a run, one line for each submission, start and end
    Events(Events),
    /// Cancel jobs; none of them is submitted again
    Stop(Stop),
    /// Let jobs save and exit, and hold them back until `cu continue`
    Pause(JobsArgument),
    /// Continue paused jobs
    Continue(JobsArgument),
    /// Run failed or cancelled jobs again, with fresh budgets
    Retry(JobsArgument),
    /// Let running jobs save and exit, and resume them at once
    Checkpoint(JobsArgument),
    /// Write a run as one HTML page: timeline, jobs, curves of metrics, failures, config
    Report(Report),
    /// Let a group read a run
    Share(Share),
    /// Pack the config, results and logs of a run into one archive
    Export(Export),
    /// Remove the directories of runs that have ended
    Rm(Rm),
    /// Check this machine or cluster for problems
    Doctor(Doctor),
    /// Explain, show and check configs
    #[command(subcommand)]
    Config(Config),
    /// Print the completions for a shell: source <(cu completions bash)
    Completions {
        /// bash, zsh, fish and others
        shell: clap_complete::Shell,
    },
    /// Print the man page of cu, or write those of all commands into a directory
    Man(Man),
    /// The process that `--detach` starts in the background
    #[command(hide = true)]
    MainProcess(MainProcess),
    /// The program that `cu doctor --submit` runs on a node
    #[command(hide = true)]
    Probe(Probe),
}

/// `cu run`
#[derive(Debug, Args)]
#[command(
    override_usage = "cu run [OPTIONS] CONFIG [KEY=VALUE]...\n       cu run [OPTIONS] [KEY=VALUE]... -- COMMAND..."
)]
pub struct Run {
    /// The run's config in TOML, JSON or YAML; `cu config reference` explains all keys
    #[arg(value_name = "CONFIG", required_unless_present = "command")]
    pub config: Option<String>,
    /// Override keys of the config: stop.after=10s settings.seed=2
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// A command to run as a single job; it starts in the current directory
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    #[command(flatten)]
    pub profile: Profile,
    #[command(flatten)]
    pub options: RunOptions,
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub making: Making,
}

/// Whether a run is made, and where it may be.
#[derive(Debug, Args)]
pub struct Making {
    /// Make the run even if other users may rename directories above it, and so replace it
    #[arg(long, env = "CU_TRUST_PARENTS", value_parser = FalseyValueParser::new())]
    pub trust_parents: bool,
    /// Continue the run if there is one of this name already; if it has ended, exit as it did
    ///
    /// So one command serves for the first start and every later one, as in a requeued job or a node of a
    /// DAG. A job of HTCondor starts without your PATH: give it `getenv = true`, or name cu by an absolute path
    /// and set backend.htcondor.commands.
    #[arg(long, conflicts_with = "dry_run")]
    pub or_resume: bool,
    /// Print what would be run and submitted, and do nothing
    #[arg(long, conflicts_with = "detach")]
    pub dry_run: bool,
}

impl Run {
    /// Whether a config is given.
    pub fn has_config(&self) -> bool {
        self.config_and_keys().0.is_some()
    }

    /// The config, which a command has not, and the words that override keys.
    pub fn config_and_keys(&self) -> (Option<&Path>, Vec<&String>) {
        let keys = self.overrides.iter();
        match (&self.config, self.command.is_empty()) {
            (Some(config), true) => (Some(Path::new(config)), keys.collect()),
            (first, _) => (None, first.iter().chain(keys).collect()),
        }
    }
}

/// Options of `cu run` that are keys of the config.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Keys of the config")]
pub struct RunOptions {
    /// name: the run's name, and its directory's [default for a command: its program's name]
    #[arg(long)]
    pub name: Option<String>,
    /// settings.KEY: a value in the job's settings.json; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub setting: Vec<String>,
    /// environment.NAME: a variable for the program; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// working_directory: the directory in which the program starts [default: the current one, or
    /// the config's]
    #[arg(long, value_name = "DIR", value_parser = path())]
    pub working_directory: Option<PathBuf>,
    /// stdin: a file that is the program's standard input
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub stdin: Option<PathBuf>,
    /// resources.cpus
    #[arg(long, value_name = "N", value_parser = count::<u32>(), allow_negative_numbers = true)]
    pub cpus: Option<u32>,
    /// resources.gpus
    #[arg(long, value_name = "N", value_parser = count::<u32>(), allow_negative_numbers = true)]
    pub gpus: Option<u32>,
    /// resources.memory, such as 2GiB
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// resources.time_limit: how long an attempt may run
    #[arg(long, value_name = "TIME")]
    pub time_limit: Option<String>,
    /// stop.after: ask the program to stop after this time
    #[arg(long, value_name = "TIME")]
    pub stop_after: Option<String>,
    /// stop.before_limit: ask it this long before the time limit
    #[arg(long, value_name = "TIME")]
    pub stop_before_limit: Option<String>,
    /// stop.file: ask it when somebody makes this file
    #[arg(long, value_name = "FILE")]
    pub stop_file: Option<String>,
    /// stop.create: ask it by making this file where it starts, such as EXIT
    #[arg(long, value_name = "FILE")]
    pub stop_create: Option<String>,
    /// stop.signal: how to ask it: auto, HUP, INT, TERM, USR1, USR2 or none
    #[arg(long, value_name = "SIGNAL")]
    pub signal: Option<String>,
    /// stop.grace: the time from that signal to SIGTERM, and from there to SIGKILL
    #[arg(long, value_name = "TIME")]
    pub grace: Option<String>,
    /// resume.exit_code: the exit code that means "submit me again", or several: 3,85 [default: 3]
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    pub resume_exit_code: Vec<u8>,
    /// resume.done_when.file: the job is done once this file is there
    #[arg(long, value_name = "FILE")]
    pub done_when_file: Option<String>,
    /// resume.done_when.contains: and contains this text
    #[arg(long, value_name = "TEXT", requires = "done_when_file")]
    pub done_when_contains: Option<String>,
    /// resume.done_when.output: the job is done once its program has printed this text
    #[arg(long, value_name = "TEXT", conflicts_with = "done_when_file")]
    pub done_when_output: Option<String>,
    /// resume.stuck_after: fail a job after this many attempts without progress
    #[arg(long, value_name = "N", value_parser = count::<u32>(), allow_negative_numbers = true)]
    pub stuck_after: Option<u32>,
    /// resume.failure_retries: repeat a failed attempt at most this often
    #[arg(long, value_name = "N", value_parser = count::<u32>(), allow_negative_numbers = true)]
    pub failure_retries: Option<u32>,
    /// resume.max_failures: cancel the other jobs once this many have failed
    #[arg(long, value_name = "N", value_parser = count::<u32>(), allow_negative_numbers = true)]
    pub max_failures: Option<u32>,
    /// backend.kind: auto, local, slurm or htcondor
    #[arg(long, value_name = "KIND")]
    pub backend: Option<String>,
}

/// How a person watches a main process.
#[derive(Debug, Args)]
pub struct Watch {
    /// Run the main process in the background; return once it is ready
    #[arg(long)]
    pub detach: bool,
    /// What Ctrl-C does [default: ask on a terminal, else detach]
    #[arg(long, value_name = "WHAT")]
    pub on_interrupt: Option<OnInterrupt>,
    /// Print plain lines even on a terminal
    #[arg(long)]
    pub no_progress: bool,
}

/// What Ctrl-C does. A second one ends the main process at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnInterrupt {
    /// End the main process; attempts continue
    Detach,
    /// Cancel all jobs, then end
    Stop,
    /// Ask which
    Ask,
}

/// `cu resume`
#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    pub run: RunArgument,
    /// Give up the attempts at a cluster or access point that is gone for good: they count as lost, and their
    /// jobs are resumed here
    #[arg(long)]
    pub abandon_attempts: bool,
    #[command(flatten)]
    pub watch: Watch,
}

/// `cu update`
#[derive(Debug, Args)]
#[command(override_usage = "cu update [OPTIONS] [RUN] KEY=VALUE...\n       cu update [OPTIONS] [RUN] --from-config",
    after_help = UPDATE_HELP)]
pub struct UpdateRun {
    /// A run's directory or name [default: your newest run], and keys of its config
    #[arg(value_name = "RUN] [KEY=VALUE")]
    pub words: Vec<String>,
    /// Apply what was edited in the config that the run was made from, or in the run's run.toml
    #[arg(long)]
    pub from_config: bool,
}

const UPDATE_HELP: &str = "\
May change: resources, stop, backend.max_submitted, backend.patience, backend.record_grace, the
backend's own table (backend.slurm.partition), on_end, and resume, but for what an exit code means.
Attempts that are submitted later have the new values; those that are queued or running keep
theirs. A main process that works on the run takes an update over at once, else `cu resume` does.
`cu show` lists the updates.

Examples:
  cu update resources.memory=8GiB resources.time_limit=4h
  cu update results/digits backend.slurm.partition=long resume.failure_retries=2
  cu update digits --from-config";

/// `cu wait`
#[derive(Debug, Args)]
pub struct Wait {
    #[command(flatten)]
    pub run: RunArgument,
    /// Wait at most this long, such as 90s or 1h 30m, then exit with 124
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub timeout: Option<Duration>,
}

/// `cu watch`
#[derive(Debug, Args)]
pub struct WatchRun {
    #[command(flatten)]
    pub run: RunArgument,
    /// Print plain lines even on a terminal
    #[arg(long)]
    pub no_progress: bool,
}

/// Which run.
#[derive(Debug, Args)]
pub struct RunArgument {
    /// A run's directory or name [default: your newest run]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
}

/// `cu jobs`
#[derive(Debug, Args)]
#[command(after_help = JOBS_EXAMPLES, after_long_help = jobs_long_help())]
pub struct Jobs {
    #[command(flatten)]
    pub run: RunArgument,
    /// Sort by this key; jobs without a value come last
    #[arg(long, value_name = "KEY")]
    pub sort: Option<String>,
    /// Turn the order round
    #[arg(long, short)]
    pub reverse: bool,
    /// Only the first N jobs
    #[arg(long, short = 'n', value_name = "N", value_parser = count::<usize>(), allow_negative_numbers = true)]
    pub first: Option<usize>,
    /// These columns: keys, `settings`, `metrics` or `all`
    #[arg(
        long,
        value_name = "KEYS",
        value_delimiter = ',',
        conflicts_with = "json"
    )]
    pub columns: Vec<String>,
    /// Print CSV: every column, times in seconds
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    #[command(flatten)]
    pub filter: Filter,
}

const JOBS_EXAMPLES: &str = "\
Examples:
  cu jobs --failed --columns job,settings,why
  cu jobs --where 'settings.lr<0.1' --where 'metrics.loss>=2' --sort loss
  cu jobs digits --csv > jobs.csv
  cu retry --where 'why~CUDA'

The run's directory also has all_data.csv: settings and metrics of the completed jobs.";

fn jobs_long_help() -> String {
    let mut text = String::from(
        "Keys, for --where, --sort and --columns:
  settings.NAME   a setting in which the jobs differ
  metrics.NAME    a metric that a program announced
  NAME            short for either, if only one of them has that name
",
    );
    for (name, help) in Key::HELP {
        text.push_str(&format!("  {name:<16}{help}\n"));
    }
    text.push_str(
        "
Conditions: KEY<VALUE, and with <=, =, !=, >= and >; KEY~TEXT is true if the value contains the
text; KEY= is true of jobs without a value, KEY!= of jobs with one. No other
condition is true of a job without a value. run_time and queue_time are compared with times such as 90s or 1h 30m,
done with 0.5 or 50%, moments with their beginning, in local time or, with a Z, in UTC:
started>2026-11-24, ended<2026-11-24T12Z.

",
    );
    text + JOBS_EXAMPLES
}

/// `cu show`
#[derive(Debug, Args)]
pub struct Show {
    /// Jobs (0, 1-3,5 or `all`) and a run (directory or name), in any order; a run whose name is a
    /// number comes last, after its jobs [default: the only job of the newest run]
    #[arg(value_name = "JOB|RUN", num_args = 0..=2)]
    pub jobs_and_run: Vec<String>,
}

/// `cu logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Jobs (0, 1-3,5 or `all`) and a run (directory or name), in any order; a run whose name is a
    /// number comes last, after its jobs [default: the only job of the newest run]
    #[arg(value_name = "JOBS|RUN", num_args = 0..=2)]
    pub jobs_and_run: Vec<String>,
    /// Keep printing, across attempts, until the jobs have ended
    #[arg(long, short, conflicts_with = "attempt")]
    pub follow: bool,
    /// Only this attempt
    #[arg(long, value_name = "N", value_parser = count::<u32>(), allow_negative_numbers = true)]
    pub attempt: Option<u32>,
    /// Only the last LINES lines of each job
    #[arg(long, short = 'n', value_name = "LINES", value_parser = count::<usize>(), allow_negative_numbers = true)]
    pub lines: Option<usize>,
    /// Only attempts that ran within this time until now, such as 10min
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Duration>,
    /// Only standard output
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Only standard error
    #[arg(long)]
    pub stderr: bool,
    /// Print every byte as it is, also to a terminal, which obeys control characters
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

/// Which jobs of which run.
#[derive(Debug, Args)]
pub struct JobsArgument {
    /// Jobs (1-3,5 or `all`) and a run (directory or name), in any order; a run whose name is a
    /// number comes last, after its jobs [default: all jobs of the newest run]
    #[arg(value_name = "JOBS|RUN", num_args = 0..=2)]
    pub jobs_and_run: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
}

/// `cu stop`
#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    pub jobs: JobsArgument,
    /// Don't ask before all jobs of the newest run are cancelled
    #[arg(long, short)]
    pub yes: bool,
    /// Wait at most this long for the end of attempts where no main process works on the run, then exit
    /// with 124
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "15m")]
    pub timeout: Duration,
}

/// `cu doctor`
#[derive(Debug, Args)]
#[command(override_usage = "cu doctor [OPTIONS] [CONFIG] [KEY=VALUE]...")]
pub struct Doctor {
    /// A run's config to check against the cluster, and overrides of its keys
    #[arg(value_name = "CONFIG|KEY=VALUE")]
    pub config_and_overrides: Vec<String>,
    /// backend.kind: auto, local, slurm or htcondor
    #[arg(long, value_name = "KIND")]
    pub backend: Option<String>,
    #[command(flatten)]
    pub profile: Profile,
    /// Submit one short job to check that a node sees the results directory, starts cu and reaches
    /// this host
    #[arg(long)]
    pub submit: bool,
    /// Wait this long for that job, including its time in the queue
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = parse_time, requires = "submit")]
    pub wait: Duration,
}

/// `cu man`
#[derive(Debug, Args)]
pub struct Man {
    /// Write cu.1, cu-run.1 and the others into this directory, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// `cu main-process`
#[derive(Debug, Args)]
pub struct MainProcess {
    /// The run directory
    pub run: PathBuf,
}

/// `cu probe`
#[derive(Debug, Args)]
pub struct Probe {
    /// The probe's directory
    pub directory: PathBuf,
}
