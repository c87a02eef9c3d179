//! Warnings about what several jobs share without meaning to: jobs that start the same command in the same
//! directory, or one that differs in mere values, overwrite one another's files, and one job takes the files of
//! another for its own.

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
    warnings.extend(like_another(jobs).or_else(|| told_values_alone(jobs)));
    warnings
}

/// The warning, if two of the jobs are told the same, and their program does not seem to ask.
fn like_another(jobs: &[JobPlan]) -> Option<String> {
    let first = jobs.first().filter(|_| jobs.len() > 1)?;
    let mut seen = HashSet::new();
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

/// What a program is told at its start.
fn told(job: &JobPlan) -> Vec<Template> {
    let paths = job.working_directory.iter().chain(&job.stdin);
    let texts = job
        .command
        .iter()
        .chain(paths)
        .chain(job.environment.values());
    texts.cloned().collect()
}

fn knows_its_own(told: &[Template]) -> bool {
    told.iter().any(|it| it.parts().iter().any(is_own))
}

/// The warning, if jobs in one directory are told different values, such as `--lr 0.1`, and nothing from which
/// they would name their files, and their program does not seem to ask.
fn told_values_alone(jobs: &[JobPlan]) -> Option<String> {
    let (first, others) = jobs.split_first()?;
    let example = told(first);
    if others.is_empty() || knows_its_own(&example) {
        return None;
    }
    let differs_in_values = |job: &JobPlan| {
        let told = told(job);
        told.len() == example.len()
            && job.working_directory == first.working_directory
            && told
                .iter()
                .zip(&example)
                .all(|(a, b)| differ_in_values(a, b))
    };
    if !others.iter().all(differs_in_values) || asks_itself(first) {
        return None;
    }
    let directory = first.working_directory.as_ref()?;
    Some(format!(
        "the {} jobs start in the same directory, {directory}, and are told different values alone: if the program \
         saves under a fixed name, such as checkpoints/, they overwrite one another's files. Add {{output_dir}} or \
         {{job}} to the command, or set working_directory = \"{{output_dir}}\". A program that names its files \
         by the values, or reads CU_OUTPUT_DIR, needs neither",
        jobs.len()
    ))
}

/// Whether two texts have the same words, but for values.
fn differ_in_values(a: &Template, b: &Template) -> bool {
    let (Some(a), Some(b)) = (a.as_text(), b.as_text()) else {
        return a == b;
    };
    let (a, b): (Vec<_>, Vec<_>) = (words(a).collect(), words(b).collect());
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| a == b || (is_value(a) && is_value(b)))
}

/// The words of an argument, which may be a script.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| it.is_whitespace() || ";'\"()<>|&".contains(it))
}

/// Whether a word is a number or a plain word, perhaps after `--name=`: nobody calls a file by that alone.
fn is_value(word: &str) -> bool {
    let value = word.rsplit_once('=').map_or(word, |(_, value)| value);
    value.parse::<f64>().is_ok() || value.chars().all(char::is_alphabetic)
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

/// Whether the command, or a file that it names, has one of the texts.
fn asks_itself(job: &JobPlan) -> bool {
    let texts = job.command.iter().filter_map(Template::as_text);
    let names_one = |word: &str| ASKS_ITSELF.iter().any(|it| holds(word.as_bytes(), it));
    if texts.into_iter().any(names_one) {
        return true;
    }
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
        read.is_some() && ASKS_ITSELF.iter().any(|it| holds(&content, it))
    };
    files.any(|path| has_one(&path))
}

fn holds(content: &[u8], text: &[u8]) -> bool {
    content.windows(text.len()).any(|found| found == text)
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
        let jobs = jobs.collect::<Vec<_>>();
        match jobs.len() > 1
            && jobs
                .iter()
                .skip(1)
                .all(|job| job.command != jobs[0].command)
        {
            true => told_values_alone(&jobs).is_some(),
            false => like_another(&jobs).is_some(),
        }
    }

    #[test]
    fn jobs_that_are_told_mere_values_are_warned_of() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path();
        std::fs::write(place.join("asks.py"), "import cu_job\n").expect("a file");
        for (a, b, expected) in [
            (
                &["train", "--lr", "0.1"][..],
                &["train", "--lr", "1e-3"][..],
                true,
            ),
            (
                &["train", "lr=0.1", "--opt=adam"],
                &["train", "lr=0.2", "--opt=sgd"],
                true,
            ),
            (
                &["sh", "-c", "echo 1 > ckpt/s"],
                &["sh", "-c", "echo 2 > ckpt/s"],
                true,
            ),
            // They may name their files by these.
            (
                &["train", "--out", "runs/1"],
                &["train", "--out", "runs/2"],
                false,
            ),
            (
                &["train", "--name", "exp1"],
                &["train", "--name", "exp2"],
                false,
            ),
            (
                &["sh", "-c", "echo > s.1"],
                &["sh", "-c", "echo > s.2"],
                false,
            ),
            (&["train", "a.in"], &["train", "b.in"], false),
            (&["train"], &["train", "--lr", "2"], false),
            // They ask.
            (
                &["python3", "asks.py", "1"],
                &["python3", "asks.py", "2"],
                false,
            ),
            (
                &["sh", "-c", "cd $CU_OUTPUT_DIR; x 1"],
                &["sh", "-c", "cd $CU_OUTPUT_DIR; x 2"],
                false,
            ),
        ] {
            assert_eq!(warned(place, &[a, b], |_| {}), expected, "{a:?}");
        }
        let own = |job: &mut JobPlan| {
            let value = [Part::OutputDir].into_iter().collect();
            job.environment.insert("OUT".to_owned(), value);
        };
        assert!(!warned(place, &[&["a", "1"], &["a", "2"]], own));
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
