//! All jobs of a run as a table for people, as CSV, and as JSON.

use std::path::Path;

use cu_core::{JobReport, JobState};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::table::{Column, Table};
use super::{limit, summary};
use crate::error::{Error, Result};
use crate::select::{Key, Names, Value};
use crate::text::moment::iso;

/// The version of the JSON.
const VERSION: u32 = 1;
/// Cells that may be long are cut to this width before a column is left out.
const LEAST: usize = 12;

/// The columns of the table unless others are chosen: the settings that differ, what the jobs reached, and
/// when and where.
pub fn usual_columns(names: &Names) -> Vec<Key> {
    let settings = names.settings.iter().cloned().map(Key::Setting);
    let metrics = names.metrics.iter().cloned().map(Key::Metric);
    [Key::Job, Key::State]
        .into_iter()
        .chain(settings)
        .chain([Key::Attempts, Key::Done])
        .chain(metrics)
        .chain([Key::RunTime, Key::Host, Key::Started, Key::Ended])
        .collect()
}

/// The table with colours, for a terminal of this width or for a pipe.
pub fn table(jobs: &[JobReport], columns: &[Key], width: Option<usize>) -> String {
    let cells: Vec<Vec<Value>> = jobs
        .iter()
        .map(|job| columns.iter().map(|key| shown(key, job)).collect())
        .collect();
    let column = |(place, key): (usize, &Key)| {
        let mut values = cells.iter().map(|row| &row[place]);
        let is_number = values.all(|value| value.is_number() || value.is_missing());
        let name = heading(key, columns);
        match (is_number, key) {
            (true, _) => Column::number(name),
            (false, Key::State) => Column::state(name),
            (false, Key::Submitted | Key::Started | Key::Ended) => Column::new(name),
            (false, _) => Column::new(name).at_least(LEAST),
        }
    };
    let mut table = Table::new(columns.iter().enumerate().map(column).collect());
    for row in &cells {
        table.add_row(row.iter().map(Value::shown));
    }
    table.text(width)
}

/// The value of a key for people, who know of pausing.
fn shown(key: &Key, job: &JobReport) -> Value {
    match key {
        Key::State => Value::Text(summary::shown_state(job).to_owned()),
        key => cell(key, job),
    }
}

/// The name of a column: without `settings.` or `metrics.`, if no other one has that name then.
pub fn heading(key: &Key, columns: &[Key]) -> String {
    let short = |key: &Key| match key {
        Key::Setting(name) | Key::Metric(name) => name.clone(),
        key => key.name(),
    };
    let name = short(key);
    match columns.iter().filter(|other| short(other) == name).count() {
        0 | 1 => name,
        _ => key.name(),
    }
}

/// The value of a key, the reason with the key of the config that decided it.
pub fn cell(key: &Key, job: &JobReport) -> Value {
    match key {
        Key::Why => Value::Sentence(limit::written_why(job)),
        key => key.of(job),
    }
}

/// The jobs as CSV: each cell as a program reads it, times in seconds.
///
/// # Errors
/// If the table can't be put together.
pub fn csv(jobs: &[JobReport], columns: &[Key]) -> Result<Vec<u8>> {
    let table = || {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(columns.iter().map(Key::name))?;
        for job in jobs {
            writer.write_record(columns.iter().map(|key| cell(key, job).written()))?;
        }
        writer
            .into_inner()
            .map_err(|error| csv::Error::from(error.into_error()))
    };
    table().map_err(Error::internal("write CSV"))
}

/// `cu jobs --json`. The names are stable; more may be added.
#[derive(Debug, Serialize)]
pub struct JobsJson<'a> {
    version: u32,
    run_dir: &'a Path,
    jobs: Vec<JobRow<'a>>,
}

#[derive(Debug, Serialize)]
struct JobRow<'a> {
    job: u32,
    state: JobState,
    parameters: &'a Map<String, Json>,
    metrics: &'a cu_protocol::Metrics,
    fraction: Option<f64>,
    attempts: usize,
    run_seconds: Option<f64>,
    queue_seconds: Option<f64>,
    submitted: Option<String>,
    started: Option<String>,
    ended: Option<String>,
    host: Option<&'a str>,
    cluster_job_id: Option<&'a str>,
    end: Option<cu_core::AttemptEnd>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    why: String,
    output_dir: &'a Path,
}

impl<'a> JobsJson<'a> {
    /// These jobs of the run in `run_dir`.
    pub fn new(run_dir: &'a Path, jobs: &'a [JobReport]) -> Self {
        Self {
            version: VERSION,
            run_dir,
            jobs: jobs.iter().map(JobRow::from).collect(),
        }
    }
}

impl<'a> From<&'a JobReport> for JobRow<'a> {
    fn from(job: &'a JobReport) -> Self {
        let seconds = |key: Key| match key.of(job) {
            Value::Time(time) => Some(time.as_secs_f64()),
            _ => None,
        };
        let moment = |key: Key| match key.of(job) {
            Value::Moment(moment) => Some(iso(moment)),
            _ => None,
        };
        let last = job.attempts.last();
        Self {
            job: job.job.0,
            state: job.state,
            parameters: &job.parameters,
            metrics: &job.metrics,
            fraction: job.fraction,
            attempts: job.attempts.len(),
            run_seconds: seconds(Key::RunTime),
            queue_seconds: seconds(Key::QueueTime),
            submitted: moment(Key::Submitted),
            started: moment(Key::Started),
            ended: moment(Key::Ended),
            host: last.and_then(|last| last.host.as_deref()),
            cluster_job_id: last.and_then(|last| last.cluster_job_id.as_deref()),
            end: last.and_then(|last| last.end),
            exit_code: last.and_then(|last| last.exit_code),
            signal: last.and_then(|last| last.signal),
            why: limit::written_why(job),
            output_dir: &job.output_dir,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::moment::local;
    use crate::view::summary::tests::report;
    use cu_protocol::Timestamp;
    use serde_json::json;

    fn jobs() -> Vec<JobReport> {
        let mut jobs = vec![
            report(0, JobState::Completed, 2),
            report(1, JobState::Waiting, 0),
        ];
        jobs[0].parameters.insert("opt.lr".to_owned(), json!(1e-3));
        jobs[1]
            .parameters
            .insert("opt.lr".to_owned(), json!("auto"));
        jobs[1].metrics.clear();
        jobs
    }

    #[test]
    fn the_table_has_what_tells_the_jobs_apart() {
        let jobs = jobs();
        let columns = usual_columns(&Names::of(&jobs));
        let plain =
            |width| anstream::adapter::strip_str(&table(&jobs, &columns, width)).to_string();
        let text = plain(None);
        let [started, ended] = [0, 61_000].map(|millis| local(Timestamp::from_millis(millis)));
        let expected = format!(
            "job state opt.lr attempts done test_accuracy run_time host started ended
             0 completed 0.001 2 0.923 2 min 2 s node1 {started} {ended}
             1 waiting auto 0"
        );
        let squeezed = |text: &str| {
            let lines = text.lines();
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            lines.map(words).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&text), squeezed(&expected));
        let narrow = plain(Some(40));
        assert!(
            narrow.lines().next().expect("a line").len() <= 40,
            "{narrow}"
        );
        let narrow = narrow.replace('\n', " ");
        assert!(
            narrow.contains(" not shown, for lack of width: "),
            "{narrow}"
        );
        assert!(narrow.ends_with(" started, ended"), "{narrow}");
    }

    #[test]
    fn csv_holds_each_value_as_a_program_reads_it() {
        let mut jobs = jobs();
        jobs[1].why = "it waits, \"politely\"".to_owned();
        let lr = Key::Setting("opt.lr".to_owned());
        let text = csv(&jobs, &[Key::Job, lr, Key::RunTime, Key::Why]).expect("CSV");
        let expected = "job,settings.opt.lr,run_time,why\n\
                        0,0.001,122,Attempt 0 ended with exit code 1.\n\
                        1,auto,,\"it waits, \"\"politely\"\"\"\n";
        assert_eq!(String::from_utf8(text).expect("UTF-8"), expected);
    }

    #[test]
    fn the_names_in_json_stay() {
        let jobs = jobs();
        let value = serde_json::to_value(JobsJson::new(Path::new("/results/a"), &jobs));
        let mut value = value.expect("JSON");
        value["jobs"][0]["why"] = json!("");
        let expected = json!({
            "job": 0, "state": "completed", "parameters": {"opt.lr": 0.001},
            "metrics": {"test_accuracy": 0.923}, "fraction": null, "attempts": 2,
            "run_seconds": 122.0, "queue_seconds": 0.0,
            "submitted": "1970-01-01T00:00:00.000Z", "started": "1970-01-01T00:00:00.000Z",
            "ended": "1970-01-01T00:01:01.000Z", "host": "node1", "cluster_job_id": "local-1",
            "end": "resume_requested", "exit_code": 3, "signal": null, "why": "",
            "output_dir": "/results/digits/working_directories/0",
        });
        assert_eq!(value["jobs"][0], expected);
        assert_eq!(value["version"], 1);
        assert_eq!(value["run_dir"], "/results/a");
        assert_eq!(value["jobs"][1]["run_seconds"], json!(null));
    }
}
