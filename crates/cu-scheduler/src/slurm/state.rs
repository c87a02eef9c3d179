//! From Slurm's words for a state to ours.

use super::config::SiteUser;
use super::job_id::JobId;
use super::row::{Exit, Row};
use crate::{ClusterEnd, ClusterState, EndCause};

/// Reasons for a wait that time does not cure: a person must change the job or the cluster. Where
/// Slurm has many that begin alike, that part.
const HOLDING: [&str; 20] = [
    "JobHeld",
    "JobHoldMaxRequeue",
    "BurstBufferOperation",
    "MaxMemPerLimit",
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
    "QOSMin",
    "ReservationDeleted",
    "ReservationInvalid",
    "DeadLine",
];

/// Parts of all limits that one job exceeds, whatever others do: `QOSMaxCpuPerJobLimit`,
/// `AssocMaxGRESPerJob`, `QOSMaxMemoryPerNode`.
const OF_ONE_JOB: [&str; 2] = ["PerJob", "PerNode"];

/// What Slurm writes somewhere in the reason when it holds a job by itself: `launch failed requeued
/// held`, `License request … is no longer valid, holding job`, `burst_buffer/lua: JobHeldAdmin: …`.
const HELD_BY_SLURM: [&str; 3] = [" held", "holding job", ": JobHeld"];

/// Parts of those, and of the states, that end by `scontrol release`.
const RELEASED: [&str; 8] = [
    "JobHeld",
    "JobHoldMaxRequeue",
    "BurstBufferOperation",
    " held",
    "holding job",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
];

/// The state that a row reports.
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
        "RUNNING" | "SIGNALING" | "RESIZING" | "STAGE_OUT" | "COMPLETING" | "UPDATE_DB" => {
            ClusterState::Running { since: row.started }
        }
        "SUSPENDED" | "STOPPED" => ClusterState::Suspended,
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

/// The same, with the command that ends a hold of `job`, where there is one.
pub(super) fn with_release(state: ClusterState, job: JobId) -> ClusterState {
    match state {
        ClusterState::Held { reason } if RELEASED.iter().any(|it| reason.contains(it)) => {
            // Only an administrator may release this hold.
            let by = match reason.contains("JobHeldAdmin") {
                true => "until an administrator runs",
                false => "until you run",
            };
            ClusterState::Held {
                reason: format!("{reason}, {by} `scontrol release {job}`"),
            }
        }
        state => state,
    }
}

/// Whether it has ended, and its node is still clearing it away.
pub(super) fn is_completing(row: &Row) -> bool {
    row.state == "COMPLETING"
}

/// Whether the job waits, on a person or on its turn.
pub(super) fn waits(row: &Row) -> bool {
    matches!(
        of(row),
        ClusterState::Queued { .. } | ClusterState::Held { .. }
    )
}

/// The end of a job that Slurm has put back in the queue by itself: whatever it ran has ended.
pub(super) fn put_back(row: &Row) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause: EndCause::Preempted,
        at: None,
        text: format!("requeued, now {}", text(row)),
    })
}

/// Whether the row is what a refused submission leaves: a job that never was queued.
pub(super) fn is_refusal(row: &Row) -> bool {
    // Accounting does not keep the reason, BadConstraints. But no node ever had it.
    row.state.starts_with("FAILED") && row.host.is_none()
}

fn waiting(reason: Option<String>) -> ClusterState {
    // The tasks of an array in one row may have several: `Priority,JobHeldAdmin`.
    let holding = |reason: &str| {
        let of_one = |reason: &str| {
            OF_ONE_JOB.iter().any(|it| reason.contains(it))
                || HOLDING.iter().any(|it| reason.starts_with(it))
        };
        HELD_BY_SLURM.iter().any(|it| reason.contains(it)) || reason.split(',').all(of_one)
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
        "CANCELLED" if is_by_site(row) && row.host.is_none() => EndCause::NotStarted,
        "CANCELLED" if is_by_site(row) => EndCause::Removed,
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

/// Shows the site's own user by name where accounting reports its number alone.
pub(super) fn name_site_user(row: &mut Row, user: &SiteUser) {
    if row.state == format!("CANCELLED by {}", user.number) {
        row.state = format!("CANCELLED by {}", user.shown);
    }
}

/// Whether accounting reports that root or [the site's own user](name_site_user) cancelled the job.
pub(super) fn is_by_site(row: &Row) -> bool {
    row.state.ends_with(" by 0") || (row.state.contains(" by ") && row.state.ends_with(')'))
}

/// Whether Slurm may have cancelled the job because a node could not start it. Then it acts as root, and
/// without accounting nobody is named. The times of the row do not tell: they are in whole seconds, so that start
/// and end may differ although nothing ran, and a prolog may take long until it fails.
pub(super) fn may_be_a_failed_start(row: &Row) -> bool {
    let nobody_is_named = row.state == "CANCELLED";
    let had_a_node = row.host.is_some() && row.started.is_some();
    had_a_node && (nobody_is_named || is_by_site(row))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::job_id::Listed;
    use super::*;

    fn row(state: &str, reason: Option<&str>, exit: Option<(i32, i32)>) -> Row {
        Row {
            listed: Listed::One(JobId {
                base: 1,
                task: None,
                before: 0,
            }),
            name: None,
            state: state.into(),
            reason: reason.map(str::to_owned),
            exit: exit.map(|(code, signal)| Exit { code, signal }),
            restarts: None,
            submitted: None,
            started: None,
            ended: None,
            host: Some("n1".into()),
        }
    }

    fn kind(state: &str, reason: Option<&str>) -> &'static str {
        match of(&row(state, reason, None)) {
            ClusterState::Queued { .. } => "queued",
            ClusterState::Held { .. } => "held",
            ClusterState::Running { .. } => "running",
            ClusterState::Suspended => "suspended",
            ClusterState::Ended(_) => "ended",
            ClusterState::Gone => "gone",
            ClusterState::Unknown { .. } => "unknown",
        }
    }

    /// All states of the manual.
    const STATES: [(&str, &str); 28] = [
        ("BOOT_FAIL", "ended"),
        ("CANCELLED", "ended"),
        ("COMPLETED", "ended"),
        ("COMPLETING", "running"),
        ("CONFIGURING", "queued"),
        ("DEADLINE", "ended"),
        ("EXPEDITING", "queued"),
        ("FAILED", "ended"),
        ("LAUNCH_FAILED", "ended"),
        ("NODE_FAIL", "ended"),
        ("OUT_OF_MEMORY", "ended"),
        ("PENDING", "queued"),
        ("POWER_UP_NODE", "queued"),
        ("PREEMPTED", "ended"),
        ("RECONFIG_FAIL", "ended"),
        ("REQUEUED", "queued"),
        ("REQUEUE_FED", "queued"),
        ("REQUEUE_HOLD", "held"),
        ("RESIZING", "running"),
        ("RESV_DEL_HOLD", "held"),
        ("REVOKED", "ended"),
        ("RUNNING", "running"),
        ("SIGNALING", "running"),
        ("SPECIAL_EXIT", "held"),
        ("STAGE_OUT", "running"),
        ("STOPPED", "suspended"),
        ("SUSPENDED", "suspended"),
        ("UPDATE_DB", "running"),
    ];

    #[test]
    fn each_state_of_the_manual_has_a_meaning() {
        for (state, expected) in STATES {
            assert_eq!(kind(state, None), expected, "{state}");
        }
        assert_eq!(kind("CANCELLED by 1000", None), "ended");
        assert_eq!(kind("TIMEOUT", None), "ended");
        assert_eq!(kind("SOMETHING_NEW", None), "unknown");
        assert_eq!(kind("", None), "unknown");
    }

    #[test]
    fn a_wait_that_time_does_not_end_is_a_hold() {
        for reason in [
            "JobHeldUser",
            "JobHeldAdmin",
            "PartitionTimeLimit",
            "PartitionDown",
            "QOSMaxWallDurationPerJobLimit",
            "AssocMaxCpuPerJobLimit",
            "QOSMinCpuNotSatisfied",
            "QOSMinGRES",
            "AssocMaxGRESPerNode",
            "QOSMaxCpuMinutesPerJobLimit",
            "ReservationDeleted",
            "ReservationInvalid",
            "BurstBufferOperation",
        ] {
            assert_eq!(kind("PENDING", Some(reason)), "held", "{reason}");
        }
        for reason in [
            "Priority",
            "Resources",
            "Dependency",
            "BeginTime",
            "JobArrayTaskLimit",
            "AssocGrpCpuLimit",
            "QOSMaxJobsPerUserLimit",
            "QOSGrpGRESMinutes",
            "MaxCpuRunMinsPerUser",
            "MaxJobsPerAccount",
            "AssocGrpSubmitJobsLimit",
            "QOSUsageThreshold",
            "Reservation",
            "ReqNodeNotAvail, UnavailableNodes:n[1-2]",
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "BurstBufferStageIn",
            "BurstBufferResources",
            "Licenses",
            "SchedDefer",
            "NvidiaImexChannels",
            "MaxPoweredUpNodes",
            "MpiPortsBusy",
            "FedJobLock",
            "Cleaning",
            "None",
        ] {
            assert_eq!(kind("PENDING", Some(reason)), "queued", "{reason}");
        }
        // Some of the tasks in one row wait for their turn.
        assert_eq!(kind("PENDING", Some("Priority,JobHeldAdmin")), "queued");
    }

    #[test]
    fn each_hold_says_who_can_release_it_and_how() {
        let job = JobId {
            base: 7,
            task: Some(3),
            before: 0,
        };
        let shown = |state, reason| match with_release(of(&row(state, Some(reason), None)), job) {
            ClusterState::Held { reason } => reason,
            state => panic!("{state:?}"),
        };
        let held = shown("PENDING", "JobHeldUser");
        assert_eq!(held, "JobHeldUser, until you run `scontrol release 7_3`");
        let held = shown("PENDING", "JobHeldAdmin");
        assert!(
            held.contains("until an administrator runs `scontrol release 7_3`"),
            "{held}"
        );
        let held = shown("REQUEUE_HOLD", "None");
        assert!(
            held.ends_with("until you run `scontrol release 7_3`"),
            "{held}"
        );
        // Releasing the job would not help.
        assert_eq!(shown("PENDING", "PartitionDown"), "PartitionDown");
    }

    #[test]
    fn an_exit_code_counts_only_where_it_means_something() {
        let cause = |state, exit| match of(&row(state, None, Some(exit))) {
            ClusterState::Ended(end) => end.cause,
            state => panic!("{state:?}"),
        };
        assert_eq!(cause("COMPLETED", (0, 0)), EndCause::Exited(0));
        assert_eq!(cause("FAILED", (3, 0)), EndCause::Exited(3));
        assert_eq!(cause("FAILED", (0, 9)), EndCause::Signaled(9));
        assert_eq!(cause("FAILED", (0, 53)), EndCause::NotStarted);
        // After a restart of the controller: no signal of ours, and no exit code.
        assert_eq!(cause("CANCELLED", (0, 15)), EndCause::Cancelled);
        assert_eq!(cause("TIMEOUT", (15, 0)), EndCause::TimeLimit);
        assert_eq!(cause("OUT_OF_MEMORY", (0, 125)), EndCause::OutOfMemory);
    }

    #[test]
    fn a_cancel_by_root_is_not_one_by_a_person() {
        let cancelled = |state, host: Option<&str>| {
            let row = Row {
                started: Some(std::time::UNIX_EPOCH),
                host: host.map(str::to_owned),
                ..row(state, None, Some((0, 0)))
            };
            match of(&row) {
                ClusterState::Ended(end) => (end.cause, may_be_a_failed_start(&row)),
                state => panic!("{state:?}"),
            }
        };
        use EndCause::{Cancelled, NotStarted, Removed};
        let on_a_node = Some("n1");
        assert_eq!(cancelled("CANCELLED by 0", on_a_node), (Removed, true));
        assert_eq!(cancelled("CANCELLED by 0", None), (NotStarted, false));
        assert_eq!(
            cancelled("CANCELLED by 1000", on_a_node),
            (Cancelled, false)
        );
        // Nobody is named.
        assert_eq!(cancelled("CANCELLED", on_a_node), (Cancelled, true));
        assert_eq!(cancelled("CANCELLED", None), (Cancelled, false));
    }

    #[test]
    fn a_job_that_no_node_ever_had_was_refused() {
        let mut refused = row("FAILED", Some("BadConstraints"), Some((1, 0)));
        refused.host = None;
        assert!(is_refusal(&refused));
        let ClusterState::Ended(end) = of(&refused) else {
            panic!("it has ended");
        };
        assert_eq!(end.cause, EndCause::NotStarted);
        assert_eq!(end.text, "FAILED, exit code 1 (BadConstraints)");
    }

    proptest! {
        #[test]
        fn any_word_has_some_meaning(state in ".{0,30}", reason in proptest::option::of(".{0,30}"), exit: Option<(i32, i32)>) {
            of(&row(&state, reason.as_deref(), exit));
        }
    }
}
