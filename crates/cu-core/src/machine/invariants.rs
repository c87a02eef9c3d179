//! The promise as a function that tests call after each step.

use super::job::{Job, Outcome, Phase, Stage};
use super::{Action, Effects};
use crate::AttemptEnd;

/// Checks what must hold between a job before and after one step.
///
/// # Errors
/// The first violation, in words.
pub fn check(before: &Job, after: &Job, effects: &Effects) -> Result<(), String> {
    let actions = || {
        effects
            .actions
            .iter()
            .filter(|action| action_job(action) == Some(after.id))
    };
    let submits = actions()
        .filter(|action| matches!(action, Action::Submit { .. }))
        .count();
    if submits > 1 {
        return Err(format!("{submits} submissions in one step"));
    }
    if let Phase::Active(old) = &before.phase {
        let over = effects
            .ended
            .iter()
            .any(|(job, ended)| *job == after.id && ended.attempt == old.attempt);
        let replaced = after.active().is_none_or(|new| new.attempt != old.attempt);
        if !over && submits == 1 {
            return Err("submitted while an attempt may still be with the scheduler".to_owned());
        }
        // The number of one that was never submitted is used again.
        if !over && replaced && (matches!(old.stage, Stage::Submitted(_)) || old.has_spoken()) {
            return Err(format!(
                "attempt {} was given up without an end",
                old.attempt
            ));
        }
    }
    if let Phase::Active(active) = &after.phase
        && active.attempt.next() != after.next_attempt
    {
        return Err("the next attempt does not follow the active one".to_owned());
    }
    if after.next_attempt < before.next_attempt {
        let Phase::Active(active) = &before.phase else {
            return Err("an attempt's number is given twice".to_owned());
        };
        if matches!(active.stage, Stage::Submitted(_)) || active.has_spoken() {
            return Err("the number of an attempt that was submitted is given again".to_owned());
        }
    }
    if let Phase::Settled { outcome, .. } = &before.phase {
        match &after.phase {
            Phase::Settled { outcome: now, .. } if now == outcome => {}
            Phase::Waiting { .. } if after.ends.is_empty() => {} // An operator's retry.
            _ => return Err(format!("a settled job ({outcome:?}) has changed")),
        }
    }
    if let (
        Phase::Active(old),
        Phase::Settled {
            outcome: Outcome::Failed,
            ..
        },
    ) = (&before.phase, &after.phase)
        && old.evidence.results
    {
        return Err("a job that delivered its results has failed".to_owned());
    }
    for (_, report) in &effects.ended {
        if report.end == Some(AttemptEnd::Lost) && report.exit_code == Some(0) {
            return Err("an attempt that exited with 0 counts as lost".to_owned());
        }
    }
    Ok(())
}

fn action_job(action: &Action) -> Option<cu_protocol::JobId> {
    match action {
        Action::Submit { job, .. }
        | Action::Find { job, .. }
        | Action::ReadRecords { job, .. }
        | Action::ReadLate { job, .. }
        | Action::Withdraw { job, .. }
        | Action::Observe { job, .. }
        | Action::Tell { job, .. }
        | Action::Notify { job, .. } => Some(*job),
        Action::Cancel { .. } => None,
    }
}
