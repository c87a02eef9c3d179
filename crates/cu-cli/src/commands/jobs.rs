//! `cu jobs`: all jobs of a run, or those that a filter lets pass, in a table, as CSV or as JSON.

use cu_core::{JobReport, Reader};

use crate::args::{Common, Jobs};
use crate::error::{Error, ExitCode, Result};
use crate::select::{KEYS, Key, Names};
use crate::view::jobs::{self, JobsJson};
use crate::{runs, terminal};

/// Prints them.
///
/// # Errors
/// If there is no such run or key, or the run can't be read.
pub fn jobs(common: &Common, arguments: &Jobs) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let names = Names::of_run(&reader)?;
    let columns = match arguments.columns.is_empty() {
        true if arguments.csv => names.all(),
        true => jobs::usual_columns(&names),
        false => chosen(&arguments.columns, &names)?,
    };
    let sort = arguments
        .sort
        .as_deref()
        .map(|name| find(&names, "--sort", name));
    let sort = sort.transpose()?;
    let passes = arguments.filter.resolve(&names)?;
    // Of very many jobs, only those that are shown are kept.
    let in_order = sort.is_none() && !arguments.reverse;
    let most = arguments.first.filter(|_| in_order).unwrap_or(usize::MAX);
    let mut jobs = Vec::new();
    reader.each_job(&mut |job| {
        if jobs.len() < most && passes(&job) {
            jobs.push(job);
        }
    })?;
    if let Some(key) = sort {
        sort_by(&mut jobs, &key, arguments.reverse);
    } else if arguments.reverse {
        jobs.reverse();
    }
    if let Some(first) = arguments.first {
        jobs.truncate(first);
    }
    if common.json {
        terminal::json(&JobsJson::new(run.path(), &jobs))?;
    } else if arguments.csv {
        // Exactly the values: programs read this.
        let _ = terminal::bytes(&jobs::csv(&jobs, &columns)?)?;
    } else if jobs.is_empty() {
        terminal::say(&format!("no such jobs in {}", run.path().display()));
    } else {
        terminal::data_styled(&jobs::table(&jobs, &columns, terminal::width()))?;
    }
    Ok(ExitCode::Done)
}

/// The columns that a person names. `settings` and `metrics` are all of these, `all` is everything.
fn chosen(words: &[String], names: &Names) -> Result<Vec<Key>> {
    let mut columns = Vec::new();
    for word in words {
        match word.as_str() {
            "all" => columns.extend(names.all()),
            "settings" => columns.extend(names.settings.iter().cloned().map(Key::Setting)),
            "metrics" => columns.extend(names.metrics.iter().cloned().map(Key::Metric)),
            name => columns.push(find(names, "--columns", name)?),
        }
    }
    match columns.is_empty() {
        false => Ok(columns),
        true => Err(Error::usage("these jobs have no such columns")),
    }
}

fn find(names: &Names, option: &str, name: &str) -> Result<Key> {
    let found = names.find(name);
    found.map_err(|reason| Error::usage_hint(format!("`{option} {name}`: {reason}"), KEYS))
}

/// Sorts them; jobs without a value come last in either direction.
fn sort_by(jobs: &mut Vec<JobReport>, key: &Key, reverse: bool) {
    let mut keyed: Vec<_> = std::mem::take(jobs)
        .into_iter()
        .map(|job| (key.of(&job), job))
        .collect();
    keyed.sort_by(|(left, _), (right, _)| {
        let order = left.sorted(right);
        match reverse && !left.is_missing() && !right.is_missing() {
            true => order.reverse(),
            false => order,
        }
    });
    jobs.extend(keyed.into_iter().map(|(_, job)| job));
}
