//! `cu run --or-resume`: continues the run if there is one already, so that one command serves for the first
//! start and for every other one, as in a DAG or a requeued job.

use std::path::Path;
use std::time::{Duration, Instant};

use cu_core::{Change, Reader, RunDir};

use super::resume;
use crate::args::{Common, Watch};
use crate::config::{Config, Source};
use crate::error::{Error, ExitCode, Result};
use crate::shell_word::shell_word;
use crate::terminal;
use crate::updates::{differing, listed, may_change};

/// How long to wait for another main process: a predecessor that was killed or vacated may take a moment to
/// end.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// Whether there is a run to continue.
pub fn is_there(run: &RunDir) -> bool {
    run.store().exists()
}

/// Whether the run could not be made because another process makes it or has made it.
pub fn is_awaited(error: &Error) -> bool {
    use cu_core::Error::{InUse, RunExists};
    matches!(error, Error::Run(InUse { .. } | RunExists { .. }))
}

/// Continues the run with the settings that it has. If `config` has others, says so.
///
/// # Errors
/// As `cu resume`; if another main process works on the run for longer than a minute.
pub fn go_on(common: &Common, watch: &Watch, run: RunDir, config: &Config) -> Result<ExitCode> {
    await_predecessor(common, &run)?;
    let differing = differing_keys(&run, config);
    if !common.quiet && !differing.is_empty() {
        terminal::warn(&format!(
            "the run {} exists already and goes on as it was made; what is given now differs in {}, which \
             has no effect{}",
            run.path().display(),
            listed(&differing),
            advice(&run, &differing)
        ));
    }
    resume::continue_run(common, watch, run)
}

/// Waits until no other main process works on the run, for a bounded time. If one stays,
/// opening the run reports it.
fn await_predecessor(common: &Common, run: &RunDir) -> Result<()> {
    let start = Instant::now();
    let is_in_use = || match Reader::open(run) {
        // It is just being made.
        Err(cu_core::Error::NoRun { .. }) => Ok(true),
        Err(error) => Err(error),
        Ok(reader) => Ok(reader.has_main_process()),
    };
    let mut is_told = common.quiet;
    while is_in_use()? && start.elapsed() < PATIENCE {
        if !std::mem::replace(&mut is_told, true) {
            terminal::say(&format!(
                "another main process works on {}; waiting for its end for at most {} s",
                run.path().display(),
                PATIENCE.as_secs()
            ));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The keys in which `config` differs from the one that was kept with the run.
fn differing_keys(run: &RunDir, config: &Config) -> Vec<Change> {
    // A config that can't be read is reported when the backend is opened.
    let Ok(kept) = Source::read_own(&run.config()).and_then(Source::parse) else {
        return Vec::new();
    };
    differing(kept.table(), &config.effective)
}

/// The command that applies what may change, if something may and the run goes on.
fn advice(run: &RunDir, differing: &[Change]) -> String {
    let status = Reader::open(run).and_then(|reader| reader.status());
    if status.is_ok_and(|status| status.ended.is_some()) {
        return String::new();
    }
    let may = differing.iter().filter(|it| may_change(&it.key).is_ok());
    let keys = may.map(|it| shell_word(Path::new(&format!("{}={}", it.key, it.new))));
    let keys: Vec<_> = keys.collect();
    match keys.is_empty() {
        true => String::new(),
        false => format!(
            "; `cu update {} {}` changes it",
            shell_word(run.path()),
            keys.join(" ")
        ),
    }
}
