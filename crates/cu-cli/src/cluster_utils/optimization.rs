//! The result files that an optimisation of cluster_utils has, with their columns: `all_data.csv` and
//! `reduced_data.csv`.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use cu_core::{JobReport, RunDir};
use cu_optimize::{Event, Outcome, Study};
use cu_protocol::MetricValue;
use serde_json::Value;

use super::cells::{replace, settings_of};
use super::python;
use crate::config::Wanted;
use crate::error::{Error, Result};
use crate::optimize::best::ranked;

/// Writes both tables.
///
/// # Errors
/// If a file can't be written.
pub fn write(run: &RunDir, wanted: &Wanted, jobs: &[JobReport]) -> Result<()> {
    let ranked = ranked(wanted, jobs);
    let all = all_data(run, wanted, &ranked).map_err(Error::internal("write CSV"))?;
    replace(&run.all_data(), &all)?;
    let reduced = reduced_data(wanted, &ranked).map_err(Error::internal("write CSV"))?;
    replace(&run.path().join("reduced_data.csv"), &reduced)
}

/// One row per job, best first, with all columns in the order of their names.
fn all_data(
    run: &RunDir,
    wanted: &Wanted,
    ranked: &[(&JobReport, f64)],
) -> Result<Vec<u8>, csv::Error> {
    let ended = |job: &JobReport| job.attempts.last().and_then(|attempt| attempt.ended);
    let mut in_time: Vec<_> = ranked
        .iter()
        .map(|(job, _)| (ended(job), job.job))
        .collect();
    in_time.sort();
    let mut rows = Vec::new();
    for (job, _) in ranked {
        let mut cells = settings_of(run, job);
        let place = in_time.iter().position(|(_, id)| *id == job.job);
        let iteration = place.unwrap_or_default() / wanted.at_once as usize + 1;
        cells.push(("_iteration".to_owned(), iteration.to_string()));
        let metrics = job.metrics.iter();
        cells.extend(metrics.map(|(name, value)| (name.clone(), measured(value))));
        rows.push(cells);
    }
    let columns: BTreeSet<&String> = rows.iter().flatten().map(|(name, _)| name).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    if !rows.is_empty() {
        // Pandas has an index without a name.
        writer.write_record([&String::new()].into_iter().chain(columns.iter().copied()))?;
    }
    for (number, cells) in rows.iter().enumerate() {
        let cell = |name: &&String| {
            let found = cells.iter().find(|(it, _)| it == *name);
            found.map(|(_, cell)| cell.clone()).unwrap_or_default()
        };
        let cells = columns.iter().map(cell);
        writer.write_record([number.to_string()].into_iter().chain(cells))?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

/// One row per combination of values, best first. The index is its place among all, sorted by the values.
fn reduced_data(wanted: &Wanted, ranked: &[(&JobReport, f64)]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let Some((first, _)) = ranked.first() else {
        return Ok(Vec::new());
    };
    let names: Vec<&String> = first.parameters.keys().collect();
    let mut study = wanted.study();
    let mut in_order: Vec<_> = ranked.iter().collect();
    in_order.sort_by_key(|(job, _)| job.job);
    for (job, value) in in_order {
        // A parameter that the space does not have was edited; the row is then missing.
        let _ = told(&mut study, job, *value);
    }
    let rows = study.table();
    let mut sorted: Vec<_> = rows.iter().map(|row| &row.values).collect();
    let order = |one: &Value, other: &Value| match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        _ => one.to_string().cmp(&other.to_string()),
    };
    sorted.sort_by(|one, other| {
        let each = names.iter().map(|name| order(&one[*name], &other[*name]));
        each.fold(Ordering::Equal, Ordering::then)
    });
    let mut header = vec![String::new()];
    header.extend(names.iter().map(|name| (*name).clone()));
    header.extend([
        wanted.metric.clone(),
        "job_restarts".to_owned(),
        format!("{}__std", wanted.metric),
    ]);
    writer.write_record(&header)?;
    for row in &rows {
        let place = sorted.iter().position(|values| **values == row.values);
        let mut cells = vec![place.unwrap_or_default().to_string()];
        cells.extend(names.iter().map(|name| python::cell(&row.values[*name])));
        cells.push(python::cell(&row.value.into()));
        cells.push(row.trials.len().to_string());
        let deviation = row.standard_error.map(|it| python::cell(&it.into()));
        cells.push(deviation.unwrap_or_default());
        writer.write_record(&cells)?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

fn told(study: &mut Study, job: &JobReport, value: f64) -> cu_optimize::Result<()> {
    let trial = study.trials().len();
    let values = job.parameters.clone().into_iter().collect();
    study.record(Event::Asked(values))?;
    let outcome = Outcome::Value(value);
    study.record(Event::Told { trial, outcome })
}

fn measured(value: &MetricValue) -> String {
    match value {
        MetricValue::Null => String::new(),
        MetricValue::Boolean(truth) => python::cell(&(*truth).into()),
        MetricValue::Integer(number) => number.to_string(),
        // Pandas leaves what is not a number empty.
        MetricValue::Float(number) if number.is_nan() => String::new(),
        MetricValue::Float(number) if number.is_infinite() => match number.is_sign_positive() {
            true => "inf".to_owned(),
            false => "-inf".to_owned(),
        },
        MetricValue::Float(number) => python::cell(&(*number).into()),
        MetricValue::Text(text) => text.clone(),
    }
}
