//! The names that jobs have at Slurm: for people first, then unique.
//!
//! `LABEL:RUN/JOB/ATTEMPT:CALL` for a job, `LABEL:RUN/array:CALL` for an array. CALL is that of the
//! call of sbatch, so that a job that arrives late, after its submission was given up and repeated,
//! is not mistaken for the repetition.

use crate::SubmissionName;

/// The label as it may stand in a job's name and a list of names.
pub(super) fn label(wanted: &str) -> String {
    const LONGEST: usize = 64;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let replaced = wanted
        .chars()
        .map(|letter| if allowed(letter) { letter } else { '_' });
    let label: String = replaced.take(LONGEST).collect();
    // A name that begins with a dash would be an option.
    match label.trim_start_matches('-') {
        "" => "cu".to_owned(),
        label => label.to_owned(),
    }
}

/// The name of a job of one submission.
pub(super) fn of_one(label: &str, name: &SubmissionName, call: u64) -> String {
    format!("{label}:{name}:{call}")
}

/// The name of an array of submissions of `run`.
pub(super) fn of_array(label: &str, run: &str, call: u64) -> String {
    format!("{label}:{run}/array:{call}")
}

/// The submission in a job's name, and the number of its call.
pub(super) fn read(job_name: &str) -> Option<(SubmissionName, u64)> {
    let (rest, call) = job_name.rsplit_once(':')?;
    let (_, name) = rest.rsplit_once(':')?;
    Some((name.parse().ok()?, call.parse().ok()?))
}

/// The run of the array with this job name, and the number of its call.
pub(super) fn read_array(job_name: &str) -> Option<(&str, u64)> {
    let (rest, call) = job_name.rsplit_once(':')?;
    let (_, name) = rest.rsplit_once(':')?;
    Some((name.strip_suffix("/array")?, call.parse().ok()?))
}

/// Whether a job with this name was submitted by a backend of ours.
pub(super) fn is_ours(job_name: &str) -> bool {
    read(job_name).is_some() || read_array(job_name).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_label_keeps_the_characters_that_slurm_takes() {
        assert_eq!(label("digits"), "digits");
        assert_eq!(label("größe, 2:x"), "gr__e__2_x");
        assert_eq!(label("--help"), "help");
        assert_eq!(label(""), "cu");
    }

    #[test]
    fn an_array_is_no_submission() {
        let array = of_array("digits", "abc", 5);
        assert_eq!(read(&array), None);
        assert_eq!(read_array(&array), Some(("abc", 5)));
        let name = SubmissionName::new("abc", 1, 0).unwrap();
        assert_eq!(read_array(&of_one("digits", &name, 5)), None);
    }

    proptest! {
        #[test]
        fn a_job_name_is_read_as_it_was_written(wanted in ".{0,80}", run in "[A-Za-z0-9_-]{1,64}", job: u32, attempt: u32, call: u64) {
            let name = SubmissionName::new(run, job, attempt).unwrap();
            let written = of_one(&label(&wanted), &name, call);
            prop_assert!(!written.contains(',') && !written.contains('|'));
            prop_assert_eq!(read(&written), Some((name, call)));
        }

        #[test]
        fn any_text_is_read_or_not(text in ".{0,60}") {
            let _ = read(&text);
        }
    }
}
