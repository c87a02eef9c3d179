//! Finds processes in `/proc`, and never takes a later process for an earlier one of the same number.
//!
//! Names of processes may hold any bytes: the kernel cuts them at 15, also within a character.

use std::fs;
use std::io::{self, Read};
use std::ops::{BitAnd, BitOr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, test_kill_process, test_kill_process_group};
use serde::{Deserialize, Serialize};

/// A process, never confused with a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now; `None` if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        Some(Self {
            pid,
            start_ticks: stat.start_ticks,
        })
    }

    /// Whether it still runs: it exists, and is more than a dead process whose parent has not noticed
    /// its end.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.has_ended)
    }
}

/// The facts of `/proc/PID/stat` that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its parent's number.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
    /// A zombie, or about to vanish, and none of its threads lives.
    pub has_ended: bool,
    /// It was forked and has executed nothing since: it runs its parent's program.
    pub is_fork: bool,
    /// Where its stack begins. A fork has its parent's address, and each `exec` draws a new one. 0 if
    /// the kernel withholds it.
    pub stack: u64,
}

/// `PF_FORKNOEXEC` of the kernel, which `ps` shows in its column F.
const FORKED: u64 = 0x40;

impl Stat {
    /// Reads them for the process that has this number now; `None` if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::look(pid).ok()?
    }

    /// As [`Stat::of`], but a lack of descriptors or memory is an error. Use it where a process must not
    /// be taken for gone.
    ///
    /// # Errors
    /// If the process may be there, and can't be looked at.
    pub fn look(pid: u32) -> io::Result<Option<Self>> {
        let stat = unless_gone(read(&format!("/proc/{pid}/stat")))?;
        Ok(stat.and_then(|stat| Self::parse(&stat)))
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything: spaces,
        // parentheses, half a character. No later field holds a parenthesis.
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = str::from_utf8(&stat[end_of_name + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The state is that of the first thread, which may end before the others do.
        let threads: u64 = fields.get(17)?.parse().ok()?;
        let flags: u64 = fields.get(6)?.parse().ok()?;
        let stack = fields.get(25).and_then(|stack| stack.parse().ok());
        Some(Self {
            is_fork: flags & FORKED != 0,
            stack: stack.unwrap_or_default(),
            has_ended: matches!(*fields.first()?, "Z" | "X" | "x") && threads <= 1,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Now, in the unit and by the clock of [`Stat::start_ticks`].
#[must_use]
pub fn ticks_since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = std::time::Duration::try_from(now).unwrap_or_default();
    let per_second = u128::from(rustix::param::clock_ticks_per_second());
    u64::try_from(now.as_nanos() * per_second / 1_000_000_000).unwrap_or(u64::MAX)
}

/// What the kernel calls a process: the first 15 bytes of its program's name, or what it has set
/// itself. For people: what is not printable is replaced. `None` if there is no such process.
#[must_use]
pub fn name(pid: u32) -> Option<String> {
    let name = read(&format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(name.trim_ascii_end());
    Some(name.replace(char::is_control, "\u{fffd}"))
}

/// Whether a process has this number, or a process group if `is_group`: also where `/proc` shows only
/// one's own processes (`hidepid`), and also one that has ended and was not waited for.
#[must_use]
pub fn is_taken(pid: u32, is_group: bool) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let asked = match is_group {
        true => test_kill_process_group(pid),
        false => test_kill_process(pid),
    };
    matches!(asked, Ok(()) | Err(Errno::PERM))
}

/// The numbers of all processes that can be seen.
pub fn all_processes() -> impl Iterator<Item = u32> {
    list_processes().into_iter().flatten()
}

/// As [`all_processes`], but a lack of descriptors is an error, not an empty machine.
///
/// # Errors
/// If `/proc` can't be listed.
pub fn list_processes() -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if name.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
    }
    Ok(numbers)
}

/// Reads a short file about a process. The system does not say how long it is, and without room for it the
/// standard library reads it in ever larger pieces.
fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(1024);
    fs::File::open(path)?.read_to_end(&mut text)?;
    Ok(text)
}

/// The text read about a process, or `None` if the process is gone.
fn unless_gone(read: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    let no_process = rustix::io::Errno::SRCH.raw_os_error();
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(no_process) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Whether this one is in it.
    #[must_use]
    pub fn has(self, signal: Signal) -> bool {
        self.0 & Self::from_iter([signal]).0 != 0
    }

    /// Whether all of the other set are in it.
    #[must_use]
    pub fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitAnd for SignalSet {
    type Output = Self;

    /// The signals that are in both.
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for SignalSet {
    type Output = Self;

    /// The signals that are in either.
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<T: IntoIterator<Item = Signal>>(signals: T) -> Self {
        let bit =
            |signal: Signal| 1_u64.checked_shl(signal.as_raw().unsigned_abs().wrapping_sub(1));
        let bits = signals.into_iter().filter_map(bit);
        Self(bits.fold(0, |set, bit| set | bit))
    }
}

/// The signals about which a process does something: it has a handler, or it blocks the signal and
/// waits for it (`sigwait`, a signalfd), as `srun` does. `None` if the kernel withholds it.
///
/// Shells block signals for a moment while they start a command. So what is blocked is looked at again,
/// which takes 15 ms.
#[must_use]
pub fn handled(pid: u32) -> Option<SignalSet> {
    let look = || handled_by(&fs::read(format!("/proc/{pid}/status")).ok()?);
    let mut found = look()?;
    for _ in 0..LOOK_AGAIN {
        if found.blocked != SignalSet::default() {
            std::thread::sleep(LOOK_AGAIN_AFTER);
            let again = look()?;
            found.caught = again.caught;
            found.blocked.0 &= again.blocked.0;
        }
    }
    Some(SignalSet(found.caught.0 | found.blocked.0))
}

const LOOK_AGAIN: u32 = 3;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handled {
    caught: SignalSet,
    blocked: SignalSet,
}

fn handled_by(status: &[u8]) -> Option<Handled> {
    let caught = signals_in(status, "SigCgt:")?;
    let blocked = signals_in(status, "SigBlk:")?;
    // A process that blocks even this one is being started, with all signals blocked for a moment.
    let is_starting = blocked.has(Signal::SEGV);
    let blocked = if is_starting {
        SignalSet::default()
    } else {
        blocked
    };
    Some(Handled { caught, blocked })
}

/// The signals that this process ignores. Before a program sets any action itself, these are the ones that
/// whoever started it wants ignored, as `nohup` does. Empty if the kernel does not tell.
#[must_use]
pub fn ignored_signals() -> SignalSet {
    let status = fs::read("/proc/self/status").unwrap_or_default();
    signals_in(&status, "SigIgn:").unwrap_or_default()
}

fn signals_in(status: &[u8], mask: &str) -> Option<SignalSet> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let mask = lines.find_map(|line| line.strip_prefix(mask.as_bytes()))?;
    let mask = str::from_utf8(mask).ok()?;
    u64::from_str_radix(mask.trim(), 16).ok().map(SignalSet)
}

/// The program that a process runs: the path of its file. `None` if the kernel withholds it.
#[must_use]
pub fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Whether a process waits for the end of a child and does nothing else. `false` if the kernel withholds
/// it.
#[must_use]
pub fn waits_for_a_child(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/wchan")).is_ok_and(|place| place == b"do_wait")
}

/// How many bytes wait to be read in the pipe that is a process's standard input. `None` if its standard
/// input is not a pipe, or the kernel withholds it.
#[must_use]
pub fn unread_input(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd/0");
    let input = fs::read_link(&path).ok()?;
    if !input.as_os_str().as_bytes().starts_with(b"pipe:") {
        return None;
    }
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    let pipe = options
        .read(true)
        .custom_flags(nonblocking)
        .open(&path)
        .ok()?;
    rustix::io::ioctl_fionread(pipe).ok()
}

/// The environment that a process was started with, variables separated by zero bytes. `None` if the
/// kernel withholds it: the process belongs to another user, or has given up its rights.
///
/// In the instant between `exec` and the first instruction it reads as empty, so an empty one is
/// read again.
#[must_use]
pub fn environment(pid: u32) -> Option<Vec<u8>> {
    read_environment(pid).ok()?
}

/// As [`environment`], but a lack of descriptors or memory is an error.
///
/// # Errors
/// If it can't be read, though the kernel does not withhold it.
pub fn read_environment(pid: u32) -> io::Result<Option<Vec<u8>>> {
    let path = format!("/proc/{pid}/environ");
    for _ in 0..3 {
        let environment = match unless_gone(fs::read(&path)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            environment => environment?,
        };
        match environment {
            Some(environment) if environment.is_empty() => std::thread::yield_now(),
            environment => return Ok(environment),
        }
    }
    Ok(None)
}

/// The value of a variable in an [`environment`].
#[must_use]
pub fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The processes that hold a lock on this file: those that inherited the descriptor by which it was
/// taken, not those that wait for it.
#[must_use]
pub fn lock_holders(lock: &Path) -> Vec<u32> {
    let Ok(lock) = lock.canonicalize() else {
        return Vec::new();
    };
    all_processes()
        .filter(|pid| holds_lock(*pid, &lock))
        .collect()
}

fn holds_lock(pid: u32, lock: &Path) -> bool {
    // Other users' processes can't be examined, and are not ours.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|target| target == lock)
            && fs::read(
                Path::new("/proc")
                    .join(pid.to_string())
                    .join("fdinfo")
                    .join(descriptor.file_name()),
            )
            .is_ok_and(|info| {
                let mut lines = info.split(|byte| *byte == b'\n');
                lines.any(|line| line.starts_with(b"lock:"))
            })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_handler_and_a_blocked_signal_count_as_handled() {
        let status = |caught: &str, blocked: &str| {
            let mut status = b"Name:\tx\xc3\n".to_vec();
            let masks =
                format!("SigBlk:\t{blocked}\nSigIgn:\t0000000000000000\nSigCgt:\t{caught}\n");
            status.extend(masks.as_bytes());
            let found = handled_by(&status)?;
            Some((
                found.caught.has(Signal::USR1),
                found.blocked.has(Signal::TERM),
            ))
        };
        // USR1 is the tenth, TERM the fifteenth.
        assert_eq!(status("200", "4000"), Some((true, true)));
        assert_eq!(status("0000000000000200", "0"), Some((true, false)));
        // All are blocked: it is being started.
        assert_eq!(status("200", "fffffffe7ffbfeff"), Some((true, false)));
        assert_eq!(handled_by(b"no masks"), None);
        let both = SignalSet::from_iter([Signal::USR1, Signal::TERM]);
        assert!(both.has_all(SignalSet::from_iter([Signal::TERM])));
        assert!(!both.has_all(SignalSet::from_iter([Signal::TERM, Signal::INT])));
    }

    #[test]
    fn a_fork_without_exec_has_its_parents_stack() {
        let mut parent = std::process::Command::new("sh")
            .args(["-c", "while :; do sleep 1; done & wait"])
            .spawn()
            .unwrap();
        let is_child = |(_, stat): &(u32, Stat)| stat.parent == parent.id();
        let look = || {
            all_processes()
                .filter_map(|pid| Some((pid, Stat::of(pid)?)))
                .find(is_child)
        };
        let start = std::time::Instant::now();
        let found = loop {
            match look() {
                Some(child) => break child,
                None if start.elapsed().as_secs() < 60 => std::thread::yield_now(),
                None => panic!("no child came"),
            }
        };
        let (child, forked) = found;
        let original = Stat::of(parent.id()).unwrap();
        assert!(forked.is_fork && !original.is_fork);
        assert_eq!(forked.stack, original.stack);
        assert_eq!(executable(child), executable(parent.id()));
        let this = Stat::of(std::process::id()).unwrap();
        assert!(this.stack != 0 && this.stack != original.stack);
        parent.kill().unwrap();
        parent.wait().unwrap();
        rustix::process::kill_process(Pid::from_raw(child.cast_signed()).unwrap(), Signal::KILL)
            .unwrap();
    }

    proptest! {
        #[test]
        fn a_name_of_any_bytes_hides_no_field(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            let mut stat = b"42 (".to_vec();
            stat.extend(name);
            stat.extend(b") R 7 8 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 5150 0");
            let stat = Stat::parse(&stat).unwrap();
            prop_assert_eq!((stat.parent, stat.group, stat.session), (7, 8, 9));
            prop_assert_eq!(stat.start_ticks, 5150);
            prop_assert!(!stat.has_ended);
        }
    }

    #[test]
    fn a_zombie_has_ended() {
        let stat = b"1 (x) Z 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 5 5 6";
        assert!(Stat::parse(stat).unwrap().has_ended);
        // Its first thread has ended, and another one goes on.
        let stat = b"1 (x) Z 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 2 0 5 5 6";
        assert!(!Stat::parse(stat).unwrap().has_ended);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environment = b"XA=1\0A=\xff=2\0AB=3\0";
        assert_eq!(variable(environment, "A"), Some(&b"\xff=2"[..]));
        assert_eq!(variable(environment, "B"), None);
    }

    #[test]
    fn this_process_started_before_now_and_has_a_name() {
        let this = ProcessId::of(std::process::id()).unwrap();
        let now = ticks_since_boot();
        // It was not started days ago, so the clock and the unit are the same.
        assert!(this.start_ticks <= now && now - this.start_ticks < 100 * 24 * 3600);
        assert!(is_taken(this.pid, false) && !is_taken(0, true));
        assert!(name(this.pid).is_some_and(|name| !name.is_empty()));
    }

    #[test]
    fn an_earlier_process_of_the_same_number_is_dead() {
        let this = ProcessId::of(std::process::id()).unwrap();
        assert!(this.is_alive());
        let earlier = ProcessId {
            start_ticks: this.start_ticks - 1,
            ..this
        };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn unread_bytes_of_a_pipe_are_counted() {
        use std::io::Write;
        let start = |stdin| {
            std::process::Command::new("sleep")
                .arg("60")
                .stdin(stdin)
                .spawn()
        };
        let mut reader = start(std::process::Stdio::piped()).unwrap();
        let mut other = start(std::process::Stdio::null()).unwrap();
        assert_eq!(unread_input(reader.id()), Some(0));
        reader.stdin.as_ref().unwrap().write_all(b"12345").unwrap();
        assert_eq!(unread_input(reader.id()), Some(5));
        assert_eq!(unread_input(other.id()), None);
        for child in [&mut reader, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn this_process_is_among_all() {
        assert!(all_processes().any(|pid| pid == std::process::id()));
    }

    #[test]
    fn only_the_holder_of_a_lock_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let holds = || lock_holders(file.path()) == [std::process::id()];
        assert!(!holds());
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert!(holds());
    }
}
