//! `cu hp-optimization`: runs an optimisation of the Python package cluster_utils.

use super::grid_search::run_config;
use crate::args::{Common, HpOptimization};
use crate::cluster_utils::Procedure;
use crate::error::{ExitCode, Result};

/// Makes the run and works on it.
///
/// # Errors
/// If the config is wrong, or the run can't be made, or its main process has to give up.
pub fn hp_optimization(common: &Common, arguments: &HpOptimization) -> Result<ExitCode> {
    run_config(common, &arguments.config, Procedure::HpOptimization)
}
