//! The jobs of a run with `[optimize]`: the first ones, and further ones when it goes on already, which are like the
//! first one with other values of its parameters.

use std::collections::BTreeMap;

use cu_core::JobPlan;
use serde_json::{Map, Value};

use super::error::Result;
use super::grid::Point;
use super::source::Parsed;
use super::start::{self, Start};
use super::table::join;
use super::{json, placeholder};

/// What further jobs are made from.
#[derive(Debug)]
pub struct Further {
    /// The config that is kept with the run: it has the placeholders.
    parsed: Parsed,
    /// The first job, as the store has it, updates included.
    first: JobPlan,
}

impl Further {
    /// Further jobs of the run with this config, whose first job is `first`.
    pub fn new(parsed: Parsed, first: JobPlan) -> Self {
        Self { parsed, first }
    }

    /// The job with these values, by the dotted names of parameters. Makes the directory in which it starts, if the
    /// values name it.
    ///
    /// # Errors
    /// If a placeholder of the config means nothing.
    pub fn with(&self, values: &BTreeMap<String, Value>) -> Result<JobPlan> {
        let mut job = self.first.clone();
        for (name, value) in values {
            // It is where that of the first job is.
            let _ = put(&mut job.settings, name, value.clone());
            job.parameters.insert(name.clone(), value.clone());
        }
        let start = Start::new(&self.parsed, &job.settings)?;
        let known = start::known(&self.parsed, &job.settings);
        let command = self.parsed.file.command.iter().flatten();
        let command = command.map(|argument| placeholder::fill_argument(argument, known));
        let command = command.collect::<Result<Vec<_>, _>>();
        job.command = command.map_err(|reason| self.parsed.wrong("command", reason))?;
        if let Some(directory) = start.working_directory.as_text() {
            // Where it can't be made, the attempt reports it.
            let _ = std::fs::create_dir_all(directory);
        }
        job.working_directory = Some(start.working_directory);
        job.stdin = start.stdin;
        job.environment = start.environment;
        Ok(job)
    }
}

/// The job with the settings of the config and these values.
///
/// # Errors
/// If the name of a value collides with a setting.
pub fn point(parsed: &Parsed, values: Map<String, Value>) -> Result<Point> {
    let settings = json::object(&parsed.file.settings.0)
        .map_err(|key| parsed.wrong(&join("settings", &key), "JSON can't hold nan or inf"))?;
    let mut point = Point {
        settings,
        parameters: Map::new(),
    };
    for (name, value) in values {
        match put(&mut point.settings, &name, value.clone()) {
            Ok(None) => {}
            Ok(Some(_)) | Err(()) => {
                let reason = "it is also in [settings]: keep one of the two";
                return Err(parsed.wrong(&join("optimize.parameters", &name), reason));
            }
        }
        point.parameters.insert(name, value);
    }
    Ok(point)
}

/// Puts a value at its dotted name, and returns the one that was there. An error if something else than a table is on
/// the way.
fn put(settings: &mut Map<String, Value>, name: &str, value: Value) -> Result<Option<Value>, ()> {
    let Some((first, rest)) = name.split_once('.') else {
        return Ok(settings.insert(name.to_owned(), value));
    };
    let inner = settings.entry(first);
    match inner.or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => put(inner, rest, value),
        _ => Err(()),
    }
}
