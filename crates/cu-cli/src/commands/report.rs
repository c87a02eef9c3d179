//! `cu report`: a run as one HTML page that needs nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_core::{Reader, RunDir, Status};
use serde_json::json;

use crate::args::{Common, Report};
use crate::error::{Error, ExitCode, Result};
use crate::start::background;
use crate::start::follow::follow;
use crate::text::moment::now;
use crate::text::size;
use crate::view::View;
use crate::view::report::page;
use crate::{runs, terminal};

/// How every report begins, so that a newer one may take its place.
const BEGINNING: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";

/// How often a page that follows a run is written, and reloaded.
const EVERY: Duration = Duration::from_secs(10);
/// Writing it takes at most this part of the time: one page, then a pause of so many.
const PAUSES: u32 = 20;

/// Writes the page; with `--follow` again and again until the run has ended.
///
/// # Errors
/// If there is no such run, or the file is something else than a report or can't be written.
pub fn report(common: &Common, arguments: &Report) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let is_stdout = |path: &PathBuf| path == Path::new("-");
    let file = match &arguments.output {
        Some(path) if is_stdout(path) && arguments.follow => {
            return Err(Error::usage_hint(
                "`--follow` writes the page again and again, and standard output can't be replaced",
                "name a file: `--output FILE`",
            ));
        }
        Some(path) if is_stdout(path) => {
            let _ = terminal::bytes(page_of(&run, None)?.as_bytes())?;
            return Ok(ExitCode::Done);
        }
        Some(path) => runs::absolute(path)?,
        None => {
            let name = Reader::open(&run)?.status()?.name;
            runs::absolute(Path::new(&format!("{name}.html")))?
        }
    };
    if !may_be_replaced(&file) {
        return Err(Error::usage_hint(
            format!("{} exists already, and is not a report", file.display()),
            "choose another file with `--output FILE`",
        ));
    }
    let mut pages = Pages {
        run: &run,
        file: &file,
        due: Instant::now(),
        outcome: Ok(0),
    };
    if arguments.follow {
        if !common.quiet && !common.json {
            terminal::say(&format!(
                "writing {} until the run has ended: open it in a browser, which reloads it",
                file.display()
            ));
        }
        background::runtime()?.block_on(follow(&run, None, &mut pages))?;
    }
    pages.write(None);
    let bytes = pages.outcome?;
    if common.json {
        terminal::json(
            &json!({"version": 1, "run_dir": run.path(), "file": file, "bytes": bytes}),
        )?;
    } else if !common.quiet {
        let length = size(bytes as u64);
        terminal::say(&format!(
            "wrote {} ({length}): open it in a browser",
            file.display()
        ));
    }
    Ok(ExitCode::Done)
}

/// Writes pages as long as a run goes on.
struct Pages<'a> {
    run: &'a RunDir,
    file: &'a Path,
    /// When the next one is written.
    due: Instant,
    /// The bytes of the last one, or why it could not be written.
    outcome: Result<usize>,
}

impl Pages<'_> {
    fn write(&mut self, reload: Option<Duration>) {
        let begun = Instant::now();
        self.outcome = page_of(self.run, reload).and_then(|page| {
            write(self.file, &page).map_err(Error::write("write", self.file))?;
            Ok(page.len())
        });
        self.due = Instant::now() + EVERY.max(begun.elapsed() * PAUSES);
    }
}

impl View for Pages<'_> {
    fn status(&mut self, _: &Status, now: Instant) {
        if now >= self.due {
            self.write(Some(EVERY));
        }
    }

    fn tick(&mut self, _: Instant) {}
    fn notice(&mut self, _: &str) {}
    fn pause(&mut self) {}
    fn go_on(&mut self) {}

    fn is_over(&self) -> bool {
        self.outcome.is_err()
    }
}

fn page_of(run: &RunDir, reload: Option<Duration>) -> Result<String> {
    let reader = Reader::open(run)?;
    let (status, jobs) = (reader.status()?, reader.jobs()?);
    Ok(page(run, &status, &jobs, now(), reload))
}

/// Writes the file whole, so that a browser never reads half of it; a device as it is.
fn write(file: &Path, page: &str) -> io::Result<()> {
    if !file.metadata().is_ok_and(|it| it.is_file()) {
        return fs::write(file, page);
    }
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, page)?;
    fs::rename(&part, file)
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
