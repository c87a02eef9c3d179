//! `exit.json`: how the attempt ended, as its supervisor saw it. Written once, before anybody is told.

use std::fs::OpenOptions;
use std::path::Path;

use cu_protocol::ExitRecord;
use cu_system::files;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, json_file};

/// The version of the file that this crate writes.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(flatten)]
    record: ExitRecord,
}

/// How an attempt ended, read from [`RunDir::exit_record`](crate::RunDir::exit_record); `None` if
/// that was not written: the attempt still runs, or its supervisor died.
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// use cu_run_dir::read_exit_record;
///
/// assert_eq!(read_exit_record(&scratch.path().join("exit.json"))?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the file is there and can't be read, or is damaged or of a newer version.
pub fn read_exit_record(path: &Path) -> Result<Option<ExitRecord>> {
    Ok(json_file::read::<File>(path, VERSION)?.map(|file| file.record))
}

/// Writes the record so that it survives the death of any process.
///
/// # Errors
/// [`Error::File`].
pub fn write_exit_record(path: &Path, record: &ExitRecord) -> Result<()> {
    let file = File {
        version: VERSION,
        record: record.clone(),
    };
    json_file::write_quickly(path, &file)
}

/// Makes a record that was written survive a power failure. Not needed once the main process has
/// acknowledged the same record, and on a file system with a disk it costs more than all else.
///
/// # Errors
/// [`Error::File`].
pub fn sync_exit_record(path: &Path) -> Result<()> {
    let record = files::open(path, OpenOptions::new().read(true));
    record
        .and_then(|record| record.sync_all())
        .map_err(Error::file("sync", path))?;
    path.parent().map_or(Ok(()), |directory| {
        let sync = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
        sync.map_err(Error::file("sync", directory))
    })
}

#[cfg(test)]
mod tests {
    use cu_protocol::{
        Attempt, CheckpointId, Condition, OutputChange, ProgramEnd, StopCause, Timestamp,
    };
    use proptest::prelude::*;

    use super::*;

    /// Written by the first version; later ones must still read it.
    const FIRST: &str = r#"{"version":1,"end":{"signaled":9},"stop":{"signal":10},"host":"node1",
        "started":1000,"ended":2500,"peak_memory_bytes":1048576,
        "checkpoint":{"attempt":3,"counter":7},"output_changed":true}"#;

    fn record(end: ProgramEnd) -> ExitRecord {
        ExitRecord {
            end,
            stop: Some(StopCause::Signal(10)),
            host: "node1".to_owned(),
            started: Some(Timestamp::from_millis(1000)),
            ended: Timestamp::from_millis(2500),
            peak_memory_bytes: Some(1_048_576),
            checkpoint: Some(CheckpointId {
                attempt: Attempt(3),
                counter: 7,
            }),
            output_changed: OutputChange::Changed,
            condition: None,
            noticed: cu_protocol::Noticed::default(),
        }
    }

    #[test]
    fn the_first_version_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exit.json");
        std::fs::write(&path, FIRST).unwrap();
        assert_eq!(
            read_exit_record(&path).unwrap(),
            Some(record(ProgramEnd::Signaled(9)))
        );
    }

    #[test]
    fn a_newer_version_and_a_damaged_file_are_errors_that_name_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exit.json");
        for (content, expected) in [
            (FIRST.replace("\"version\":1", "\"version\":2"), "version 2"),
            (FIRST[..50].to_owned(), "EOF"),
            (String::new(), "EOF"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = read_exit_record(&path).unwrap_err().to_string();
            assert!(
                error.contains("exit.json") && error.contains(expected),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_record_written_is_read_back(code: i32, text in ".*") {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("exit.json");
            let mut unknown = record(ProgramEnd::Exited(code));
            unknown.output_changed = OutputChange::Unknown(text.clone());
            let mut not_met = record(ProgramEnd::Exited(code));
            not_met.condition = Some(Condition::NotMet(text.clone()));
            for record in [record(ProgramEnd::NotStarted(text)), unknown, not_met] {
                write_exit_record(&path, &record).unwrap();
                sync_exit_record(&path).unwrap();
                prop_assert_eq!(read_exit_record(&path).unwrap(), Some(record));
            }
        }
    }
}
