//! From Slurm's words for a state to ours.

use super::row::{Exit, Row};
use crate::{ClusterEnd, ClusterState, EndCause};

/// Reasons for a wait that time does not cure: a person must change the job or the cluster. Where
/// Slurm has many that begin or end alike, that part.
const HOLDING: [&str; 19] = [
    "JobHeld",
    "JobHoldMaxRequeue",
    "launch failed requeued held",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "PartitionDown",
    "PartitionInactive",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "AccountNotAllowed",
    "AccountingPolicy",
    "InvalidAccount",
    "InvalidQOS",
    "QOSNotAllowed",
    "QOSMaxWallDurationPerJobLimit",
    "AssocMaxWallDurationPerJobLimit",
    "ReservationDeleted",
    "DeadLine",
];

/// The state that a row tells.
pub(super) fn of(row: &Row) -> ClusterState {
    // `CANCELLED by 1000` loses its last words when the controller restarts.
    let word = row.state.split([' ', '+']).next().unwrap_or_default();
    let reason = row.reason.clone();
    match word {
        "PENDING" => waiting(reason),
        "CONFIGURING" | "POWER_UP_NODE" | "REQUEUED" | "REQUEUE_FED" | "EXPEDITING" => {
            ClusterState::Queued {
                reason: Some(row.state.clone()),
            }
        }
        "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => ClusterState::Held {
            reason: match reason {
                Some(reason) => format!("{word}: {reason}"),
                None => word.to_owned(),
            },
        },
        // While it completes, processes of it may be alive.
        "RUNNING" | "SUSPENDED" | "STOPPED" | "SIGNALING" | "RESIZING" | "STAGE_OUT"
        | "COMPLETING" | "UPDATE_DB" => ClusterState::Running { since: row.started },
        _ => match cause(word, row) {
            Some(cause) => ClusterState::Ended(ClusterEnd {
                cause,
                at: row.ended,
                text: text(row),
            }),
            None => ClusterState::Unknown {
                reason: format!("Slurm calls its state `{}`", row.state),
            },
        },
    }
}

/// Whether the row is what a refused submission leaves: a job that never was queued.
pub(super) fn is_refusal(row: &Row) -> bool {
    // Accounting does not keep the reason, BadConstraints. But no node ever had it.
    row.state.starts_with("FAILED") && row.host.is_none()
}

fn waiting(reason: Option<String>) -> ClusterState {
    // The tasks of an array in one row may have several: `Priority,JobHeldAdmin`.
    let holding = |reason: &str| {
        let of_one = |reason: &str| HOLDING.iter().any(|holding| reason.starts_with(holding));
        reason.split(',').all(of_one)
    };
    match reason {
        Some(reason) if holding(&reason) => ClusterState::Held { reason },
        reason => ClusterState::Queued { reason },
    }
}

fn cause(word: &str, row: &Row) -> Option<EndCause> {
    Some(match word {
        "COMPLETED" => exited(row),
        "FAILED" if is_refusal(row) => EndCause::NotStarted,
        "FAILED" => exited(row),
        "CANCELLED" => EndCause::Cancelled,
        "TIMEOUT" => EndCause::TimeLimit,
        "DEADLINE" if row.host.is_some() => EndCause::TimeLimit,
        "DEADLINE" | "LAUNCH_FAILED" => EndCause::NotStarted,
        "PREEMPTED" => EndCause::Preempted,
        "NODE_FAIL" | "BOOT_FAIL" | "RECONFIG_FAIL" => EndCause::NodeFailure,
        "OUT_OF_MEMORY" => EndCause::OutOfMemory,
        "REVOKED" => EndCause::Unknown,
        _ => return None,
    })
}

/// How the script ended. Only with these states does Slurm's code mean anything, and up to version
/// 24.11 it shows the codes from 128 on as if they were less by 128.
fn exited(row: &Row) -> EndCause {
    match row.exit {
        None => EndCause::Unknown,
        // Slurm's own error numbers, where its daemon could not start the script.
        Some(Exit { signal: 53, .. }) => EndCause::NotStarted,
        Some(Exit { signal: 0, code }) => EndCause::Exited(code),
        Some(Exit { signal, .. }) => EndCause::Signaled(signal),
    }
}

fn text(row: &Row) -> String {
    let mut text = row.state.clone();
    match row.exit {
        Some(Exit { signal: 0, code }) if row.state == "FAILED" => {
            text.push_str(&format!(", exit code {code}"));
        }
        Some(Exit { signal, .. }) if row.state == "FAILED" => {
            text.push_str(&format!(", signal {signal}"));
        }
        _ => {}
    }
    let says_nothing_new = [
        "NonZeroExitCode",
        "TimeLimit",
        "BeginTime",
        "JobArrayTaskLimit",
    ];
    match &row.reason {
        Some(reason) if !says_nothing_new.contains(&reason.as_str()) => {
            text.push_str(&format!(" ({reason})"));
        }
        _ => {}
    }
    text
}
