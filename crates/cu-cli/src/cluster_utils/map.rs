//! The keys of cluster_utils as keys of our own. Each remembers in its words which key of theirs it comes from.

use std::path::Path;

use cu_core::RunDir;
use serde_json::Value;
use toml::Value as Toml;

use super::Procedure;
use super::environment;
use super::given::Given;
use super::places::{Needed, Places};
use crate::backend::Kind;
use crate::config::{Override, literally};
use crate::error::{Error, Result};

/// What a config of cluster_utils means here.
#[derive(Debug, Default)]
pub struct Mapped {
    /// Keys of our own.
    pub overrides: Vec<Override>,
    /// What works in another way than there, and has been asked for.
    pub warnings: Vec<String>,
    /// The content of the script that a shell sources before each program.
    pub activation: Option<String>,
    /// The files that the clone must have, each with the place where it is named.
    pub needed: Needed,
}

impl Mapped {
    /// Sets our `key` to what their key `theirs` says.
    pub fn set(&mut self, key: &str, value: impl Into<Toml>, theirs: &str) {
        let value = value.into();
        let words = format!("{theirs} = {value}");
        self.overrides.push(Override::option(key, value, words));
    }

    /// The same, if it says something.
    pub fn set_if(&mut self, key: &str, value: Option<impl Into<Toml>>, theirs: &str) {
        if let Some(value) = value {
            self.set(key, value, theirs);
        }
    }
}

/// What decides where the run is and which backend it has.
///
/// # Errors
/// If a key is missing or wrong.
pub fn preliminary(given: &Given, procedure: Procedure) -> Result<Mapped> {
    let mut mapped = Mapped::default();
    let name = given.needed("optimization_procedure_name")?;
    mapped.set("name", name, "optimization_procedure_name");
    if let Some(directory) = given.text("results_dir")? {
        // Theirs is relative to the home directory.
        let directory = match directory.starts_with(['/', '~']) {
            true => directory.to_owned(),
            false => format!("~/{directory}"),
        };
        mapped.set("results_dir", directory, "results_dir");
    }
    for key in ["local_run", "optimization_setting.run_local"] {
        if given.truth(key, false)? {
            mapped.set("backend.kind", "local", key);
        }
    }
    mapped.set("results_as", "cluster_utils", procedure.command());
    if !runs_here(given)? {
        repository(given, &mut mapped)?;
    }
    Ok(mapped)
}

/// Whether the programs run in the current directory, and not in a clone.
fn runs_here(given: &Given) -> Result<bool> {
    given.truth("run_in_working_dir", false)
}

/// The repository that is cloned. Theirs without a URL, or with a path, clones the origin of that repository; ours
/// the repository itself, so that what is committed need not be pushed.
fn repository(given: &Given, mapped: &mut Mapped) -> Result<()> {
    let full = |name: &str| format!("git_params.{name}");
    given.table("git_params")?;
    match given.text(&full("url"))? {
        Some(url) => mapped.set("git.repository", url, &full("url")),
        None => {
            let here = std::path::absolute(".").map_err(Error::system("find this directory"))?;
            if !here.ancestors().any(|it| it.join(".git").exists()) {
                let place = given.place("run_in_working_dir");
                return Err(Error::usage_hint(
                    format!(
                        "{place}: `run_in_working_dir` is not true, so a git repository is cloned, but {} is not in \
                         one",
                        here.display()
                    ),
                    "to run the program that is here, add the override run_in_working_dir=True; for a repository \
                     elsewhere, 'git_params.url=\"…\"'",
                ));
            }
            mapped.set("git.repository", ".", "run_in_working_dir is False");
        }
    }
    for name in ["branch", "commit"] {
        let key = format!("git.{name}");
        mapped.set_if(&key, given.text(&full(name))?, &full(name));
    }
    let depth = given.whole(&full("depth"))?;
    let depth = depth.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
    mapped.set_if("git.depth", depth, &full("depth"));
    if !given.truth(&full("remove_local_copy"), true)? {
        mapped.set("git.keep", true, &full("remove_local_copy"));
    }
    Ok(())
}

/// What each program is, and what each attempt asks of a backend of this `kind`. The programs start in `here`, or in
/// the clone of the run that is to be made in `run`. `first` is a script that the user's defaults activate.
///
/// # Errors
/// If a key is missing or wrong.
pub fn cluster(
    given: &Given,
    kind: Kind,
    here: &Path,
    run: &Path,
    first: Option<&Path>,
    procedure: Procedure,
) -> Result<Mapped> {
    let mut mapped = Mapped::default();
    let project = match runs_here(given)? {
        true => here.to_owned(),
        false => RunDir::new(run).clone_dir(),
    };
    mapped.set("working_directory", shown(&project), "run_in_working_dir");
    let places = Places {
        here,
        project: &project,
    };
    let command = command(given, places, run, &mut mapped.needed)?;
    mapped.set("command", command, "script_relative_path");
    mapped.activation = environment::script(given, places, first, &mut mapped.needed)?;
    requirements(given, kind, &mut mapped)?;
    missing(given, procedure, &mut mapped)?;
    Ok(mapped)
}

/// A path in which nothing is a placeholder.
fn shown(path: &Path) -> String {
    literally(&path.display().to_string())
}

fn command(
    given: &Given,
    places: Places<'_>,
    run: &Path,
    needed: &mut Needed,
) -> Result<Vec<String>> {
    let project = places.project;
    let truth = |name: &str, default: bool| {
        let elsewhere = given.truth(&format!("environment_setup.{name}"), default)?;
        given.truth(name, elsewhere)
    };
    let key = "script_relative_path";
    let script = given.needed(key)?;
    let mut program = if truth("run_as_module", false)? {
        vec!["python3".to_owned(), "-m".to_owned(), literally(script)]
    } else {
        let path = places.file(given, key, script, needed)?;
        match truth("is_python_script", true)? {
            true => vec!["python3".to_owned(), shown(&path)],
            false => vec![shown(&path)],
        }
    };
    program.push("{cluster_utils}".to_owned());
    if given.table("singularity")?.is_none() {
        return Ok(program);
    }
    let image = given.needed("singularity.image")?;
    let path = places.here.join(image);
    if !image.contains("://") && !path.exists() {
        return Err(given.wrong(
            "singularity.image",
            format!("there is no image {}", path.display()),
        ));
    }
    let image = if image.contains("://") {
        literally(image)
    } else {
        shown(&path)
    };
    let verb = if given.truth("singularity.use_run", false)? {
        "run"
    } else {
        "exec"
    };
    let executable = given
        .text("singularity.executable")?
        .unwrap_or("singularity");
    let mut command = vec![
        executable.to_owned(),
        verb.to_owned(),
        format!("--bind=/tmp,{},{}", shown(run), shown(project)),
        format!("--pwd={}", shown(project)),
    ];
    let arguments = given.texts("singularity.args")?;
    command.extend(arguments.iter().map(|it| literally(it)));
    command.push(image);
    command.extend(program);
    Ok(command)
}

/// What `cluster_requirements` asks for. On one machine cluster_utils ignores them.
fn requirements(given: &Given, kind: Kind, mapped: &mut Mapped) -> Result<()> {
    let full = |name: &str| format!("cluster_requirements.{name}");
    let whole = |name: &str| given.whole(&full(name));
    let integer =
        |name: &str| Ok::<_, Error>(whole(name)?.map(|it| i64::try_from(it).unwrap_or(i64::MAX)));
    given.table("cluster_requirements")?;
    if kind == Kind::Local {
        mapped.set_if(
            "backend.local.cpus",
            integer("max_cpus")?,
            &full("max_cpus"),
        );
        return Ok(());
    }
    mapped.set_if(
        "resources.cpus",
        integer("request_cpus")?,
        &full("request_cpus"),
    );
    mapped.set_if(
        "resources.gpus",
        integer("request_gpus")?,
        &full("request_gpus"),
    );
    let memory = whole("memory_in_mb")?.map(|it| format!("{it}MiB"));
    mapped.set_if("resources.memory", memory, &full("memory_in_mb"));
    let limit = match given.get(&full("request_time")) {
        Some(Value::Number(minutes)) => Some(format!("{minutes}min")),
        _ => given.text(&full("request_time"))?.map(time),
    };
    let has_limit = limit.is_some();
    mapped.set_if("resources.time_limit", limit, &full("request_time"));
    if let Some(seconds) = whole("signal_seconds_to_timeout")? {
        let key = full("signal_seconds_to_timeout");
        if !has_limit {
            return Err(given.wrong(&key, "it needs `cluster_requirements.request_time`"));
        }
        mapped.set("stop.before_limit", format!("{seconds}s"), &key);
        mapped.set("stop.signal", "USR1", &key);
    }
    let hosts = full("forbidden_hostnames");
    let forbidden = given.texts(&hosts)?;
    let extra = extra(given, kind)?;
    let table = format!("backend.{}", kind.name());
    let key = |name: &str| format!("{table}.{name}");
    if !forbidden.is_empty() {
        mapped.set(&key("exclude_hosts"), forbidden, &hosts);
    }
    if !extra.is_empty() {
        mapped.set(&key("extra"), extra, &full("extra_submission_options"));
    }
    if kind == Kind::Slurm {
        mapped.set_if(
            "backend.slurm.partition",
            given.text(&full("partition"))?,
            &full("partition"),
        );
    } else {
        htcondor(given, mapped)?;
    }
    Ok(())
}

fn htcondor(given: &Given, mapped: &mut Mapped) -> Result<()> {
    let full = |name: &str| format!("cluster_requirements.{name}");
    let bid = given.whole(&full("bid"))?;
    mapped.set_if(
        "backend.htcondor.bid",
        bid.map(|it| i64::try_from(it).unwrap_or(i64::MAX)),
        &full("bid"),
    );
    let hosts = given.texts(&full("hostname_list"))?;
    if !hosts.is_empty() {
        mapped.set("backend.htcondor.hosts", hosts, &full("hostname_list"));
    }
    let memory = given
        .whole(&full("gpu_memory_mb"))?
        .map(|it| format!("{it}MiB"));
    mapped.set_if(
        "backend.htcondor.gpu_memory",
        memory,
        &full("gpu_memory_mb"),
    );
    let cuda = match given.get(&full("cuda_requirement")) {
        Some(Value::Number(least)) => Some(least.to_string()),
        _ => given.text(&full("cuda_requirement"))?.map(str::to_owned),
    };
    // A whole expression there is one on a machine, not on a GPU.
    let key = match &cuda {
        Some(text) if text.contains("TARGET.") => "backend.htcondor.requirements",
        _ => "backend.htcondor.cuda_requirement",
    };
    mapped.set_if(key, cuda, &full("cuda_requirement"));
    if let Some(most) = given.whole(&full("concurrency_limit"))? {
        let key = full("concurrency_limit");
        // Pools give each limit 10,000 tokens.
        let tokens = 10_000_u64.checked_div(most).filter(|tokens| *tokens > 0);
        let tokens =
            tokens.ok_or_else(|| given.wrong(&key, "expected a number from 1 to 10000"))?;
        let tag = given.text(&full("concurrency_limit_tag"))?.unwrap_or("gpu");
        let user = cu_system::users::login_name(cu_system::users::own()).unwrap_or_default();
        mapped.set(
            "backend.htcondor.concurrency_limits",
            vec![format!("{user}.{tag}:{tokens}")],
            &key,
        );
    }
    Ok(())
}

/// A time as Slurm writes it, with the unit that it has there.
fn time(text: &str) -> String {
    let text = text.trim();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    match text.split_once(':') {
        None if is_number(text) => format!("{text}min"),
        Some((minutes, seconds)) if is_number(minutes) && is_number(seconds) => {
            format!("{minutes}min {seconds}s")
        }
        _ => text.to_owned(),
    }
}

/// Further options of the submission, which are a table, a list or lines.
fn extra(given: &Given, kind: Kind) -> Result<Vec<String>> {
    let key = "cluster_requirements.extra_submission_options";
    let option = |name: &str, value: &Value| match (kind, super::python::cell(value)) {
        (Kind::Slurm, value) if value.is_empty() => format!("--{}", name.trim_start_matches('-')),
        (Kind::Slurm, value) => format!("--{}={value}", name.trim_start_matches('-')),
        (_, value) => format!("{name} = {value}"),
    };
    let line = |line: &str| line.trim().trim_start_matches("#SBATCH").trim().to_owned();
    let lines: Vec<_> = match given.get(key) {
        None => Vec::new(),
        Some(Value::Object(options)) => options
            .iter()
            .map(|(name, value)| option(name, value))
            .collect(),
        Some(Value::String(text)) => text.lines().map(line).collect(),
        Some(_) => given.texts(key)?.iter().map(|text| line(text)).collect(),
    };
    Ok(lines.into_iter().filter(|line| !line.is_empty()).collect())
}

/// Warns of what has been asked for and is done differently here.
fn missing(given: &Given, procedure: Procedure, mapped: &mut Mapped) -> Result<()> {
    let mut warn = |key: &str, instead: &str| {
        mapped
            .warnings
            .push(format!("{}: `{key}`: {instead}", given.place(key)));
    };
    if given
        .text("generate_report")?
        .is_some_and(|when| when != "never")
    {
        warn(
            "generate_report",
            "`cu` makes no PDF; all_data.csv has what a report is made of",
        );
    }
    if procedure == Procedure::GridSearch && given.truth("remove_working_dirs", false)? {
        warn(
            "remove_working_dirs",
            "the jobs' directories stay; remove working_directories/ when you need them no more",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::given::tests::given;
    use super::*;
    use crate::config::Source;

    const REQUIREMENTS: &str = r#"{"cluster_requirements": {"request_cpus": 2, "request_gpus": 1, "memory_in_mb": 16000,
        "request_time": "1:30:00", "signal_seconds_to_timeout": 30, "partition": "a,b", "forbidden_hostnames": ["n1"],
        "hostname_list": ["n2"], "bid": 800, "gpu_memory_mb": 20000, "cuda_requirement": 7.5, "concurrency_limit": 10,
        "concurrency_limit_tag": "gpu", "extra_submission_options": {"mail-type": "FAIL"}, "max_cpus": 3}}"#;

    fn of(kind: Kind, overrides: &[&str]) -> Result<Vec<String>> {
        let given = given(REQUIREMENTS, overrides)?;
        let mut mapped = Mapped::default();
        requirements(&given, kind, &mut mapped)?;
        // They are keys of ours, with values of their types.
        let _ = Source::command_line(mapped.overrides.clone()).parse()?;
        let shown = mapped
            .overrides
            .iter()
            .map(|it| format!("{}={}", it.key.join("."), it.value));
        Ok(shown.collect())
    }

    #[test]
    fn requirements_become_keys_of_the_backend() {
        let of_clusters = [
            "resources.cpus=2",
            "resources.gpus=1",
            "resources.memory=\"16000MiB\"",
            "resources.time_limit=\"1:30:00\"",
            "stop.before_limit=\"30s\"",
            "stop.signal=\"USR1\"",
        ];
        let user = cu_system::users::login_name(cu_system::users::own()).unwrap_or_default();
        let limits = format!("backend.htcondor.concurrency_limits=[\"{user}.gpu:1000\"]");
        let slurm = [
            "backend.slurm.exclude_hosts=[\"n1\"]",
            "backend.slurm.extra=[\"--mail-type=FAIL\"]",
            "backend.slurm.partition=\"a,b\"",
        ];
        let htcondor = [
            "backend.htcondor.exclude_hosts=[\"n1\"]",
            "backend.htcondor.extra=[\"mail-type = FAIL\"]",
            "backend.htcondor.bid=800",
            "backend.htcondor.hosts=[\"n2\"]",
            "backend.htcondor.gpu_memory=\"20000MiB\"",
            "backend.htcondor.cuda_requirement=\"7.5\"",
            &limits,
        ];
        assert_eq!(
            of(Kind::Slurm, &[]).expect("valid"),
            [&of_clusters[..], &slurm].concat()
        );
        assert_eq!(
            of(Kind::Htcondor, &[]).expect("valid"),
            [&of_clusters[..], &htcondor].concat()
        );
        let whole = "TARGET.CUDAGlobalMemoryMb > 10000";
        let words = format!("cluster_requirements.cuda_requirement='{whole}'");
        let mapped = of(Kind::Htcondor, &[&words]).expect("valid");
        let expected = format!("backend.htcondor.requirements=\"{whole}\"");
        assert!(mapped.contains(&expected), "{mapped:?}");
        // On one machine cluster_utils asks for nothing.
        assert_eq!(
            of(Kind::Local, &[]).expect("valid"),
            ["backend.local.cpus=3"]
        );
    }

    #[test]
    fn a_wrong_requirement_names_their_key() {
        for (words, said) in [
            (
                "cluster_requirements.request_cpus='two'",
                "expected a whole number, 0 or above, found \"two\"",
            ),
            (
                "cluster_requirements.request_cpus=0",
                "`cluster_requirements.request_cpus = 0`: `resources.cpus`",
            ),
            (
                "cluster_requirements.request_time='soon'",
                "`cluster_requirements.request_time = \"soon\"`",
            ),
            (
                "cluster_requirements.request_time=None",
                "it needs `cluster_requirements.request_time`",
            ),
            (
                "cluster_requirements.concurrency_limit=0",
                "expected a number from 1 to 10000",
            ),
        ] {
            let error = of(Kind::Htcondor, &[words]).expect_err(words).to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn times_have_the_units_of_slurm() {
        for (theirs, ours) in [
            ("90", "90min"),
            ("30:15", "30min 15s"),
            ("1:30:00", "1:30:00"),
            ("2-12", "2-12"),
        ] {
            assert_eq!(time(theirs), ours);
            assert!(crate::config::parse_time(ours).is_ok(), "{ours}");
        }
    }

    #[test]
    fn further_options_may_be_a_table_a_list_or_lines() {
        let key = "cluster_requirements.extra_submission_options";
        for (value, expected) in [
            (
                "{'nice': 5, 'exclusive': None}",
                &["--nice=5", "--exclusive"][..],
            ),
            (
                "['--nice=5', '#SBATCH --exclusive']",
                &["--nice=5", "--exclusive"],
            ),
            (
                "'#SBATCH --nice=5\\n\\n--exclusive'",
                &["--nice=5", "--exclusive"],
            ),
            ("None", &[]),
        ] {
            let given = given("{}", &[&format!("{key}={value}")]).expect("a config");
            assert_eq!(
                extra(&given, Kind::Slurm).expect("valid"),
                expected,
                "{value}"
            );
        }
    }
}
