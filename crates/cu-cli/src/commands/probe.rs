//! `cu probe DIRECTORY`: the program that `cu doctor --submit` runs on a node.

use crate::args::Probe;
use crate::error::{Error, ExitCode, Result};
use crate::examine::answer_on_node;

/// Answers the question in the directory.
///
/// # Errors
/// If this node does not see the directory, or can't write there.
pub fn probe(arguments: &Probe) -> Result<ExitCode> {
    let directory = &arguments.directory;
    answer_on_node(directory, &mut std::io::stdout())
        .map_err(Error::read("answer in", directory))?;
    Ok(ExitCode::Done)
}
