//! `cu update`: changes what a run is run with from now on.

use std::time::{Duration, Instant, SystemTime};

use cu_core::{Reader, Update, check_run};

use crate::args::{Common, UpdateRun};
use crate::config::Override;
use crate::error::{Error, ExitCode, Result};
use crate::shell_word::shell_word;
use crate::updates::{self, Origin, listed};
use crate::{runs, terminal};

/// How long a main process may take to take an update over.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Records the update, and waits for a main process that works on the run to take it over.
///
/// # Errors
/// If there is no such run, or a key may not change or has a wrong value.
pub fn update(common: &Common, arguments: &UpdateRun) -> Result<ExitCode> {
    let (named, keys) = split(&arguments.words)?;
    if keys.is_empty() != arguments.from_config {
        return Err(Error::usage_hint(
            "give keys that are to change, or --from-config",
            "`cu update RUN resources.memory=8GiB`; `cu update --help` says what may change",
        ));
    }
    let run = runs::find(named, common.results_dir())?;
    check_run(&run)?;
    let reader = Reader::open(&run)?;
    let jobs = reader.status()?.jobs;
    if jobs.total == jobs.completed {
        return Err(Error::usage(
            "all jobs of the run are completed: nothing can change any more",
        ));
    }
    let update = match arguments.from_config {
        true => updates::of_edits(&run)?,
        false => updates::of_keys(&run, keys)?,
    };
    let Some(update) = update else {
        if !common.quiet {
            terminal::say("the run has these values already: nothing changes");
        }
        return Ok(ExitCode::Done);
    };
    update
        .keep(&run, SystemTime::now().into())
        .map_err(cu_core::Error::from)?;
    if arguments.from_config
        && let Some(origin) = Origin::read(&run)?
        && let Some(now) = Origin::now(origin.path())
    {
        now.keep(&run)?;
    }
    if common.json {
        terminal::json(&update.changes)?;
    } else {
        terminal::data(&listed(&update.changes))?;
    }
    let is_taken = reader
        .has_main_process()
        .then(|| await_main_process(&reader, &run));
    if common.quiet {
        return Ok(ExitCode::Done);
    }
    let resume = format!("`cu resume {}`", shell_word(run.path()));
    terminal::say(&match is_taken {
        Some(true) => {
            "the main process has taken it over; attempts that run keep what they were started with"
                .to_owned()
        }
        Some(false) => format!(
            "it is recorded; the main process has not taken it over yet. If it does not, end it, and {resume} does"
        ),
        None => format!("it is recorded; {resume} takes it over"),
    });
    Ok(ExitCode::Done)
}

/// Whether the main process has taken all updates over in time.
fn await_main_process(reader: &Reader, run: &cu_core::RunDir) -> bool {
    let began = Instant::now();
    while Update::are_pending(run) {
        if began.elapsed() > PATIENCE
            || !reader.has_main_process() && began.elapsed() > PATIENCE / 4
        {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

/// The run, if one is named, and the keys.
fn split(words: &[String]) -> Result<(Option<&str>, Vec<Override>)> {
    let mut named = None;
    let mut keys = Vec::new();
    for word in words {
        match word.contains('=') {
            true => keys.push(Override::parse(word)?),
            false if named.is_none() => named = Some(word.as_str()),
            false => {
                return Err(Error::usage_hint(
                    format!("`{word}` is not KEY=VALUE"),
                    "`cu update RUN KEY=VALUE...`",
                ));
            }
        }
    }
    Ok((named, keys))
}
