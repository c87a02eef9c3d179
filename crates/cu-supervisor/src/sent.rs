//! Sends signals, and records in `signals.json` what was sent to which process, and when.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cu_protocol::{Attempt, JobId, Pushed, Stopped, Timestamp};
use cu_run_dir::{SentSignal, SignalReason, SignalsFile};
use cu_system::causes::in_one_line;
use cu_system::process::ProcessId;
use rustix::process::{Pid, Signal, kill_process};

use crate::{RunDir, tell};

/// Sends signals, and writes down which.
#[derive(Debug)]
pub(crate) struct Sender {
    path: PathBuf,
    file: SignalsFile,
    /// The process and the signal of each. A second SIGTERM would end many a program that saves because
    /// of the first.
    known: BTreeSet<(u32, u64, i32)>,
}

impl Sender {
    /// For this attempt. The record of its earlier supervisor stays.
    pub fn of(run: &RunDir, job: JobId, attempt: Attempt) -> Self {
        let path = run.signals(job, attempt);
        let file = SignalsFile::read(&path).unwrap_or_default();
        Self {
            path,
            file,
            known: BTreeSet::new(),
        }
    }

    /// Takes note of the file that was made to ask the program.
    pub fn made(&mut self, file: &Path) {
        self.file.made = Some(file.to_owned());
        self.write();
    }

    /// Sends each of these its signal, unless it has ended, belongs to another user, or has got the same
    /// before; only SIGKILL is repeated. Returns the new ones.
    pub fn send<'a>(
        &mut self,
        signals: impl IntoIterator<Item = (ProcessId, &'a str, Signal)>,
        reason: SignalReason,
    ) -> Vec<SentSignal> {
        let mut sent = Vec::new();
        for (process, name, signal) in signals {
            let key = (process.pid, process.start_ticks, signal.as_raw());
            let is_new = self.known.insert(key);
            if !is_new && signal != Signal::KILL {
                continue;
            }
            if is_sent(process.pid, signal) && is_new {
                sent.push(SentSignal {
                    at: SystemTime::now().into(),
                    signal: signal_name(signal),
                    pid: process.pid,
                    name: name.to_owned(),
                    reason,
                });
            }
        }
        if !sent.is_empty() {
            self.file.add(&sent);
            self.write();
        }
        sent
    }

    /// What was sent to stop the program, which was first asked at this moment: one entry for each
    /// signal. What was sent to processes that it left behind is not among it.
    pub fn pushes(&self, asked: Timestamp) -> Vec<Pushed> {
        let mut pushes: Vec<Pushed> = Vec::new();
        let sent = self.file.sent.iter();
        for sent in sent.filter(|sent| sent.reason != SignalReason::LeftBehind && sent.at >= asked)
        {
            match pushes.iter_mut().find(|it| it.signal == sent.signal) {
                Some(pushed) => pushed.others += 1,
                None => pushes.push(Pushed {
                    signal: sent.signal.clone(),
                    process: sent.name.clone(),
                    others: 0,
                    after_milliseconds: milliseconds(sent.at.since(asked)),
                }),
            }
        }
        pushes
    }

    /// Adds to the file what was done to stop the program.
    pub fn conclude(&mut self, stopped: &Stopped) {
        self.file.stopped = Some(stopped.clone());
        self.write();
    }

    fn write(&mut self) {
        if let Err(error) = self.file.write(&self.path) {
            tell(&in_one_line(&error));
        }
    }
}

pub(crate) fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Processes for people: number and name of the first few.
pub(crate) fn listed<'a>(processes: impl ExactSizeIterator<Item = (u32, &'a str)>) -> String {
    const MOST_NAMED: usize = 10;
    let more = processes.len().saturating_sub(MOST_NAMED);
    let names = processes
        .take(MOST_NAMED)
        .map(|(pid, name)| format!("{pid} ({name})"));
    let names = names.collect::<Vec<_>>().join(", ");
    match more {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

fn is_sent(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn signal_name(signal: Signal) -> String {
    let known = match signal {
        Signal::HUP => "HUP",
        Signal::INT => "INT",
        Signal::KILL => "KILL",
        Signal::TERM => "TERM",
        Signal::USR1 => "USR1",
        Signal::USR2 => "USR2",
        other => return other.as_raw().to_string(),
    };
    known.to_owned()
}
