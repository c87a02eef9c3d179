//! What the main process writes for a resume, by the number of attempts at a time: bytes and waits for the
//! disk, without its children. Its processor time is in `resubmission`.
//!
//! Counted by strace, which must be installed: it slows everything down, but changes no count but how many
//! commits are shared.
//!
//! `cargo bench -p cu-benches --bench main_process -- [JOBS] [RESUMES]`

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cu_benches::local::{Work, config};
use cu_benches::statistics::three_digits;
use cu_benches::{built, cu, number, scratch};

const AT_A_TIME: [usize; 4] = [1, 2, 8, 32];
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];
const WRITES: [&str; 4] = ["write", "pwrite64", "writev", "pwritev"];

fn main() -> Result<()> {
    let jobs = usize::try_from(number(0, 32)?)?;
    let resumes = usize::try_from(number(1, 7)?)?;
    let (cu, program) = (cu()?, built("nothing")?);
    println!("{jobs} jobs with {resumes} resumes each, for each resume:\n");
    println!("| attempts at a time | waits for the disk | kB written |");
    println!("| --- | --- | --- |");
    for at_a_time in AT_A_TIME {
        let scratch = scratch()?;
        let work = Work {
            program: &program,
            jobs,
            resumes,
            at_a_time,
        };
        let Written { syncs, bytes } = written(&cu, work, scratch.path())?;
        let all = (jobs * resumes) as f64;
        println!(
            "| {at_a_time} | {} | {} |",
            three_digits(syncs as f64 / all),
            three_digits(bytes as f64 / 1000.0 / all)
        );
    }
    Ok(())
}

/// The waits for the disk and the bytes written by the threads of one process.
struct Written {
    syncs: usize,
    bytes: u64,
}

fn written(cu: &Path, work: Work<'_>, scratch: &Path) -> Result<Written> {
    let calls = scratch.join("calls");
    let wanted = [&SYNCS[..], &WRITES, &["clone3", "clone"]].concat();
    let traced = Command::new("strace")
        .args(["-f", "-qqq", "--seccomp-bpf", "-s", "0", "-e"])
        .arg(format!("trace={}", wanted.join(",")))
        .args(["-e", "signal=none", "-o"])
        .arg(&calls)
        .arg("--")
        .arg(cu)
        .args(["run", &config(work, scratch)?])
        .stdin(Stdio::null())
        .output()
        .context("can't start strace; install it, by `apt install strace` for example")?;
    ensure!(traced.status.success(), "strace cu run: {traced:?}");
    count(&fs::read_to_string(&calls)?)
}

/// Reads lines like `12 write(3, ""..., 8) = 8`, or the two halves of such a line. The first process is the one
/// that counts, and its threads, which it starts with `CLONE_THREAD`.
fn count(calls: &str) -> Result<Written> {
    let mut threads = BTreeSet::new();
    let mut starts_thread: BTreeMap<&str, bool> = BTreeMap::new();
    let mut written = Written { syncs: 0, bytes: 0 };
    for line in calls.lines() {
        let (thread, call) = line.split_once(' ').context("a thread and its call")?;
        let call = call.trim_start();
        if threads.is_empty() {
            threads.insert(thread.to_owned());
        }
        if !threads.contains(thread) {
            continue;
        }
        let resumed = call.strip_prefix("<... ");
        let name = resumed.map_or_else(|| call.split('(').next(), |rest| rest.split(' ').next());
        let name = name.unwrap_or_default();
        if name.starts_with("clone") && resumed.is_none() {
            starts_thread.insert(thread, call.contains("CLONE_THREAD"));
        }
        let Some((_, result)) = call.rsplit_once(" = ") else {
            continue;
        };
        let result = result.split(' ').next().unwrap_or_default();
        if name.starts_with("clone") && starts_thread.get(thread) == Some(&true) {
            threads.insert(result.to_owned());
        } else if SYNCS.contains(&name) {
            written.syncs += 1;
        } else if WRITES.contains(&name) {
            written.bytes += result.parse::<u64>().unwrap_or(0);
        }
    }
    Ok(written)
}
