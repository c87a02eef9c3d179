//! HTCondor: the shared pool, pools of a test's own, and their lanes.

use std::io::Write;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::instance::Instance;
use crate::lane::{Held, SLOTS};
use crate::processes::{ancestors, command_line, name, of_which};
use crate::user::as_root;
use crate::wait;

/// An HTCondor pool that is up: version 23.9. Its daemons: `schedd`, `startd`, `negotiator`,
/// `collector`. Root can't submit: see [`become_user`](Instance::become_user).
#[derive(Debug)]
pub struct CondorPool {
    instance: Instance,
}

impl CondorPool {
    /// The one that all tests share, brought up if it isn't yet.
    ///
    /// # Panics
    /// If it can't be: with what the script said.
    #[must_use]
    pub fn up() -> Self {
        let instance = Instance::shared("htcondor", None);
        Self { instance }
    }

    /// A fresh one for one test, which may break it, with more `settings`, one a line. It lasts as
    /// long as the value.
    ///
    /// # Panics
    /// If it can't be brought up: with what the script said.
    #[must_use]
    pub fn own(settings: &str) -> Self {
        let instance = Instance::own("htcondor", None, settings, &[]);
        Self { instance }
    }

    /// As [`own`](Self::own), of a newer HTCondor, 25.14.
    ///
    /// # Panics
    /// As [`own`](Self::own).
    #[must_use]
    pub fn newer(settings: &str) -> Self {
        let instance = Instance::own("htcondor", None, settings, &[("CU_SUITE", "forky")]);
        Self { instance }
    }

    /// What a Python `program` prints that is fed with `input` and has HTCondor's own modules of a
    /// newer version, 25.14. It runs in `work`, a directory that the pool has, too.
    ///
    /// # Panics
    /// If the modules can't be had, with what the script said, or if the program fails.
    #[must_use]
    pub fn newer_python(&self, work: &Path, program: &str, input: &[u8]) -> String {
        let script = work.join("program.py");
        std::fs::write(&script, program).expect("the directory can be written");
        let modules = self.instance.printed_by("wheel");
        let mut python = self.on_login_node("/usr/bin/env");
        python.arg(format!("PYTHONPATH={}", modules.trim_end()));
        // The times of a log have no zone.
        python.args(["TZ=UTC", "/usr/bin/python3"]).arg(script);
        let mut python = python
            .current_dir(work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the wrapper is there");
        let mut fed = python.stdin.take().expect("it is piped");
        fed.write_all(input).expect("it reads all of it");
        drop(fed);
        let output = python.wait_with_output().expect("it was started");
        assert!(output.status.success(), "{}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Kills the shadow of `job`, a cluster job id, by SIGKILL.
    ///
    /// # Panics
    /// If it has not exactly one.
    pub fn kill_shadow(&self, job: &str) {
        let shadows = of_which(|pid| {
            let words = command_line(pid);
            let is_shadow = words
                .first()
                .is_some_and(|it| it.ends_with(b"condor_shadow"));
            is_shadow && words.get(1).is_some_and(|word| word == job.as_bytes())
        });
        kill(&shadows, &format!("shadow of {job}"));
    }

    /// Kills the starter below which the command runs that has `word` among its words, by SIGKILL.
    ///
    /// # Panics
    /// If there is not exactly one.
    pub fn kill_starter(&self, word: &Path) {
        let word = word.as_os_str().as_bytes();
        let below = of_which(|pid| command_line(pid).iter().any(|it| it == word));
        let above = below.into_iter().flat_map(ancestors);
        let mut starters: Vec<Pid> = above.filter(|pid| name(*pid) == "condor_starter").collect();
        starters.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        starters.dedup();
        kill(&starters, "starter");
    }

    /// A place that no other test uses, with nothing queued and all processors free.
    ///
    /// # Panics
    /// If none becomes free.
    #[must_use]
    pub fn lane(&self) -> CondorLane<'_> {
        let held = Held::take(self.home());
        let lane = CondorLane { held, pool: self };
        lane.clear();
        lane
    }
}

/// Kills the only one of `processes`, which is a daemon's and thus root's.
fn kill(processes: &[Pid], what: &str) {
    let [process] = *processes else {
        panic!("one {what} is expected, not {processes:?}");
    };
    as_root(|| kill_process(process, Signal::KILL).expect("root may, and it was just there"));
}

impl Deref for CondorPool {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

/// A slot of three processors, to be divided. The jobs in it are removed when it is dropped.
#[derive(Debug)]
pub struct CondorLane<'pool> {
    held: Held,
    pool: &'pool CondorPool,
}

impl CondorLane<'_> {
    /// The line of a submit description that leads a job here and nowhere else.
    #[must_use]
    pub fn submit_line(&self) -> String {
        format!("+CuLane = {}", self.held.number())
    }

    /// How many jobs of one processor run at once.
    #[must_use]
    pub fn slots(&self) -> u32 {
        SLOTS
    }

    fn ours(&self) -> String {
        format!("CuLane == {}", self.held.number())
    }

    fn jobs(&self) -> String {
        let ours = self.ours();
        let asked = ["-all", "-constraint", &ours, "-af", "ClusterId"];
        self.pool.ask("condor_q", &asked)
    }

    fn remove_all(&self) {
        if !self.jobs().is_empty() {
            let removed = self
                .pool
                .try_ask("condor_rm", &["-constraint", &self.ours()]);
            // A job may have left the queue since it was seen there.
            if let Err(said) = removed
                && !said.contains("Couldn't find/remove all jobs")
            {
                panic!("{said}");
            }
        }
    }

    /// Removes what another test left, and waits until the slot is whole.
    fn clear(&self) {
        self.remove_all();
        let slot = format!("SlotID == {}", self.held.number() + 1);
        let what = format!("the slot with {slot} to be free");
        wait::until(&what, wait::BOUND, || {
            let asked = ["-constraint", &slot, "-af", "SlotType"];
            let whole = self.pool.ask("condor_status", &asked) == "Partitionable\n";
            (whole && self.jobs().is_empty()).then_some(())
        });
    }
}

impl Drop for CondorLane<'_> {
    fn drop(&mut self) {
        // If the schedd is away, who takes the lane next cleans up.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.remove_all()));
    }
}
