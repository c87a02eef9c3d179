//! Children that have ended, and what each has needed.
#![allow(unsafe_code)] // `wait4`: no library that we use has a safe one that reports the memory.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc;
use rustix::io::Errno;

/// A child of this process that has ended, and is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedChild {
    /// Its number. Another process may have it from now on.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// The most memory that it, or one of its descendants that were waited for, has had at once, in bytes. 0 if the
    /// kernel did not count it.
    pub peak_memory_bytes: u64,
}

/// Waits for the child with this number, or for any one, if one has ended. `None` if they all live.
///
/// # Errors
/// `ECHILD` if there is no such child.
pub fn wait_if_ended(pid: Option<u32>) -> io::Result<Option<EndedChild>> {
    let number = pid.map_or(Ok(-1), i32::try_from);
    let number = number.map_err(|_| io::Error::from(Errno::CHILD))?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let ended = loop {
        // SAFETY: both pointers are to memory of the right types, which the call only writes to.
        let ended =
            unsafe { libc::wait4(number, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
        match ended {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            ended => break ended,
        }
    };
    let Some(pid) = u32::try_from(ended).ok().filter(|pid| *pid > 0) else {
        return Ok(None);
    };
    // SAFETY: all bytes zero are a valid `rusage`, and the call has filled it in.
    let usage = unsafe { usage.assume_init() };
    Ok(Some(EndedChild {
        pid,
        status: ExitStatus::from_raw(status),
        peak_memory_bytes: u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024,
    }))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    /// Runs a script of the shell. Returns how it ended.
    fn run(script: &str) -> EndedChild {
        let child = Command::new("/bin/sh").args(["-c", script]).spawn();
        let pid = child.unwrap().id();
        let begun = Instant::now();
        loop {
            if let Some(ended) = wait_if_ended(Some(pid)).unwrap() {
                assert_eq!(ended.pid, pid);
                return ended;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{script}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_memory_of_a_child_is_not_that_of_one_before_it() {
        // More than this process: the memory of a child includes that of who started it, until it executes.
        const MANY: u64 = 200_000_000;
        let large = run("head -c 300000000 /dev/zero | tail -c 299999999 | wc -c; exit 3");
        assert_eq!(large.status.code(), Some(3));
        assert!(large.peak_memory_bytes > MANY, "{large:?}");
        let small = run("kill -9 $$");
        assert_eq!(small.status.signal(), Some(9));
        assert!((1..MANY).contains(&small.peak_memory_bytes), "{small:?}");
        let gone = wait_if_ended(Some(small.pid)).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ECHILD));
    }
}
