//! Finds the processes of each attempt, by a mark in the environment with which they were started.

use std::io;

use cu_system::machine::host;
use cu_system::process::{Stat, list_processes, read_environment};

use super::table;
use crate::ClusterJobId;

/// The variable that marks every process of an attempt: `TOKEN/ID`. In version 1 of the journal it
/// was `TOKEN/NUMBER`.
pub(super) const MARK: &str = "CU_LOCAL_JOB";

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: i32,
    /// Its process group.
    pub group: i32,
    /// When it started, in ticks since the boot: with the pid it names the process for good.
    pub start_ticks: u64,
    /// Its attempt, if its [`MARK`] has our token.
    pub job: Option<ClusterJobId>,
}

impl Process {
    fn new(pid: u32, stat: Stat) -> Option<Self> {
        Some(Self {
            pid: pid.try_into().ok()?,
            group: stat.group.try_into().ok()?,
            start_ticks: stat.start_ticks,
            job: None,
        })
    }
}

/// The process `pid`, alive, or dead and not yet waited for. Does not read its mark.
pub(super) fn look_at(pid: i32) -> Option<Process> {
    let pid = pid.try_into().ok()?;
    Process::new(pid, Stat::of(pid)?)
}

/// Returns whether `owner`, as [`super::lock`] writes it, is a living process of this machine, or
/// may be one on another machine.
pub(super) fn is_alive_here(owner: &str) -> bool {
    let mut words = owner.split(' ');
    let (Some("process"), Some(pid), Some("on"), Some(owners_host)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        // The owner has the lock and is about to write its name.
        return false;
    };
    let lives = |pid: u32| Stat::of(pid).is_some_and(|stat| !stat.has_ended);
    owners_host != host() || pid.parse().is_ok_and(lives)
}

/// Lists all living processes that we may examine, with their mark if it is ours.
///
/// # Errors
/// If one may have been missed, because descriptors or memory ran out.
pub(super) fn survey(token: &str) -> io::Result<Vec<Process>> {
    let mark = format!("{MARK}={token}/");
    let mut all = Vec::new();
    for pid in list_processes()? {
        let environment = read_environment(pid)?;
        let Some(stat) = Stat::look(pid)?.filter(|stat| !stat.has_ended) else {
            continue;
        };
        let job = environment.and_then(|environment| marked(&environment, mark.as_bytes()));
        all.extend(Process::new(pid, stat).map(|process| Process { job, ..process }));
    }
    Ok(all)
}

fn marked(environment: &[u8], mark: &[u8]) -> Option<ClusterJobId> {
    let mut variables = environment.split(|byte| *byte == 0);
    let id = variables.find_map(|variable| variable.strip_prefix(mark))?;
    let id = str::from_utf8(id).ok()?;
    Some(match id.parse() {
        Ok(number) => table::id_of_version_1(number),
        Err(_) => ClusterJobId(id.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_survey_holds_ourselves() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let all = survey("no token").unwrap();
        let own = all.iter().find(|process| process.pid == pid).unwrap();
        assert_eq!(Some(own.clone()), look_at(pid));
    }

    #[test]
    fn only_the_exact_mark_counts() {
        let id = |text: &str| Some(ClusterJobId(text.to_owned()));
        let environment = b"A=1\0CU_LOCAL_JOB=t/local-a-12\0B=2\0";
        assert_eq!(marked(environment, b"CU_LOCAL_JOB=t/"), id("local-a-12"));
        assert_eq!(marked(environment, b"CU_LOCAL_JOB=u/"), None);
        let first = marked(b"CU_LOCAL_JOB=t/12\0", b"CU_LOCAL_JOB=t/");
        assert_eq!(first, id("local-12"));
        assert_eq!(marked(b"XCU_LOCAL_JOB=t/12\0", b"CU_LOCAL_JOB=t/"), None);
    }
}
