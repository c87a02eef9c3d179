//! `cu main-process`: the process that `--detach` starts in the background. Its own session lets it
//! outlive the terminal. It prints one word on stdout once it is ready, and writes the rest to the
//! run's log.

use cu_core::{RunDir, check_run};

use crate::args::{Common, MainProcess as Arguments, OnInterrupt};
use crate::error::render;
use crate::error::{Error, ExitCode, Result};
use crate::start::foreground::{conclude, end_of, interrupt};
use crate::start::interrupt::Interrupts;
use crate::start::on_end::OnEnd;
use crate::start::shared::Shared;
use crate::start::watched::{Outcome, work};
use crate::start::{background, logging};
use crate::terminal;
use crate::view::Silent;

/// Acts as the main process of a run.
///
/// # Errors
/// If the run's log can't be written. Other errors go to stdout, for the process that started this
/// one, and to the log.
pub fn main_process(common: &Common, arguments: &Arguments) -> Result<u8> {
    let run = RunDir::new(&arguments.run);
    match run_it(common, &run) {
        Ok(code) => Ok(code as u8),
        Err(error) => {
            let text = render::text(&error);
            let text = anstream::adapter::strip_str(&text).to_string();
            tracing::error!("{text}");
            terminal::data(&text)?;
            Ok(error.exit_code())
        }
    }
}

fn run_it(common: &Common, run: &RunDir) -> Result<ExitCode> {
    rustix::process::setsid().map_err(|error| Error::system("start a session")(error.into()))?;
    check_run(run)?;
    logging::start_in_background(run, common.verbose)?;
    let on_end = OnEnd::of(run);
    let _shared = Shared::begin(run);
    let mut interrupts = Interrupts::new(Some(OnInterrupt::Detach));
    let mut is_told = false;
    // The process that started this one reads one word.
    let is_ready = || match std::mem::replace(&mut is_told, true) {
        false => terminal::data(background::READY),
        true => Ok(()),
    };
    let mut view = Silent;
    let outcome = work(run, false, &mut view, &mut interrupts, is_ready)?;
    Ok(match outcome {
        Outcome::Settled(status) => {
            conclude(run, &status, true)?;
            on_end.inspect(|command| command.tell(&status));
            end_of(run, &status)?
        }
        Outcome::Detached(status) => {
            interrupt(run, &status)?;
            ExitCode::Interrupted
        }
        Outcome::Ended | Outcome::Updated => ExitCode::Interrupted,
    })
}
