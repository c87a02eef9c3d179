//! `cu probe FOLDER`: what `cu doctor --submit` runs on a node.

use crate::args::Probe;
use crate::error::{Error, ExitCode, Result};
use crate::examine::answer_on_node;

/// Answers what is asked in the folder.
///
/// # Errors
/// If the folder is not seen here, or can't be written.
pub fn probe(arguments: &Probe) -> Result<ExitCode> {
    let folder = &arguments.folder;
    answer_on_node(folder, &mut std::io::stdout()).map_err(Error::read("answer in", folder))?;
    Ok(ExitCode::Done)
}
