//! `cu config`: the reference of the config.

use serde_json::json;

use crate::args::{Common, Config};
use crate::config;
use crate::error::{ExitCode, Result};
use crate::terminal;

/// Prints the reference.
///
/// # Errors
/// If stdout can't be written.
pub fn config(common: &Common, command: &Config) -> Result<ExitCode> {
    let Config::Reference = command;
    let reference = config::reference();
    if common.json {
        terminal::json(&json!({"version": 1, "reference": reference}))?;
    } else {
        terminal::data(reference.trim_end())?;
    }
    Ok(ExitCode::Done)
}
