//! The keys of cluster_utils as keys of our own. Each remembers in its words which key of theirs it comes from.

use std::path::Path;

use serde_json::Value;
use toml::Value as Toml;

use super::environment;
use super::given::Given;
use crate::backend::Kind;
use crate::config::Override;
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
}

impl Mapped {
    /// Sets our `key` to what their key `theirs` says.
    fn set(&mut self, key: &str, value: impl Into<Toml>, theirs: &str) {
        let value = value.into();
        let words = format!("{theirs} = {value}");
        self.overrides.push(Override::option(key, value, words));
    }

    fn set_if(&mut self, key: &str, value: Option<impl Into<Toml>>, theirs: &str) {
        if let Some(value) = value {
            self.set(key, value, theirs);
        }
    }
}

/// What decides where the run is and which backend it has.
///
/// # Errors
/// If a key is missing or wrong.
pub fn preliminary(given: &Given) -> Result<Mapped> {
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
    mapped.set("results_as", "cluster_utils", "cu grid-search");
    Ok(mapped)
}

/// What each program is, and what each attempt asks of a backend of this `kind`. The programs start in `project`, the
/// run is to be made in `run`. `first` is a script that the user's defaults activate.
///
/// # Errors
/// If a key is missing or wrong.
pub fn cluster(
    given: &Given,
    kind: Kind,
    project: &Path,
    run: &Path,
    first: Option<&Path>,
) -> Result<Mapped> {
    let mut mapped = Mapped::default();
    if !given.truth("run_in_working_dir", false)? {
        let place = given.place("run_in_working_dir");
        return Err(Error::usage_hint(
            format!(
                "{place}: `run_in_working_dir` is not true, and `cu` does not clone git repositories"
            ),
            "check out what is to run, go there, and add the override run_in_working_dir=True",
        ));
    }
    mapped.set("working_directory", display(project), "run_in_working_dir");
    mapped.set(
        "command",
        command(given, project, run)?,
        "script_relative_path",
    );
    mapped.activation = environment::script(given, project, first)?;
    requirements(given, kind, &mut mapped)?;
    missing(given, &mut mapped)?;
    Ok(mapped)
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn command(given: &Given, project: &Path, run: &Path) -> Result<Vec<String>> {
    let truth = |name: &str, default: bool| {
        let elsewhere = given.truth(&format!("environment_setup.{name}"), default)?;
        given.truth(name, elsewhere)
    };
    let key = "script_relative_path";
    let script = given.needed(key)?;
    let mut program = if truth("run_as_module", false)? {
        ["python3", "-m", script].map(str::to_owned).to_vec()
    } else {
        let path = project.join(script);
        if !path.is_file() {
            let reason = format!(
                "there is no file {}: it is relative to the current directory",
                path.display()
            );
            return Err(given.wrong(key, reason));
        }
        match truth("is_python_script", true)? {
            true => vec!["python3".to_owned(), display(&path)],
            false => vec![display(&path)],
        }
    };
    program.push("{cluster_utils}".to_owned());
    if given.table("singularity")?.is_none() {
        return Ok(program);
    }
    let image = given.needed("singularity.image")?;
    let path = project.join(image);
    if !image.contains("://") && !path.exists() {
        return Err(given.wrong(
            "singularity.image",
            format!("there is no image {}", path.display()),
        ));
    }
    let image = if image.contains("://") {
        image.to_owned()
    } else {
        display(&path)
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
        format!("--bind=/tmp,{},{}", run.display(), project.display()),
        format!("--pwd={}", project.display()),
    ];
    command.extend(given.texts("singularity.args")?);
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
    mapped.set_if(
        "backend.htcondor.cuda_requirement",
        cuda,
        &full("cuda_requirement"),
    );
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
fn missing(given: &Given, mapped: &mut Mapped) -> Result<()> {
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
    if given.truth("remove_working_dirs", false)? {
        warn(
            "remove_working_dirs",
            "the jobs' directories stay; remove working_directories/ when you need them no more",
        );
    }
    Ok(())
}
