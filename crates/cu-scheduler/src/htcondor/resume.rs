//! Puts a cluster job back in the queue for its next attempt, or lets it go on in its slot.
//!
//! The job stays idle behind the gate of its requirements, `JobRunCount < CuStarts`. Its next
//! ticket is written first, then the gate is opened by condor_qedit. A job that waits in its slot
//! goes on when its file `waiting` is renamed. A job that can't be put back is submitted anew.
//!
//! A ticket says how many events of the log are of its predecessors. So it is written once these
//! have ended, and noted in the table before its job can start: whatever the log says from then on
//! is about the new attempt, which may be over before anybody looks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use super::ad::{Ad, Status};
use super::attributes::{NAME, STARTS};
use super::description::checksum;
use super::event::Id;
use super::queue::first_lines;
use super::script::write_script;
use super::table::{Job, Phase, Table};
use super::ticket::{Ticket, files_refused};
use super::{Htcondor, remove};
use crate::cluster::{Batch, Refusal};
use crate::{ClusterJobId, Error, Submission, SubmissionName};

/// How long to wait for the end of a predecessor that HTCondor does not report yet: the command itself
/// said that it ends, and HTCondor needs a moment to see it.
const SETTLE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);
/// How often the queue is asked meanwhile.
const ASK: Duration = Duration::from_secs(1);

/// The most jobs in one condor_qedit, for the length of its constraint.
const MOST_OPENED: usize = 1_000;

/// A submission whose predecessor may go on under the same id.
struct Candidate<'a> {
    /// Its place in the batch.
    at: usize,
    submission: &'a Submission,
    id: Id,
    first: SubmissionName,
    /// The number of the next ticket.
    number: u32,
    header_checksum: u64,
}

/// The place of a predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Idle behind its gate, after so many starts.
    Kept { run_count: u32 },
    /// Waiting in its slot.
    InSlot,
    /// It runs, as far as HTCondor reports.
    Runs,
    /// It can't go on.
    Over,
}

/// Puts back what can be put back, and answers for it in `batch`.
pub(super) async fn put_back(condor: &Htcondor, batch: &mut Batch<'_>) {
    let candidates = candidates(condor, batch);
    if candidates.is_empty() {
        return;
    }
    let places = match settle(condor, &candidates).await {
        Ok(places) => places,
        Err(error) => {
            let refusal = Refusal::from(error);
            for candidate in &candidates {
                batch.refuse(candidate.at, &refusal);
            }
            return;
        }
    };
    let mut kept: BTreeMap<u32, Vec<&Candidate>> = BTreeMap::new();
    for (candidate, place) in candidates.iter().zip(places) {
        match place {
            Place::Kept { run_count } => kept
                .entry(run_count.saturating_add(1))
                .or_default()
                .push(candidate),
            // If it gave up its slot just now, it is kept, and asked for once more.
            Place::InSlot => match grant(condor, candidate) {
                Ok(job) => batch.accept(candidate.at, job),
                Err(refusal) => batch.refuse(candidate.at, &refusal),
            },
            Place::Runs => {
                let refusal = Refusal::Unavailable {
                    reason: format!("HTCondor does not report yet that {} ended", candidate.id),
                    retry_after: Some(ASK),
                };
                batch.refuse(candidate.at, &refusal);
            }
            Place::Over => {}
        }
    }
    for (starts, candidates) in &kept {
        for some in candidates.chunks(MOST_OPENED) {
            let opened = open_gates(condor, *starts, some).await;
            for candidate in some {
                match &opened {
                    Ok(opened) if opened.contains(&candidate.id) => {
                        batch.accept(candidate.at, candidate.id.to_cluster());
                    }
                    // It left the queue meanwhile: it is submitted anew.
                    Ok(_) => {}
                    Err(refusal) => batch.refuse(candidate.at, refusal),
                }
            }
        }
    }
}

/// Submissions with a predecessor of equal needs. A submission whose predecessor can't be looked up is
/// refused.
fn candidates<'a>(condor: &Htcondor, batch: &mut Batch<'a>) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    let open: Vec<(usize, &Submission)> = batch.open().collect();
    for (at, submission) in open {
        let previous = submission.previous.as_ref();
        let Some(id) = previous.and_then(|id| id.0.parse::<Id>().ok()) else {
            continue;
        };
        let header_checksum = checksum(&condor.header(submission));
        let candidate = condor.watch.up_to_date(&condor.commands, |table| {
            let job = table.job(id)?;
            let first = job.first.clone()?;
            let before = condor.tickets.read(&first, job.tickets)?;
            (before.header_checksum == header_checksum).then_some(Candidate {
                at,
                submission,
                id,
                first,
                number: job.tickets + 1,
                header_checksum,
            })
        });
        match candidate {
            Ok(candidate) => candidates.extend(candidate),
            Err(error) => batch.refuse(at, &error.into()),
        }
    }
    candidates
}

/// The places of the predecessors, once they have ended or [`SETTLE`] is over.
async fn settle(condor: &Htcondor, candidates: &[Candidate<'_>]) -> Result<Vec<Place>, Error> {
    let began = Instant::now();
    let ids: Vec<Id> = candidates.iter().map(|it| it.id).collect();
    let runs = candidates
        .iter()
        .map(|it| it.first.run().to_owned())
        .collect();
    loop {
        let asked = Instant::now();
        let queue = condor.commands.ask_queue(&ids, &runs).await?;
        let queue: BTreeMap<Id, Ad> = queue.into_iter().map(|ad| (ad.id, ad)).collect();
        let places = condor.watch.up_to_date(&condor.commands, |table| {
            let place = |candidate: &Candidate| {
                let phase = table.job(candidate.id).map(|job| &job.phase);
                place(condor, candidate, phase, queue.get(&candidate.id))
            };
            candidates.iter().map(place).collect::<Vec<Place>>()
        })?;
        if !places.contains(&Place::Runs) || began.elapsed() >= SETTLE {
            return Ok(places);
        }
        while asked.elapsed() < ASK && !condor.watch.has_news() && !one_waits(condor, candidates) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn one_waits(condor: &Htcondor, candidates: &[Candidate]) -> bool {
    let mut firsts = candidates.iter().map(|it| &it.first);
    firsts.any(|first| condor.tickets.is_waiting(first))
}

fn place(
    condor: &Htcondor,
    candidate: &Candidate,
    phase: Option<&Phase>,
    ad: Option<&Ad>,
) -> Place {
    let Some(ad) = ad.filter(|ad| ad.is_of(Some(&candidate.first))) else {
        return Place::Over;
    };
    match ad.status {
        Status::Idle if ad.starts.is_some_and(|starts| ad.run_count >= starts) => Place::Kept {
            run_count: ad.run_count,
        },
        Status::Running if condor.tickets.is_waiting(&candidate.first) => Place::InSlot,
        // The log says how it ended, and the queue is about to.
        Status::Running if matches!(phase, Some(Phase::Terminated { .. })) => Place::Over,
        Status::Running => Place::Runs,
        _ => Place::Over,
    }
}

/// Writes the script and the next ticket of a job, and notes it in the table if `is_honoured` returns
/// true; otherwise does nothing. Returns the former knowledge of the job. The table is locked meanwhile.
fn begin(
    condor: &Htcondor,
    candidate: &Candidate,
    starts: u32,
    in_slot: bool,
    is_honoured: impl FnOnce() -> io::Result<bool>,
) -> Result<Option<Begun>, Refusal> {
    let (tickets, first) = (&condor.tickets, &candidate.first);
    let begun = condor.watch.up_to_date(&condor.commands, |table| {
        let job = table.job(candidate.id);
        let before = job.ok_or_else(|| io::Error::other("its job is forgotten"))?;
        let before = before.clone();
        let ticket = Ticket {
            script: write_script(candidate.submission, &condor.options.wrapper)?,
            name: candidate.submission.name.clone(),
            starts,
            events: before.events,
            in_slot,
            header_checksum: candidate.header_checksum,
        };
        tickets.write(first, candidate.number, &ticket)?;
        if !is_honoured()? {
            tickets.remove(first, candidate.number);
            return Ok(None);
        }
        table.put_back(candidate.id, &ticket);
        Ok(Some(Begun(before)))
    });
    begun?.map_err(files_refused)
}

/// The knowledge of a job before its next attempt began.
struct Begun(Job);

impl Begun {
    /// Whether the log mentions the new attempt.
    fn is_told(&self, table: &Table, id: Id) -> bool {
        table.job(id).is_some_and(|job| job.events > self.0.events)
    }

    /// As if the next attempt had not begun, which no start honours.
    fn take_back(self, condor: &Htcondor, candidate: &Candidate) {
        condor.tickets.remove(&candidate.first, candidate.number);
        let name = &candidate.submission.name;
        let restore = |table: &mut Table| table.restore(candidate.id, self.0, name);
        // If the log can't be read, it is read anew by whoever looks next.
        condor.watch.up_to_date(&condor.commands, restore).ok();
    }
}

/// Lets a job go on that waits in its slot.
fn grant(condor: &Htcondor, candidate: &Candidate) -> Result<ClusterJobId, Refusal> {
    let granted = || condor.tickets.grant(&candidate.first);
    match begin(condor, candidate, 0, true, granted)? {
        Some(_) => Ok(candidate.id.to_cluster()),
        None => Err(Refusal::Unavailable {
            reason: "the job gave up its slot just now".into(),
            retry_after: Some(ASK),
        }),
    }
}

/// Opens the gates of jobs that may have `starts` starts from now on. Returns those that it opened.
async fn open_gates(
    condor: &Htcondor,
    starts: u32,
    candidates: &[&Candidate<'_>],
) -> Result<BTreeSet<Id>, Refusal> {
    let mut begun: Vec<(&Candidate, Begun)> = Vec::new();
    let take_back = |begun: Vec<(&Candidate, Begun)>| {
        begun
            .into_iter()
            .for_each(|(candidate, begun)| begun.take_back(condor, candidate));
    };
    for candidate in candidates {
        match begin(condor, candidate, starts, false, || Ok(true)) {
            Ok(one) => begun.extend(one.map(|one| (*candidate, one))),
            Err(refusal) => {
                take_back(begun);
                return Err(refusal);
            }
        }
    }
    let one = |it: &&Candidate| {
        format!(
            "(ClusterId == {} && ProcId == {} && {NAME} =?= \"{}\")",
            it.id.cluster, it.id.proc, it.first
        )
    };
    let these: Vec<String> = candidates.iter().map(one).collect();
    let command = condor
        .commands
        .at_schedd("condor_qedit")
        .arguments(["-constraint", &these.join(" || ")])
        .arguments([STARTS, &starts.to_string()]);
    let edited = match command.run().await.map_err(Refusal::of_failure) {
        Ok(output) => output,
        Err(refusal) => {
            // Otherwise it may have opened some.
            if matches!(refusal, Refusal::Unavailable { .. }) {
                take_back(begun);
            }
            return Err(refusal);
        }
    };
    // It says how many it changed, and not which: whatever it said, the queue knows, or the log of
    // those that have left the queue since.
    let ids: Vec<Id> = candidates.iter().map(|it| it.id).collect();
    let runs = candidates
        .iter()
        .map(|it| it.first.run().to_owned())
        .collect();
    let uncertain = |error: Error| Refusal::uncertain(error.to_string());
    let queue = condor.commands.ask_queue(&ids, &runs).await;
    let queue = queue.map_err(uncertain)?;
    let mut opened: BTreeSet<Id> = queue
        .iter()
        .filter(|ad| ad.starts == Some(starts))
        .map(|ad| ad.id)
        .collect();
    let told = condor.watch.up_to_date(&condor.commands, |table| {
        let told = |(candidate, begun): &&(&Candidate, Begun)| begun.is_told(table, candidate.id);
        let told = begun.iter().filter(told);
        told.map(|(candidate, _)| candidate.id).collect::<Vec<Id>>()
    });
    opened.extend(told.map_err(uncertain)?);
    begun.retain(|(candidate, _)| !opened.contains(&candidate.id));
    take_back(begun);
    if edited.code != 0 && opened.is_empty() && !queue.is_empty() {
        return Err(Refusal::unavailable(first_lines(&edited)));
    }
    // Wakes the negotiator, which would learn of the jobs later otherwise.
    condor
        .commands
        .at_schedd("condor_reschedule")
        .run()
        .await
        .ok();
    Ok(opened)
}

/// Frees the predecessors of `submissions`, which were submitted anew and will not be put back.
pub(super) async fn free_predecessors(condor: &Htcondor, submissions: &[&Submission]) {
    let previous = submissions.iter().filter_map(|it| it.previous.as_ref());
    let ids: Vec<Id> = previous.filter_map(|id| id.0.parse().ok()).collect();
    let kept = condor.watch.up_to_date(&condor.commands, |table| {
        let is_kept = |id: &Id| {
            let phase = table.job(*id).map(|job| &job.phase);
            !matches!(
                phase,
                Some(Phase::Terminated { .. } | Phase::Aborted { .. })
            )
        };
        ids.into_iter().filter(is_kept).collect::<Vec<Id>>()
    });
    // What fails here is freed by HTCondor after a while.
    let kept = kept.unwrap_or_default();
    let (watch, commands) = (&condor.watch, &condor.commands);
    watch.remove(commands, &kept, remove::FREED).await.ok();
}
