//! Decides the state of a job from the log and from the queue or the history: pure, in one table.
//!
//! | log | queue or history | state |
//! | --- | --- | --- |
//! | terminated, requeued by itself, aborted | any | ended |
//! | held | any | by the hold's code: ended, or held |
//! | it waits in its slot | any | ended, with the exit code for a resume |
//! | waiting, running | not asked | queued, running |
//! | evicted, or unknown | not asked | ask the queue |
//! | any other | idle, may start | queued |
//! | evicted | idle, may not start again | ended: preempted, never started, or its node failed |
//! | waiting, running, unknown | idle, may not start again | in doubt, then ended: node failure |
//! | any other | running, being removed, held, completed | as it says |
//! | any other | in the history | as it says |
//! | unknown | nowhere | gone |
//! | any other | nowhere | in doubt, then gone |
//!
//! *In doubt* is for answers that the log will explain in a moment: the state is unknown until they
//! have stood for a while.

use std::fmt::Write as _;

use super::ad::{Ad, Hold, Status};
use super::attributes::STARTS;
use super::event::{Exit, Id};
use super::options::HoldPolicy;
use super::remove::FREED;
use super::script::SLOT_GIVEN_UP;
use super::table::{Job, Phase};
use super::why_queued;
use crate::{ClusterEnd, ClusterState, EndCause};

/// The answer of queue and history about a job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word<'a> {
    NotAsked,
    Queue(&'a Ad),
    History(&'a Ad),
    Nowhere,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    State(ClusterState),
    /// The log alone does not decide.
    Ask,
    /// It is so if it stays so.
    Doubt(ClusterState),
}

/// The rules that options set.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub holds: HoldPolicy,
    /// The exit code that [`SLOT_GIVEN_UP`] stands for.
    pub resume_exit_code: i32,
    /// The access point, where commands must name it.
    pub access_point: Option<String>,
}

/// Judges one job.
pub(super) fn judge(
    id: Id,
    job: Option<&Job>,
    waits_in_slot: bool,
    word: Word,
    rules: &Rules,
) -> Verdict {
    if let Some(told) = job.and_then(|job| job.told.as_ref())
        && told.cause != EndCause::Unknown
    {
        return Verdict::State(ClusterState::Ended(told.clone()));
    }
    let phase = job.map(|job| &job.phase);
    if let Some(state) = phase.and_then(|phase| rules.settled(id, phase)) {
        return Verdict::State(state);
    }
    if waits_in_slot {
        let text = "it waits in its slot for its next attempt";
        let cause = EndCause::Exited(rules.resume_exit_code);
        return Verdict::State(ended(cause, text.into()));
    }
    if let (Word::NotAsked, Some(seen)) = (word, job.and_then(|job| job.seen.clone())) {
        return Verdict::State(seen);
    }
    match word {
        Word::NotAsked => match phase {
            Some(Phase::Waiting) => Verdict::State(ClusterState::Queued { reason: None }),
            Some(Phase::Running) => Verdict::State(ClusterState::Running { since: None }),
            _ => Verdict::Ask,
        },
        Word::Queue(ad) => rules.queued(job, ad),
        Word::History(ad) => Verdict::State(ClusterState::Ended(rules.past(ad))),
        Word::Nowhere if job.is_none() => Verdict::State(ClusterState::Gone),
        Word::Nowhere => Verdict::Doubt(ClusterState::Gone),
    }
}

impl Rules {
    /// The state that the log alone decides, whatever else is known.
    fn settled(&self, id: Id, phase: &Phase) -> Option<ClusterState> {
        match phase {
            Phase::Terminated { exit, at } => {
                let end = self.exited(*exit);
                Some(ClusterState::Ended(ClusterEnd { at: *at, ..end }))
            }
            Phase::Requeued { exit } => Some(ClusterState::Ended(self.exited(*exit))),
            Phase::Held {
                reason,
                code,
                subcode,
            } => Some(self.held(
                id,
                &Hold {
                    reason: reason.clone(),
                    code: *code,
                    subcode: *subcode,
                },
            )),
            Phase::Aborted { reason, before } => Some(self.aborted(id, reason, before)),
            Phase::Silent | Phase::Waiting | Phase::Running | Phase::Evicted { .. } => None,
        }
    }

    /// A job was removed: its end is what it was before, if it had ended.
    fn aborted(&self, id: Id, reason: &str, before: &Phase) -> ClusterState {
        let before_it = match before {
            Phase::Evicted { reason: why } if is_ours(reason) => {
                Some(evicted(why.as_deref(), None))
            }
            other => self.settled(id, other),
        };
        match before_it {
            Some(ClusterState::Ended(end)) => ClusterState::Ended(end),
            _ => ended(removal(reason), format!("removed: {reason}")),
        }
    }

    fn exited(&self, exit: Exit) -> ClusterEnd {
        let (cause, text) = match exit {
            Exit::Code(code) if code == i32::from(SLOT_GIVEN_UP) => {
                let text = "the job gave up the slot in which it waited for its next attempt";
                (EndCause::Exited(self.resume_exit_code), text.to_owned())
            }
            Exit::Code(code) => (EndCause::Exited(code), format!("exit code {code}")),
            Exit::Signal(signal) => {
                let text = format!("killed by signal {signal}");
                (EndCause::Signaled(signal), text)
            }
        };
        ClusterEnd {
            cause,
            at: None,
            text,
        }
    }

    fn held(&self, id: Id, hold: &Hold) -> ClusterState {
        let (code, subcode) = (hold.code, hold.subcode);
        let mut text = match hold.reason.as_str() {
            "" => format!("hold code {code}, subcode {subcode}"),
            reason => format!("{reason}, hold code {code}, subcode {subcode}"),
        };
        match super::holds::end(code, &self.holds) {
            Some(cause) => ended(cause, text),
            None => {
                // Writing to a string can't fail.
                let _ = write!(text, "; `{}` releases it", self.release(id));
                ClusterState::Held { reason: text }
            }
        }
    }

    /// The command that releases a job.
    fn release(&self, id: Id) -> String {
        format!("condor_release{} {id}", self.at())
    }

    /// What a command needs to find the access point.
    fn at(&self) -> String {
        let named = self.access_point.as_ref();
        named.map_or_else(String::new, |name| format!(" -name {name}"))
    }

    fn queued(&self, job: Option<&Job>, ad: &Ad) -> Verdict {
        let state = match ad.status {
            Status::Idle if ad.starts.is_some_and(|starts| ad.run_count >= starts) => {
                return self.not_again(job, ad);
            }
            Status::Idle => ClusterState::Queued {
                reason: Some(why_queued::reason(ad, &self.at())),
            },
            Status::Running => ClusterState::Running { since: ad.since },
            Status::Removed => match job.map(|job| &job.phase) {
                Some(Phase::Running) => ClusterState::Running { since: ad.since },
                _ => ClusterState::Queued {
                    reason: Some("the job is being removed".into()),
                },
            },
            Status::Held => match &ad.hold {
                Some(hold) => self.held(ad.id, hold),
                None => ClusterState::Held {
                    reason: format!(
                        "HTCondor gives no reason; `{}` releases it",
                        self.release(ad.id)
                    ),
                },
            },
            Status::Completed => ClusterState::Ended(self.past(ad)),
            Status::Other(number) => ClusterState::Unknown {
                reason: format!("HTCondor reports the unknown JobStatus {number}"),
            },
        };
        Verdict::State(state)
    }

    /// An idle job that has had all the starts it may have.
    fn not_again(&self, job: Option<&Job>, ad: &Ad) -> Verdict {
        let lost = job.and_then(|job| job.lost.as_ref());
        match job.map(|job| &job.phase) {
            Some(Phase::Evicted { .. }) if lost.is_some() => {
                let text = lost.cloned().unwrap_or_default();
                Verdict::State(ended(EndCause::NodeFailure, text))
            }
            Some(Phase::Evicted { reason }) => Verdict::State(evicted(reason.as_deref(), Some(ad))),
            _ => {
                let text = ad.vacate_reason.clone().unwrap_or_else(|| {
                    "HTCondor lost sight of it (its condor_shadow ended), and may not start it \
                     again"
                        .into()
                });
                Verdict::Doubt(ended(EndCause::NodeFailure, text))
            }
        }
    }

    /// How a job ended that is over, by its ad.
    fn past(&self, ad: &Ad) -> ClusterEnd {
        let end = match ad.status {
            Status::Completed => ad.exit.map(|exit| self.exited(exit)),
            Status::Removed => Some(self.removed(ad)),
            _ => None,
        };
        let unknown = || ClusterEnd {
            cause: EndCause::Unknown,
            at: None,
            text: "HTCondor's history does not say how".into(),
        };
        ClusterEnd {
            at: ad.at,
            ..end.unwrap_or_else(unknown)
        }
    }

    fn removed(&self, ad: &Ad) -> ClusterEnd {
        let reason = ad.remove_reason.as_deref().unwrap_or("without a reason");
        let by_us = is_ours(reason);
        if by_us
            && let Some(hold) = &ad.last_hold
            && let ClusterState::Ended(end) = self.held(ad.id, hold)
        {
            return end;
        }
        let resume = Exit::Code(self.resume_exit_code);
        let given_up = Exit::Code(i32::from(SLOT_GIVEN_UP));
        match ad.exit {
            Some(exit) if by_us && (exit == resume || exit == given_up) => self.exited(exit),
            _ if by_us => ClusterEnd {
                cause: EndCause::Preempted,
                at: None,
                text: "it was evicted".into(),
            },
            _ => ClusterEnd {
                cause: removal(reason),
                at: None,
                text: format!("removed: {reason}"),
            },
        }
    }
}

/// Whether a job was removed because its end was known: by us, or by the `periodic_remove` of its
/// description, which names the gate.
fn is_ours(reason: &str) -> bool {
    reason.contains(FREED) || reason.contains(STARTS)
}

/// Decides whether a person or the cluster removed a job. HTCondor notes the name of a person and none for
/// its rules; root and the user of its daemons act for the cluster.
fn removal(reason: &str) -> EndCause {
    let person = reason.rsplit_once("(by user ").map(|(_, name)| name);
    match person.and_then(|name| name.split([')', '@']).next()) {
        None | Some("root" | "condor") => EndCause::Removed,
        Some(_) => EndCause::Cancelled,
    }
}

/// How HTCondor's starter says that a container does not come up. It takes the job for evicted, and
/// would start it again for ever.
const NO_CONTAINER: &str = "Singularity test failed";

fn evicted(reason: Option<&str>, ad: Option<&Ad>) -> ClusterState {
    let said = reason.or_else(|| ad.and_then(|ad| ad.vacate_reason.as_deref()));
    if let Some(reason) = said.filter(|said| said.contains(NO_CONTAINER)) {
        let text = format!("its container did not start: {reason}");
        return ended(EndCause::NotStarted, text);
    }
    let code = ad.and_then(|ad| ad.vacate_code);
    let text = match (said, code) {
        (Some(reason), _) => format!("evicted: {reason}"),
        // HTCondor's own number for condor_vacate_job.
        (None, Some(1005)) => "evicted by condor_vacate_job".into(),
        (None, Some(code)) => format!("evicted (vacate code {code})"),
        (None, None) => "evicted".into(),
    };
    ended(EndCause::Preempted, text)
}

fn ended(cause: EndCause, text: String) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause,
        at: None,
        text,
    })
}
