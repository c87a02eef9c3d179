//! What would be submitted, and what HTCondor's parser says of it.

use super::Htcondor;
use super::description::description;
use super::queue::first_lines;
use super::submit::{description_path, dry_run, unused};
use crate::cluster::{Batch, Output, groups};
use crate::{Preview, Submission, SubmissionName};

/// One preview for each condor_submit that `batch` would take. Nothing is written or submitted.
pub(super) async fn preview(condor: &Htcondor, batch: &[Submission]) -> Vec<Preview> {
    let mut previews = Vec::new();
    for group in groups(condor, &Batch::new(batch)) {
        let header = condor.header(&batch[group[0]]);
        let names: Vec<&SubmissionName> = group.iter().map(|at| &batch[*at].name).collect();
        let text = description(&header, &names);
        let verdict = match dry_run(condor, &text).await {
            Ok(output) => verdict(&output, names.len()),
            Err(failure) => Err(failure.to_string()),
        };
        let path = description_path(condor, names[0]);
        let names = names.into_iter().cloned().collect();
        previews.push(Preview::new(names, path, text, verdict));
    }
    previews
}

/// What a dry run of `jobs` jobs says, in sentences. It includes the requirements on a machine, which
/// HTCondor derives from the description: no line of that shows them.
fn verdict(output: &Output, jobs: usize) -> Result<String, String> {
    if output.code != 0 {
        return Err(first_lines(output));
    }
    if let Some(unused) = unused(output) {
        return Err(unused);
    }
    let jobs = match jobs {
        1 => "1 job".to_owned(),
        jobs => format!("{jobs} jobs"),
    };
    let mut said = format!("HTCondor's parser takes it, as {jobs}.");
    let requirements = output.stdout.lines();
    if let Some(requirements) = requirements
        .filter_map(|line| line.strip_prefix("Requirements="))
        .next()
    {
        said += &format!("\nA machine must meet: {requirements}");
    }
    for warning in output.stderr.lines().map(str::trim) {
        let warning = warning.strip_prefix("WARNING: ").unwrap_or(warning);
        if !warning.is_empty() {
            said += &format!("\nIt warns: {warning}");
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        Output {
            code,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn a_verdict_is_made_of_sentences() {
        let ad = "\nClusterId=1\nRequirements=(Cpus > 1)\nRequestCpus=1\n\n** Proc 1.0:\n";
        let said = verdict(&output(0, ad, ""), 3);
        let expected = "HTCondor's parser takes it, as 3 jobs.\nA machine must meet: (Cpus > 1)";
        assert_eq!(said.as_deref(), Ok(expected));
        let warning = "WARNING: your Requirements expression refers to TARGET.Memory.\n";
        let said = verdict(&output(0, "", warning), 1).unwrap();
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "HTCondor's parser takes it, as 1 job.",
                "It warns: your Requirements expression refers to TARGET.Memory."
            ]
        );
    }

    /// As submitting it would.
    #[test]
    fn a_dry_run_that_warns_or_fails_is_a_refusal() {
        let unused = "WARNING: the line 'x = 5' was unused by condor_submit. Is it a typo?\n";
        let said = verdict(&output(0, "ClusterId=1\n", unused), 1).unwrap_err();
        assert!(said.starts_with("the line 'x = 5' was unused"), "{said}");
        let error = "\nERROR: I don't know about the 'nope' universe.\n";
        let said = verdict(&output(1, "", error), 1).unwrap_err();
        assert_eq!(said, "ERROR: I don't know about the 'nope' universe.");
    }
}
