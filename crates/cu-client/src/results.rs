//! Writes the files of a finished job: `settings.json`, `param_choice.csv`, `metrics.csv`.
//!
//! The tables have a header line and one line of values, with dotted names for nested values, in
//! the order of the names. Each file appears as a whole, `metrics.csv` last: once it is there, all
//! are.

use std::path::Path;

use cu_protocol::Metrics;

use crate::settings::Source;
use crate::tree::Tree;
use crate::{Result, python_text};

/// Writes the three files into `directory`.
///
/// Does not write `settings.json` if the settings were read from that very file.
pub(crate) fn write(directory: &Path, source: &Source, metrics: &Metrics) -> Result<()> {
    let settings = Tree::of(&source.settings).expect("all keys of JSON are names");
    let settings_file = directory.join("settings.json");
    if !is_same_file(source.file.as_deref(), &settings_file) {
        cu_checkpoint::atomic_write(&settings_file, python_text::json(&settings))?;
    }
    let choice = settings.flattened().unwrap_or_default();
    let choice = python_text::one_line_csv(&choice);
    cu_checkpoint::atomic_write(directory.join("param_choice.csv"), choice)?;

    let cells = metrics
        .iter()
        .map(|(name, value)| (name.clone(), Tree::of_metric(value)));
    let metrics = python_text::one_line_csv(&cells.collect());
    cu_checkpoint::atomic_write(directory.join("metrics.csv"), metrics)?;
    Ok(())
}

fn is_same_file(file: Option<&Path>, other: &Path) -> bool {
    file.and_then(|file| file.canonicalize().ok())
        .is_some_and(|file| other.canonicalize().is_ok_and(|other| other == file))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use cu_protocol::MetricValue;

    use super::*;

    fn settings(directory: &Path, json: &str) -> Source {
        let path = directory.join("given.json");
        std::fs::write(&path, json).unwrap();
        Source::read(&path).unwrap()
    }

    fn read(directory: &Path, name: &str) -> String {
        std::fs::read_to_string(directory.join(name)).unwrap()
    }

    #[test]
    fn the_files_are_as_python_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let source = settings(
            directory.path(),
            r#"{"seed": 1, "b": {"rate": 1e-5, "on": true}, "a": ["x", 1.0], "name": "ü, \"v\"", "no": null}"#,
        );
        let metrics = Metrics::from([
            ("loss".to_owned(), MetricValue::Float(f64::NAN)),
            ("accuracy".to_owned(), MetricValue::Float(0.925)),
        ]);
        write(directory.path(), &source, &metrics).unwrap();
        assert_eq!(
            read(directory.path(), "metrics.csv"),
            "accuracy,loss\r\n0.925,nan\r\n"
        );
        assert_eq!(
            read(directory.path(), "param_choice.csv"),
            "a,b.on,b.rate,name,no,seed\r\n\"['x', 1.0]\",True,1e-05,\"ü, \"\"v\"\"\",,1\r\n"
        );
        assert_eq!(
            read(directory.path(), "settings.json"),
            r#"{
    "a": [
        "x",
        1.0
    ],
    "b": {
        "on": true,
        "rate": 1e-05
    },
    "name": "\u00fc, \"v\"",
    "no": null,
    "seed": 1
}"#
        );
    }

    #[test]
    fn the_file_that_the_settings_come_from_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let given = directory.path().join("settings.json");
        std::fs::write(&given, "{ \"seed\":1 }\n").unwrap();
        let source = Source::read(&given).unwrap();
        write(directory.path(), &source, &Metrics::new()).unwrap();
        assert_eq!(read(directory.path(), "settings.json"), "{ \"seed\":1 }\n");
        assert_eq!(read(directory.path(), "param_choice.csv"), "seed\r\n1\r\n");
    }

    #[test]
    fn a_reader_never_sees_half_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let source = settings(directory.path(), "{}");
        let metrics = ["a", "bb"].map(|digit| {
            let text = MetricValue::Text(digit.repeat(100_000));
            Metrics::from([("text".to_owned(), text)])
        });
        write(directory.path(), &source, &metrics[0]).unwrap();
        // The word `text`, the line, and two line ends.
        let whole = [100_000, 200_000].map(|line| "text".len() + line + 4);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let length = read(directory.path(), "metrics.csv").len();
                    assert!(whole.contains(&length), "{length} bytes");
                }
            });
            for round in 0..60 {
                write(directory.path(), &source, &metrics[round % 2]).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let source = settings(directory.path(), "{}");
        let in_the_way = directory.path().join("metrics.csv");
        std::fs::create_dir(&in_the_way).unwrap();
        let error = write(directory.path(), &source, &Metrics::new()).unwrap_err();
        assert!(error.to_string().contains("metrics.csv"), "{error}");
        let names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");
    }
}
