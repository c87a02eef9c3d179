//! Which graphics processors attempts of other runs have: each run hands them out by itself, and none is divided.
//!
//! Nothing is stored about that: the processes of an attempt carry the names in their environment for as long as
//! they live, whatever becomes of their run.

use std::collections::BTreeSet;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use cu_system::process::{Stat, list_processes, read_environment, variable};
use cu_system::users;

use super::proc_fs::MARK;

/// The variable that names what an attempt was given. `CUDA_VISIBLE_DEVICES` may come from anybody.
pub(super) const GIVEN: &str = "CU_LOCAL_GPUS";

/// Clusters number the graphics processors of each of their jobs from 0: only within one do the names mean the same.
const CLUSTER_JOBS: [&str; 6] = [
    "SLURM_JOB_ID",
    "_CONDOR_JOB_AD",
    "PBS_JOBID",
    "LSB_JOBID",
    "FLUX_JOB_ID",
    "JOB_ID",
];

/// How long to wait for another main process that is handing out some. It takes milliseconds; one that was stopped
/// there must not stop the others.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to hand out graphics processors, which one main process of this user has at a time: from its look at
/// what the others have until its attempts have begun.
#[derive(Debug)]
pub(super) struct HandingOut {
    /// What other runs have, as `CUDA_VISIBLE_DEVICES` names it.
    pub taken: BTreeSet<String>,
    /// A name that belongs to one process at a time, and leaves nothing behind.
    _turn: Option<UnixListener>,
}

impl HandingOut {
    /// Waits for its turn, and looks. `token` is that of our own attempts.
    pub fn begin(token: &str) -> io::Result<Self> {
        let name = format!("cluster-utils/{}/gpus", users::own());
        let address = SocketAddr::from_abstract_name(name)?;
        let begun = Instant::now();
        let turn = loop {
            match UnixListener::bind_addr(&address) {
                Ok(turn) => break Some(turn),
                Err(_) if begun.elapsed() > PATIENCE => break None,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Ok(Self {
            taken: taken_by_others(token)?,
            _turn: turn,
        })
    }
}

fn taken_by_others(token: &str) -> io::Result<BTreeSet<String>> {
    let own = std::process::id();
    let ours = read_environment(own)?.unwrap_or_default();
    let above = marks_above(own)?;
    let mut taken = BTreeSet::new();
    for pid in list_processes()? {
        let Some(environment) = read_environment(pid)? else {
            continue;
        };
        let of = |name| variable(&environment, name);
        let Some((mark, given)) = of(MARK).zip(of(GIVEN)) else {
            continue;
        };
        let is_own = mark.starts_with(format!("{token}/").as_bytes());
        // What an attempt above us has is ours to hand out.
        if is_own || above.contains(mark) || cluster_job(&environment) != cluster_job(&ours) {
            continue;
        }
        let names = String::from_utf8_lossy(given).into_owned();
        let names = names.split(',').filter(|name| !name.is_empty());
        taken.extend(names.map(str::to_owned));
    }
    Ok(taken)
}

/// The marks of the attempts in which this process runs.
fn marks_above(process: u32) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut marks = BTreeSet::new();
    let mut next = Some(process);
    while let Some(pid) = next.filter(|pid| *pid > 0) {
        let environment = read_environment(pid)?.unwrap_or_default();
        marks.extend(variable(&environment, MARK).map(<[u8]>::to_vec));
        next = Stat::of(pid).map(|stat| stat.parent);
    }
    Ok(marks)
}

fn cluster_job(environment: &[u8]) -> [Option<&[u8]>; CLUSTER_JOBS.len()] {
    CLUSTER_JOBS.map(|name| variable(environment, name))
}
