//! `cu run`: makes a run from a config or a command, and works on it until all its jobs have ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_core::{NewRun, RunDir};
use cu_protocol::JobId;

use super::dry_run::dry_run;
use super::{meant, or_resume};
use crate::args::{Common, Run, RunOptions, Watch};
use crate::backend::Choice;
use crate::config::{Config, Override, Parsed, Planned, Source, defaults};
use crate::error::{Error, ExitCode, Result};
use crate::git::{self, Wanted};
use crate::runs::share::{Group, let_in, obstacle};
use crate::runs::{self, results_dir};
use crate::shell_word::shell_word;
use crate::start::dropped_input;
use crate::start::foreground::work_on;
use crate::start::variables;
use crate::text::plural;
use crate::updates::Origin;
use crate::{backend, cluster_utils, config, terminal};

/// The setting of a job that a scheduler's own file lists: its number there.
const PROCESS: &str = "process";

/// Makes the run and works on it.
///
/// # Errors
/// If the config is wrong, or the run can't be made, or its main process has to give up.
pub fn run(common: &Common, arguments: &Run) -> Result<ExitCode> {
    let order = Order {
        parsed: read(common, arguments)?,
        free_name: has_no_name(arguments).then(|| runs::name_of(&arguments.command)),
        origin: arguments
            .config_and_keys()
            .0
            .and_then(|path| Origin::now(&runs::absolute(path).ok()?)),
        script: None,
        planned: None,
        each_job: Vec::new(),
        reads_stdin: true,
        watch: &arguments.watch,
        trust_parents: arguments.making.trust_parents,
        or_resume: arguments.making.or_resume,
        dry_run: arguments.making.dry_run,
    };
    match make_run(common, order)? {
        Made::Run(run) => work_on(common, &arguments.watch, run),
        Made::Else(code) => Ok(code),
    }
}

/// A run that is to be made.
pub struct Order<'a> {
    pub parsed: Parsed,
    /// What its name begins with, if the first free name is taken.
    pub free_name: Option<String>,
    /// The config that it is made from, if that is a file.
    pub origin: Option<Origin>,
    /// The content of the program, which is made in the output directory of each job.
    pub script: Option<Script<'a>>,
    /// What no key says.
    pub planned: Option<&'a Planned>,
    /// The keys of each job, where a scheduler's own file says what the jobs are, and no grid.
    pub each_job: Vec<Vec<Override>>,
    /// Whether standard input is looked at, which a person may have meant for the program.
    pub reads_stdin: bool,
    pub watch: &'a Watch,
    pub trust_parents: bool,
    pub or_resume: bool,
    pub dry_run: bool,
}

impl Order<'_> {
    /// The run that `parsed` describes, with the jobs that the order lists, which run in the clone that is `wanted`.
    fn config(&self, common: &Common, parsed: &Parsed, wanted: Option<&Wanted>) -> Result<Config> {
        let Some(wanted) = wanted else {
            return self.in_place(parsed);
        };
        let run = RunDir::new(directory(common, parsed)?);
        // What lies there otherwise is what a kill has left.
        let is_made = run.store().exists() && run.clone_dir().exists();
        self.in_place(&wanted.place(parsed, &run, is_made))
    }

    fn in_place(&self, parsed: &Parsed) -> Result<Config> {
        let Some((first, others)) = self.each_job.split_first() else {
            return Ok(Config::planned(parsed.with([])?, self.planned)?);
        };
        let mut config = Config::new(parsed.with(first.clone())?)?;
        for (number, keys) in (1..).zip(others) {
            let of_job = Config::new(parsed.with(keys.clone())?)?;
            for mut job in of_job.plan.jobs {
                let number = serde_json::Value::from(number);
                job.settings.insert(PROCESS.to_owned(), number.clone());
                job.parameters.insert(PROCESS.to_owned(), number);
                config.plan.jobs.push(job);
            }
        }
        if let (Some(job), false) = (config.plan.jobs.first_mut(), others.is_empty()) {
            job.settings.insert(PROCESS.to_owned(), 0.into());
            job.parameters.insert(PROCESS.to_owned(), 0.into());
        }
        Ok(config)
    }

    /// Checks that the clone has the files that it must have.
    fn check_clone(&self) -> Result<()> {
        let needed = self.planned.iter().flat_map(|planned| &planned.needed);
        match needed.into_iter().find(|(path, _)| !path.is_file()) {
            Some((path, place)) => Err(Error::usage(format!(
                "{place}: there is no file {}: the commit that was cloned does not have it",
                path.display()
            ))),
            None => Ok(()),
        }
    }
}

/// A program that a run has a copy of.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    pub name: &'static str,
    pub text: &'a [u8],
}

/// What became of an order.
pub enum Made {
    /// A new run, on which nobody works yet.
    Run(RunDir),
    /// It was not to be made, or somebody else has made it.
    Else(ExitCode),
}

/// Makes a run, unless it is to be shown or continued instead.
///
/// # Errors
/// If the config is wrong, or the run can't be made.
pub fn make_run(common: &Common, mut order: Order<'_>) -> Result<Made> {
    let choice = backend::choose(&order.parsed);
    // A mistake in the config is reported before a backend that is missing.
    let chosen = choice.iter().map(Choice::as_override);
    order.parsed = order.parsed.with(chosen)?;
    let there = RunDir::new(directory(common, &order.parsed)?);
    order.parsed = order.parsed.with(config::seed(&order.parsed, &there))?;
    let wanted = Wanted::of(&order.parsed)?;
    let mut config = order.config(common, &order.parsed, wanted.as_ref())?;
    let choice = choice?;
    let run = RunDir::new(directory(common, &config.parsed)?);
    if order.or_resume && or_resume::is_there(&run) {
        return or_resume::go_on(common, order.watch, run, &config).map(Made::Else);
    }
    let cluster = backend::check(choice.kind, &run, &config.parsed)?;
    let dropped = match &config.parsed.file.stdin {
        None if order.reads_stdin => dropped_input::check()?,
        _ => None,
    };
    if !common.quiet {
        let all = config
            .warnings
            .iter()
            .chain(&choice.warning)
            .chain(&dropped)
            .chain(&cluster);
        all.for_each(|warning| terminal::warn(warning));
    }
    if let Some(name) = &config.parsed.file.group {
        // A directory that we make lets the group in.
        let obstacle = obstacle(&run, Group::find(name)?);
        obstacle.iter().for_each(|warning| terminal::warn(warning));
    }
    if order.dry_run {
        return dry_run(common, &run, &config, &choice).map(Made::Else);
    }
    let results_dir = run.path().parent().unwrap_or(Path::new("/"));
    let warnings = results_dir::check(results_dir, order.trust_parents)?;
    if !common.quiet {
        warnings.iter().for_each(|warning| terminal::warn(warning));
    }
    let run = match make(common, &order, wanted.as_ref(), &mut config, run.clone()) {
        // Another process was quicker.
        Err(error) if order.or_resume && or_resume::is_awaited(&error) => {
            return or_resume::go_on(common, order.watch, run, &config).map(Made::Else);
        }
        made => made?,
    };
    if !common.quiet {
        terminal::say(&format!(
            "{}: {} in {}, on {} ({})",
            config.plan.name,
            plural(u64::from(config.plan.all_jobs()), "job"),
            run.path().display(),
            choice.kind,
            choice.reason
        ));
    }
    Ok(Made::Run(run))
}

/// Makes the run in the directory `run`. If we found its name and another process has taken it since,
/// makes it under the next free name.
fn make(
    common: &Common,
    order: &Order<'_>,
    wanted: Option<&Wanted>,
    config: &mut Config,
    mut run: RunDir,
) -> Result<RunDir> {
    use cu_core::Error::{InUse, RunExists};
    let results_dir = run.path().parent().unwrap_or(Path::new("/")).to_owned();
    let is_new = results_dir.symlink_metadata().is_err();
    loop {
        let begun = NewRun::begin(&run, &config.plan);
        if let (Err(RunExists { .. } | InUse { .. }), Some(name)) = (&begun, &order.free_name) {
            drop(begun);
            let parsed = order.parsed.with([free_name(common, name)])?;
            *config = order.config(common, &parsed, wanted)?;
            run = RunDir::new(directory(common, &config.parsed)?);
            continue;
        }
        let new_run = begun?;
        if is_new {
            results_dir::keep_out_of_git(&results_dir);
            if let Some(name) = &config.parsed.file.group {
                let let_in = let_in(&results_dir, Group::find(name)?);
                let_in.map_err(Error::write("let the group enter", &results_dir))?;
            }
        }
        // What a clone has can be looked at only now. It changes nothing in the plan.
        let mut checked = None;
        let code = match wanted {
            Some(wanted) => {
                let code = git::make(&run, wanted, common.quiet)?;
                let config = order.in_place(&wanted.place(&config.parsed, &run, true));
                let whole = config.and_then(|config| order.check_clone().map(|()| config));
                checked = Some(whole.inspect_err(|_| git::discard(&run))?);
                Some(code)
            }
            None => git::Record::of_tree(config.parsed.config_directory()),
        };
        for directory in &checked.as_ref().unwrap_or(config).to_make {
            let made = std::fs::create_dir_all(directory);
            made.map_err(Error::write("make the directory", directory))?;
        }
        if let Some(script) = order.script {
            for job in (0..).map(JobId).take(config.plan.jobs.len()) {
                copy_script(&run.output_dir(job), script)?;
            }
        }
        if let Some(text) = order
            .planned
            .and_then(|planned| planned.activation.as_ref())
        {
            let path = run.activation_script();
            let written = cu_system::files::write_whole(&path, text.as_bytes(), 0o600);
            written.map_err(Error::write("write the script", &path))?;
        }
        // Before the store, which makes the directory a run: if we are killed now, `cu resume` reads
        // the backend from there.
        new_run.keep_config(&config_text(config)?)?;
        variables::keep(&run)?;
        if let Some(code) = code {
            code.keep(&run)?;
        }
        if let Some(origin) = &order.origin {
            origin.keep(&run)?;
        }
        new_run.finish(&mut reporter(config.plan.jobs.len(), common.quiet))?;
        return Ok(run);
    }
}

/// Says once a second how many of `all` jobs are made.
fn reporter(all: usize, is_quiet: bool) -> impl FnMut(usize) {
    const EVERY: Duration = Duration::from_secs(1);
    let mut last = Instant::now();
    move |made| {
        if !is_quiet && last.elapsed() >= EVERY {
            last = Instant::now();
            terminal::say(&format!("making the run: {made} of {all} jobs"));
        }
    }
}

fn copy_script(directory: &Path, script: Script<'_>) -> Result<()> {
    let path = directory.join(script.name);
    let written = cu_system::files::make_dir(directory)
        .and_then(|()| cu_system::files::write_whole(&path, script.text, 0o700));
    written.map_err(Error::write("write the script", &path))
}

/// Whether a free name is to be found for the run.
fn has_no_name(arguments: &Run) -> bool {
    let is_named = arguments.has_config() || arguments.options.name.is_some();
    !is_named && !arguments.making.or_resume
}

/// `name`, or with a number the first that is free at this moment.
pub fn free_name(common: &Common, name: &str) -> Override {
    let name = runs::free_name(common.results_dir(), name);
    Override::option("name", name, "--name".to_owned())
}

/// The config that the arguments describe.
fn read(common: &Common, arguments: &Run) -> Result<Parsed> {
    let here = runs::absolute(Path::new("."))?;
    let mut overrides = options(&arguments.options, &here)?;
    let (config, keys) = arguments.config_and_keys();
    if let (None, Some(word)) = (config, keys.iter().find(|word| !word.contains('='))) {
        return Err(Error::usage_hint(
            format!("`{word}` is before a command, and is not KEY=VALUE"),
            "a config has a command of its own: give one of them",
        ));
    }
    if let Some(path) = config {
        meant::check(path, &keys, common.results_dir())?;
    }
    for words in keys {
        overrides.push(Override::parse(words)?);
    }
    let source = match config {
        Some(path) => {
            let path_absolute = runs::absolute(path)?;
            let directory = path_absolute.parent().unwrap_or(&here);
            Source::read(path, overrides)?.within(directory)
        }
        None => {
            let command = &arguments.command;
            if !overrides.iter().any(|given| given.key == ["name"]) {
                let name = match arguments.making.or_resume {
                    // The same one each time.
                    true => Override::option("name", runs::name_of(command), "--name".to_owned()),
                    false => free_name(common, &runs::name_of(command)),
                };
                overrides.push(name);
            }
            let words = format!("-- {}", command.join(" "));
            overrides.push(Override::option("command", command.clone(), words));
            Source::command_line(overrides).within(&here)
        }
    };
    let source = source.over(defaults::read()?, arguments.profile.profile.clone());
    source.parse().map_err(|error| match config {
        Some(path) if cluster_utils::is_config(path) => Error::usage_hint(
            format!(
                "{} is a config of the package cluster_utils",
                path.display()
            ),
            format!("`cu grid-search {}` runs it as it is", shell_word(path)),
        ),
        Some(path) if meant::is_script(path) => meant::script(path),
        _ => error.into(),
    })
}

/// The options that are keys of the config, as overrides in the user's words.
fn options(options: &RunOptions, here: &Path) -> Result<Vec<Override>> {
    let mut overrides = Vec::new();
    // A path that begins with a placeholder may be absolute.
    let from_here = |path: &PathBuf| match path.to_string_lossy().starts_with('{') {
        true => path.display().to_string(),
        false => here.join(path).display().to_string(),
    };
    let directory = options.working_directory.as_ref().map(from_here);
    let stdin = options.stdin.as_ref().map(from_here);
    for (key, option, value) in [
        ("name", "--name", &options.name),
        ("working_directory", "--working-directory", &directory),
        ("stdin", "--stdin", &stdin),
        ("resources.memory", "--memory", &options.memory),
        ("resources.time_limit", "--time-limit", &options.time_limit),
        ("stop.after", "--stop-after", &options.stop_after),
        (
            "stop.before_limit",
            "--stop-before-limit",
            &options.stop_before_limit,
        ),
        ("stop.file", "--stop-file", &options.stop_file),
        ("stop.create", "--stop-create", &options.stop_create),
        ("stop.signal", "--signal", &options.signal),
        ("stop.grace", "--grace", &options.grace),
        (
            "resume.done_when.file",
            "--done-when-file",
            &options.done_when_file,
        ),
        (
            "resume.done_when.contains",
            "--done-when-contains",
            &options.done_when_contains,
        ),
        (
            "resume.done_when.output",
            "--done-when-output",
            &options.done_when_output,
        ),
        ("backend.kind", "--backend", &options.backend),
    ] {
        if let Some(value) = value {
            let words = format!("{option} {value}");
            overrides.push(Override::option(key, value.clone(), words));
        }
    }
    for (key, option, value) in [
        ("resources.cpus", "--cpus", options.cpus),
        ("resources.gpus", "--gpus", options.gpus),
        ("resume.stuck_after", "--stuck-after", options.stuck_after),
        (
            "resume.failure_retries",
            "--failure-retries",
            options.failure_retries,
        ),
        (
            "resume.max_failures",
            "--max-failures",
            options.max_failures,
        ),
    ] {
        if let Some(value) = value {
            let words = format!("{option} {value}");
            overrides.push(Override::option(key, i64::from(value), words));
        }
    }
    if !options.resume_exit_code.is_empty() {
        let codes = options.resume_exit_code.iter();
        let words: Vec<_> = codes.clone().map(ToString::to_string).collect();
        let words = format!("--resume-exit-code {}", words.join(","));
        let codes: Vec<i64> = codes.map(|code| i64::from(*code)).collect();
        overrides.push(Override::option("resume.exit_code", codes, words));
    }
    for words in &options.setting {
        let mut setting = Override::parse(words)?;
        setting.key.insert(0, "settings".to_owned());
        setting.words = format!("--setting {words}");
        overrides.push(setting);
    }
    for words in &options.env {
        let (name, value) = words
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("`--env {words}` has no `=`; write NAME=VALUE")))?;
        overrides.push(Override {
            key: vec!["environment".to_owned(), name.to_owned()],
            value: value.into(),
            typed: None,
            words: format!("--env {words}"),
        });
    }
    Ok(overrides)
}

/// The directory of the run that a config with a name describes.
///
/// # Errors
/// If it is relative, and the current directory can't be found.
pub fn directory(common: &Common, parsed: &Parsed) -> Result<PathBuf> {
    let results_dir = common.results_dir_for(parsed.file.results_dir.as_ref());
    runs::absolute(&results_dir.join(parsed.file.name.as_deref().unwrap_or_default()))
}

/// The text of the config that is kept with the run.
fn config_text(config: &Config) -> Result<String> {
    toml::to_string(&config.effective).map_err(Error::internal("write the config as TOML"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_a_key_of_the_config() {
        let text = |text: &str| Some(text.to_owned());
        let given = RunOptions {
            name: text("a"),
            setting: vec!["opt.lr=0.1".to_owned(), "note=fast".to_owned()],
            env: vec!["A.B=c=d".to_owned()],
            working_directory: Some(PathBuf::from("tmp")),
            stdin: Some(PathBuf::from("dev/../etc/passwd")),
            cpus: Some(2),
            gpus: Some(1),
            memory: text("2GiB"),
            time_limit: text("1h"),
            stop_after: text("50min"),
            stop_before_limit: text("2min"),
            stop_file: text("stop"),
            stop_create: text("EXIT"),
            signal: text("TERM"),
            grace: text("10s"),
            resume_exit_code: vec![85, 1],
            done_when_file: text("md.log"),
            done_when_contains: text("Total"),
            done_when_output: None,
            stuck_after: Some(4),
            max_failures: Some(6),
            failure_retries: Some(5),
            backend: text("local"),
        };
        let mut overrides = options(&given, Path::new("/")).expect("options");
        let command = vec!["/bin/sh".to_owned()];
        overrides.push(Override::option(
            "command",
            command,
            "-- /bin/sh".to_owned(),
        ));
        let parsed = Source::command_line(overrides).parse().expect("a config");
        let plan = Config::new(parsed).expect("a run").plan;
        let job = &plan.jobs[0];
        assert_eq!(plan.name, "a");
        assert_eq!(job.settings["opt"]["lr"], 0.1);
        assert_eq!(job.settings["note"], "fast");
        assert_eq!(job.environment["A.B"], "c=d".into());
        assert_eq!(job.working_directory, Some("/tmp".into()));
        assert_eq!(job.stdin, Some("/dev/../etc/passwd".into()));
        assert_eq!((job.resources.cpus, job.resources.gpus), (2, 1));
        assert_eq!(job.resources.memory_bytes, Some(2 << 30));
        assert_eq!(
            job.resources.time_limit.map(|limit| limit.as_secs()),
            Some(3600)
        );
        assert_eq!(job.stop.after.map(|after| after.as_secs()), Some(3000));
        assert_eq!(
            job.stop.before_limit.map(|before| before.as_secs()),
            Some(120)
        );
        assert_eq!(job.stop.file.as_deref(), Some(Path::new("stop")));
        let created = job.stop.create.as_ref().map(|file| file.path.as_path());
        assert_eq!(created, Some(Path::new("EXIT")));
        assert_eq!(
            (job.stop.signal.name(), job.stop.grace.as_secs()),
            ("TERM", 10)
        );
        assert!([85, 1].map(|code| job.exit_rules.asks_to_resume(code)) == [true; 2]);
        assert_eq!(job.exit_rules.resume_exit_code.code(), 85);
        let done_when = cu_run_dir::DoneWhen::File {
            path: "md.log".into(),
            contains: text("Total"),
        };
        assert_eq!(job.exit_rules.done_when, Some(done_when));
        assert_eq!(plan.policy.stuck_after.get(), 4);
        assert_eq!(plan.policy.max_failures.map(|most| most.get()), Some(6));
        assert_eq!(plan.policy.failure_retries, 5);
    }

    #[test]
    fn keys_stand_before_a_command_as_well_as_behind_a_config() {
        use crate::args::{Arguments, Command};
        use clap::Parser;
        let parsed = |words: &str| {
            let arguments = Arguments::try_parse_from(words.split(' ')).expect("words");
            let Command::Run(run) = arguments.command else {
                panic!("{words} is another command");
            };
            read(&arguments.common, &run)
        };
        let keys = "backend.slurm.partition=gpu stop.after=5min";
        let file = parsed(&format!("cu run {keys} -- /bin/echo a=b"))
            .expect("a config")
            .file;
        assert_eq!(file.backend.slurm.partition.as_deref(), Some("gpu"));
        assert_eq!(
            file.command,
            Some(vec!["/bin/echo".to_owned(), "a=b".to_owned()])
        );
        let error = parsed("cu run run.toml a=b -- /bin/echo").expect_err("two commands");
        assert!(
            error
                .to_string()
                .starts_with("`run.toml` is before a command"),
            "{error}"
        );
    }

    #[test]
    fn an_option_that_is_wrong_is_named_as_it_was_given() {
        let given = RunOptions {
            stop_after: Some("ten".to_owned()),
            ..RunOptions::default()
        };
        let overrides = options(&given, Path::new("/")).expect("options");
        let parsed = Source::command_line(overrides).parse();
        let error = parsed.expect_err("no time").to_string();
        assert!(
            error.starts_with("`--stop-after ten`: `stop.after`: "),
            "{error}"
        );
    }
}
