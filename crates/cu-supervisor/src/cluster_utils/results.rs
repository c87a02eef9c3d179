//! The results of a program, from the `metrics.csv` that its client writes at the end.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cu_protocol::{MetricValue, Metrics};
use cu_system::files;

/// The longest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// `metrics.csv` as an attempt has found it. The client writes it in place, and an earlier attempt may have
/// left one.
#[derive(Debug)]
pub(super) struct ResultsFile {
    path: PathBuf,
    before: Option<Version>,
}

/// Changes whenever a file is written. No program can set the time of the last change of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    changed: (i64, i64),
    length: u64,
}

impl Version {
    fn of(found: &Metadata) -> Self {
        Self {
            inode: found.ino(),
            changed: (found.ctime(), found.ctime_nsec()),
            length: found.len(),
        }
    }
}

impl ResultsFile {
    /// The one in this directory, before the program starts.
    pub fn in_directory(directory: &Path) -> Self {
        let path = directory.join("metrics.csv");
        let before = path.metadata().ok().map(|found| Version::of(&found));
        Self { path, before }
    }

    /// What the program has written there since then; `None` if it has not.
    ///
    /// # Errors
    /// If it is not complete. The text is a sentence.
    pub fn read(&self) -> Result<Option<Metrics>, String> {
        let shown = self.path.display();
        let now = match self.path.metadata() {
            Ok(found) => Version::of(&found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("the results in {shown} can't be read: {error}")),
        };
        if self.before == Some(now) {
            return Ok(None);
        }
        let content = files::read(&self.path, MOST_BYTES);
        let content =
            content.map_err(|error| format!("the results in {shown} can't be read: {error}"))?;
        match parse(&content) {
            Some(metrics) => Ok(Some(metrics)),
            None => Err(format!(
                "the results in {shown} are not complete: a line of names and a line of values are expected"
            )),
        }
    }
}

fn parse(content: &[u8]) -> Option<Metrics> {
    let mut lines = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(content)
        .into_records();
    let names = lines.next()?.ok()?;
    let values = lines.next()?.ok()?;
    if lines.next().is_some() || !content.ends_with(b"\n") {
        return None;
    }
    let pairs = names.iter().zip(&values);
    Some(
        pairs
            .map(|(name, text)| (name.to_owned(), value(text)))
            .collect(),
    )
}

/// The value that Python has written so.
fn value(text: &str) -> MetricValue {
    match text {
        "" => return MetricValue::Null,
        "True" => return true.into(),
        "False" => return false.into(),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    // Rust also reads `infinity`, which Python never writes.
    let is_number =
        text.bytes().any(|byte| byte.is_ascii_digit()) || matches!(text, "nan" | "inf" | "-inf");
    match text.parse::<f64>() {
        Ok(number) if is_number => number.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_count_if_this_attempt_wrote_them_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("metrics.csv");
        let file = ResultsFile::in_directory(scratch.path());
        assert_eq!(file.read(), Ok(None));
        std::fs::write(
            &path,
            "a,b c,d,e,f,g\r\n1,0.5,True,\"x, \"\"y\"\"\",nan,\r\n",
        )
        .unwrap();
        let expected: [(&str, MetricValue); 6] = [
            ("a", 1.into()),
            ("b c", 0.5.into()),
            ("d", true.into()),
            ("e", "x, \"y\"".into()),
            ("f", f64::NAN.into()),
            ("g", MetricValue::Null),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(file.read(), Ok(Some(expected.into())));
        // The next attempt finds it there.
        let file = ResultsFile::in_directory(scratch.path());
        assert_eq!(file.read(), Ok(None));
        // Killed while it writes.
        for torn in ["a,b\r\n", "a,b\r\n1\r\n", "a,b\r\n1,2", "a,b\r\n1,\"", ""] {
            std::fs::write(&path, torn).unwrap();
            assert!(file.read().is_err(), "{torn:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.read(), Ok(None));
        assert_eq!(value("infinity"), "infinity".into());
        assert_eq!(
            value("12345678901234567890"),
            12_345_678_901_234_567_890.0.into()
        );
    }
}
