//! What `/proc` tells: who lives, since when, in which group, and which attempt it belongs to.

use std::fs;
use std::os::unix::ffi::OsStrExt;

/// The variable that marks every process of an attempt: `TOKEN/NUMBER`.
pub(super) const MARK: &str = "CU_LOCAL_JOB";

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: i32,
    /// Its process group.
    pub group: i32,
    /// When it started, in ticks since the boot: with the pid it names the process for good.
    pub start_ticks: u64,
    /// The number in its [`MARK`], if that has our token.
    pub job: Option<u64>,
}

/// What identifies the present boot; empty if the kernel does not tell.
pub(super) fn boot() -> String {
    line("/proc/sys/kernel/random/boot_id")
}

/// The name of this machine.
pub(super) fn host() -> String {
    line("/proc/sys/kernel/hostname")
}

/// A text that no other call returns.
pub(super) fn unique_token() -> String {
    line("/proc/sys/kernel/random/uuid")
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// The process `pid`, alive, or dead and not yet waited for. Its mark is not looked at.
pub(super) fn look_at(pid: i32) -> Option<Process> {
    let stat = Stat::read(pid)?;
    Some(Process {
        pid,
        group: stat.group,
        start_ticks: stat.start_ticks,
        job: None,
    })
}

/// Whether `owner`, as [`super::lock`] writes it, is a living process of this machine, or may be
/// one of another.
pub(super) fn is_alive_here(owner: &str) -> bool {
    let mut words = owner.split(' ');
    let (Some("process"), Some(pid), Some("on"), Some(host)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        // The owner has the lock and is about to write its name.
        return false;
    };
    let pid = pid.parse().ok();
    host != self::host() || pid.and_then(Stat::read).is_some_and(|stat| stat.alive)
}

/// All living processes that we may look at, those with our mark told apart.
pub(super) fn survey(token: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mark = format!("{MARK}={token}/");
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            if !name.as_bytes().first()?.is_ascii_digit() {
                return None;
            }
            let pid = name.to_str()?.parse().ok()?;
            let environment = environment(pid);
            let stat = Stat::read(pid)?;
            stat.alive.then(|| Process {
                pid,
                group: stat.group,
                start_ticks: stat.start_ticks,
                job: environment.and_then(|environment| marked(&environment, mark.as_bytes())),
            })
        })
        .collect()
}

/// The environment a process was started with. In the instant between `exec` and the first
/// instruction it reads as empty, so an empty one is read again.
fn environment(pid: i32) -> Option<Vec<u8>> {
    let path = format!("/proc/{pid}/environ");
    for _ in 0..3 {
        let environment = fs::read(&path).ok()?;
        if !environment.is_empty() {
            return Some(environment);
        }
        std::thread::yield_now();
    }
    None
}

fn marked(environment: &[u8], mark: &[u8]) -> Option<u64> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(mark))
        .and_then(|number| str::from_utf8(number).ok()?.parse().ok())
}

struct Stat {
    alive: bool,
    group: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses, which may hold anything, `)` too.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = str::from_utf8(&stat[end_of_name + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // Fields 3, 5 and 22 of the manual page.
        let state = fields.next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let start_ticks = fields.nth(16)?.parse().ok()?;
        Some(Self {
            alive: !matches!(state, "Z" | "X" | "x"),
            group,
            start_ticks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = b"4711 (a) S 9 (b)) R 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 5 6";
        let stat = Stat::parse(stat).unwrap();
        assert!(stat.alive);
        assert_eq!((stat.group, stat.start_ticks), (42, 987_654));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let stat = b"1 (x) Z 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 5 5 6";
        assert!(!Stat::parse(stat).unwrap().alive);
    }

    #[test]
    fn the_survey_holds_ourselves() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let all = survey("no token");
        let own = all.iter().find(|process| process.pid == pid).unwrap();
        assert_eq!(Some(*own), look_at(pid));
    }

    #[test]
    fn only_the_exact_mark_counts() {
        let environment = b"A=1\0CU_LOCAL_JOB=t/12\0B=2\0";
        assert_eq!(marked(environment, b"CU_LOCAL_JOB=t/"), Some(12));
        assert_eq!(marked(environment, b"CU_LOCAL_JOB=u/"), None);
        assert_eq!(marked(b"XCU_LOCAL_JOB=t/12\0", b"CU_LOCAL_JOB=t/"), None);
    }
}
