//! What would be submitted, and what HTCondor's parser says of it.

use super::Htcondor;
use super::description::description;
use super::queue::first_lines;
use super::submit::{description_path, dry_run, groups};
use crate::{Preview, Submission, SubmissionName};

/// One preview for each condor_submit that `batch` would take. Nothing is written or submitted.
pub(super) async fn preview(condor: &Htcondor, batch: &[Submission]) -> Vec<Preview> {
    let all: Vec<usize> = (0..batch.len()).collect();
    let mut previews = Vec::new();
    for (header, group) in groups(condor, batch, &all) {
        let names: Vec<&SubmissionName> = group.iter().map(|at| &batch[*at].name).collect();
        let text = description(&header, &names);
        let verdict = match dry_run(condor, &text).await {
            Ok(output) if output.code == 0 => {
                let warnings = output.stderr.trim();
                Ok(if warnings.is_empty() {
                    "condor_submit -dry-run has no complaint".to_owned()
                } else {
                    warnings.to_owned()
                })
            }
            Ok(output) => Err(first_lines(&output)),
            Err(failure) => Err(failure.to_string()),
        };
        previews.push(Preview {
            path: description_path(condor, names[0]),
            names: names.into_iter().cloned().collect(),
            text,
            verdict,
        });
    }
    previews
}
