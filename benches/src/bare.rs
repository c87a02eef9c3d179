//! Attempts that exist only as what happens to a run's machine and store: without files, processes and a cluster.

use anyhow::Result;
use cu_core::machine::{Action, Event};
use cu_core::{BareRun, RunDir};
use cu_protocol::{
    Attempt, ExitRecord, JobId, Message, Noticed, OutputChange, ProgramEnd, ResumeRequest,
    Sequence, Started, Timestamp,
};
use cu_scheduler::ClusterJobId;

/// When everything happens, unless it is said otherwise.
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// The events of an attempt from its submission on, until it ends with this exit code.
#[must_use]
pub fn life(attempt: Attempt, code: i32) -> [Event; 4] {
    let ended = ExitRecord {
        end: ProgramEnd::Exited(code),
        stop: None,
        host: "n1".to_owned(),
        started: Some(START),
        ended: START,
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Changed,
        condition: None,
        noticed: Noticed::default(),
    };
    let said = |number, message| Event::Said {
        attempt,
        sequence: Sequence(number),
        message,
    };
    let last = match code {
        3 => Message::ResumeRequest(ResumeRequest::default()),
        _ => Message::Results([("loss".to_owned(), 0.5.into())].into_iter().collect()),
    };
    let started = Started {
        host: "n1".to_owned(),
        supervisor: 1,
        program: 2,
        at: START,
        checkpoint: None,
    };
    [
        Event::Submitted {
            attempt,
            cluster_job: ClusterJobId(format!("c-{attempt}")),
        },
        said(1, Message::Started(started)),
        said(2, last),
        said(3, Message::Ended(ended)),
    ]
}

/// Lets the jobs of a run end until so many have, after `resumes` resumes each.
///
/// # Errors
/// If something can't be recorded.
pub fn finish(run: &RunDir, jobs: u32, resumes: u32) -> Result<()> {
    let mut bare = BareRun::open(run)?;
    let mut due = bare.turn(START, Vec::new())?;
    while bare.machine().tally().counts.settled() < jobs {
        let happened = to_submit(&due).flat_map(|(job, attempt)| {
            let code = if attempt.0 < resumes { 3 } else { 0 };
            life(attempt, code).map(|event| (job, event))
        });
        due = bare.turn(START, happened.collect())?;
    }
    Ok(())
}

/// The first `most` jobs that the scheduler has, each with its attempt.
#[must_use]
pub fn submitted(run: &BareRun, most: usize) -> Vec<(JobId, Attempt)> {
    let jobs = run.machine().jobs().iter();
    let active = jobs.filter_map(|job| Some((job.id, job.active()?.attempt)));
    active.take(most).collect()
}

/// One resume of each of these in one turn: submitted, started, asked for, ended. Returns the next attempts, which
/// are due.
///
/// # Errors
/// If something can't be recorded.
pub fn resume(run: &mut BareRun, attempts: &[(JobId, Attempt)]) -> Result<Vec<(JobId, Attempt)>> {
    let events = attempts
        .iter()
        .flat_map(|(job, attempt)| life(*attempt, 3).map(|event| (*job, event)));
    Ok(to_submit(&run.turn(START, events.collect())?).collect())
}

fn to_submit(actions: &[Action]) -> impl Iterator<Item = (JobId, Attempt)> {
    actions.iter().filter_map(|action| match action {
        Action::Submit { job, attempt, .. } => Some((*job, *attempt)),
        _ => None,
    })
}
