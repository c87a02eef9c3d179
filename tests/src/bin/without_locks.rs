//! Runs a command as on a file system without locks: `without_locks ERRNO COMMAND ARGUMENT…`. Each flock, and
//! each fcntl that takes a lock, answers with this number, also in the children of the command.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// The kernel's numbers of the calls, on x86-64: flock, fcntl.
const FLOCK: i64 = 73;
const FCNTL: i64 = 72;
/// What fcntl is asked: F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW.
const LOCKS: [u64; 4] = [6, 7, 37, 38];

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let errno = words.next().and_then(|word| word.into_string().ok());
    let errno: u32 = errno.context("ERRNO is missing")?.parse()?;
    let program = words.next().context("COMMAND is missing")?;
    apply_filter(&filter(errno)?)?;
    let error = Command::new(&program).args(words).exec();
    bail!("can't run {}: {error}", program.display())
}

fn filter(errno: u32) -> Result<BpfProgram> {
    let takes = |lock: u64| {
        let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        SeccompRule::new(vec![SeccompCondition::new(1, length, equal, lock)?])
    };
    let locks = LOCKS.into_iter().map(takes).collect::<Result<_, _>>()?;
    let rules = BTreeMap::from([(FLOCK, Vec::new()), (FCNTL, locks)]);
    let (other, these) = (SeccompAction::Allow, SeccompAction::Errno(errno));
    let filter = SeccompFilter::new(rules, other, these, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}
