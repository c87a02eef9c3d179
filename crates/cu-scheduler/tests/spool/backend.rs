//! The backend: what a scheduler of this crate is made of, in one file.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::cluster::{self, Intake, Refusal, Writer};
use cu_scheduler::{
    Cancel, Capabilities, ClusterEnd, ClusterJobId, ClusterState, EndCause, Error, Examine,
    ExitCodes, Finding, Found, InvalidOption, Level, Observation, Preview, Reach, Resources,
    Scheduler, Subject, Submission, SubmissionName, SubmitError, TimeLimits,
};
use cu_system::{files, shell};

use crate::queue::{Call, GRACE, Id, Job, Queue};

/// What [`Spool::open`] needs to know.
#[derive(Clone, Debug)]
pub struct SpoolOptions {
    /// The directory of the batch system. The backend keeps no state of its own: what was handed over is
    /// in the spool, or it was not handed over.
    pub spool: PathBuf,
    /// How often to look.
    pub poll: Duration,
}

impl SpoolOptions {
    pub fn new(spool: impl Into<PathBuf>) -> Self {
        Self {
            spool: spool.into(),
            poll: Duration::from_millis(20),
        }
    }

    fn check(&self) -> Result<(), InvalidOption> {
        match self.poll.is_zero() {
            true => Err(InvalidOption::new("poll", "must be longer than 0 s")),
            false => Ok(()),
        }
    }
}

/// The spool as a [`Scheduler`].
#[derive(Debug)]
pub struct Spool {
    options: SpoolOptions,
    queue: Queue,
    writer: Writer,
}

impl Spool {
    pub fn open(options: SpoolOptions) -> Result<Self, Error> {
        let refused = |reason: String| Error::Refused {
            scheduler: "spool".into(),
            reason,
        };
        let checked = options.check();
        checked.map_err(|wrong| refused(wrong.to_string()))?;
        files::own_directory(&options.spool).map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            queue: Queue::new(&options.spool),
            writer: Writer::start("spool")?,
            options,
        })
    }

    fn unavailable(&self, error: io::Error) -> Error {
        Error::Unavailable {
            scheduler: self.to_string(),
            reason: error.to_string(),
        }
    }

    /// All jobs of the spool, in the order in which they were handed over.
    fn jobs(&self) -> Result<Vec<(Id, SubmissionName)>, Error> {
        let calls = self.queue.calls().map_err(|it| self.unavailable(it))?;
        let jobs = calls.into_iter().flat_map(|(call, content)| {
            let jobs = content.jobs.into_iter().enumerate();
            jobs.map(move |(index, job)| (Id { call, index }, job.name))
        });
        Ok(jobs.collect())
    }

    fn observation(&self, id: Id, name: SubmissionName) -> Result<Observation, Error> {
        let state = self.queue.state(id).map_err(|it| self.unavailable(it))?;
        let mut observation = Observation::new(id.to_cluster(), state_of(state.as_deref()));
        observation.name = Some(name);
        Ok(observation)
    }
}

fn state_of(state: Option<&str>) -> ClusterState {
    let Some(state) = state else {
        return ClusterState::Queued { reason: None };
    };
    let number = state.split(' ').nth(1).and_then(|it| it.parse().ok());
    let cause = match (state.split(' ').next(), number) {
        (Some("running"), _) => return ClusterState::Running { since: None },
        (Some("exited"), Some(code)) => EndCause::Exited(code),
        (Some("signaled"), Some(signal)) => EndCause::Signaled(signal),
        (Some("cancelled"), _) => EndCause::Cancelled,
        (Some("limit"), _) => EndCause::TimeLimit,
        _ => {
            let reason = format!("the keeper wrote `{state}`");
            return ClusterState::Unknown { reason };
        }
    };
    ClusterState::Ended(ClusterEnd {
        cause,
        at: None,
        text: state.to_owned(),
    })
}

impl fmt::Display for Spool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "spool {}", self.options.spool.display())
    }
}

#[async_trait]
impl Intake for Spool {
    type Needs = Resources;

    fn needs(&self, submission: &Submission) -> Resources {
        submission.resources.clone()
    }

    fn check(&self, submission: &Submission) -> Result<(), String> {
        cluster::check(submission)?;
        let names = &mut submission.environment.keys();
        if let Some(name) = names.find(|name| !shell::is_name(name)) {
            return Err(format!("a shell can't set a variable called `{name}`"));
        }
        for path in [&submission.directory, &submission.working_directory] {
            if path.to_str().is_none_or(|text| text.contains('\n')) {
                return Err(format!("{path:?} is not one line of UTF-8"));
            }
        }
        Ok(())
    }

    async fn call(&self, group: &[&Submission]) -> Result<Vec<ClusterJobId>, Refusal> {
        let group: Vec<Submission> = group.iter().map(|it| (*it).clone()).collect();
        let queue = self.queue.clone();
        let add = move || -> io::Result<Option<Vec<ClusterJobId>>> {
            // A call whose answer nobody awaits any more may still be on its way.
            let _alone = queue.alone()?;
            let calls = queue.calls()?;
            let known = calls.iter().flat_map(|(_, call)| &call.jobs);
            let known: BTreeSet<&SubmissionName> = known.map(|job| &job.name).collect();
            if group.iter().any(|it| known.contains(&it.name)) {
                return Ok(None);
            }
            for submission in &group {
                let path = submission.directory.join("run.sh");
                files::write_whole(&path, script(submission).as_bytes(), files::PRIVATE_FILE)?;
            }
            // One rename hands it over, so that nothing has to be written down before.
            let call = queue.add(&call_of(&group))?;
            let ids = (0..group.len()).map(|index| Id { call, index }.to_cluster());
            Ok(Some(ids.collect()))
        };
        let added = self.writer.write(add).await?;
        let added = added.map_err(|error| Refusal::unavailable(error.to_string()))?;
        added.ok_or_else(|| Refusal::uncertain("it is in the spool already"))
    }
}

fn call_of(group: &[Submission]) -> Call {
    let job = |submission: &Submission| Job {
        name: submission.name.clone(),
        directory: submission.directory.clone(),
    };
    Call::new(&group[0].resources, group.iter().map(job).collect())
}

/// What is run for a submission.
fn script(submission: &Submission) -> String {
    // Writing to a string can't fail.
    let mut text = format!("export CU_SUBMISSION={}\n", submission.name);
    let _ = writeln!(text, "export CU_KILL_WAIT={}", GRACE.as_secs());
    if let Some(limit) = submission.resources.time_limit {
        let seconds = limit.as_secs();
        let _ = writeln!(text, "export CU_DEADLINE=$(($(date +%s) + {seconds}))");
    }
    for (name, value) in &submission.environment {
        let _ = writeln!(text, "export {name}={}", shell::quote(value));
    }
    let path = |path: &Path| shell::quote(&path.to_string_lossy());
    let _ = writeln!(
        text,
        "cd {} || exit 126",
        path(&submission.working_directory)
    );
    let words: Vec<String> = submission
        .command
        .iter()
        .map(|it| shell::quote(it))
        .collect();
    let _ = writeln!(text, "exec {}", words.join(" "));
    text
}

#[async_trait]
impl Scheduler for Spool {
    fn capabilities(&self) -> Capabilities {
        let (limits, codes) = (TimeLimits::Exact, ExitCodes::Kept);
        Capabilities::new(1000, limits, codes, Reach::ThisMachine)
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        cluster::submit(self, batch).await
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.jobs()?;
        let one = |job: &ClusterJobId| {
            let id = Id::parse(job);
            match all.iter().find(|(known, _)| Some(*known) == id) {
                Some((id, name)) => self.observation(*id, name.clone()),
                None => Ok(Observation::new(job.clone(), ClusterState::Gone)),
            }
        };
        jobs.iter().map(one).collect()
    }

    async fn changed(&self) {
        tokio::time::sleep(self.options.poll).await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        // After what this process is writing.
        let queue = self.queue.clone();
        let alone = self.writer.write(move || queue.alone().map(drop)).await;
        let alone = alone.unwrap_or_else(|refusal| Err(io::Error::other(format!("{refusal:?}"))));
        alone.map_err(|error| self.unavailable(error))?;
        let mut found = Vec::new();
        for (id, name) in self.jobs()? {
            if names.contains(&name) {
                let observation = self.observation(id, name.clone())?;
                found.push(Found { name, observation });
            }
        }
        Ok(found)
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        let ids: BTreeSet<Id> = jobs.iter().filter_map(Id::parse).collect();
        let signal = match how {
            Cancel::Terminate => "TERM",
            Cancel::Kill => "KILL",
        };
        for (id, _) in self.jobs()? {
            if ids.contains(&id) {
                let cancelled = self.queue.cancel(id, signal);
                cancelled.map_err(|error| self.unavailable(error))?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Examine for Spool {
    async fn examine(&self) -> Vec<Finding> {
        let finding = |level, text| Finding::new(Subject::Scheduler, level, text);
        vec![match self.jobs() {
            Ok(jobs) => finding(Level::Good, format!("the spool has {} jobs", jobs.len())),
            Err(error) => finding(Level::Problem, error.to_string())
                .advise_option("spool", "the directory of a spool with a keeper"),
        }]
    }

    async fn preview(&self, batch: &[Submission]) -> Vec<Preview> {
        let groups = cluster::groups(self, &cluster::Batch::new(batch)).into_iter();
        let one = |group: Vec<usize>| {
            let members: Vec<Submission> = group.iter().map(|at| batch[*at].clone()).collect();
            let names = members.iter().map(|it| it.name.clone()).collect();
            let path = self.options.spool.join("jobs/NUMBER/call");
            let text = call_of(&members).to_text();
            let checked = members.iter().try_for_each(|it| self.check(it));
            let verdict = checked.map(|()| "it is taken as it is".to_owned());
            Preview::new(names, path, text, verdict)
        };
        groups.map(one).collect()
    }
}
