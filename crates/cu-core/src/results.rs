//! Writes `all_data.csv`: the settings in which the jobs differ and their metrics, one row per job. Each
//! row has all columns, each with a name of its own; a metric that a job did not measure is empty.
//!
//! A cell holds exactly its value, as in `metrics.csv` and `param_choice.csv`, because programs read these
//! files. So a text that begins like a formula gets no prefix, although a spreadsheet evaluates it unless
//! the column is imported as text, and no control character is replaced. `cu show` is for people.

use std::collections::BTreeSet;
use std::path::Path;

use cu_protocol::MetricValue;

use crate::{Error, JobReport, JobState, Reader, Result, RunDir};

/// Writes the table of all completed jobs. The store is closed before: file descriptors may be scarce.
pub(crate) fn write_all_data(run_dir: &RunDir, reader: Reader) -> Result<()> {
    let path = run_dir.all_data();
    let table = all_data(&path, &reader)?;
    drop(reader);
    Ok(cu_run_dir::replace(&path, &table)?)
}

/// Reads the jobs twice, since there may be too many for memory.
fn all_data(path: &Path, reader: &Reader) -> Result<Vec<u8>> {
    let mut columns = Columns::default();
    reader.each_without_attempts(&mut |job| columns.add(&job))?;
    let failed = |error: csv::Error| Error::file("write", path)(error.into());
    let mut table = Table::new(columns).map_err(failed)?;
    let mut written = Ok(());
    reader.each_without_attempts(&mut |job| {
        if written.is_ok() {
            written = table.add(&job);
        }
    })?;
    written.and_then(|()| table.finish()).map_err(failed)
}

/// The names of what the completed jobs have.
#[derive(Debug, Default)]
struct Columns {
    parameters: BTreeSet<String>,
    metrics: BTreeSet<String>,
}

impl Columns {
    fn add(&mut self, job: &JobReport) {
        if job.state == JobState::Completed {
            add_names(&mut self.parameters, job.parameters.keys());
            add_names(&mut self.metrics, job.metrics.keys());
        }
    }
}

fn add_names<'a>(all: &mut BTreeSet<String>, names: impl Iterator<Item = &'a String>) {
    for name in names {
        if !all.contains(name) {
            all.insert(name.clone());
        }
    }
}

/// A row for each completed job.
struct Table {
    columns: Columns,
    writer: csv::Writer<Vec<u8>>,
}

impl Table {
    fn new(columns: Columns) -> Result<Self, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header = vec!["job".to_owned()];
        let named = columns.parameters.iter().map(|name| ("settings", name));
        for (kind, name) in named.chain(columns.metrics.iter().map(|name| ("metrics", name))) {
            let column = column(&header, kind, name);
            header.push(column);
        }
        writer.write_record(&header)?;
        Ok(Self { columns, writer })
    }

    fn add(&mut self, job: &JobReport) -> Result<(), csv::Error> {
        if job.state != JobState::Completed {
            return Ok(());
        }
        let mut row = vec![job.job.to_string()];
        let parameters = self.columns.parameters.iter();
        row.extend(parameters.map(|name| match job.parameters.get(name) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }));
        let metrics = self.columns.metrics.iter();
        row.extend(metrics.map(|name| cell(job.metrics.get(name))));
        self.writer.write_record(&row)
    }

    fn finish(self) -> Result<Vec<u8>, csv::Error> {
        let whole = self.writer.into_inner();
        whole.map_err(|error| error.into_error().into())
    }
}

/// The column of a setting or metric: its name, with a prefix if another column has that name.
fn column(taken: &[String], kind: &str, name: &str) -> String {
    let mut column = name.to_owned();
    while taken.contains(&column) {
        column = format!("{kind}.{column}");
    }
    column
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

#[cfg(test)]
mod tests {
    use cu_protocol::{JobId, Metrics};
    use serde_json::json;

    use super::*;

    fn table(jobs: &[JobReport]) -> Result<Vec<u8>, csv::Error> {
        let mut columns = Columns::default();
        jobs.iter().for_each(|job| columns.add(job));
        let mut table = Table::new(columns)?;
        jobs.iter().try_for_each(|job| table.add(job))?;
        table.finish()
    }

    fn completed(job: u32, x: u32, metrics: &[(&str, MetricValue)]) -> JobReport {
        let metrics = metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        JobReport {
            job: JobId(job),
            state: JobState::Completed,
            output_dir: "/results/a/working_directories/0".into(),
            parameters: [("x".to_owned(), json!(x))].into_iter().collect(),
            metrics: metrics.collect::<Metrics>(),
            fraction: None,
            why: String::new(),
            limit: None,
            paused: false,
            attempts: Vec::new(),
        }
    }

    #[test]
    fn each_cell_comes_back_as_it_was_measured() {
        let texts = [
            "=1+1",
            "+1",
            "-x",
            "@a",
            "\u{1b}[2J",
            "a\r\nb",
            "\tb",
            "'c",
            "\u{202e}d",
            " e ",
        ];
        for text in texts {
            let metrics = [("text", MetricValue::Text(text.to_owned()))];
            let table = table(&[completed(0, 1, &metrics)]).expect("a table");
            let mut reader = csv::Reader::from_reader(&table[..]);
            let row = reader.records().next().expect("a row").expect("it is one");
            assert_eq!(row.iter().collect::<Vec<_>>(), ["0", "1", text]);
        }
        let numbers = [
            ("a", MetricValue::Float(-1.5)),
            ("b", MetricValue::Integer(-3)),
        ];
        let table = table(&[completed(0, 1, &numbers)]).expect("a table");
        assert_eq!(String::from_utf8_lossy(&table), "job,x,a,b\n0,1,-1.5,-3\n");
    }

    #[test]
    fn columns_with_equal_names_stay_apart() {
        let text = |text: &str| MetricValue::Text(text.to_owned());
        let jobs = [
            completed(
                0,
                1,
                &[
                    ("loss", MetricValue::Float(0.5)),
                    ("x", MetricValue::Integer(9)),
                ],
            ),
            completed(
                1,
                2,
                &[("job", text("a, b")), ("rate", MetricValue::Boolean(true))],
            ),
            completed(2, 3, &[]),
        ];
        let table = table(&jobs).expect("a table");
        let expected = "job,x,metrics.job,loss,rate,metrics.x\n\
                        0,1,,0.5,,9\n\
                        1,2,\"a, b\",,true,\n\
                        2,3,,,,\n";
        assert_eq!(String::from_utf8_lossy(&table), expected);
    }
}
