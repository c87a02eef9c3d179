//! The batch script: a few options, the environment, and `exec`, so that a signal to the batch
//! shell reaches the command itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::known::Call;
use super::needs;
use super::options::{Environment, Resume, SlurmOptions};
use super::quote::{for_bash, for_sbatch, path_for_bash, path_for_sbatch, words_for_bash};
use crate::Submission;

/// Variables that bash does not let a script set.
const READ_ONLY: [&str; 7] = [
    "BASHOPTS",
    "BASH_VERSINFO",
    "EUID",
    "PPID",
    "SHELLOPTS",
    "UID",
    "_",
];

/// What a batch script is written from.
pub(super) struct Batch<'a> {
    pub options: &'a SlurmOptions,
    pub call: &'a Call,
    /// Its submissions, of equal needs.
    pub members: &'a [&'a Submission],
    /// The time limit that Slurm will keep, if we know it.
    pub time_limit: Option<Duration>,
}

/// Whether each start of a job reads in a file of its own what to execute: the tasks of an array
/// execute different commands, and a requeued job another one each time.
pub(super) fn is_indirect(options: &SlurmOptions, members: usize) -> bool {
    members > 1 || options.resume == Resume::Requeue
}

/// The file beside the script whose existence says that the call was given up.
pub(super) fn withdrawn(call: &Call) -> PathBuf {
    call.script
        .with_file_name(format!("withdrawn-{}", call.number))
}

/// What stands beside the script of an indirect call for one of its tasks: `sh` is what it
/// executes, `out` and `err` are where its output goes.
pub(super) fn beside(script: &Path, task: Option<u32>, kind: &str) -> PathBuf {
    script.with_file_name(format!("{}.{kind}", task.unwrap_or(0)))
}

impl Batch<'_> {
    /// The whole script.
    ///
    /// # Errors
    /// What can't be written in one, in a sentence.
    pub fn text(&self) -> Result<String, String> {
        let options = self.options;
        let login = if options.modules.is_empty() {
            ""
        } else {
            " -l"
        };
        let mut text = format!("#!/bin/bash{login}\n# {}\n", self.title());
        for directive in self.directives()? {
            let _ = writeln!(text, "#SBATCH {directive}");
        }
        let withdrawn = path_for_bash(&withdrawn(self.call))?;
        let _ = write!(
            text,
            "\n# This file is made when the submission is given up because nobody knew of it.\n\
             if [ -e {withdrawn} ]; then\n    echo 'This submission was given up.' >&2\n    exit 0\nfi\n"
        );
        text.push_str(&self.deadline());
        text.push_str(&self.environment()?);
        if is_indirect(options, self.members.len()) {
            let folder = path_for_bash(self.call.script.parent().unwrap_or(Path::new("/")))?;
            let _ = write!(
                text,
                "\n# What this start executes.\n. {folder}/\"${{SLURM_ARRAY_TASK_ID:-0}}\".sh\n"
            );
        } else {
            for member in self.members {
                let _ = write!(text, "\n{}", start(member, options)?);
            }
        }
        Ok(text)
    }

    fn title(&self) -> String {
        let by_hand = "Written by cluster-utils; `sbatch` takes it by hand, too.";
        match self.members {
            [one] => format!(
                "Attempt {} of job {}. {by_hand}",
                one.name.attempt(),
                one.name.job()
            ),
            many => format!("{} attempts. {by_hand}", many.len()),
        }
    }

    fn directives(&self) -> Result<Vec<String>, String> {
        let (options, script) = (self.options, &self.call.script);
        let mut lines = vec![format!("--job-name={}", for_sbatch(&self.call.job_name))];
        let folder = script.parent().unwrap_or(Path::new("/"));
        if is_indirect(options, self.members.len()) {
            let file = if self.call.array { "%a" } else { "0" };
            // A file's name alone: Slurm takes it from the folder of `--chdir`.
            lines.push(format!("--output={file}.out"));
            lines.push(format!("--error={file}.err"));
            lines.push(format!("--chdir={}", path_for_sbatch(folder, false)?));
            lines.push(format!("--comment={}", for_sbatch(&self.comment())));
        }
        if let ([one], false) = (self.members, is_indirect(options, self.members.len())) {
            let file = |name: &str| path_for_sbatch(&one.directory.join(name), true);
            lines.push(format!("--comment={}", for_sbatch(&one.name.to_string())));
            lines.push(format!("--output={}", file("stdout")?));
            lines.push(format!("--error={}", file("stderr")?));
            let folder = path_for_sbatch(&one.working_directory, false)?;
            lines.push(format!("--chdir={folder}"));
        }
        lines.push("--open-mode=append".into());
        lines.push(match options.resume {
            Resume::Submit => "--no-requeue".into(),
            Resume::Requeue => "--requeue".into(),
        });
        if self.call.array {
            let last = self.members.len() - 1;
            let throttle = options.array_throttle.map(|most| format!("%{most}"));
            lines.push(format!("--array=0-{last}{}", throttle.unwrap_or_default()));
        }
        if let Some(first) = self.members.first() {
            lines.extend(needs::directives(options, &first.resources));
        }
        Ok(lines)
    }

    /// Which submissions these are, for people, as far as Slurm takes it.
    fn comment(&self) -> String {
        const LONGEST: usize = 1000;
        let mut comment = String::new();
        for member in self.members {
            let (job, attempt) = (member.name.job(), member.name.attempt());
            let next = match comment.is_empty() {
                true => member.name.to_string(),
                false => format!(" {job}/{attempt}"),
            };
            if comment.len() + next.len() > LONGEST {
                return comment + " ...";
            }
            comment.push_str(&next);
        }
        comment
    }

    fn deadline(&self) -> String {
        let otherwise = match self.time_limit {
            Some(limit) => format!(
                "printf -v CU_DEADLINE '%(%s)T' -1\n    \
                 export CU_DEADLINE=$((CU_DEADLINE + {}))",
                limit.as_secs()
            ),
            None => "unset CU_DEADLINE".into(),
        };
        format!(
            "\n# When the time limit ends this job, in Unix seconds.\n\
             if [ -n \"${{SLURM_JOB_END_TIME:-}}\" ]; then\n    \
             export CU_DEADLINE=$SLURM_JOB_END_TIME\nelse\n    {otherwise}\nfi\n"
        )
    }

    fn environment(&self) -> Result<String, String> {
        let options = self.options;
        let mut text = String::new();
        let warning = self.members.first().and_then(|it| it.resources.warning);
        if let Some(warning) = warning {
            let _ = write!(
                text,
                "\n# A warning that comes before the command runs must not end this shell.\n\
                 trap : {}\n",
                warning.signal.name()
            );
        }
        if options.environment == Environment::Clean {
            text.push_str("\n# `--export=NONE` is for this script, not for its steps.\n");
            text.push_str("export SLURM_EXPORT_ENV=ALL\n");
        }
        text.push_str("\n# From version 22.05 on, srun does not ask for these by itself.\n");
        text.push_str("export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}\n");
        if !options.modules.is_empty() {
            let modules = words_for_bash(&options.modules);
            let _ = write!(text, "\nmodule load {modules} || exit\n");
        }
        if let Some(script) = &options.activate {
            let _ = write!(text, "\n. {} || exit\n", path_for_bash(script)?);
        }
        Ok(text)
    }
}

/// What a start of `submission` executes, for bash.
///
/// # Errors
/// What can't be written in a script, in a sentence.
pub(super) fn start(submission: &Submission, options: &SlurmOptions) -> Result<String, String> {
    let mut text = String::new();
    let mut by_env = Vec::new();
    for (name, value) in &submission.environment {
        if is_settable(name) {
            let _ = writeln!(text, "export {name}={}", for_bash(value));
        } else {
            by_env.push(format!("{name}={value}"));
        }
    }
    let folder = path_for_bash(&submission.working_directory)?;
    let _ = writeln!(text, "cd {folder} || exit");
    let mut command: Vec<&String> = options.wrapper.iter().collect();
    let env = "/usr/bin/env".to_owned();
    if let Some(container) = &options.container {
        command.extend(&container.command);
        command.extend(&container.arguments);
        command.push(&container.image);
    }
    if !by_env.is_empty() {
        command.push(&env);
        command.extend(&by_env);
    }
    command.extend(&submission.command);
    let _ = writeln!(text, "exec {}", words_for_bash(command));
    Ok(text)
}

fn is_settable(name: &str) -> bool {
    let letters = |letter: char| letter == '_' || letter.is_ascii_alphabetic();
    name.starts_with(letters)
        && name
            .chars()
            .all(|letter| letters(letter) || letter.is_ascii_digit())
        && !READ_ONLY.contains(&name)
}
