//! Warnings about what several jobs share without meaning to: jobs that start the same command in the same
//! directory overwrite one another's files, and one job takes the files of another for its own.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use cu_core::JobPlan;
use cu_run_dir::{DoneWhen, Part, Template};

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

/// What jobs share that would better be their own.
pub fn warnings(jobs: &[JobPlan]) -> Vec<String> {
    let mut warnings = shared_files(jobs);
    warnings.extend(like_another(jobs));
    warnings
}

/// The warning, if two of the jobs are told the same, and their program does not seem to ask.
fn like_another(jobs: &[JobPlan]) -> Option<String> {
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

/// Files that several jobs would take for their own.
fn shared_files(jobs: &[JobPlan]) -> Vec<String> {
    let Some(first) = jobs.first() else {
        return Vec::new();
    };
    let directories = jobs.iter().filter_map(|job| job.working_directory.as_ref());
    let mut shared = directories.filter(|it| !it.parts().iter().any(is_own));
    let mut seen = HashSet::new();
    let share_a_directory = shared.any(|it| !seen.insert(it));
    let is_shared = |path: &Path| jobs.len() > 1 && (share_a_directory || path.is_absolute());
    let created = first.stop.create.as_ref();
    let created = created.filter(|file| is_shared(&file.path)).map(|file| {
        format!(
            "stop.create = {:?}: several jobs share this file, so it stops all of them when one is asked to \
             stop; let each start in a directory of its own",
            file.path
        )
    });
    let done = match &first.exit_rules.done_when {
        Some(DoneWhen::File { path, .. }) if is_shared(path) => Some(format!(
            "resume.done_when looks for {path:?}, which several jobs share: the file of one completes the \
             others; let each start in a directory of its own"
        )),
        _ => None,
    };
    created.into_iter().chain(done).collect()
}

/// Whether a part of a text is another one for each job.
fn is_own(part: &Part) -> bool {
    matches!(part, Part::OutputDir | Part::Job | Part::ClusterUtils)
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
        like_another(&jobs.collect::<Vec<_>>()).is_some()
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
