//! `early_results.csv`: the series of all that a job announced before its end. The messages to the main
//! process can't keep it: while nobody reads them, a newer one takes the place of an older one.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cu_protocol::{Attempt, Metrics, Timestamp};
use cu_system::files;

use crate::{Error, Result, json_file};

/// The columns.
const COLUMNS: [&str; 5] = ["attempt", "number", "time", "metric", "value"];

/// The longest file that is read. It is longer than [`EarlyResults::MOST_BYTES`] by the last announcement.
const MOST_READ: u64 = EarlyResults::MOST_BYTES + (2 << 20);

/// The series of a job, open for the announcements of one attempt.
#[derive(Debug)]
pub struct EarlyResults {
    path: PathBuf,
    attempt: Attempt,
    announced: u64,
    /// Opened by the first announcement.
    file: Option<File>,
    is_full: bool,
}

impl EarlyResults {
    /// No announcement is added to a file of this length or more: 16 MiB.
    pub const MOST_BYTES: u64 = 16 << 20;

    /// The series at `path`, which is [`RunDir::early_results`](crate::RunDir::early_results) of a job, for
    /// this attempt. Touches nothing until something is announced.
    #[must_use]
    pub fn new(path: PathBuf, attempt: Attempt) -> Self {
        Self {
            path,
            attempt,
            announced: 0,
            file: None,
            is_full: false,
        }
    }

    /// Adds an announcement at its end: one line for each metric. Returns whether the series still goes on:
    /// `false` once, when it has become too long.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn append(&mut self, metrics: &Metrics) -> Result<bool> {
        if self.is_full || metrics.is_empty() {
            return Ok(true);
        }
        match self.try_append(metrics) {
            Ok(is_full) => {
                self.is_full = is_full;
                Ok(!is_full)
            }
            Err(error) => Err(Error::file("write", &self.path)(error)),
        }
    }

    fn try_append(&mut self, metrics: &Metrics) -> std::io::Result<bool> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path)?),
        };
        let length = file.metadata()?.len();
        if length >= Self::MOST_BYTES {
            return Ok(true);
        }
        let mut lines = csv::Writer::from_writer(Vec::new());
        if length == 0 {
            lines.write_record(COLUMNS)?;
        }
        let attempt = self.attempt.to_string();
        let number = self.announced.to_string();
        let time = Timestamp::from(SystemTime::now()).to_string();
        for (name, value) in metrics {
            lines.write_record([&attempt, &number, &time, name, &value.to_string()])?;
        }
        let lines = lines
            .into_inner()
            .map_err(csv::IntoInnerError::into_error)?;
        // In one call, so that a death leaves all of it or nothing, unless the disk is full.
        file.write_all(&lines)?;
        self.announced += 1;
        Ok(false)
    }
}

/// Opens the file to append to it, without the line that a dead node has left incomplete.
fn open(path: &Path) -> std::io::Result<File> {
    let mut options = files::new_file();
    let mut file = files::open_own(path, options.read(true).append(true))?;
    let mut content = Vec::new();
    (&mut file).take(MOST_READ).read_to_end(&mut content)?;
    if !content.is_empty() && !content.ends_with(b"\n") {
        file.set_len(complete(&content) as u64)?;
    }
    Ok(file)
}

/// The length of all lines but the last.
fn complete(content: &[u8]) -> usize {
    let mut length = 0;
    let mut lines = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(content)
        .into_byte_records()
        .flatten();
    // The position of a record is that of its beginning.
    while let Some(begins) = lines.next().as_ref().and_then(csv::ByteRecord::position) {
        length = begins.byte();
    }
    usize::try_from(length).unwrap_or(content.len())
}

/// What a job announced at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The attempt that announced it.
    pub attempt: Attempt,
    /// Its place among the announcements of that attempt, from 0.
    pub number: u64,
    /// When the supervisor heard it, by the clock of its host: `2026-11-24T16:48:32.120Z`.
    pub time: String,
    /// Names and values, as they are in a cell.
    pub metrics: Vec<(String, String)>,
}

/// Reads [`RunDir::early_results`](crate::RunDir::early_results) of a job, in the order of the
/// announcements; nothing if there is no such file. Leaves out lines that are not complete.
///
/// # Errors
/// If it can't be read, or something else than a file lies there.
pub fn read_early_results(path: &Path) -> Result<Vec<Announced>> {
    let content = json_file::content(path, MOST_READ)?.unwrap_or_default();
    let lines = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(&content[..]);
    let mut all: Vec<Announced> = Vec::new();
    for line in lines.into_records().flatten() {
        let cells: Vec<&str> = line.iter().collect();
        let [attempt, number, time, name, value] = cells[..] else {
            continue;
        };
        let (Ok(attempt), Ok(number)) = (attempt.parse(), number.parse()) else {
            continue;
        };
        let metric = (name.to_owned(), value.to_owned());
        match all.last_mut() {
            Some(last) if (last.attempt, last.number) == (attempt, number) => {
                last.metrics.push(metric);
            }
            _ => all.push(Announced {
                attempt,
                number,
                time: time.to_owned(),
                metrics: vec![metric],
            }),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(pairs: &[(&str, f64)]) -> Metrics {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect()
    }

    type Line = (u32, u64, Vec<(String, String)>);

    fn values(path: &Path) -> Vec<Line> {
        let all = read_early_results(path).unwrap().into_iter();
        all.map(|it| (it.attempt.0, it.number, it.metrics))
            .collect()
    }

    #[test]
    fn a_series_goes_on_over_attempts_and_a_torn_line() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("early_results.csv");
        assert_eq!(values(&path), []);
        let mut first = EarlyResults::new(path.clone(), Attempt(0));
        assert!(first.append(&Metrics::new()).unwrap());
        assert!(!path.exists(), "nothing was announced");
        let hard = "a, \"b\"\nc";
        assert!(
            first
                .append(&metrics(&[(hard, f64::NAN), ("loss", 0.5)]))
                .unwrap()
        );
        assert!(first.append(&metrics(&[("loss", 0.25)])).unwrap());
        let whole = std::fs::read(&path).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut expected = vec![
            (0, 0, vec![pair(hard, "NaN"), pair("loss", "0.5")]),
            (0, 1, vec![pair("loss", "0.25")]),
        ];
        assert_eq!(values(&path), expected);
        expected.push((1, 0, vec![pair(hard, "1.0")]));
        // The node of the first attempt dies within a line, also within a cell.
        for torn in [&b""[..], b"0,2,2026", b"0,2,2026,\"a,"] {
            std::fs::write(&path, [&whole, torn].concat()).unwrap();
            let mut second = EarlyResults::new(path.clone(), Attempt(1));
            assert!(second.append(&metrics(&[(hard, 1.0)])).unwrap());
            assert_eq!(values(&path), expected, "{torn:?}");
        }
    }

    #[test]
    fn a_job_that_shouts_fills_no_disk() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("early_results.csv");
        let mut series = EarlyResults::new(path.clone(), Attempt(0));
        let long = Metrics::from([("text".to_owned(), "x".repeat(60_000).into())]);
        let more = (0..1000).filter(|_| series.append(&long).unwrap());
        assert_eq!(more.count(), 999, "only the first beyond the limit is told");
        let length = path.metadata().unwrap().len();
        assert!(length < EarlyResults::MOST_BYTES + 100_000, "{length}");
        assert_eq!(read_early_results(&path).unwrap().len(), 280);
    }
}
