//! `cu doctor --submit`: one short job that checks what can't be seen from here. Does the node see the
//! results directory? Does `cu` start there? Does the node reach this host?

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use cu_core::RunDir;
use cu_protocol::RunId;
use cu_scheduler::{
    Cancel, ClusterEnd, ClusterJobId, ClusterState, EndCause, Level, Reach, Resources, Scheduler,
    Submission, SubmissionName, SubmitError,
};
use cu_system::causes::in_one_line;
use cu_system::files;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::node::{Answer, LONGEST, Question};
use crate::backend::Finding;
use crate::error::{Error, Result};
use crate::runs::results_dir;
use crate::runs::scratch::{make, new_id};
use crate::start::watched::this_program;
use crate::text::moment::rounded;

/// How often to look for the answer's file.
const LOOK: Duration = Duration::from_millis(200);
/// How long after the job's end its answer may still appear: network file systems cache for a while
/// that a file does not exist.
const APPEARS: Duration = Duration::from_secs(30);
/// The same for a job that failed: there is no answer, but perhaps an error message.
const EXPLAINS: Duration = Duration::from_secs(3);
/// How long an answered job may take to end before it is cancelled.
const ENDS: Duration = Duration::from_secs(10);
/// The time limit of the probe, which needs only a moment.
const TIME_LIMIT: Duration = Duration::from_secs(300);
/// `cu` needs a hundredth of this. Some clusters round up less, others kill a job for it.
const MEMORY: u64 = 256 << 20;
/// Clocks that differ by more make times of attempts look wrong.
const TOLERANCE: Duration = Duration::from_secs(5);

/// The outcome of a probe.
#[derive(Debug)]
pub enum Proof {
    /// It is over.
    Found(Vec<Finding>),
    /// Ctrl-C ended it, and the job was cancelled.
    Interrupted,
}

/// A probe with a directory of its own in the results directory, which is removed with it.
#[derive(Debug)]
pub struct Probe {
    directory: PathBuf,
    id: RunId,
}

impl Proof {
    /// Whether a node has started `cu` and seen the results directory.
    pub fn is_good(&self) -> bool {
        let Self::Found(findings) = self else {
            return false;
        };
        let probe = findings.iter().find(|finding| finding.subject == "probe");
        probe.is_some_and(|finding| finding.level == Level::Good)
    }
}

impl Probe {
    /// Makes the directory.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn new(results_dir: &Path) -> Result<Self> {
        let id = new_id()?;
        let name = format!("cu-doctor-{}", &id.to_string()[..8]);
        let directory = results_dir.join(name);
        results_dir::check(results_dir, false)?;
        make(&directory)?;
        Ok(Self { directory, id })
    }

    /// The directory, as if it were a run: a backend keeps its state there.
    pub fn place(&self) -> RunDir {
        RunDir::new(&self.directory)
    }

    /// Submits the job and waits for its answer, at most for `bound` and until `interrupted` is ready.
    /// In any case no job is left.
    ///
    /// # Errors
    /// If this host can't do its part.
    pub async fn run<T>(
        &self,
        scheduler: &dyn Scheduler,
        bound: Duration,
        interrupted: impl Future<Output = T>,
    ) -> Result<Proof> {
        let token = self.id.to_string();
        let (_listening, addresses) = listen(scheduler.capabilities().reach, &token).await?;
        self.write_question(Question { addresses, token })?;
        let submission = self.submission()?;
        let submitted = Instant::now();
        let mut outcomes = scheduler.submit(std::slice::from_ref(&submission)).await;
        let job = match outcomes.pop() {
            Some(Ok(job)) => job,
            Some(Err(error)) => {
                self.give_up(scheduler, &submission.name, &error).await;
                return Ok(Proof::Found(vec![refused(&error)]));
            }
            None => return Ok(Proof::Found(Vec::new())),
        };
        let waiting = self.wait(scheduler, &job, bound);
        let outcome = tokio::select! {
            outcome = waiting => outcome,
            _ = interrupted => Outcome::Interrupted,
        };
        if let Err(error) = scheduler
            .cancel(std::slice::from_ref(&job), Cancel::Kill)
            .await
        {
            tracing::warn!("{}", in_one_line(&error));
        }
        Ok(match outcome {
            Outcome::Interrupted => Proof::Interrupted,
            Outcome::Answered(answer) => Proof::Found(proven(&answer, submitted.elapsed())),
            Outcome::Ended(end) => Proof::Found(vec![self.unanswered(&job, &end)]),
            Outcome::Late(state) => Proof::Found(vec![late(&job, state.as_ref(), bound)]),
        })
    }

    fn write_question(&self, question: Question) -> Result<()> {
        let path = Question::file(&self.directory);
        let text = serde_json::to_vec(&question).map_err(Error::internal("write JSON"))?;
        files::write_own(&path, &text).map_err(Error::write("write", &path))
    }

    fn submission(&self) -> Result<Submission> {
        let own = self.directory.to_str().ok_or_else(|| {
            let path = self.directory.display();
            Error::usage(format!(
                "the path of the results directory is not valid UTF-8: {path}"
            ))
        })?;
        let directory = self.directory.join("job");
        make(&directory)?;
        Ok(Submission {
            name: SubmissionName::new(self.id.to_string(), 0, 0)
                .expect("32 hexadecimal digits are letters and digits"),
            command: vec![this_program()?, "probe".to_owned(), own.to_owned()],
            environment: BTreeMap::new(),
            working_directory: self.directory.clone(),
            directory,
            resources: Resources {
                memory_bytes: Some(MEMORY),
                time_limit: Some(TIME_LIMIT),
                ..Resources::default()
            },
            previous: None,
            avoid_hosts: Vec::new(),
        })
    }

    /// Cancels a submission that gave no cluster job id, and may exist nevertheless.
    async fn give_up(&self, scheduler: &dyn Scheduler, name: &SubmissionName, error: &SubmitError) {
        if !matches!(error, SubmitError::Uncertain { .. }) {
            return;
        }
        let found = scheduler.find(std::slice::from_ref(name)).await;
        let jobs = found.unwrap_or_default().into_iter();
        let jobs: Vec<_> = jobs.map(|found| found.observation.job).collect();
        if let Err(error) = scheduler.cancel(&jobs, Cancel::Kill).await {
            tracing::warn!("{}", in_one_line(&error));
        }
    }

    async fn wait(
        &self,
        scheduler: &dyn Scheduler,
        job: &ClusterJobId,
        bound: Duration,
    ) -> Outcome {
        let start = Instant::now();
        let mut look = tokio::time::interval(LOOK);
        let mut changed = scheduler.changed();
        let mut seen = None;
        let mut answered: Option<(Answer, Instant)> = None;
        let mut over: Option<(ClusterEnd, Instant)> = None;
        loop {
            tokio::select! {
                () = &mut changed => {
                    changed = scheduler.changed();
                    // Waits through an outage, up to our bound.
                    if let Ok(observations) = scheduler.observe(std::slice::from_ref(job)).await {
                        seen = observations.into_iter().next().map(|seen| seen.state);
                    }
                }
                _ = look.tick() => {}
            }
            if answered.is_none() {
                answered = self.answer().map(|answer| (answer, Instant::now()));
            }
            if over.is_none() {
                over = seen.as_ref().and_then(end).map(|end| (end, Instant::now()));
            }
            match (answered.take(), &over) {
                // While it runs, its directory stays.
                (Some((answer, at)), None) if at.elapsed() < ENDS => answered = Some((answer, at)),
                (Some((answer, _)), _) => return Outcome::Answered(answer),
                (None, Some((end, at))) if at.elapsed() >= patience(end) => {
                    return Outcome::Ended(end.clone());
                }
                (None, None) if start.elapsed() >= bound => return Outcome::Late(seen),
                (None, _) => {}
            }
        }
    }

    /// The answer, if it is there.
    fn answer(&self) -> Option<Answer> {
        // Listing the directory makes a network file system look.
        let _ = fs::read_dir(&self.directory).map(Iterator::count);
        let answer = files::read_own(&Answer::file(&self.directory), LONGEST).ok()?;
        serde_json::from_slice(&answer).ok()
    }

    /// The finding about a job that ended without an answer.
    fn unanswered(&self, job: &ClusterJobId, end: &ClusterEnd) -> Finding {
        let said = |name: &str| {
            let text = fs::read(self.directory.join("job").join(name)).unwrap_or_default();
            String::from_utf8_lossy(&text).trim().to_owned()
        };
        let (heard, complaint) = (said("stdout"), said("stderr"));
        if let Some(answer) = heard
            .lines()
            .find_map(|line| serde_json::from_str(line).ok())
        {
            let Answer { host, .. } = answer;
            let text = format!("{job} ran on {host}, which does not see this results directory");
            return Finding::new("probe", Level::Problem, text)
                .advise("choose a directory that the nodes see with --results-dir");
        }
        let mut text = format!("{job} ended without an answer: {}", end.text);
        if !complaint.is_empty() {
            text.push_str(&format!("; its stderr: {}", last_lines(&complaint)));
        }
        let advice = if complaint.contains("GLIBC") {
            "cu was built on a newer system than the node's: build it on the oldest system, or with \
             RUSTFLAGS=-Ctarget-feature=+crt-static"
        } else {
            "check that the node sees the results directory and cu under these paths, and that cu \
             starts there"
        };
        Finding::new("probe", Level::Problem, text).advise(advice)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!("can't remove {}: {error}", self.directory.display());
        }
    }
}

/// How waiting ended.
#[derive(Debug)]
enum Outcome {
    Answered(Answer),
    Ended(ClusterEnd),
    Late(Option<ClusterState>),
    Interrupted,
}

fn end(state: &ClusterState) -> Option<ClusterEnd> {
    match state {
        ClusterState::Ended(end) => Some(end.clone()),
        ClusterState::Gone => Some(ClusterEnd {
            cause: EndCause::Unknown,
            at: None,
            text: "the scheduler no longer knows it".to_owned(),
        }),
        _ => None,
    }
}

fn patience(end: &ClusterEnd) -> Duration {
    match end.cause {
        EndCause::Exited(0) | EndCause::Unknown => APPEARS,
        _ => EXPLAINS,
    }
}

/// Listens where the job can reach us, and repeats the token to a peer that knows it.
async fn listen(reach: Reach, token: &str) -> Result<(JoinSet<()>, Vec<SocketAddr>)> {
    let (address, hosts) = match reach {
        Reach::ThisMachine => (Ipv4Addr::LOCALHOST, Vec::new()),
        Reach::OtherMachines => (Ipv4Addr::UNSPECIFIED, cu_core::host_addresses()),
    };
    let listener = TcpListener::bind((address, 0)).await;
    let listener = listener.map_err(Error::system("listen"))?;
    let port = listener
        .local_addr()
        .map_err(Error::system("listen"))?
        .port();
    let hosts = hosts.into_iter().chain([Ipv4Addr::LOCALHOST.into()]);
    let addresses = hosts.map(|host| SocketAddr::new(host, port)).collect();
    let mut listening = JoinSet::new();
    let token = token.to_owned();
    listening.spawn(async move {
        let mut greeted = JoinSet::new();
        // A connection that fails before it is accepted is the other side's to repeat.
        while let Ok((stream, _)) = listener.accept().await {
            greeted.spawn(greet(stream, token.clone()));
        }
    });
    Ok((listening, addresses))
}

/// Hears one line. A stranger gets no answer.
async fn greet(stream: TcpStream, token: String) {
    let (read, mut write) = stream.into_split();
    let mut heard = String::new();
    let mut read = BufReader::new(read.take(token.len() as u64 + 1));
    if read.read_line(&mut heard).await.is_ok() && heard.trim_end() == token {
        // If it has gone away, there is nobody to answer.
        let _ = write.write_all(heard.as_bytes()).await;
    }
}

fn refused(error: &SubmitError) -> Finding {
    let text = match error {
        SubmitError::Rejected { reason, .. } => format!("the scheduler refused the job: {reason}"),
        SubmitError::Unavailable { reason, .. } => {
            format!("the job can't be submitted now: {reason}")
        }
        other => other.to_string(),
    };
    Finding::new("probe", Level::Problem, text)
}

/// The finding about a job that did not finish in time.
fn late(job: &ClusterJobId, state: Option<&ClusterState>, bound: Duration) -> Finding {
    let (level, doing) = match state {
        Some(ClusterState::Queued { reason }) => {
            let reason = reason.as_ref().map(|reason| format!(" ({reason})"));
            let reason = reason.unwrap_or_default();
            (Level::Warning, format!("was queued{reason}"))
        }
        Some(ClusterState::Held { reason }) => (Level::Problem, format!("was held: {reason}")),
        Some(ClusterState::Running { .. } | ClusterState::Suspended) => {
            (Level::Problem, "ran and did not answer".to_owned())
        }
        _ => (Level::Warning, "was in an unknown state".to_owned()),
    };
    let text = format!("{job} did not finish within {}: it {doing}", rounded(bound));
    Finding::new("probe", level, text).advise("wait longer with `--wait TIME`")
}

/// The findings from an answer.
fn proven(answer: &Answer, took: Duration) -> Vec<Finding> {
    let host = &answer.host;
    let text = format!(
        "cu ran on {host}, which sees the results directory, and answered within {}",
        rounded(took + Duration::from_secs(1))
    );
    let mut findings = vec![Finding::new("probe", Level::Good, text)];
    findings.push(match answer.reached {
        Some(address) => {
            let text = format!("{host} reaches this host at {address}");
            Finding::new("connection", Level::Good, text)
        }
        None => {
            let tried = answer.unreached.iter();
            let tried: Vec<_> = tried
                .map(|(address, why)| format!("{address}: {why}"))
                .collect();
            let text = format!(
                "{host} can't reach this host ({}): messages of attempts come through files, with a \
                 delay",
                tried.join("; ")
            );
            Finding::new("connection", Level::Warning, text)
                .advise("run the main process on a host that nodes can reach, perhaps in a job of its own")
        }
    });
    let (now, there) = (SystemTime::now(), SystemTime::from(answer.time));
    // The probe began after the submission, and we look soon after its answer.
    let late = there.duration_since(now).unwrap_or_default();
    let early = now
        .duration_since(there)
        .unwrap_or_default()
        .saturating_sub(took);
    let off = late.max(early);
    if off > TOLERANCE {
        let text = format!(
            "the clocks of {host} and of this host differ by {}",
            rounded(off)
        );
        findings.push(
            Finding::new("clock on the node", Level::Warning, text)
                .advise("have the clocks synchronised"),
        );
    }
    findings.push(match &answer.python3 {
        Some(path) => {
            let text = format!("{} on {host}", path.display());
            Finding::new("python3 on the node", Level::Good, text)
        }
        None => {
            let text = format!("it is not in PATH on {host}; jobs in Python need it");
            Finding::new("python3 on the node", Level::Note, text)
        }
    });
    findings
}

/// The end of `text`, where errors stand.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[cfg(test)]
mod tests;
