//! The arguments of `cu config`, and those that choose a config.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::path;

/// `cu config`
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every key with its documentation and default, as TOML; or only one key or table
    Reference {
        /// A key or table, such as stop.after or backend.slurm
        key: Option<String>,
    },
    /// Print all keys that a run would get, with the defaults of the user and the site
    Show(ShowConfig),
    /// Check a config, or the defaults of the user and the site, and report every mistake
    Check(GivenConfig),
    /// Write a short config with comments, to begin with
    Init {
        /// The file to write
        #[arg(value_name = "FILE", default_value = "run.toml", value_parser = path())]
        file: PathBuf,
    },
    /// Print the JSON Schema of configs, for editors
    Schema,
}

/// `cu config show`
#[derive(Debug, Args)]
pub struct ShowConfig {
    #[command(flatten)]
    pub given: GivenConfig,
    /// Print where each key was given
    #[arg(long)]
    pub origin: bool,
}

/// A config, if one is named.
#[derive(Debug, Args)]
pub struct GivenConfig {
    /// A run's config, and overrides of its keys
    #[arg(value_name = "CONFIG|KEY=VALUE")]
    pub config_and_overrides: Vec<String>,
    #[command(flatten)]
    pub profile: Profile,
}

/// Which profile.
#[derive(Debug, Default, Args)]
pub struct Profile {
    /// Use the keys of the table [profiles.NAME] of the config, the user's defaults or the site's
    #[arg(long, value_name = "NAME", env = "CU_PROFILE")]
    pub profile: Option<String>,
}
