//! A fork server whose copies supervise one command after another, as `cu exec` does: a signal goes on to the command,
//! and the end of the command is that of the order. For the conformance suite, whose commands have no run.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use cu_system::fork_server::{Afterwards, Owner, serve};
use rustix::process::{Pid, Signal, getpid, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// As shells have it.
const NOT_FOUND: u8 = 127;
const SIGNALED: u8 = 128;

fn main() -> io::Result<()> {
    serve(|| obey)
}

fn obey(words: &[String], _: &Owner) -> Afterwards {
    match supervise(words) {
        Ok(status) => afterwards(status),
        Err(error) => {
            eprintln!("can't run {words:?}: {error}");
            Afterwards::Exits(NOT_FOUND)
        }
    }
}

/// Runs a command to its end, and passes signals on to it.
fn supervise(words: &[String]) -> io::Result<ExitStatus> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])?;
    let mut child = Command::new(program).args(arguments).spawn()?;
    let pid = Pid::from_child(&child);
    for signal in signals.forever() {
        if signal != SIGCHLD {
            let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidData)?;
            // It has not been waited for, so its number is still its own.
            kill_process(pid, signal)?;
        } else if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn afterwards(status: ExitStatus) -> Afterwards {
    if let Some(code) = status.code() {
        return Afterwards::StandsBy(code.to_le_bytes()[0]);
    }
    if status.signal() == Some(Signal::KILL.as_raw()) {
        let _ = kill_process(getpid(), Signal::KILL);
    }
    let signal = status.signal().unwrap_or_default().to_le_bytes()[0];
    Afterwards::Exits(SIGNALED.saturating_add(signal))
}
