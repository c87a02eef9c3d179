//! The files of the batch system: `jobs/NUMBER` is a call, in which `call` lists its jobs; `INDEX.cancel`
//! asks for the end of one, and `INDEX.state` is the keeper's word on it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cu_scheduler::{ClusterJobId, Resources, SubmissionName};
use cu_system::files::{self, PRIVATE_FILE};

/// The time from SIGTERM to SIGKILL.
pub const GRACE: Duration = Duration::from_secs(1);
/// More than a file of the spool holds, in bytes.
const LONGEST: u64 = 1 << 20;

/// A job's number in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub call: u32,
    pub index: usize,
}

impl Id {
    pub fn parse(id: &ClusterJobId) -> Option<Self> {
        let (call, index) = id.0.split_once('.')?;
        Some(Self {
            call: call.parse().ok()?,
            index: index.parse().ok()?,
        })
    }

    pub fn to_cluster(self) -> ClusterJobId {
        ClusterJobId(format!("{}.{}", self.call, self.index))
    }
}

/// A job as it was handed over.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: SubmissionName,
    /// Where its script lies, and where its output goes.
    pub directory: PathBuf,
}

/// What one call asks for.
#[derive(Clone, Debug)]
pub struct Call {
    pub cpus: u32,
    pub limit: Option<Duration>,
    /// The name of a signal, and how long before the limit it comes.
    pub warning: Option<(String, Duration)>,
    pub jobs: Vec<Job>,
}

impl Call {
    pub fn new(resources: &Resources, jobs: Vec<Job>) -> Self {
        let warning = resources.warning;
        Self {
            cpus: resources.cpus,
            limit: resources.time_limit,
            warning: warning.map(|it| (it.signal.name().to_owned(), it.before_limit)),
            jobs,
        }
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("cpus {}\n", self.cpus);
        // Writing to a string can't fail.
        if let Some(limit) = self.limit {
            let _ = writeln!(text, "limit {}", limit.as_millis());
        }
        if let Some((signal, before)) = &self.warning {
            let _ = writeln!(text, "warning {signal} {}", before.as_millis());
        }
        for job in &self.jobs {
            let _ = writeln!(text, "job {} {}", job.name, job.directory.display());
        }
        text
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut call = Self {
            cpus: 0,
            limit: None,
            warning: None,
            jobs: Vec::new(),
        };
        let time = |text: &str| text.parse().ok().map(Duration::from_millis);
        for line in text.lines() {
            match line.split_once(' ')? {
                ("cpus", cpus) => call.cpus = cpus.parse().ok()?,
                ("limit", limit) => call.limit = Some(time(limit)?),
                ("warning", warning) => {
                    let (signal, before) = warning.split_once(' ')?;
                    call.warning = Some((signal.to_owned(), time(before)?));
                }
                ("job", job) => {
                    let (name, directory) = job.split_once(' ')?;
                    let (name, directory) = (name.parse().ok()?, directory.into());
                    call.jobs.push(Job { name, directory });
                }
                _ => return None,
            }
        }
        Some(call)
    }
}

/// The directory in which all this lies.
#[derive(Clone, Debug)]
pub struct Queue(PathBuf);

impl Queue {
    pub fn new(spool: &Path) -> Self {
        Self(spool.join("jobs"))
    }

    pub fn make(&self) -> io::Result<()> {
        files::make_dir(&self.0)
    }

    /// Keeps others from handing calls over as long as the result is held.
    pub fn alone(&self) -> io::Result<fs::File> {
        let directory = fs::File::open(&self.0)?;
        directory.lock()?;
        Ok(directory)
    }

    /// Hands a call over, under a number that no other has. It is in the queue once its file is there.
    pub fn add(&self, call: &Call) -> io::Result<u32> {
        let mut number = self.numbers()?.last().map_or(1, |last| last + 1);
        while let Err(error) = fs::create_dir(self.call(number)) {
            match error.kind() {
                ErrorKind::AlreadyExists => number += 1,
                _ => return Err(error),
            }
        }
        let path = self.call(number).join("call");
        files::write_whole(&path, call.to_text().as_bytes(), PRIVATE_FILE)?;
        Ok(number)
    }

    /// The numbers that were given, in their order.
    fn numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            numbers.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|it| it.parse::<u32>().ok()),
            );
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// All calls in the queue, in their order.
    pub fn calls(&self) -> io::Result<Vec<(u32, Call)>> {
        let mut calls = Vec::new();
        for number in self.numbers()? {
            match files::read_own(&self.call(number).join("call"), LONGEST) {
                Ok(text) => {
                    let call = Call::from_text(&String::from_utf8_lossy(&text));
                    let call = call.ok_or_else(|| io::Error::other(format!("call {number}")))?;
                    calls.push((number, call));
                }
                // It is being handed over, or the process that did was killed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(calls)
    }

    /// What the keeper said last of a job; nothing while it waits.
    pub fn state(&self, id: Id) -> io::Result<Option<String>> {
        self.read(id, "state")
    }

    pub fn set_state(&self, id: Id, state: &str) -> io::Result<()> {
        files::write_whole(&self.file(id, "state"), state.as_bytes(), PRIVATE_FILE)
    }

    /// The signal with which a job is to end, if it is.
    pub fn cancelled(&self, id: Id) -> io::Result<Option<String>> {
        self.read(id, "cancel")
    }

    pub fn cancel(&self, id: Id, signal: &str) -> io::Result<()> {
        files::write_whole(&self.file(id, "cancel"), signal.as_bytes(), PRIVATE_FILE)
    }

    fn read(&self, id: Id, kind: &str) -> io::Result<Option<String>> {
        match files::read_own(&self.file(id, kind), LONGEST) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn call(&self, number: u32) -> PathBuf {
        self.0.join(number.to_string())
    }

    fn file(&self, id: Id, kind: &str) -> PathBuf {
        self.call(id.call).join(format!("{}.{kind}", id.index))
    }
}
