//! The arguments of `cu grid-search`.

use std::path::PathBuf;

use clap::Args;

use super::{Making, Profile, Watch};

/// `cu grid-search`
#[derive(Debug, Args)]
#[command(
    override_usage = "cu grid-search [OPTIONS] CONFIG [KEY=VALUE]...",
    after_help = HELP
)]
pub struct GridSearch {
    #[command(flatten)]
    pub config: ConfigOfClusterUtils,
}

/// A config of cluster_utils, and how it is run.
#[derive(Debug, Args)]
pub struct ConfigOfClusterUtils {
    /// The config: JSON, YAML or TOML, as cluster_utils takes it
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Override keys of the config by values of Python: 'results_dir="/tmp"' restarts=2
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// A key of cu's own config, such as stop.after=50min or resume.max_failures=10; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// auto, local, slurm or htcondor
    #[arg(long, value_name = "KIND")]
    pub backend: Option<String>,
    #[command(flatten)]
    pub profile: Profile,
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub making: Making,
}

const HELP: &str = "\
Takes the place of `python3 -m cluster_utils.grid_search`: the same config, the same scripts, the
same result files, and 0 as soon as one job has results. docs/cluster_utils.md lists what is
different. Everything else is as with `cu run`: `cu status`, `cu show`, `cu resume`, `cu stop`.

Examples:
  cu grid-search grid.json 'results_dir=\"/tmp\"' local_run=True
  cu grid-search grid.toml --set stop.after=50min";
