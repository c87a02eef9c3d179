//! Why and how a program was stopped, in words.

use std::time::Duration;

use cu_protocol::{StopCause, StopRule, Stopped, signal_name};
use cu_system::durations::shown;

use crate::machine::job::Active;
use crate::machine::reason::Ended;
use crate::machine::witnesses::asked_for_resume;

/// Whether the program itself asked to be resumed.
pub(super) fn asked_itself(ended: Ended<'_>) -> bool {
    let evidence = &ended.active.evidence;
    match &evidence.record {
        Some((_, record)) => asked_for_resume(record, evidence, ended.rules),
        None => evidence.request.is_some(),
    }
}

pub(super) fn stop_cause(active: &Active) -> Option<StopCause> {
    active.evidence.record.as_ref()?.1.stop
}

/// Why the program was stopped, if it was; to follow "attempt 3 ".
pub(super) fn stopped(active: &Active) -> Option<String> {
    let stopped = active.evidence.stopped.as_ref();
    let rule = stopped.and_then(|stopped| stopped.rule.as_ref());
    let time = |milliseconds: u64| shown(Duration::from_millis(milliseconds));
    Some(match (stop_cause(active)?, rule) {
        (StopCause::TimeBudget, Some(StopRule::After(after))) => {
            format!("was stopped after {} as planned", time(*after))
        }
        (StopCause::TimeBudget, _) => "was stopped after its time as planned".to_owned(),
        (StopCause::TimeLimit, Some(StopRule::BeforeLimit(before))) => {
            format!(
                "was stopped {} before its time limit as planned",
                time(*before)
            )
        }
        (StopCause::TimeLimit, _) => "was stopped at its time limit".to_owned(),
        (StopCause::StopFile, Some(StopRule::File(file))) => {
            format!("was stopped because the file {file} exists")
        }
        (StopCause::StopFile, _) => "was stopped because its stop file exists".to_owned(),
        (StopCause::Signal(signal), _) => format!(
            "was stopped because {} came, from the scheduler or from a person",
            signal_name(signal)
        ),
        (StopCause::Operator, _) => "was stopped by `cu pause` or `cu checkpoint`".to_owned(),
        (StopCause::Cancel, _) => "was stopped by `cu stop`".to_owned(),
        (StopCause::Steps, _) => "was stopped after its number of steps as planned".to_owned(),
    })
}

/// Why the program was stopped, if a rule of the user's asked it: it has not reached the time limit then, even if it
/// was killed.
pub(super) fn stopped_by_a_rule(active: &Active) -> Option<String> {
    active.evidence.stopped.as_ref()?.rule.as_ref()?;
    stopped(active)
}

/// What the program knew of before it was killed.
pub(super) fn asked(stopped: &Stopped) -> String {
    let mut asked = stopped.clone();
    asked.pushes.retain(|pushed| pushed.signal != "KILL");
    match asked.pushes.is_empty() {
        true => "it could not be asked".to_owned(),
        false => pushes(&asked),
    }
}

/// What was sent to whom, and when: `SIGTERM to python3, SIGKILL 500 ms later`.
pub(super) fn pushes(stopped: &Stopped) -> String {
    let first = stopped
        .pushes
        .first()
        .map_or(0, |first| first.after_milliseconds);
    let texts = stopped.pushes.iter().map(|pushed| {
        let later = pushed.after_milliseconds.saturating_sub(first);
        match later {
            0 => pushed.to_string(),
            later => format!("{pushed} {} later", shown(Duration::from_millis(later))),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// When a program was asked to stop, and what was sent to it; to follow "attempt 3 ".
pub(crate) fn was_asked(stopped: &Stopped) -> String {
    let after = shown(Duration::from_millis(stopped.after_milliseconds));
    match stopped.pushes.is_empty() {
        true => format!("was asked to stop {after} after its start"),
        false => format!(
            "was asked to stop {after} after its start: {}",
            pushes(stopped)
        ),
    }
}

/// To follow "its program ".
pub(super) fn killed_by_cu(stopped: &Stopped) -> Option<String> {
    let kill = stopped.kill()?;
    let first = stopped.first()?;
    let after = kill
        .after_milliseconds
        .saturating_sub(first.after_milliseconds);
    let grace = Duration::from_millis(stopped.grace_milliseconds);
    let after = Duration::from_millis(after);
    let why = match after {
        after if after >= grace.saturating_mul(2) => {
            format!("because twice its grace time of {} was over", shown(grace))
        }
        after if after >= grace => format!("because its grace time of {} was over", shown(grace)),
        _ => "because the scheduler was about to kill it".to_owned(),
    };
    let signal = &first.signal;
    Some(format!(
        "was killed by cu {} after SIG{signal}, {why}",
        shown(after)
    ))
}
