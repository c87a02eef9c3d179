//! `all_data.csv`: the settings in which the jobs differ and what they measured, one row a job.

use std::collections::BTreeSet;

use cu_protocol::MetricValue;

use crate::{Error, JobReport, JobState, Result, RunDir, create};

/// Writes the table of all completed jobs.
pub(crate) fn write_all_data(run_dir: &RunDir, jobs: &[JobReport]) -> Result<()> {
    let path = run_dir.all_data();
    let table = table(jobs).map_err(|error| Error::file("write", &path)(error.into()))?;
    create::replace(&path, &table)
}

fn table(jobs: &[JobReport]) -> Result<Vec<u8>, csv::Error> {
    let completed = || jobs.iter().filter(|job| job.state == JobState::Completed);
    let parameters: BTreeSet<&String> = completed().flat_map(|job| job.parameters.keys()).collect();
    let metrics: BTreeSet<&String> = completed().flat_map(|job| job.metrics.keys()).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["job"];
    header.extend(parameters.iter().chain(&metrics).map(|name| name.as_str()));
    writer.write_record(&header)?;
    for job in completed() {
        let mut row = vec![job.job.to_string()];
        row.extend(
            parameters
                .iter()
                .map(|name| match job.parameters.get(*name) {
                    Some(serde_json::Value::String(text)) => text.clone(),
                    Some(value) => value.to_string(),
                    None => String::new(),
                }),
        );
        row.extend(metrics.iter().map(|name| cell(job.metrics.get(*name))));
        writer.write_record(&row)?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

fn cell(value: Option<&MetricValue>) -> String {
    match value {
        None | Some(MetricValue::Null) => String::new(),
        Some(MetricValue::Boolean(value)) => value.to_string(),
        Some(MetricValue::Integer(value)) => value.to_string(),
        Some(MetricValue::Float(value)) => format!("{value:?}"),
        Some(MetricValue::Text(text)) => text.clone(),
    }
}
