//! `cu run --or-resume`: continues the run if there is one already, so that one command serves for the first
//! start and for every other one, as in a DAG or a requeued job.

use std::time::{Duration, Instant};

use cu_core::{Reader, RunDir};
use toml::{Table, Value};

use super::resume;
use crate::args::{Common, Watch};
use crate::config::{Config, Source};
use crate::error::{Error, ExitCode, Result};
use crate::terminal;

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
             has no effect",
            run.path().display(),
            differing.join(", ")
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
fn differing_keys(run: &RunDir, config: &Config) -> Vec<String> {
    // A config that can't be read is reported when the backend is opened.
    let Ok(kept) = Source::read_own(&run.config()).and_then(Source::parse) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    differing("", kept.table(), &config.effective, &mut keys);
    keys
}

fn differing(path: &str, kept: &Table, given: &Table, keys: &mut Vec<String>) {
    let empty = Table::new();
    let mut names: Vec<_> = kept.keys().chain(given.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match (kept.get(name), given.get(name)) {
            (Some(Value::Table(kept)), Some(Value::Table(given))) => {
                differing(&path, kept, given, keys);
            }
            (Some(Value::Table(kept)), None) => differing(&path, kept, &empty, keys),
            (None, Some(Value::Table(given))) => differing(&path, &empty, given, keys),
            (kept, given) if kept == given => {}
            _ => keys.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_differ_are_named() {
        let kept = "name = \"a\"\n[stop]\nafter = \"1h\"\n[settings]\nx = 1\n[resume]\n";
        let given = "name = \"a\"\n[stop]\nafter = \"2h\"\n[grid]\nseed = [1]\n";
        let table = |text: &str| -> Table { toml::from_str(text).expect("TOML") };
        let mut keys = Vec::new();
        differing("", &table(kept), &table(given), &mut keys);
        assert_eq!(keys, ["grid.seed", "settings.x", "stop.after"]);
    }
}
