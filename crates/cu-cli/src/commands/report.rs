//! `cu report`: a run as one HTML page that needs nothing else.

use std::path::Path;

use cu_core::Reader;
use serde_json::json;

use crate::args::{Common, Report};
use crate::error::{Error, ExitCode, Result};
use crate::text::moment::now;
use crate::text::size;
use crate::view::report::page;
use crate::{runs, terminal};

/// How every report begins, so that a newer one may take its place.
const BEGINNING: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";

/// Writes the page.
///
/// # Errors
/// If there is no such run, or the file is something else than a report or can't be written.
pub fn report(common: &Common, arguments: &Report) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let (status, jobs) = (reader.status()?, reader.jobs()?);
    let page = page(&run, &status, &jobs, now());
    let file = match &arguments.output {
        Some(path) if path == Path::new("-") => {
            let _ = terminal::bytes(page.as_bytes())?;
            return Ok(ExitCode::Done);
        }
        Some(path) => runs::absolute(path)?,
        None => runs::absolute(Path::new(&format!("{}.html", status.name)))?,
    };
    if !may_be_replaced(&file) {
        return Err(Error::usage_hint(
            format!("{} exists already, and is not a report", file.display()),
            "choose another file with `--output FILE`",
        ));
    }
    std::fs::write(&file, &page).map_err(Error::write("write", &file))?;
    if common.json {
        let bytes = page.len();
        terminal::json(
            &json!({"version": 1, "run_dir": run.path(), "file": file, "bytes": bytes}),
        )?;
    } else if !common.quiet {
        let length = size(page.len() as u64);
        terminal::say(&format!(
            "wrote {} ({length}): open it in a browser",
            file.display()
        ));
    }
    Ok(ExitCode::Done)
}

/// Whether there is no such file, or it is an earlier report.
fn may_be_replaced(file: &Path) -> bool {
    match std::fs::symlink_metadata(file) {
        Err(_) => true,
        Ok(metadata) if metadata.is_file() => {
            metadata.len() == 0
                || std::fs::read(file).is_ok_and(|it| it.starts_with(BEGINNING.as_bytes()))
        }
        // A device such as /dev/stdout is written to; a link may lead anywhere.
        Ok(metadata) => !metadata.is_dir() && !metadata.is_symlink(),
    }
}
