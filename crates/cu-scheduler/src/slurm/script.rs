//! The batch script: a few options, the environment, and `exec`, so that a signal to the batch
//! shell reaches the command itself.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cu_system::shell;

use super::known::Call;
use super::needs;
use super::options::{CHDIR, EXPORT, Environment, Resume, SlurmOptions, has_comment};
use super::output_copies;
use super::quote::{
    for_bash, for_sbatch, path_for_bash, path_for_sbatch, pattern_for_sbatch, words_for_bash,
};
use crate::{Submission, SubmissionName};

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

/// The parts of a batch script.
pub(super) struct Batch<'a> {
    pub options: &'a SlurmOptions,
    pub call: &'a Call,
    /// Its submissions, of equal needs.
    pub members: &'a [&'a Submission],
    /// The time limit that Slurm will keep, if we know it.
    pub time_limit: Option<Duration>,
    /// How long after SIGTERM Slurm sends SIGKILL, if it reports that.
    pub kill_wait: Option<Duration>,
    /// The nodes that they avoid.
    pub to_exclude: &'a [String],
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

/// The files beside the script of an indirect call for one of its tasks: `sh` is what it
/// executes, `out` and `err` are where its output goes.
pub(super) fn beside(script: &Path, task: Option<u32>, kind: &str) -> PathBuf {
    script.with_file_name(format!("{}.{kind}", task.unwrap_or(0)))
}

impl Batch<'_> {
    /// The whole script.
    ///
    /// # Errors
    /// The part that a script can't express, in a sentence.
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
        text.push_str(&self.kill_wait());
        text.push_str(&self.environment()?);
        if is_indirect(options, self.members.len()) {
            let directory = path_for_bash(self.call.script.parent().unwrap_or(Path::new("/")))?;
            let _ = write!(
                text,
                "\n# What this start executes.\n. {directory}/\"${{SLURM_ARRAY_TASK_ID:-0}}\".sh\n"
            );
            text.push_str(&self.tasks());
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

    fn tasks(&self) -> String {
        if !self.call.array {
            return String::new();
        }
        let mut text = "\n# The tasks when this was submitted:\n".to_owned();
        for (task, member) in (0..).zip(self.members) {
            let _ = writeln!(text, "# {task}: {}", member.name);
        }
        text
    }

    fn directives(&self) -> Result<Vec<String>, String> {
        let (options, script) = (self.options, &self.call.script);
        let mut lines = vec![format!("--job-name={}", for_sbatch(&self.call.job_name))];
        let directory = script.parent().unwrap_or(Path::new("/"));
        if is_indirect(options, self.members.len()) {
            let file = if self.call.array { "%a" } else { "0" };
            // Not a file's name alone: Slurm would read a `%` of the directory as its own.
            let file = |kind: &str| pattern_for_sbatch(directory, &format!("{file}.{kind}"));
            lines.push(format!("--output={}", file("out")?));
            lines.push(format!("--error={}", file("err")?));
            if !needs::gives(options, CHDIR) {
                lines.push(format!("{CHDIR}{}", path_for_sbatch(directory)?));
            }
            lines.extend(self.comment(&self.named()));
        }
        if let ([one], false) = (self.members, is_indirect(options, self.members.len())) {
            let file = |name: &str| pattern_for_sbatch(&one.directory, name);
            lines.extend(self.comment(&one.name.to_string()));
            lines.push(format!("--output={}", file("stdout")?));
            lines.push(format!("--error={}", file("stderr")?));
            if !needs::gives(options, CHDIR) {
                let directory = path_for_sbatch(&one.working_directory)?;
                lines.push(format!("{CHDIR}{directory}"));
            }
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
            lines.extend(needs::directives(
                options,
                &first.resources,
                self.to_exclude,
            ));
            if first.name.attempt() == 0 {
                let first = options.first_attempt.iter();
                lines.extend(first.map(|option| needs::quoted(option)));
            }
        }
        Ok(lines)
    }

    /// A comment for people, unless they use comments for something else.
    fn comment(&self, text: &str) -> Option<String> {
        let given = self.options.sbatch.iter().flatten();
        let is_free = !has_comment(given.chain(&self.options.extra));
        is_free.then(|| format!("--comment={}", for_sbatch(text)))
    }

    /// The names of the submissions, for people, as far as Slurm takes them.
    fn named(&self) -> String {
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

    fn kill_wait(&self) -> String {
        match self.kill_wait {
            Some(wait) => format!(
                "\n# SIGKILL comes so many seconds after SIGTERM (KillWait).\n\
                 export CU_KILL_WAIT={}\n",
                wait.as_secs()
            ),
            // It may be inherited from a job of another cluster.
            None => "\nunset CU_KILL_WAIT\n".into(),
        }
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
        if options.environment == Environment::Clean && !needs::gives(options, EXPORT) {
            text.push_str("\n# `--export=NONE` is for this script, not for its steps.\n");
            text.push_str("export SLURM_EXPORT_ENV=ALL\n");
        }
        if options.sbatch.is_none() {
            text.push_str("\n# From version 22.05 on, srun does not ask for these by itself.\n");
            text.push_str("export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}\n");
        }
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

/// The submissions that the script of an array lists, by task; none if it is none of ours.
pub(super) fn listed(script: &str) -> Vec<SubmissionName> {
    let mut names = Vec::new();
    for line in script.lines() {
        let task = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let name = line.strip_prefix(&format!("# {task}: "));
        names.extend(name.and_then(|name| name.parse::<SubmissionName>().ok()));
    }
    names
}

/// The commands that a start of `submission` executes, for bash.
///
/// # Errors
/// The part that a script can't express, in a sentence.
pub(super) fn start(submission: &Submission, options: &SlurmOptions) -> Result<String, String> {
    let mut text = format!("export CU_SUBMISSION={}\n", submission.name);
    let mut by_env = Vec::new();
    for (name, value) in &submission.environment {
        if is_settable(name) {
            let _ = writeln!(text, "export {name}={}", for_bash(value));
        } else {
            by_env.push(format!("{name}={value}"));
        }
    }
    let directory = path_for_bash(&submission.working_directory)?;
    let _ = writeln!(text, "cd {directory} || exit");
    if let Some(output) = &options.output {
        text.push_str(&output_copies::text(
            output,
            &submission.working_directory,
            submission.name.attempt() == 0,
        )?);
    }
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
    shell::is_name(name) && !READ_ONLY.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::options::Container;
    use super::*;
    use crate::{Resources, Signal, Warning};

    fn submission(directory: &Path, command: &[&str]) -> Submission {
        Submission {
            name: SubmissionName::new("run", 7, 3).unwrap(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            environment: BTreeMap::new(),
            working_directory: directory.to_path_buf(),
            directory: directory.to_path_buf(),
            resources: Resources {
                time_limit: Some(Duration::from_secs(3600)),
                warning: Some(Warning {
                    signal: Signal::Usr1,
                    before_limit: Duration::from_secs(60),
                }),
                ..Resources::default()
            },
            previous: None,
            avoid_hosts: Vec::new(),
        }
    }

    fn call(directory: &Path, array: bool) -> Call {
        Call {
            number: 5,
            at_unix_s: 1,
            job_name: "digits:run/7/3:5".into(),
            script: directory.join("submit.sh"),
            names: Vec::new(),
            array,
        }
    }

    fn text(options: &SlurmOptions, call: &Call, members: &[&Submission]) -> String {
        let batch = Batch {
            options,
            call,
            members,
            time_limit: Some(Duration::from_secs(3600)),
            kill_wait: Some(Duration::from_secs(30)),
            to_exclude: &[],
        };
        batch.text().unwrap()
    }

    /// Runs a script as a node would: its standard output, and its exit code.
    fn run(script: &str, variables: &[(&str, &str)]) -> (String, Option<i32>) {
        let output = std::process::Command::new("bash")
            .args(["-c", script])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        (stdout, output.status.code())
    }

    const SHOW: [&str; 3] = [
        "/bin/sh",
        "-c",
        "pwd; printf '%s\\n' \"$CU_DEADLINE\" \"$A\"; exit 3",
    ];

    #[test]
    fn the_script_becomes_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let mut one = submission(&directory, &SHOW);
        one.environment.insert("A".into(), "it's\r\n$HOME".into());
        let script = text(
            &SlurmOptions::new("/state"),
            &call(&directory, false),
            &[&one],
        );
        assert!(
            !script.contains('\r'),
            "sbatch refuses a script with DOS line breaks"
        );
        let (said, code) = run(&script, &[("SLURM_JOB_END_TIME", "77")]);
        assert_eq!(
            said,
            format!("{}\n77\nit's\r\n$HOME\n", directory.display())
        );
        assert_eq!(code, Some(3));
    }

    #[test]
    fn before_version_24_the_deadline_follows_from_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let one = submission(directory, &SHOW);
        let now = || {
            std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .unwrap()
                .as_secs()
        };
        let begun = now();
        let script = text(
            &SlurmOptions::new("/state"),
            &call(directory, false),
            &[&one],
        );
        let (said, _) = run(&script, &[("CU_DEADLINE", "1")]);
        let deadline: u64 = said.lines().nth(1).unwrap().parse().unwrap();
        assert!((begun + 3600..=now() + 3600).contains(&deadline), "{said}");
    }

    #[test]
    fn the_time_after_sigterm_is_told_if_slurm_tells_it() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let one = submission(
            directory,
            &["/bin/sh", "-c", "echo \"${CU_KILL_WAIT-none}\""],
        );
        let (options, call) = (SlurmOptions::new("/state"), call(directory, false));
        let mut batch = Batch {
            options: &options,
            call: &call,
            members: &[&one],
            time_limit: None,
            kill_wait: Some(Duration::from_secs(30)),
            to_exclude: &[],
        };
        let seen = |batch: &Batch| run(&batch.text().unwrap(), &[("CU_KILL_WAIT", "7")]).0;
        assert_eq!(seen(&batch), "30\n");
        batch.kill_wait = None;
        assert_eq!(seen(&batch), "none\n", "7 would be that of another cluster");
    }

    #[test]
    fn a_withdrawn_script_runs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let one = submission(directory, &SHOW);
        let call = call(directory, false);
        std::fs::write(withdrawn(&call), "").unwrap();
        let script = text(&SlurmOptions::new("/state"), &call, &[&one]);
        assert_eq!(run(&script, &[]), (String::new(), Some(0)));
    }

    #[test]
    fn a_task_executes_what_its_file_says() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("100%j");
        std::fs::create_dir(&directory).unwrap();
        let one = submission(&directory, &SHOW);
        let options = SlurmOptions::new("/state");
        let call = call(&directory, true);
        let script = text(&options, &call, &[&one, &one]);
        assert!(script.contains("#SBATCH --array=0-1\n"), "{script}");
        assert!(script.contains("/100%%j/%a.out\"\n"), "{script}");
        assert!(script.contains("/100%j\"\n"), "{script}");
        std::fs::write(
            beside(&call.script, Some(1), "sh"),
            start(&one, &options).unwrap(),
        )
        .unwrap();
        assert_eq!(run(&script, &[("SLURM_ARRAY_TASK_ID", "1")]).1, Some(3));
    }

    #[test]
    fn the_tasks_that_are_written_are_read() {
        let two = [7, 9].map(|job| {
            let mut one = submission(Path::new("/w"), &["/bin/true"]);
            one.name = SubmissionName::new("run", job, 3).unwrap();
            one
        });
        let (options, call) = (SlurmOptions::new("/state"), call(Path::new("/w"), true));
        let script = text(&options, &call, &[&two[0], &two[1]]);
        assert!(
            script.ends_with("\n# 0: run/7/3\n# 1: run/9/3\n"),
            "{script}"
        );
        let names = two.map(|it| it.name);
        assert_eq!(listed(&script), names);
        let alone = text(
            &options,
            &self::call(Path::new("/w"), false),
            &[&submission(Path::new("/w"), &["/x"])],
        );
        assert_eq!(listed(&alone), []);
    }

    #[test]
    fn wrapper_and_container_precede_the_command_in_order() {
        let mut options = SlurmOptions::new("/state");
        options.wrapper = ["srun", "--mpi=none"].map(str::to_owned).to_vec();
        options.container = Some(Container {
            arguments: vec!["--nv".into()],
            ..Container::new("/images/my image.sif")
        });
        let mut one = submission(Path::new("/w"), &["/bin/x", "a b"]);
        // bash does not let a script set it, nor one of this name.
        one.environment.insert("UID".into(), "5".into());
        one.environment.insert("a.b".into(), "c".into());
        assert_eq!(
            start(&one, &options).unwrap(),
            "export CU_SUBMISSION=run/7/3\ncd /w || exit\nexec srun --mpi=none apptainer exec --nv '/images/my image.sif' \
             /usr/bin/env UID=5 a.b=c /bin/x 'a b'\n"
        );
    }

    #[test]
    fn the_environment_is_prepared_before_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let activate = directory.join("my activate");
        std::fs::write(&activate, "A=activated; export A\n").unwrap();
        let mut options = SlurmOptions::new("/state");
        options.activate = Some(activate.clone());
        let one = submission(directory, &SHOW);
        let script = text(&options, &call(directory, false), &[&one]);
        assert!(run(&script, &[]).0.ends_with("\nactivated\n"));
        std::fs::remove_file(activate).unwrap();
        let (said, code) = run(&script, &[]);
        assert_eq!((said.as_str(), code == Some(0)), ("", false), "{code:?}");
        options.modules = vec!["cuda/12.4".into(), "gcc".into()];
        let script = text(&options, &call(directory, false), &[&one]);
        assert!(
            script.starts_with("#!/bin/bash -l\n"),
            "modules are defined by a login"
        );
        assert!(script.contains("\nmodule load cuda/12.4 gcc || exit\n"));
    }

    #[test]
    fn a_warning_that_comes_too_early_ends_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let activate = directory.join("activate");
        std::fs::write(&activate, "kill -USR1 $$\n").unwrap();
        let mut options = SlurmOptions::new("/state");
        options.activate = Some(activate);
        let script = text(
            &options,
            &call(directory, false),
            &[&submission(directory, &SHOW)],
        );
        assert_eq!(run(&script, &[]).1, Some(3));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn arguments_and_variables_arrive(
            arguments in prop::collection::vec("[^\0]{0,16}", 0..6),
            value in "[^\0]{0,16}",
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut one = submission(directory.path(), &["/usr/bin/printf", "%s\\0", ""]);
            one.command.extend(arguments.iter().cloned());
            one.environment.insert("A".into(), value.clone());
            one.command[2] = "begin".into();
            let script = text(&SlurmOptions::new("/s"), &call(directory.path(), false), &[&one]);
            let mut expected = vec!["begin".to_owned()];
            expected.extend(arguments);
            let expected: String = expected.iter().map(|it| format!("{it}\0")).collect();
            prop_assert_eq!(run(&script, &[]).0, expected);
            one.command = ["/bin/sh", "-c", "printf %s \"$A\""].map(str::to_owned).to_vec();
            let script = text(&SlurmOptions::new("/s"), &call(directory.path(), false), &[&one]);
            prop_assert_eq!(run(&script, &[]).0, value);
        }
    }
}
