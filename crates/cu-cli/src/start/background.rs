//! `--detach`: starts a main process in the background, and waits until it is ready or says why it is
//! not.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use cu_core::RunDir;
use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, ExitCode, Result};
use crate::start::logging;

/// The word that the main process in the background prints once it holds the run and listens. Before
/// that it prints an error, if there is one.
pub const READY: &str = "ready";

/// How many file descriptors a runtime needs at least.
const DESCRIPTORS: usize = 16;

/// The runtime of the main process, which mostly waits: one thread is enough. Blocking calls have pools
/// of their own, so nothing here starts a thread later or waits for one at its end.
///
/// # Errors
/// If the system gives no file descriptors.
pub fn runtime() -> Result<Runtime> {
    // Without descriptors the runtime would panic.
    let given: std::io::Result<Vec<File>> =
        (0..DESCRIPTORS).map(|_| File::open("/dev/null")).collect();
    given.map_err(Error::system("open files"))?;
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("wait for events"))
}

/// Starts `cu main-process` for `run` and waits until it is ready.
///
/// # Errors
/// The error that it prints instead.
pub fn start(run: &RunDir, verbose: u8) -> Result<()> {
    let log = logging::open(run)?;
    let executable = crate::this_program::path().map_err(Error::system("find this program"))?;
    let mut command = Command::new(executable);
    command.arg("main-process").arg(run.path());
    for _ in 0..verbose {
        command.arg("--verbose");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(Error::system("start a main process"))?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        // An unreadable word counts as none: then the exit code decides.
        let _ = stdout.read_line(&mut said);
        if said.trim_end() == READY {
            return Ok(());
        }
        let _ = stdout.read_to_string(&mut said);
    }
    let status = child
        .wait()
        .map_err(Error::system("wait for the main process"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Err(Error::NotReady {
        code: code
            .filter(|code| *code != 0)
            .unwrap_or(ExitCode::Internal as u8),
        said,
    })
}
