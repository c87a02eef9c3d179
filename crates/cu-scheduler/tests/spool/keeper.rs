//! The batch system itself: a thread that starts what lies in the spool, and ends it.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cu_system::files;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use crate::queue::{Call, GRACE, Id, Queue};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);

/// The thread. Dropped, it kills what runs.
pub struct Keeper {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub fn start(spool: &Path, slots: u32) -> Self {
        let queue = Queue::new(spool);
        queue.make().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut room = Room {
            queue,
            slots,
            running: Vec::new(),
        };
        let told = is_over.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // Without its files it has nothing to do.
                room.look().ok();
                std::thread::sleep(LOOK);
            }
            for job in &mut room.running {
                job.kill(Signal::KILL);
                job.child.wait().ok();
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Room {
    queue: Queue,
    slots: u32,
    running: Vec<Running>,
}

/// A job that runs.
struct Running {
    id: Id,
    cpus: u32,
    child: Child,
    begun: Instant,
    limit: Option<Duration>,
    /// Not yet sent.
    warning: Option<(Signal, Duration)>,
    /// Why it is to end, and when that was said.
    ending: Option<(&'static str, Instant)>,
    killed: bool,
}

impl Room {
    fn look(&mut self) -> io::Result<()> {
        for job in &mut self.running {
            job.push(&self.queue)?;
        }
        let mut left = Vec::new();
        for mut job in self.running.drain(..) {
            match job.end()? {
                Some(state) => self.queue.set_state(job.id, &state)?,
                None => left.push(job),
            }
        }
        self.running = left;
        for (number, call) in self.queue.calls()? {
            for index in 0..call.jobs.len() {
                let id = Id {
                    call: number,
                    index,
                };
                if self.queue.state(id)?.is_some() {
                    continue;
                }
                if self.queue.cancelled(id)?.is_some() {
                    self.queue.set_state(id, "cancelled")?;
                    continue;
                }
                let taken: u32 = self.running.iter().map(|job| job.cpus).sum();
                if taken + call.cpus > self.slots {
                    // Nobody overtakes.
                    return Ok(());
                }
                self.start(id, &call)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, id: Id, call: &Call) -> io::Result<()> {
        let directory = &call.jobs[id.index].directory;
        let output = |name: &str| -> io::Result<File> {
            files::open(&directory.join(name), files::new_file().append(true))
        };
        let mut command = Command::new("/bin/sh");
        command.arg(directory.join("run.sh")).process_group(0);
        command.stdin(Stdio::null()).stdout(output("stdout")?);
        command.stderr(output("stderr")?);
        let child = command.spawn()?;
        let signal = |name: &str| match name {
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            "USR1" => Signal::USR1,
            "USR2" => Signal::USR2,
            _ => Signal::TERM,
        };
        let warning = call.warning.as_ref();
        self.running.push(Running {
            id,
            cpus: call.cpus,
            child,
            begun: Instant::now(),
            limit: call.limit,
            warning: warning.map(|(name, before)| (signal(name), *before)),
            ending: None,
            killed: false,
        });
        self.queue.set_state(id, "running")
    }
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn kill(&self, signal: Signal) {
        // It may have ended just now.
        kill_process_group(self.pid(), signal).ok();
    }

    /// Sends what is due.
    fn push(&mut self, queue: &Queue) -> io::Result<()> {
        let ran = self.begun.elapsed();
        if let (Some(limit), Some((signal, before))) = (self.limit, self.warning)
            && ran >= limit.saturating_sub(before)
        {
            self.warning = None;
            kill_process(self.pid(), signal).ok();
        }
        if self.ending.is_none() {
            let cancelled = queue.cancelled(self.id)?;
            let cause = match cancelled {
                Some(_) => Some("cancelled"),
                None => self.limit.filter(|limit| ran >= *limit).map(|_| "limit"),
            };
            if let Some(cause) = cause {
                self.ending = Some((cause, Instant::now()));
                self.kill(Signal::TERM);
            }
        }
        if let Some((_, since)) = self.ending
            && !self.killed
        {
            let at_once = queue.cancelled(self.id)?.is_some_and(|how| how == "KILL");
            if at_once || since.elapsed() >= GRACE {
                self.killed = true;
                self.kill(Signal::KILL);
            }
        }
        Ok(())
    }

    /// How it ended, if it has. What it left behind is killed while its number is still its own.
    fn end(&mut self) -> io::Result<Option<String>> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(self.pid()), look)?.is_none() {
            return Ok(None);
        }
        self.kill(Signal::KILL);
        let status = self.child.wait()?;
        Ok(Some(match self.ending {
            Some((cause, _)) => cause.to_owned(),
            None => by_itself(status),
        }))
    }
}

fn by_itself(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited {code}"),
        (None, signal) => format!("signaled {}", signal.unwrap_or_default()),
    }
}
