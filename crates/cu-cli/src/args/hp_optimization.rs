//! The arguments of `cu hp-optimization`.

use clap::Args;

use super::grid_search::ConfigOfClusterUtils;

/// `cu hp-optimization`
#[derive(Debug, Args)]
#[command(
    override_usage = "cu hp-optimization [OPTIONS] CONFIG [KEY=VALUE]...",
    after_help = HELP
)]
pub struct HpOptimization {
    #[command(flatten)]
    pub config: ConfigOfClusterUtils,
}

const HELP: &str = "\
Takes the place of `python3 -m cluster_utils.hp_optimization`: the same config, the same scripts, the
same tables of results after each iteration, and 0 as soon as one job has results. The optimizer is
cem_metaoptimizer, or tpe, cmaes or random, which cluster_utils does not have; those of nevergrad have
their nearest relatives here. docs/cluster_utils.md lists what is different. A run that was killed goes
on with `cu resume`: no job is lost, and none is asked for twice.

Examples:
  cu hp-optimization search.json 'results_dir=\"/tmp\"' local_run=True
  cu hp-optimization search.toml 'optimizer_str=\"tpe\"' --set optimize.seed=1";
