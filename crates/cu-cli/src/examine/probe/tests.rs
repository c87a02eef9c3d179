//! The probe against a scheduler that does what a test wants.

use std::future::{pending, ready};
use std::sync::Mutex;

use async_trait::async_trait;
use cu_scheduler::{
    Capabilities, Error as SchedulerError, ExitCodes, Found, Observation, TimeLimits,
};

use super::*;

/// Takes one job, does something to its directory, and always reports the same state.
#[derive(Debug)]
struct Staged {
    on_submit: fn(&Submission),
    state: ClusterState,
    refusal: Option<SubmitError>,
    cancelled: Mutex<Vec<ClusterJobId>>,
}

impl Staged {
    fn new(state: ClusterState, on_submit: fn(&Submission)) -> Self {
        Self {
            on_submit,
            state,
            refusal: None,
            cancelled: Mutex::default(),
        }
    }

    fn cancelled(&self) -> Vec<ClusterJobId> {
        self.cancelled
            .lock()
            .expect("no test panics with it")
            .clone()
    }

    fn observation(&self) -> Observation {
        Observation::new(id(), self.state.clone())
    }
}

impl std::fmt::Display for Staged {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a stage")
    }
}

fn id() -> ClusterJobId {
    ClusterJobId("17".to_owned())
}

#[async_trait]
impl Scheduler for Staged {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(1, TimeLimits::Coarse, ExitCodes::Kept, Reach::OtherMachines)
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        (self.on_submit)(&batch[0]);
        vec![self.refusal.clone().map_or(Ok(id()), Err)]
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, SchedulerError> {
        assert_eq!(jobs, [id()]);
        Ok(vec![self.observation()])
    }

    async fn changed(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, SchedulerError> {
        let found = |name: &SubmissionName| Found {
            name: name.clone(),
            observation: self.observation(),
        };
        Ok(names.iter().map(found).collect())
    }

    async fn cancel(&self, jobs: &[ClusterJobId], _: Cancel) -> Result<(), SchedulerError> {
        let mut cancelled = self.cancelled.lock().expect("no test panics with it");
        cancelled.extend_from_slice(jobs);
        Ok(())
    }
}

fn queued() -> ClusterState {
    ClusterState::Queued {
        reason: Some("Resources".to_owned()),
    }
}

fn ended(code: i32) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause: EndCause::Exited(code),
        at: None,
        text: format!("exit code {code}"),
    })
}

/// Runs a probe there, and checks that it cancels its job and leaves nothing.
async fn probe(scheduler: &Staged, bound: Duration) -> Proof {
    probe_until(scheduler, bound, pending()).await
}

async fn probe_until(
    scheduler: &Staged,
    bound: Duration,
    interrupted: impl Future<Output = ()>,
) -> Proof {
    let results = tempfile::tempdir().expect("a directory");
    let probe = Probe::new(results.path()).expect("a directory");
    let proof = probe.run(scheduler, bound, interrupted).await;
    let proof = proof.expect("this host works");
    drop(probe);
    assert_eq!(
        fs::read_dir(results.path()).expect("a directory").count(),
        0
    );
    assert_eq!(scheduler.cancelled(), [id()]);
    proof
}

/// The one thing that was found.
async fn finding(scheduler: &Staged, bound: Duration) -> Finding {
    match probe(scheduler, bound).await {
        Proof::Found(mut findings) if findings.len() == 1 => findings.remove(0),
        other => panic!("one finding is expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_late_job_shows_what_it_waits_for() {
    let scheduler = Staged::new(queued(), |_| ());
    let late = finding(&scheduler, Duration::from_millis(300)).await;
    assert_eq!(late.level, Level::Warning);
    assert!(late.text.ends_with("it was queued (Resources)"), "{late:?}");

    let reason = "JobHeldUser".to_owned();
    let scheduler = Staged::new(ClusterState::Held { reason }, |_| ());
    let held = finding(&scheduler, Duration::from_millis(300)).await;
    assert_eq!(held.level, Level::Problem);
    assert!(held.text.ends_with("it was held: JobHeldUser"), "{held:?}");
}

#[tokio::test]
async fn a_node_where_cu_does_not_start_shows_why() {
    let scheduler = Staged::new(ended(1), |submission| {
        let complaint = "cu: version `GLIBC_2.34' not found (required by cu)\n";
        fs::write(submission.directory.join("stderr"), complaint).expect("a file");
    });
    let finding = finding(&scheduler, Duration::from_secs(60)).await;
    assert_eq!(finding.level, Level::Problem);
    assert!(finding.text.contains("GLIBC_2.34"), "{finding:?}");
    let advice = finding.advice.expect("what to do");
    assert!(advice.contains("crt-static"), "{advice}");
}

#[tokio::test]
async fn a_node_without_the_results_directory_answers_on_stdout() {
    let scheduler = Staged::new(ended(1), |submission| {
        let answer = Answer {
            host: "node7".to_owned(),
            time: SystemTime::now().into(),
            python3: None,
            reached: None,
            unreached: Vec::new(),
        };
        let text = serde_json::to_string(&answer).expect("JSON");
        fs::write(submission.directory.join("stdout"), text).expect("a file");
    });
    let finding = finding(&scheduler, Duration::from_secs(60)).await;
    assert_eq!(finding.level, Level::Problem);
    assert!(
        finding.text.contains("17 ran on node7, which does not see"),
        "{finding:?}"
    );
}

#[tokio::test]
async fn an_answer_is_reported() {
    let scheduler = Staged::new(ended(0), |submission| {
        let directory = submission.working_directory.clone();
        // In a thread, since the connection is served by this one.
        std::thread::spawn(move || super::super::node::answer(&directory, &mut Vec::new()));
    });
    let Proof::Found(findings) = probe(&scheduler, Duration::from_secs(60)).await else {
        panic!("nobody interrupts it");
    };
    let subjects: Vec<_> = findings.iter().map(|finding| finding.subject).collect();
    assert_eq!(subjects, ["probe", "connection", "python3 on the node"]);
    assert_eq!(findings[1].level, Level::Good, "{findings:?}");
}

#[test]
fn a_differing_clock_and_an_unreachable_host_are_warnings() {
    let answer = Answer {
        host: "node7".to_owned(),
        time: (SystemTime::now() - Duration::from_secs(600)).into(),
        python3: Some("/usr/bin/python3".into()),
        reached: None,
        unreached: vec![(
            SocketAddr::from(([10, 0, 0, 1], 7)),
            "No route to host".to_owned(),
        )],
    };
    let findings = proven(&answer, Duration::from_secs(10));
    let levels: Vec<_> = findings
        .iter()
        .map(|finding| (finding.subject, finding.level))
        .collect();
    let expected = [
        ("probe", Level::Good),
        ("connection", Level::Warning),
        ("clock on the node", Level::Warning),
        ("python3 on the node", Level::Good),
    ];
    assert_eq!(levels, expected);
    assert!(
        findings[1].text.contains("10.0.0.1:7: No route to host"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn an_uncertain_submission_is_cancelled() {
    let name = SubmissionName::new("a", 0, 0).expect("a name");
    let mut scheduler = Staged::new(queued(), |_| ());
    scheduler.refusal = Some(SubmitError::Uncertain {
        name,
        reason: "Socket timed out".to_owned(),
    });
    let finding = finding(&scheduler, Duration::from_secs(60)).await;
    assert_eq!(finding.level, Level::Problem);
    assert!(finding.text.contains("Socket timed out"), "{finding:?}");
}

#[tokio::test]
async fn an_interrupted_probe_leaves_no_job() {
    let scheduler = Staged::new(queued(), |_| ());
    let proof = probe_until(&scheduler, Duration::from_secs(60), ready(())).await;
    assert!(matches!(proof, Proof::Interrupted), "{proof:?}");
}
