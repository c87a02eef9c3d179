//! `cu status`: the state of a run, read from its store.

use cu_core::Reader;

use crate::args::{Common, RunArgument};
use crate::error::{ExitCode, Result};
use crate::git::Record;
use crate::optimize::best;
use crate::text::visible::printable;
use crate::view::json::StatusJson;
use crate::view::{refused, summary};
use crate::{runs, terminal};

/// Prints it.
///
/// # Errors
/// If there is no such run, or it can't be read.
pub fn status(common: &Common, run: &RunArgument) -> Result<ExitCode> {
    let run = runs::find(run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let status = reader.status()?;
    if common.json {
        terminal::json(&StatusJson::of(&run, &status)?)?;
    } else {
        let open = reader.unfinished(summary::FEW)?;
        let refused = refused::of_run(&run, &reader)?;
        let mut text = summary::status(&status, &open, terminal::width());
        if let Some(best) = best::of_run(&run, &reader)? {
            text.push_str("\n\n");
            text.push_str(&printable(&best.in_words()));
        }
        text.push_str(&summary::refused(&refused));
        if let Some(record) = Record::read(&run) {
            text.push_str("\n\ncode: ");
            text.push_str(&printable(&record.in_words()));
        }
        terminal::data_styled(&text)?;
    }
    Ok(ExitCode::Done)
}
