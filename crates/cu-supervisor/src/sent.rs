//! `signals.json`: what the supervisor sent to which process, and when. Written whenever something was
//! sent, so that it also tells of an attempt that still runs, or whose supervisor was killed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use cu_protocol::{Attempt, JobId, Timestamp};
use cu_system::process::ProcessId;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::{Result, RunDir, json_file, tell};

/// The version of the file that this crate writes.
const VERSION: u32 = 1;
/// So many are written down; a program may have thousands of processes.
const MOST: usize = 100;

/// A signal that was sent to a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentSignal {
    /// When, by the clock of the host.
    pub at: Timestamp,
    /// Its name without `SIG`.
    pub signal: String,
    /// The number of the process.
    pub pid: u32,
    /// What the kernel called it then.
    pub name: String,
    /// What for.
    pub reason: SignalReason,
}

/// Why a signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalReason {
    /// The wish to stop: save, and exit.
    Asked,
    /// To end it: it was asked and did not end in time, or nobody could be asked.
    Ended,
    /// The program had ended and left it behind.
    LeftBehind,
}

#[derive(Default, Serialize, Deserialize)]
struct File {
    version: u32,
    sent: Vec<SentSignal>,
    /// How many more were sent than are written down.
    #[serde(default)]
    more: usize,
}

/// What was sent to the processes of an attempt, as far as it was written down: at most 100 signals.
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// use cu_protocol::{Attempt, JobId};
/// use cu_supervisor::{RunDir, sent_signals};
///
/// let run = RunDir::new(scratch.path());
/// assert_eq!(sent_signals(&run, JobId(7), Attempt(0))?, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the file is there and can't be read, or is damaged or of a newer version.
pub fn sent_signals(run: &RunDir, job: JobId, attempt: Attempt) -> Result<Vec<SentSignal>> {
    let file = json_file::read::<File>(&path(run, job, attempt), VERSION)?;
    Ok(file.unwrap_or_default().sent)
}

fn path(run: &RunDir, job: JobId, attempt: Attempt) -> PathBuf {
    run.attempt(job, attempt).join("signals.json")
}

/// Sends signals, and writes down which.
#[derive(Debug)]
pub(crate) struct Sender {
    path: PathBuf,
    sent: Vec<SentSignal>,
    more: usize,
    /// Who has got which. A second SIGTERM ends many a program that saves because of the first.
    known: BTreeSet<(u32, u64, i32)>,
}

impl Sender {
    /// For this attempt. What its earlier supervisor has written down stays.
    pub fn of(run: &RunDir, job: JobId, attempt: Attempt) -> Self {
        let path = path(run, job, attempt);
        let before = json_file::read::<File>(&path, VERSION).unwrap_or_default();
        let File { sent, more, .. } = before.unwrap_or_default();
        Self {
            path,
            sent,
            more,
            known: BTreeSet::new(),
        }
    }

    /// Sends each of these its signal, unless it has ended, belongs to somebody else, or has got the same
    /// before; only SIGKILL is repeated. Returns what is new of it.
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
            let room = MOST.saturating_sub(self.sent.len());
            self.more += sent.len().saturating_sub(room);
            self.sent.extend(sent.iter().take(room).cloned());
            self.write();
        }
        sent
    }

    fn write(&self) {
        let file = File {
            version: VERSION,
            sent: self.sent.clone(),
            more: self.more,
        };
        if let Err(error) = json_file::write_quickly(&self.path, &file) {
            tell(&error.to_string());
        }
    }
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
