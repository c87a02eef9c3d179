//! One attempt in an allocation: a process with its own output, limits and end.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cu_system::files::{new_file, open};
use cu_system::process::{Stat, all_processes};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal as Sent, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid,
};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::files::{Key, Order, Room, Wish};
use super::signals::Signals;
use crate::{EndCause, Signal, Warning};

/// How often to look whether the attempt is to end.
const LOOK: Duration = Duration::from_secs(1);
/// How long processes that were killed may take to be gone.
const CLEARING: Duration = Duration::from_secs(10);

/// How an attempt ended.
pub(super) struct Outcome {
    pub cause: EndCause,
    pub text: String,
    /// The scheduler, or a person, has sent the allocation a signal: nothing else may run here.
    pub is_last: bool,
    /// Processes of it can't be killed.
    pub leaves_processes: bool,
}

/// A running attempt.
pub(super) struct Watched {
    child: Child,
    pid: Pid,
    /// What is due when.
    plan: Plan,
    kill_wait: Duration,
    /// It was ended at its time limit, or because somebody cancelled it.
    ended_by_us: Option<EndCause>,
    is_last: bool,
}

/// The moments of an attempt, each until it is over.
#[derive(Default)]
struct Plan {
    warning: Option<(Instant, Signal)>,
    limit: Option<Instant>,
    kill: Option<Instant>,
}

impl Plan {
    fn next(&self) -> Option<Instant> {
        let warning = self.warning.map(|(at, _)| at);
        [warning, self.limit, self.kill].into_iter().flatten().min()
    }
}

impl Watched {
    /// Starts an attempt, which is told that it ends at `deadline`.
    pub fn start(
        key: &Key,
        order: Order,
        deadline: Option<SystemTime>,
        kill_wait: Duration,
    ) -> io::Result<Self> {
        let output = |name: &str| append(&order.directory.join(name));
        let (stdout, stderr) = (output("stdout")?, output("stderr")?);
        let (program, arguments) = order.command.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(name) = key.name() {
            command.env("CU_SUBMISSION", name.to_string());
        }
        if let Some(deadline) = deadline {
            let seconds = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
            command.env("CU_DEADLINE", seconds.as_secs().to_string());
        }
        command.envs(&order.environment);
        command.current_dir(&order.working_directory);
        command.stdout(stdout).stderr(stderr.try_clone()?);
        let started = command.spawn().and_then(|child| {
            let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
            Ok((child, pid.ok_or(io::ErrorKind::NotFound)?))
        });
        let (child, pid) = started.map_err(|error| {
            // Where a person looks for it.
            let text = format!(
                "can't start {program} in {}: {error}",
                order.working_directory.display()
            );
            let _ = io::Write::write_all(&mut &stderr, format!("cu exec: {text}\n").as_bytes());
            io::Error::new(error.kind(), text)
        })?;
        let now = Instant::now();
        // The scheduler keeps that of the allocation.
        let limit = order.resources.time_limit;
        let limit = limit.and_then(|limit| now.checked_add(limit));
        let warn = |warning: Warning| {
            let at = limit?.checked_sub(warning.before_limit).unwrap_or(now);
            Some((at, warning.signal))
        };
        Ok(Self {
            child,
            pid,
            plan: Plan {
                warning: order.resources.warning.and_then(warn),
                limit,
                kill: None,
            },
            kill_wait,
            ended_by_us: None,
            is_last: false,
        })
    }

    /// Waits for its end, and ends it when it has to. No process of it is left afterwards, if that can be had.
    pub async fn until_over(
        mut self,
        room: &Room,
        key: &Key,
        signals: &mut Signals,
    ) -> io::Result<Outcome> {
        let mut look = Instant::now() + LOOK;
        let mut wished = None;
        let status = loop {
            let next = self.plan.next().map_or(look, |at| at.min(look));
            let pause = next.saturating_duration_since(Instant::now());
            tokio::select! {
                status = self.child.wait() => break status?,
                signal = signals.next() => self.pass_on(signal),
                () = sleep(pause) => {}
            }
            let now = Instant::now();
            if look <= now {
                look = now + LOOK;
                // A file system that is away for a while ends no attempt.
                let wish = room.wished(key).ok().flatten();
                if wish != wished {
                    wished = wish;
                    self.cancel(wish, now);
                }
            }
            self.due(now);
        };
        let (by_itself, text) = by_itself(status);
        let cause = self.ended_by_us.unwrap_or(by_itself);
        Ok(Outcome {
            cause,
            text,
            is_last: self.is_last,
            leaves_processes: !clear_away().await,
        })
    }

    fn pass_on(&mut self, signal: Signal) {
        self.is_last = true;
        self.send(sent(signal));
    }

    fn cancel(&mut self, wish: Option<Wish>, now: Instant) {
        match wish {
            None => return,
            Some(Wish::Kill) => self.send(Sent::KILL),
            Some(Wish::Terminate) => {
                self.send(Sent::TERM);
                self.plan.kill = Some(now + self.kill_wait);
            }
        }
        self.ended_by_us = Some(EndCause::Cancelled);
    }

    fn due(&mut self, now: Instant) {
        if let Some((_, signal)) = self.plan.warning.take_if(|(at, _)| *at <= now) {
            self.send(sent(signal));
        }
        if self.plan.limit.take_if(|at| *at <= now).is_some() {
            self.ended_by_us.get_or_insert(EndCause::TimeLimit);
            self.send(Sent::TERM);
            self.plan.kill.get_or_insert(now + self.kill_wait);
        }
        if self.plan.kill.take_if(|at| *at <= now).is_some() {
            self.send(Sent::KILL);
        }
    }

    /// It has not been waited for, so its number is still its own.
    fn send(&self, signal: Sent) {
        if self.child.id().is_some() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

fn sent(signal: Signal) -> Sent {
    match signal {
        Signal::Hup => Sent::HUP,
        Signal::Int => Sent::INT,
        Signal::Term => Sent::TERM,
        Signal::Usr1 => Sent::USR1,
        Signal::Usr2 => Sent::USR2,
    }
}

fn by_itself(status: ExitStatus) -> (EndCause, String) {
    let cause = match (status.code(), status.signal()) {
        (Some(code), _) => EndCause::Exited(code),
        (None, Some(signal)) => EndCause::Signaled(signal),
        (None, None) => EndCause::Unknown,
    };
    (cause, status.to_string())
}

fn append(path: &Path) -> io::Result<File> {
    open(path, new_file().append(true))
}

/// Kills what an attempt has left behind, which is ours since its parents have ended. Returns whether nothing is
/// left.
async fn clear_away() -> bool {
    let begun = Instant::now();
    loop {
        // Without this each attempt would cost a look at all processes of the machine.
        let any = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if matches!(waitid(WaitId::All, any), Err(Errno::CHILD)) {
            return true;
        }
        let own = std::process::id();
        let is_child = |pid: &u32| Stat::of(*pid).is_some_and(|stat| stat.parent == own);
        let left: Vec<u32> = all_processes().filter(is_child).collect();
        if left.is_empty() {
            return true;
        }
        if begun.elapsed() > CLEARING {
            return false;
        }
        for pid in left {
            let Some(pid) = Pid::from_raw(pid.cast_signed()) else {
                continue;
            };
            let _ = kill_process(pid, Sent::KILL);
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        sleep(Duration::from_millis(10)).await;
    }
}
