//! A warning about jobs that nothing distinguishes: they start the same command in the same directory, and
//! overwrite one another's files.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use cu_core::JobPlan;
use cu_run_dir::{Part, Template};

/// Programs that hold one of these texts ask for their directory or settings themselves. Compiled ones
/// that use our libraries hold the names of the variables.
const ASKS_ITSELF: [&[u8]; 6] = [
    b"CU_OUTPUT_DIR",
    b"CU_SETTINGS",
    b"CU_JOB_ID",
    b"cu_job",
    b"cu job ",
    b"cu-client",
];

/// How much of a file is searched, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// The warning, if two of the jobs are told the same, and their program does not seem to ask.
pub fn warning(jobs: &[JobPlan]) -> Option<String> {
    let first = jobs.first().filter(|_| jobs.len() > 1)?;
    let mut seen = HashSet::new();
    let told = |job: &'_ JobPlan| -> Vec<Template> {
        let paths = job.working_directory.iter().chain(&job.stdin);
        let texts = job
            .command
            .iter()
            .chain(paths)
            .chain(job.environment.values());
        texts.cloned().collect()
    };
    let is_own = |part: &Part| matches!(part, Part::OutputDir | Part::Job);
    let knows_its_own = |told: &[Template]| told.iter().any(|it| it.parts().iter().any(is_own));
    let is_confused = |job: &JobPlan| {
        let told = told(job);
        !knows_its_own(&told) && !seen.insert(told)
    };
    if !jobs.iter().any(is_confused) || asks_itself(first) {
        return None;
    }
    let directory = first.working_directory.as_ref()?;
    Some(format!(
        "several of the {} jobs start the same command in the same directory, {directory}: nothing \
         distinguishes them, and they may overwrite one another's files. Add {{settings.NAME}} or {{output_dir}} to \
         the command, or set working_directory = \"{{output_dir}}\". A program that reads CU_SETTINGS and \
         CU_OUTPUT_DIR needs neither",
        jobs.len()
    ))
}

/// Whether a file that the command names has one of the texts.
fn asks_itself(job: &JobPlan) -> bool {
    let directory = job.working_directory.as_ref().and_then(Template::as_text);
    let Some(directory) = directory.map(Path::new) else {
        return false;
    };
    let words = job.command.iter().filter_map(Template::as_text);
    let mut files = words
        .filter(|word| !word.is_empty())
        .map(|word| directory.join(word));
    let has_one = |path: &Path| {
        let mut content = Vec::new();
        let opened = path.is_file().then(|| File::open(path).ok()).flatten();
        let read = opened.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut content).ok());
        let has = |text: &&[u8]| content.windows(text.len()).any(|found| found == *text);
        read.is_some() && ASKS_ITSELF.iter().any(has)
    };
    files.any(|path| has_one(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(directory: &Path, commands: &[&[&str]], more: impl Fn(&mut JobPlan)) -> bool {
        let jobs = commands.iter().map(|words| {
            let mut job = JobPlan::new(words.to_vec());
            let directory = directory.to_str().expect("UTF-8");
            job.working_directory = Some(directory.into());
            more(&mut job);
            job
        });
        warning(&jobs.collect::<Vec<_>>()).is_some()
    }

    #[test]
    fn only_jobs_that_nothing_distinguishes_are_warned_of() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path();
        let same: &[&[&str]] = &[&["sh", "train.sh"], &["sh", "train.sh"]];
        let nothing = |_: &mut JobPlan| {};
        let set = |part: Part| {
            move |job: &mut JobPlan| {
                let value = [part.clone()].into_iter().collect();
                job.environment.insert("OUT".to_owned(), value);
            }
        };
        assert!(warned(place, same, nothing));
        assert!(warned(place, same, set(Part::Attempt)));
        assert!(!warned(place, same, set(Part::OutputDir)));
        assert!(!warned(place, same, set(Part::Job)));
        assert!(!warned(place, &same[..1], nothing));
        assert!(!warned(place, &[&["a", "1"], &["a", "2"]], nothing));
        // The second list of the grid is not in the command.
        assert!(warned(
            place,
            &[&["a", "1"], &["a", "1"], &["a", "2"]],
            nothing
        ));
    }

    #[test]
    fn a_program_that_asks_for_its_settings_is_not_warned_of() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path();
        for (text, expected) in [("import cu_job\n", false), ("import torch\n", true)] {
            std::fs::write(place.join("train.py"), text).expect("a file");
            let same: &[&[&str]] = &[&["python3", "train.py"], &["python3", "train.py"]];
            assert_eq!(warned(place, same, |_| {}), expected, "{text}");
        }
    }
}
