//! The processes that belong to an attempt: one rule, for the supervisor that clears away what its program
//! left, and for the fence that asks what is left of an attempt whose supervisor is dead.
//!
//! While the supervisor lives, all its descendants belong, whatever group or session they went to: the
//! kernel gives it the orphans among them. Once it is dead, that chain is cut, and each living process
//! is asked for these witnesses:
//!
//! | witness | holds | escapes it |
//! | --- | --- | --- |
//! | it was started with the job's output directory in its environment | for certain | `env -i`, `sudo`, who overwrote its environment, who belongs to another user |
//! | the supervisor has listed it among its descendants | for certain | who was started since, which is at most the time between two renewals of the record |
//! | it is in the program's process group or the supervisor's session | for certain if it was there when the supervisor last renewed its record, or the group's first process lives; else possibly, since numbers are used again | `setsid` |
//! | its parent belongs | as its parent does | whose parent has ended |
//! | it holds the job's lock | for certain | who closed what it inherited |
//!
//! A process that belongs for certain is stopped; one that possibly belongs is only waited for. Where the kernel hides
//! other users' processes (`hidepid`), a number that the supervisor has seen and that is still taken may
//! be that of one: it is waited for as a holder on another host is.
//!
//! No witness is left for a process that has escaped all of them: one without our environment, in a
//! session of its own, without the lock, started and orphaned between two renewals. What a program has
//! others start (a container daemon, systemd, another host) is not seen either. Control groups are not
//! asked: schedulers that give each attempt one kill by it, and in a shared one everybody is.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cu_protocol::JobId;
use cu_system::process::{ProcessId, Stat, all_processes, environment, is_taken, variable};

use crate::RunDir;

/// What is known of an attempt whose supervisor is dead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traces<'a> {
    pub supervisor: ProcessId,
    pub program: Option<ProcessId>,
    /// Those of its descendants that the supervisor has listed.
    pub seen: &'a [ProcessId],
    /// When it did, and the program had not ended: in clock ticks since the boot.
    pub seen_at: u64,
}

/// The living processes of an attempt whose supervisor is dead.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// For certain.
    pub certain: Vec<u32>,
    /// As far as can be told.
    pub possible: Vec<u32>,
    /// Numbers of theirs that are taken by somebody whom the kernel does not show.
    pub hidden: Vec<u32>,
}

impl Members {
    pub fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.possible.is_empty() && self.hidden.is_empty()
    }
}

/// The processes of all earlier attempts of a job, of which one has left `traces`.
pub(crate) fn left_behind(run: &RunDir, job: JobId, traces: Option<&Traces<'_>>) -> Members {
    let mark = Mark::of(run, job);
    let found = look(&mark, traces);
    if !found.is_empty() {
        return found;
    }
    // A process that forks and ends between two lines of the list is missed once, and hardly twice.
    look(&mark, traces)
}

fn look(mark: &Mark<'_>, traces: Option<&Traces<'_>>) -> Members {
    let all = survey();
    let this = std::process::id();
    let mut members = Members::default();
    // A thread of the kernel's own is in no group, and takes as long to ask as any.
    let may_belong = |(pid, stat): &&(u32, Stat)| *pid != this && stat.group != 0;
    for (pid, stat) in all.iter().filter(may_belong) {
        let (pid, told) = (*pid, mark.on(*pid));
        match (told, traces) {
            (Shown::Ours, _) => members.certain.push(pid),
            (told, Some(traces)) => match traces.tell_of(pid, stat) {
                Some(Belongs::Certainly) => members.certain.push(pid),
                Some(Belongs::Possibly) if told == Shown::Nothing => members.possible.push(pid),
                _ => {}
            },
            (_, None) => {}
        }
    }
    let mut certain = descendants_in(&all, &members.certain);
    certain.append(&mut members.certain);
    let mut possible = descendants_in(&all, &members.possible);
    possible.append(&mut members.possible);
    for list in [&mut certain, &mut possible] {
        list.sort_unstable();
        list.dedup();
        list.retain(|pid| *pid != this);
    }
    possible.retain(|pid| certain.binary_search(pid).is_err());
    Members {
        certain,
        possible,
        hidden: traces.into_iter().flat_map(Traces::hidden).collect(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Belongs {
    Certainly,
    Possibly,
}

impl Traces<'_> {
    fn tell_of(&self, pid: u32, stat: &Stat) -> Option<Belongs> {
        let start_ticks = stat.start_ticks;
        if self.seen.contains(&ProcessId { pid, start_ticks }) {
            return Some(Belongs::Certainly);
        }
        let group = self.program.filter(|program| program.pid == stat.group);
        let session = Some(self.supervisor).filter(|leader| leader.pid == stat.session);
        // A number is given to nobody else as long as it is that of a group or session.
        let is_theirs = |leader: &ProcessId| !is_reused(*leader);
        let leaders = [group, session].into_iter().flatten().filter(is_theirs);
        if start_ticks < self.supervisor.start_ticks {
            return None;
        }
        let certainty = |leader: ProcessId| match start_ticks <= self.seen_at || leader.is_alive() {
            true => Belongs::Certainly,
            false => Belongs::Possibly,
        };
        leaders
            .map(certainty)
            .max_by_key(|belongs| *belongs == Belongs::Certainly)
    }

    /// The numbers that are taken, and that `/proc` does not show.
    fn hidden(&self) -> impl Iterator<Item = u32> {
        let is_hidden = |pid: u32| Stat::of(pid).is_none() && is_taken(pid, false);
        let seen = self.seen.iter().map(|seen| seen.pid);
        let group = self.program.map(|program| program.pid).filter(|group| {
            Stat::of(*group).is_none()
                && is_taken(*group, true)
                && !all_processes()
                    .filter_map(Stat::of)
                    .any(|stat| stat.group == *group)
        });
        seen.filter(move |pid| is_hidden(*pid)).chain(group)
    }
}

fn is_reused(process: ProcessId) -> bool {
    Stat::of(process.pid).is_some_and(|stat| stat.start_ticks != process.start_ticks)
}

/// What a process's environment shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// It is of this job.
    Ours,
    /// It is of another.
    Others,
    /// It names no job, or can't be read.
    Nothing,
}

/// What the programs of a job have in their environment.
struct Mark<'a> {
    run: &'a RunDir,
    job: String,
    output_dir: PathBuf,
}

impl<'a> Mark<'a> {
    fn of(run: &'a RunDir, job: JobId) -> Self {
        Self {
            run,
            job: job.to_string(),
            output_dir: run.output_dir(job),
        }
    }

    fn on(&self, pid: u32) -> Shown {
        let Some(environment) = environment(pid) else {
            return Shown::Nothing;
        };
        let path =
            |name| variable(&environment, name).map(|path| Path::new(OsStr::from_bytes(path)));
        match path("CU_OUTPUT_DIR") {
            None => Shown::Nothing,
            Some(output_dir) if output_dir == self.output_dir => Shown::Ours,
            Some(output_dir) => {
                // The run may have been named by another path then.
                let is_likely = variable(&environment, "CU_JOB_ID") == Some(self.job.as_bytes())
                    && path("CU_RUN_DIR").and_then(Path::file_name) == self.run.path().file_name();
                match is_likely && is_same_directory(output_dir, &self.output_dir) {
                    true => Shown::Ours,
                    false => Shown::Others,
                }
            }
        }
    }
}

fn is_same_directory(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// The living descendants of this process.
pub(crate) fn descendants() -> Vec<ProcessId> {
    let all = survey();
    let start_ticks: BTreeMap<u32, u64> = all
        .iter()
        .map(|(pid, stat)| (*pid, stat.start_ticks))
        .collect();
    let descendants = descendants_in(&all, &[std::process::id()]).into_iter();
    let identify = |pid| {
        let start_ticks = *start_ticks.get(&pid)?;
        Some(ProcessId { pid, start_ticks })
    };
    descendants.filter_map(identify).collect()
}

/// All living processes that can be seen.
pub(crate) fn survey() -> Vec<(u32, Stat)> {
    all_processes()
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .filter(|(_, stat)| !stat.has_ended)
        .collect()
}

/// The processes of `all` that descend from `roots`, without these.
pub(crate) fn descendants_in(all: &[(u32, Stat)], roots: &[u32]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (pid, stat) in all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut known: BTreeSet<u32> = roots.iter().copied().collect();
    let mut family = Vec::new();
    let mut parents = roots.to_vec();
    while let Some(parent) = parents.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if known.insert(*child) {
                family.push(*child);
                parents.push(*child);
            }
        }
    }
    family
}
