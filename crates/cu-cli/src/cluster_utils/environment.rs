//! What a shell does on the node before each program, as the job scripts of cluster_utils do: a virtual environment,
//! a conda environment, variables that the node's shell expands, and a script of the user's.

use std::fmt::Write;
use std::path::Path;

use cu_system::shell::quote;
use serde_json::Value;

use super::given::Given;
use crate::error::Result;
use crate::shell_word::shell_word;

/// The script that bash sources before each program, which starts in `project`; `None` if nothing is to be done.
/// `first` is a script that the user's defaults activate.
///
/// # Errors
/// If a key has a wrong value.
pub fn script(given: &Given, project: &Path, first: Option<&Path>) -> Result<Option<String>> {
    let mut text = String::new();
    // Writing to a String can't fail.
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(words);
        text.push('\n');
    };
    if let Some(first) = first {
        line(format_args!(". {} || return", shell_word(first)));
    }
    if let Some(path) = given.text("environment_setup.virtual_env_path")? {
        line(format_args!(
            ". {} || return",
            shell_word(&project.join(path).join("bin/activate"))
        ));
    }
    if let Some(path) = given.text("environment_setup.conda_env_path")? {
        // A path, or the name of an environment.
        let name = quote(path);
        line(format_args!(
            "eval \"$(conda shell.bash hook)\" && conda activate {name} || return"
        ));
    }
    for (name, value) in given
        .table("environment_setup.variables")?
        .into_iter()
        .flatten()
    {
        let key = format!("environment_setup.variables.{name}");
        let is_name = |name: &str| {
            !name.starts_with(|it: char| it.is_ascii_digit())
                && !name.is_empty()
                && name
                    .bytes()
                    .all(|it| it.is_ascii_alphanumeric() || it == b'_')
        };
        if !is_name(name) {
            return Err(given.wrong(&key, "a variable's name has letters, digits and `_`"));
        }
        let value = match value {
            Value::String(text) => text.replace('"', "\\\""),
            other => super::python::cell(other),
        };
        line(format_args!("export {name}=\"{value}\""));
        // A container with --cleanenv has no others.
        if given.get("singularity").is_some() {
            line(format_args!(
                "export SINGULARITYENV_{name}=\"${name}\" APPTAINERENV_{name}=\"${name}\""
            ));
        }
    }
    if let Some(path) = given.text("environment_setup.pre_job_script")? {
        let path = project.join(path);
        if !path.is_file() {
            let reason = format!("there is no file {}", path.display());
            return Err(given.wrong("environment_setup.pre_job_script", reason));
        }
        // Like cluster_utils, whatever its exit code.
        let word = shell_word(&path);
        line(format_args!(
            "{word} || echo \"{word} has failed with exit code $?; the job goes on\" >&2"
        ));
        line(format_args!("true"));
    }
    Ok((!text.is_empty()).then_some(text))
}
