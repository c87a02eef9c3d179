//! Allocations as submissions: what the scheduler gets, and what follows from its refusal.

use std::collections::BTreeMap;
use std::time::Duration;

use super::demand::AT_FIRST;
use super::files::{Allocation, Class, Room};
use super::{Shared, host};
use crate::cluster::Refusal;
use crate::{Preview, Resources, Submission, SubmissionName, SubmitError};

/// What the names of allocations have behind the name of the run.
const SUFFIX: &str = "-keep";
/// The longest name of a run before that.
const LONGEST_RUN: usize = 64 - SUFFIX.len();

/// The submission of an allocation.
pub(super) fn allocation(
    room: &Room,
    class: &Class,
    number: Allocation,
    run: &str,
    needs: &Resources,
    keep: Duration,
    host: &[String],
) -> Result<Submission, String> {
    let mut command = host.to_vec();
    command.extend(host::arguments(room.path(), class, number, keep)?);
    let mut resources = needs.clone();
    resources.time_limit = needs.time_limit.map(|limit| limit.saturating_add(keep));
    Ok(Submission {
        name: name(run, number)?,
        command,
        environment: BTreeMap::new(),
        working_directory: room.path().to_path_buf(),
        directory: room.allocation(number),
        resources,
        previous: None,
        avoid_hosts: Vec::new(),
    })
}

fn name(run: &str, number: Allocation) -> Result<SubmissionName, String> {
    let run: String = run.chars().take(LONGEST_RUN).collect();
    SubmissionName::new(format!("{run}{SUFFIX}"), 0, number).map_err(|error| error.to_string())
}

/// What follows for an order from the refusal of an allocation.
pub(super) fn refusal_of(error: SubmitError, keep: Duration) -> Refusal {
    match error {
        SubmitError::Rejected { reason, .. } => Refusal::rejected(format!(
            "{reason} (for an allocation that is kept for {} beyond the time limit of an attempt)",
            cu_system::durations::shown(keep)
        )),
        SubmitError::Unavailable {
            reason,
            retry_after,
            ..
        } => Refusal::Unavailable {
            reason,
            retry_after,
        },
        SubmitError::Uncertain { reason, .. } => Refusal::Uncertain { reason },
    }
}

impl Shared {
    /// What would be submitted for these.
    pub async fn preview_kept(&self, batch: &[Submission], keep: Duration) -> Vec<Preview> {
        let mut groups: Vec<(Class, Vec<&Submission>)> = Vec::new();
        for submission in batch {
            let class = self.room.class_of(&submission.resources);
            match groups.iter_mut().find(|(it, _)| it.name == class.name) {
                Some((_, members)) => members.push(submission),
                None => groups.push((class, vec![submission])),
            }
        }
        let mut previews = Vec::new();
        let mut number = 1;
        for (class, members) in groups {
            let names: Vec<_> = members.iter().map(|it| it.name.clone()).collect();
            let mut allocations = Vec::new();
            for first in members.iter().take(AT_FIRST) {
                let (run, needs) = (first.name.run(), &first.resources);
                let (room, host) = (&self.room, &self.keeping.host);
                allocations.extend(allocation(room, &class, number, run, needs, keep, host));
                number += 1;
            }
            for mut preview in self.inner.preview(&allocations).await {
                preview.names.clone_from(&names);
                preview.verdict = preview.verdict.map(|verdict| {
                    format!(
                        "{verdict}\n{}",
                        shared(allocations.len(), names.len(), keep)
                    )
                });
                previews.push(preview);
            }
        }
        previews
    }
}

fn shared(allocations: usize, attempts: usize, keep: Duration) -> String {
    let keep = cu_system::durations::shown(keep);
    let word = match allocations {
        1 => "1 allocation".to_owned(),
        many => format!("{many} allocations"),
    };
    format!(
        "{word} at first for {attempts} attempts; each takes attempts for {keep} after its start"
    )
}
