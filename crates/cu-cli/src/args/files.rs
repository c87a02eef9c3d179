//! The arguments of commands about whole runs and their files.

use std::path::PathBuf;

use clap::Args;

use super::{RunArgument, path};

/// `cu list`
#[derive(Debug, Args)]
pub struct List {
    /// Show how much room each run takes, in bytes and in files, which takes longer
    #[arg(long)]
    pub disk: bool,
}

/// `cu events`
#[derive(Debug, Args)]
#[command(after_long_help = EVENTS)]
pub struct Events {
    #[command(flatten)]
    pub run: RunArgument,
    /// Keep printing until the run has ended
    #[arg(long, short)]
    pub follow: bool,
}

const EVENTS: &str = "\
With --json, each line is an object: `at` (UTC), `event`, `job` and `attempt` (null where they have
no meaning), and what belongs to the event:
  submitted      cluster_job_id
  not_submitted  reason; it is tried again unless the job ends
  started        host
  stopped        after_milliseconds, sent: what was sent to whom to stop the program
  ended          end, exit_code, signal, detail
  ordered        order: stop, pause, continue, retry, checkpoint, or give_up (resume.max_failures)
  job_ended      state: completed, failed or cancelled; why
  run_ended      state: completed, failed or stopped
More events and names may be added. Announced progress and metrics are not among them.";

/// `cu rm`
#[derive(Debug, Args)]
pub struct Rm {
    /// The directories or names of the runs
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,
    /// Don't ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `cu export`
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub run: RunArgument,
    /// The archive; its suffix says how it is compressed [default: RUN.tar.gz]
    #[arg(long, short, value_name = "FILE", value_parser = path())]
    pub output: Option<PathBuf>,
    /// Add the checkpoints that the libraries save
    #[arg(long)]
    pub checkpoints: bool,
}

/// `cu report`
#[derive(Debug, Args)]
#[command(after_help = REPORT_HELP)]
pub struct Report {
    #[command(flatten)]
    pub run: RunArgument,
    /// The page, or - for standard output [default: RUN.html]
    #[arg(long, short, value_name = "FILE", value_parser = path())]
    pub output: Option<PathBuf>,
    /// Write the page anew until the run has ended; a browser that shows it reloads it
    #[arg(long, short)]
    pub follow: bool,
}

const REPORT_HELP: &str = "\
The page loads nothing from elsewhere and can be sent around. It has the config; values of
variables that look like passwords are not shown. An earlier report is overwritten, no other file.";

/// `cu share`
#[derive(Debug, Args)]
#[command(after_help = SHARE_HELP)]
pub struct Share {
    #[command(flatten)]
    pub run: RunArgument,
    /// The group, by its name or number [default: the key `group` of the run's config]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
}

const SHARE_HELP: &str = "\
The group can read the run, and never write to it. The secret, the commands of jobs with their
variables, and backend/ stay private. What is made later, such as the files of the next attempt, is
private until `cu share` is typed again; with the key `group` the main process does so every few
minutes and at the end.";
