//! The tools of the cases: a fresh cluster, submissions, and bounded waits.

use std::cell::Cell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::{Program, Step, Testbed};
use crate::{
    Cancel, ClusterEnd, ClusterJobId, ClusterState, Error, Found, Observation, Resources,
    Scheduler, Submission, SubmissionName, SubmitError,
};

/// How often to look for what can't be awaited: a job's file, or the end of an outage.
const POLL: Duration = Duration::from_millis(10);

/// One case on one fresh cluster.
#[derive(Debug)]
pub struct Case<B> {
    /// The cluster.
    pub bed: B,
    scheduler: Option<Arc<dyn Scheduler>>,
    /// Distinguishes this case from others that use the same cluster.
    run: String,
    attempts: Cell<u32>,
}

impl<B: Testbed> Case<B> {
    /// A case on a fresh cluster, its backend opened.
    pub async fn prepare() -> Self {
        let bed = B::fresh().await;
        let scheduler = bed.open().await;
        Self {
            bed,
            scheduler: Some(scheduler),
            run: unique_run(),
            attempts: Cell::new(0),
        }
    }

    /// The backend.
    pub fn scheduler(&self) -> &dyn Scheduler {
        let scheduler = self.scheduler.as_deref();
        scheduler.expect("it is closed only during `reopen`")
    }

    /// Drops the backend, calls `meanwhile`, and opens it again.
    pub async fn reopen(&mut self, meanwhile: impl AsyncFnOnce(&Self)) {
        self.scheduler = None;
        meanwhile(self).await;
        self.scheduler = Some(self.bed.open().await);
    }

    /// The path of a file in the directory of this case.
    pub fn path(&self, name: &str) -> PathBuf {
        self.bed.directory().join(name)
    }

    /// A name that this case has not used before.
    pub fn name(&self) -> SubmissionName {
        let attempt = self.attempts.get();
        self.attempts.set(attempt + 1);
        self.name_of(attempt)
    }

    /// The name with this number, from 0, in the order in which [`name`](Case::name) returns them.
    pub fn name_of(&self, attempt: u32) -> SubmissionName {
        SubmissionName::new(&*self.run, 7, attempt).expect("its run is of plain letters")
    }

    /// A submission of `program`, not submitted yet.
    pub fn submission(&self, program: &Program) -> Submission {
        self.submission_with(program, &[])
    }

    /// A submission of `program` with `arguments`.
    pub fn submission_with(&self, program: &Program, arguments: &[String]) -> Submission {
        let name = self.name();
        let directory = self.path(&format!("attempt-{}", name.attempt()));
        std::fs::create_dir_all(&directory).expect("the directory of the case can be written");
        Submission {
            name,
            command: self.bed.command(program, arguments),
            environment: Default::default(),
            working_directory: self.bed.directory().to_path_buf(),
            directory,
            resources: Resources {
                // Longer than any case takes. Clusters without a default limit need one.
                time_limit: Some(Duration::from_secs(3600)),
                ..Resources::default()
            },
            previous: None,
            avoid_hosts: Vec::new(),
        }
    }

    /// Submits `program`, and looks up or repeats a submission whose answer is uncertain.
    pub async fn submit(&self, program: &Program) -> ClusterJobId {
        self.hand_over(self.submission(program)).await
    }

    /// Submits `submission`, which the cluster must accept.
    pub async fn hand_over(&self, submission: Submission) -> ClusterJobId {
        self.hand_over_all(vec![submission]).await.remove(0)
    }

    /// Submits a batch, which the cluster must accept. Returns the ids in its order.
    pub async fn hand_over_all(&self, batch: Vec<Submission>) -> Vec<ClusterJobId> {
        let answers = self.try_hand_over(batch).await;
        let accepted = |answer: Result<ClusterJobId, SubmitError>| {
            answer.unwrap_or_else(|error| panic!("the cluster refused it: {error}"))
        };
        answers.into_iter().map(accepted).collect()
    }

    /// Submits a batch until each submission is accepted or rejected.
    pub async fn try_hand_over(
        &self,
        batch: Vec<Submission>,
    ) -> Vec<Result<ClusterJobId, SubmitError>> {
        self.bounded("the batch is taken or refused", async {
            let mut answers = self.scheduler().submit(&batch).await;
            assert_eq!(answers.len(), batch.len(), "one answer for each submission");
            for (submission, answer) in batch.iter().zip(&mut answers) {
                while let Err(SubmitError::Uncertain { .. } | SubmitError::Unavailable { .. }) =
                    answer
                {
                    let found = self.find(std::slice::from_ref(&submission.name)).await;
                    *answer = match found.into_iter().next() {
                        Some(found) => Ok(found.observation.job),
                        None => {
                            let again = std::slice::from_ref(submission);
                            self.scheduler().submit(again).await.remove(0)
                        }
                    };
                }
            }
            answers
        })
        .await
    }

    /// Finds `names`, and repeats that while the cluster is unavailable.
    pub async fn find(&self, names: &[SubmissionName]) -> Vec<Found> {
        self.bounded("find answers", async {
            loop {
                match self.scheduler().find(names).await {
                    Ok(found) => return found,
                    Err(Error::Unavailable { .. }) => tokio::time::sleep(POLL).await,
                    Err(error) => panic!("find: {error}"),
                }
            }
        })
        .await
    }

    /// Observes `jobs`, and repeats that while the cluster is unavailable.
    pub async fn observe(&self, jobs: &[ClusterJobId]) -> Vec<Observation> {
        self.bounded("observe answers", async {
            loop {
                match self.scheduler().observe(jobs).await {
                    Ok(observations) => {
                        let asked: Vec<_> = observations.iter().map(|it| &it.job).collect();
                        assert!(asked.into_iter().eq(jobs), "one observation each, in order");
                        return observations;
                    }
                    Err(Error::Unavailable { .. }) => tokio::time::sleep(POLL).await,
                    Err(error) => panic!("observe: {error}"),
                }
            }
        })
        .await
    }

    /// Cancels `jobs`, and repeats that while the cluster is unavailable.
    pub async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) {
        self.bounded("cancel answers", async {
            loop {
                match self.scheduler().cancel(jobs, how).await {
                    Ok(()) => return,
                    Err(Error::Unavailable { .. }) => tokio::time::sleep(POLL).await,
                    Err(error) => panic!("cancel: {error}"),
                }
            }
        })
        .await;
    }

    /// Waits until `wanted` holds for the state of `job`.
    pub async fn until(
        &self,
        job: &ClusterJobId,
        what: &str,
        wanted: impl Fn(&ClusterState) -> bool,
    ) -> ClusterState {
        self.bounded(&format!("{job} {what}"), async {
            loop {
                let state = self
                    .observe(std::slice::from_ref(job))
                    .await
                    .remove(0)
                    .state;
                if wanted(&state) {
                    return state;
                }
                assert!(
                    !state.is_over(),
                    "{job} can't come to that state any more ({what}): {state:?}"
                );
                self.scheduler().changed().await;
            }
        })
        .await
    }

    /// Waits until `job` runs.
    pub async fn until_running(&self, job: &ClusterJobId) {
        let running = |state: &ClusterState| matches!(state, ClusterState::Running { .. });
        self.until(job, "runs", running).await;
    }

    /// Waits for the end of `job`, which the backend must remember.
    pub async fn end(&self, job: &ClusterJobId) -> ClusterEnd {
        let ended = |state: &ClusterState| matches!(state, ClusterState::Ended(_));
        match self.until(job, "has ended", ended).await {
            ClusterState::Ended(end) => end,
            other => unreachable!("`until` waits for an end, not {other:?}"),
        }
    }

    /// Waits until a job has made the file `path`.
    pub async fn until_exists(&self, path: &Path) {
        let what = format!("{} appears", path.display());
        self.until_true(&what, || path.exists()).await;
    }

    /// Waits until `condition` holds, where no event reports it.
    pub async fn until_true(&self, what: &str, condition: impl Fn() -> bool) {
        self.bounded(what, async {
            while !condition() {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
    }

    /// Fills all slots with programs that mark `started` and wait for `go`. Returns when all of
    /// them run.
    pub async fn fill_slots(&self, started: &Path, go: &Path) -> Vec<ClusterJobId> {
        let program = Program::new([Step::Mark(started.into()), Step::Await(go.into())]);
        let slots = self.bed.slots();
        let batch = (0..slots).map(|_| self.submission(&program)).collect();
        let jobs = self.hand_over_all(batch).await;
        self.until_true("all slots are taken", || {
            self.marks(started) == slots as usize
        })
        .await;
        jobs
    }

    /// Checks that `jobs` wait. Looks several times, so that a start that is under way shows.
    pub async fn stay_queued(&self, jobs: &[ClusterJobId]) {
        for _ in 0..20 {
            for observation in self.observe(jobs).await {
                let running = matches!(observation.state, ClusterState::Running { .. });
                let begun = running || observation.state.is_over();
                assert!(!begun, "no slot is free: {observation:?}");
            }
        }
    }

    /// Makes the file `path` that a job waits for.
    pub fn touch(&self, path: &Path) {
        std::fs::write(path, "").expect("the directory of the case can be written");
    }

    /// The number of lines that [`Step::Mark`](super::Step::Mark) left in `path`.
    pub fn marks(&self, path: &Path) -> usize {
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }

    /// Waits for `future`, at most for the patience of the test bed.
    pub async fn bounded<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let patience = self.bed.patience();
        tokio::time::timeout(patience, future)
            .await
            .unwrap_or_else(|_| panic!("waited {patience:?} in vain until {what}"))
    }
}

/// A name for a run that no other case has, in this process or another.
fn unique_run() -> String {
    static CASES: AtomicU32 = AtomicU32::new(0);
    let case = CASES.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    format!("conformance-{now:x}-{}-{case}", std::process::id())
}

/// Writes `program` as a script into `directory`, and returns its command.
pub(super) fn shell_command(
    directory: &Path,
    program: &Program,
    arguments: &[String],
) -> Vec<String> {
    let script = (0..)
        .map(|number| directory.join(format!("program-{number}.sh")))
        .find(|path| !path.exists())
        .expect("numbers do not end");
    std::fs::write(&script, program.to_shell()).expect("the directory of the case can be written");
    let script = script.to_str().expect("the directory's path is UTF-8");
    let mut command = vec!["/bin/sh".to_owned(), script.to_owned()];
    command.extend_from_slice(arguments);
    command
}
