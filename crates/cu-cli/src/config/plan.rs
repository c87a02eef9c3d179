//! From the file to the plan of a run: defaults filled in, relations between keys checked.

use std::num::NonZeroU32;
use std::path::PathBuf;

use cu_core::{ExitRules, ExitZero, JobPlan, Policy, RunPlan};
use cu_run_dir::{StopPolicy, StopSignal};
use cu_scheduler::{Resources, Signal, Warning};
use toml::{Table, Value};

use super::activation::activation;
use super::error::Result;
use super::file::File;
use super::source::Parsed;
use super::start::{self, Start};
use super::units::{Bytes, Time, ZeroWhenStopped};
use super::wanted::Wanted;
use super::{as_typed, grid, paths, program, sharing, times};

/// A run as a config describes it, complete and consistent.
#[derive(Debug)]
pub struct Config {
    /// The keys, from which the backend is opened.
    pub parsed: Parsed,
    /// The plan from which the run is made.
    pub plan: RunPlan,
    /// Warnings about what is allowed but probably not meant.
    pub warnings: Vec<String>,
    /// The config again, with overrides applied and every path absolute: it means the same wherever
    /// it is read.
    pub effective: Table,
    /// Working directories that are named by settings: the user need not make them.
    pub to_make: Vec<PathBuf>,
}

/// What a run has that no key of its config says.
#[derive(Debug, Default)]
pub struct Planned {
    /// Its jobs, in the place of settings and grid.
    pub points: Vec<grid::Point>,
    /// The content of the script that `backend.activate` names, which is made with the run.
    pub activation: Option<String>,
    /// The files that its clone must have, each with the place where the user names it.
    pub needed: Vec<(PathBuf, String)>,
}

impl Config {
    /// The run that `parsed` describes.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn new(parsed: Parsed) -> Result<Self> {
        Self::planned(parsed, None)
    }

    /// The run that `parsed` describes, with what has been `planned` without keys.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn planned(parsed: Parsed, planned: Option<&Planned>) -> Result<Self> {
        let file = &parsed.file;
        let name = file.name.clone().ok_or_else(|| parsed.missing("name"))?;
        check_name(&name).map_err(|reason| parsed.wrong("name", reason))?;
        let mut warnings = times::check(&parsed)?;
        check_done(&parsed)?;
        let command = file.command.as_ref();
        let command = command.ok_or_else(|| parsed.missing("command"))?;
        check_environment(&parsed)?;
        let is_made = planned.is_some_and(|planned| planned.activation.is_some());
        let activation = activation(&parsed, is_made)?;
        let search = Wanted::of(&parsed)?;
        let points = match (planned, &search) {
            (Some(planned), _) => planned.points.clone(),
            (None, Some(search)) => search.first_points(&parsed)?,
            (None, None) => grid::points(&parsed)?,
        };
        let known = u32::try_from(points.len()).unwrap_or(u32::MAX);
        let to_come = search.map_or(0, |search| search.jobs.saturating_sub(known));
        let of_point = |point: &grid::Point| Start::new(&parsed, &point.settings);
        let starts = points.iter().map(of_point).collect::<Result<Vec<_>>>()?;
        let to_make = start::check(&parsed, &starts)?;
        let known = points
            .iter()
            .map(|point| start::known(&parsed, &point.settings));
        let directories = starts.iter().map(|start| &start.working_directory);
        let commands = program::commands(&parsed, command, known.zip(directories))?;
        let effective = effective(&parsed, &commands.given);
        let jobs = points.into_iter().zip(commands.of_jobs).zip(starts);
        let jobs = jobs.map(|((point, command), start)| {
            let mut job = JobPlan::new(command);
            job.working_directory = Some(start.working_directory);
            job.stdin = start.stdin;
            job.environment = start.environment;
            job.activation = activation.clone();
            job.settings = point.settings;
            job.parameters = point.parameters;
            job.resources = file.scheduler_resources();
            job.stop = file.stop_policy();
            job.exit_rules = file.exit_rules();
            job
        });
        let jobs: Vec<_> = jobs.collect();
        warnings.extend(sharing::warnings(&jobs));
        warnings.extend(as_typed::warnings(parsed.table(), &jobs));
        let policy = file.policy().with(|policy| {
            let longest = file.backend.longest_queue();
            let most = longest.filter(|most| jobs.len() > most.get() as usize);
            policy.max_submitted = policy.max_submitted.or(most);
        });
        let mut plan = RunPlan::new(name, policy, jobs);
        plan.to_come = to_come;
        Ok(Self {
            plan,
            parsed,
            warnings,
            effective,
            to_make,
        })
    }
}

/// Checks that "done" is said in one way.
///
/// # Errors
/// If exit code 0 is to mean it as well.
fn check_done(parsed: &Parsed) -> Result<()> {
    let resume = &parsed.file.resume;
    match resume.exit_0_when_stopped {
        Some(ZeroWhenStopped::Completed) if resume.done_when.is_some() => {
            let reason = "with resume.done_when, exit code 0 does not mean that the job is done; leave \
                          one of the two out";
            Err(parsed.wrong("resume.exit_0_when_stopped", reason))
        }
        _ => Ok(()),
    }
}

/// Changes what the config gives.
fn set<T>(default: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *default = given;
    }
}

impl File {
    /// Budgets and limits.
    pub fn policy(&self) -> Policy {
        let (resume, backend) = (&self.resume, &self.backend);
        Policy::default().with(|policy| {
            set(&mut policy.stuck_after, resume.stuck_after);
            set(&mut policy.time_limits, resume.time_limits);
            set(&mut policy.preemptions, resume.preemptions);
            set(&mut policy.node_failures, resume.node_failures);
            set(&mut policy.removals, resume.removals);
            set(&mut policy.losses, resume.losses);
            set(&mut policy.activation_retries, resume.activation_retries);
            set(
                &mut policy.out_of_memory_retries,
                resume.out_of_memory_retries,
            );
            set(&mut policy.failure_retries, resume.failure_retries);
            set(&mut policy.max_attempts, resume.max_attempts.map(Some));
            set(&mut policy.max_failures, resume.max_failures.map(Some));
            set(
                &mut policy.max_time,
                resume.max_time.map(|time| Some(time.0)),
            );
            set(
                &mut policy.submissions_per_hour,
                resume.submissions_per_hour,
            );
            set(&mut policy.max_submitted, backend.max_submitted.map(Some));
            set(&mut policy.backoff, resume.backoff.map(|time| time.0));
            set(
                &mut policy.backoff_max,
                resume.backoff_max.map(|time| time.0),
            );
            set(
                &mut policy.record_grace,
                backend.record_grace.map(|time| time.0),
            );
            set(
                &mut policy.scheduler_patience,
                backend.patience.map(|time| time.0),
            );
        })
    }

    /// When the program is asked to stop.
    pub fn stop_policy(&self) -> StopPolicy {
        let default = StopPolicy::default();
        let stop = &self.stop;
        let time = |given: Option<Time>| given.map(|time| time.0);
        StopPolicy {
            after: time(stop.after),
            before_limit: time(stop.before_limit),
            file: stop.file.as_ref().map(PathBuf::from),
            create: stop.create.clone().map(|file| file.0),
            signal: match (stop.signal, &stop.create) {
                (Some(signal), _) => signal.0,
                // The file is how this program is asked.
                (None, Some(_)) => StopSignal::None,
                (None, None) => default.signal,
            },
            grace: time(stop.grace).unwrap_or(default.grace),
        }
    }

    /// What each attempt asks of the scheduler. The scheduler warns the supervisor, always by the
    /// same signal; the supervisor sends the program the signal that the user chose.
    pub fn scheduler_resources(&self) -> Resources {
        let resources = &self.resources;
        let time_limit = resources.time_limit.map(|time| time.0);
        let warning = self.stop.before_limit.map(|before| Warning {
            signal: Signal::Usr1,
            before_limit: before.0,
        });
        Resources {
            cpus: resources.cpus.map_or(1, NonZeroU32::get),
            gpus: resources.gpus.unwrap_or_default(),
            memory_bytes: resources.memory.map(|Bytes(bytes)| bytes),
            time_limit,
            warning: warning.filter(|_| time_limit.is_some()),
        }
    }

    /// What the exit codes of the program mean.
    pub fn exit_rules(&self) -> ExitRules {
        ExitRules::default().with(|rules| {
            if let Some(codes) = &self.resume.exit_code {
                rules.resume_exit_code = codes.first;
                rules.more_resume_exit_codes.clone_from(&codes.more);
            }
            rules.done_when = self.resume.done_when.clone().map(|done| done.0);
            let zero = self.resume.exit_0_when_stopped;
            set(
                &mut rules.exit_0_when_stopped,
                zero.map(|zero| match zero {
                    ZeroWhenStopped::Resume => ExitZero::Resume,
                    ZeroWhenStopped::Completed => ExitZero::Completed,
                }),
            );
        })
    }
}

/// Checks that a run can have this name.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("a run's name can't be empty"),
        _ if name.len() > 200 => Err("a run's name can have at most 200 bytes"),
        _ if name.starts_with(['.', '-']) => Err("a run's name can't begin with `.` or `-`"),
        _ if name.contains('/') || name.contains(char::is_control) => {
            Err("a run's name can't contain `/` or control characters: it names a directory")
        }
        _ => Ok(()),
    }
}

fn check_environment(parsed: &Parsed) -> Result<()> {
    for (name, value) in &parsed.file.environment.0 {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let key = super::table::join("environment", name);
            let reason = "a variable's name can't be empty or contain `=`; its name and value can't \
                          contain a zero byte";
            return Err(parsed.wrong(&key, reason));
        }
    }
    Ok(())
}

fn effective(parsed: &Parsed, command: &[String]) -> Table {
    let mut table = parsed.table().clone();
    let text = |text: &str| {
        let text = paths::with_config_dir(text, parsed.directory());
        Value::String(text)
    };
    if let Some(Value::Table(variables)) = table.get_mut("environment") {
        for (_, value) in variables.iter_mut() {
            if let Value::String(given) = value {
                *value = text(given);
            }
        }
    }
    let command = command.iter().map(|argument| text(argument)).collect();
    table.insert("command".to_owned(), Value::Array(command));
    for (key, path) in start::effective(parsed) {
        table.insert(key.to_owned(), text(&path));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use cu_run_dir::DoneWhen;
    use std::time::Duration;

    use crate::backend::Kind;
    use crate::config::overrides::Override;
    use crate::config::source::{Source, tests::parsed};

    const COMPLETE: &str = "name = \"a\"\ncommand = [\"/bin/sh\"]\n";

    fn config(text: &str, overrides: &[&str]) -> Result<Config> {
        Config::new(parsed(text, overrides)?)
    }

    #[test]
    fn every_key_arrives_in_the_plan() {
        let reference = crate::config::reference::reference();
        // Jobs come from a grid or from an optimiser.
        let (grid, rest) = reference.split_once("[optimize]").expect("a table");
        let (_, rest) = rest.split_once("[environment]").expect("a table");
        let reference = format!("{grid}[environment]{rest}");
        let config = config(
            &reference,
            &[
                "command=[\"/bin/sh\", \"{job}\"]",
                "stdin=/etc/passwd",
                "backend.activate=/etc/passwd",
            ],
        )
        .expect("a config");
        // They all start in ".".
        let are_expected = |warning: &String| warning.contains("several jobs share");
        assert!(
            config.warnings.iter().all(are_expected),
            "{:?}",
            config.warnings
        );
        let plan = config.plan;
        assert_eq!(plan.name, "digits");
        assert_eq!(plan.policy.max_submitted, NonZeroU32::new(100));
        assert_eq!(plan.jobs.len(), 4);
        let job = &plan.jobs[3];
        assert_eq!(job.command[1].parts(), [cu_core::Part::Job]);
        assert_eq!(job.working_directory, Some("/".into()));
        assert_eq!(job.stdin, Some("/etc/passwd".into()));
        assert_eq!(job.activation.modules, ["cuda/12.4"]);
        assert_eq!(job.activation.script, Some("/etc/passwd".into()));
        assert_eq!(job.environment["OMP_NUM_THREADS"], "1".into());
        assert_eq!(job.parameters["optimizer.name"], "adam");
        assert_eq!(job.settings["optimizer"]["momentum"], 0.9);
        assert_eq!(job.resources.memory_bytes, Some(2 << 30));
        assert_eq!(job.resources.time_limit, Some(Duration::from_secs(3600)));
        let warning = job.resources.warning.expect("a warning before the limit");
        assert_eq!(warning.before_limit, Duration::from_secs(120));
        assert_eq!(job.stop.after, Some(Duration::from_secs(3000)));
        assert_eq!(job.stop.file.as_deref(), Some(Path::new("please_stop")));
        let create = job.stop.create.as_ref().expect("a file");
        assert_eq!(create.path, Path::new("EXIT"));
        let finished = DoneWhen::File {
            path: "FINISHED".into(),
            contains: None,
        };
        let rules = ExitRules::default().with(|rules| rules.done_when = Some(finished));
        assert_eq!(job.exit_rules, rules);
    }

    #[test]
    fn a_file_that_asks_takes_the_place_of_unnamed_signals() {
        let exit = "stop.create=EXIT";
        let table = "stop.create={ file = \"EXIT\", content = \"x\" }";
        for (given, content, signal) in [
            (&[exit][..], "", StopSignal::None),
            (&[table], "x", StopSignal::None),
            (&[exit, "stop.signal=auto"], "", StopSignal::Auto),
        ] {
            let plan = config(COMPLETE, given).expect("a config").plan;
            let stop = &plan.jobs[0].stop;
            let created = stop.create.as_ref().expect("a file");
            assert_eq!((created.content.as_str(), stop.signal), (content, signal));
        }
        for wrong in [
            "stop.create=",
            "stop.create=a/",
            "stop.create={ content = \"x\" }",
            "stop.create=3",
        ] {
            let error = config(COMPLETE, &[wrong]).expect_err(wrong).to_string();
            assert!(error.contains("`stop.create`"), "{error}");
        }
    }

    #[test]
    fn done_is_said_in_one_way() {
        for (given, expected) in [
            ("{ file = \"a\", output = \"b\" }", "not both"),
            ("{ contains = \"b\" }", "`contains` needs the `file`"),
            ("{}", "expected { file = "),
            ("{ file = \"\" }", "can't be empty"),
            ("{ fiel = \"a\" }", "resume.done_when"),
            ("\"FINISHED\"", "expected a table"),
        ] {
            let text = format!("[resume]\ndone_when = {given}\n");
            let error = parsed(&text, &[]).expect_err(given).to_string();
            assert!(
                error.contains(expected) && error.contains("line 2"),
                "{error}"
            );
        }
        let done = "resume.done_when.output=Done.";
        let checked = check_done(&parsed("", &[done]).expect("valid"));
        checked.expect("consistent");
        let zero = "resume.exit_0_when_stopped=completed";
        let error = check_done(&parsed("", &[done, zero]).expect("valid")).expect_err("both");
        assert!(
            error.to_string().contains("leave one of the two out"),
            "{error}"
        );
    }

    #[test]
    fn a_file_that_jobs_share_is_warned_of() {
        let text = format!("{COMPLETE}[grid]\nseed = [1, 2]\n");
        let keys = ["stop.create=EXIT", "resume.done_when.file=FINISHED"];
        let warnings = |more: &[&str]| {
            let given = [&keys[..], more].concat();
            config(&text, &given).expect("a config").warnings
        };
        let own = warnings(&["working_directory={output_dir}"]);
        assert_eq!(own, Vec::<String>::new());
        let warned = warnings(&["command=[\"echo\", \"{job}\"]"]);
        assert_eq!(warned.len(), 2, "{warned:?}");
        assert!(
            warned[0].contains("\"EXIT\"") && warned[1].contains("\"FINISHED\""),
            "{warned:?}"
        );
    }

    #[test]
    fn a_command_has_the_settings_of_its_job_filled_in() {
        let text = "name = \"a\"\n[settings]\ndata.set = \"mnist\"\n[grid]\nrate = [0.1, 2]\n";
        let command = "command=[\"/bin/sh\", \"{settings.data.set}\", \"-r{settings.rate}\"]";
        let plan = config(text, &[command]).expect("a config").plan;
        let commands: Vec<_> = plan.jobs.iter().map(|job| job.command.clone()).collect();
        let expected = |words: [&str; 3]| words.map(cu_core::Template::from);
        assert_eq!(commands[0], expected(["/bin/sh", "mnist", "-r0.1"]));
        assert_eq!(commands[1], expected(["/bin/sh", "mnist", "-r2"]));
    }

    #[test]
    fn overrides_arrive_in_policy_and_stop() {
        let overrides = [
            "resume.stuck_after=5",
            "resume.time_limits=1",
            "resume.preemptions=2",
            "resume.node_failures=4",
            "resume.removals=11",
            "resume.losses=6",
            "resume.activation_retries=18",
            "resume.out_of_memory_retries=7",
            "resume.failure_retries=8",
            "resume.max_attempts=16",
            "resume.max_failures=17",
            "resume.max_time=17s",
            "resume.submissions_per_hour=9",
            "resume.backoff=10s",
            "resume.backoff_max=11s",
            "backend.record_grace=12s",
            "backend.patience=13s",
            "backend.max_submitted=14",
            "stop.signal=TERM",
            "stop.grace=15s",
        ];
        let plan = config(COMPLETE, &overrides).expect("a config").plan;
        let number = |number| NonZeroU32::new(number).expect("above 0");
        let expected = Policy::default().with(|policy| {
            policy.stuck_after = number(5);
            policy.time_limits = 1;
            policy.preemptions = 2;
            policy.node_failures = 4;
            policy.removals = 11;
            policy.losses = 6;
            policy.activation_retries = 18;
            policy.out_of_memory_retries = 7;
            policy.failure_retries = 8;
            policy.max_attempts = NonZeroU32::new(16);
            policy.max_failures = NonZeroU32::new(17);
            policy.max_time = Some(Duration::from_secs(17));
            policy.submissions_per_hour = number(9);
            policy.max_submitted = Some(number(14));
            policy.backoff = Duration::from_secs(10);
            policy.backoff_max = Duration::from_secs(11);
            policy.record_grace = Duration::from_secs(12);
            policy.scheduler_patience = Duration::from_secs(13);
        });
        assert_eq!(plan.policy, expected);
        assert_eq!(plan.jobs[0].stop.signal, StopSignal::Term);
        assert_eq!(plan.jobs[0].stop.grace, Duration::from_secs(15));
    }

    #[test]
    fn very_many_jobs_do_not_all_wait_in_this_machines_queue() {
        let most = |jobs: u32, keys: &[&str]| {
            let numbers: Vec<_> = (0..jobs).collect();
            let text = format!("{COMPLETE}grid.number = {numbers:?}\n");
            let plan = config(&text, keys).expect("a config").plan;
            plan.policy.max_submitted.map(NonZeroU32::get)
        };
        let local = "backend.kind=local";
        assert_eq!(most(1001, &[local, "backend.local.cpus=2"]), Some(1000));
        assert_eq!(most(1000, &[local, "backend.local.cpus=2"]), None);
        assert_eq!(most(1500, &[local, "backend.local.cpus=700"]), Some(1400));
        assert_eq!(most(1500, &[local, "backend.max_submitted=7"]), Some(7));
        assert_eq!(most(1500, &["backend.kind=slurm"]), None);
    }

    #[test]
    fn a_later_override_arrives_in_every_form_of_the_config() {
        let parsed = parsed(COMPLETE, &["backend.kind=auto"]).expect("valid");
        let given = ["name=a-2", "backend.kind=local"];
        let given = given.map(|words| Override::parse(words).expect(words));
        let config = Config::new(parsed.with(given).expect("valid")).expect("a config");
        assert_eq!(config.plan.name, "a-2");
        assert_eq!(config.parsed.file.name.as_deref(), Some("a-2"));
        assert_eq!(config.parsed.file.backend.kind, Some(Kind::Local));
        assert_eq!(config.effective["name"].as_str(), Some("a-2"));
        let kind = &config.effective["backend"]["kind"];
        assert_eq!(kind.as_str(), Some("local"));
        let place = config.parsed.place("name").to_string();
        assert_eq!(place, "`name=a-2`");
    }

    #[test]
    fn a_wrong_value_is_an_error_at_its_key() {
        for (overrides, expected) in [
            (&["name=a/b"][..], "`name`: a run's name can't contain `/`"),
            (&["name=.."], "`name`: a run's name can't begin"),
            (&["name="], "`name`: a run's name can't be empty"),
            (&["command=[]"], "`command`: it is empty"),
            (
                &["command=[\"/bin/sh\", \"{settings.rate}\"]"],
                "`command`: `{settings.rate}` is not a setting; ",
            ),
            (
                &["command=[\"/absent\"]"],
                "can't run `/absent`: there is no file /absent",
            ),
            (
                &["working_directory=absent"],
                "`working_directory`: /absent is not a directory",
            ),
            (
                &["environment={ \"a=b\" = \"1\" }"],
                "`environment.a=b`: a variable's name can't be empty or contain `=`",
            ),
        ] {
            let error = config(COMPLETE, overrides).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        for (text, key) in [
            ("name = \"a\"", "command"),
            ("command = [\"/bin/sh\"]", "name"),
        ] {
            let error = config(text, &[]).expect_err(key).to_string();
            assert_eq!(error, format!("run.toml: `{key}` is missing"));
        }
    }

    #[test]
    fn the_effective_config_means_the_same_elsewhere() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["train.sh", "1.csv", "2.csv"] {
            std::fs::write(directory.path().join(name), "").expect("a file");
        }
        let text = "name = \"a\"\n[grid]\nx.y = [1, 2]\nshell = [\"sh\"]\n";
        let command = "[\"{settings.shell}\", \"train.sh\", \"{config_dir}/{settings.x.y}.csv\", \"{settings.x.y}\"]";
        let text = format!("command = {command}\n{text}");
        let given = ["settings.seed=3", "backend.kind=slurm"];
        let given = given.map(|words| Override::parse(words).expect("an override"));
        let source = Source::new("run.toml".into(), text, given.to_vec()).within(directory.path());
        let here = Config::new(source.parse().expect("TOML")).expect("a config");
        let text = toml::to_string(&here.effective).expect("a table is TOML");
        let there = config(&text, &[]).expect("a config");
        assert_eq!(there.plan, here.plan);
        assert_eq!(there.plan.jobs[1].settings["seed"], 3);
        let csv = directory.path().join("2.csv");
        let command = &there.plan.jobs[1].command;
        assert_eq!(command[2].as_text().map(Path::new), Some(csv.as_path()));
        assert_eq!(command[3], "2".into());
        assert_eq!(there.parsed.file.backend.kind, Some(Kind::Slurm));
    }
}
