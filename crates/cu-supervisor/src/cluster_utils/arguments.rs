//! The arguments with which the client of cluster_utils starts a program, in its order.

use std::path::Path;

use cu_protocol::JobId;
use cu_system::files;
use serde_json::{Map, Value};

/// The longest argument that Linux passes on, its end included: 128 KiB. The kernel's limit for all
/// arguments together is far above that.
const LONGEST: usize = 128 * 1024;
/// The longest settings that are read.
const MOST_BYTES: u64 = 16 << 20;

/// The arguments for a job with the settings in a file. What is too long for an argument goes to the file
/// `beside`.
///
/// # Errors
/// If the settings can't be read, or the file can't be written.
pub(super) fn arguments(
    job: JobId,
    port: u16,
    settings: &Path,
    output_dir: &Path,
    beside: &Path,
) -> std::io::Result<Vec<String>> {
    let settings = files::read(settings, MOST_BYTES)?;
    let mut settings: Map<String, Value> = serde_json::from_slice(&settings)?;
    let output_dir = output_dir.to_string_lossy().into_owned();
    settings.insert("working_dir".to_owned(), output_dir.into());
    settings.insert("id".to_owned(), job.0.into());
    let mut arguments = vec![
        format!("--job-id={job}"),
        format!("--cluster-utils-server=127.0.0.1:{port}"),
    ];
    let dict = python_dict(&settings);
    if dict.len() < LONGEST {
        arguments.extend(["--parameter-dict".to_owned(), dict]);
    } else {
        // Its name must not be that of the file which the client writes itself.
        files::write_own(beside, &serde_json::to_vec(&settings)?)?;
        arguments.push(beside.to_string_lossy().into_owned());
    }
    Ok(arguments)
}

/// A literal of Python's, for `ast.literal_eval`.
fn python_dict(settings: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_dict(&mut text, settings);
    text
}

fn write_dict(text: &mut String, pairs: &Map<String, Value>) {
    text.push('{');
    for (number, (name, value)) in pairs.iter().enumerate() {
        if number > 0 {
            text.push_str(", ");
        }
        // What JSON escapes in a text, Python reads in the same way.
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push_str(": ");
        write_value(text, value);
    }
    text.push('}');
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
        Value::Array(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push_str(", ");
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(pairs) => write_dict(text, pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_reads_the_dict_as_json_reads_the_settings() {
        let settings = serde_json::json!({
            "a'b\"": "it's \\ \"quoted\"\n\t\u{0}\u{1f}\u{7f} ä 😀 {x} $HOME",
            "none": null, "on": true, "off": [false, [], {}], "deep": {"er": {"x": -1e-7}},
            "big": u64::MAX, "whole": 1e16, "zero": -0.0,
        });
        let Value::Object(settings) = settings else {
            unreachable!("it is one");
        };
        let program = "import ast, json, sys; print(json.dumps(ast.literal_eval(sys.argv[1])))";
        let mut python = std::process::Command::new("python3");
        let output = python.args(["-c", program, &python_dict(&settings)]);
        let output = output.output().expect("python3");
        assert!(output.status.success(), "{output:?}");
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(read, Value::Object(settings));
    }

    #[test]
    fn settings_that_are_too_long_for_an_argument_go_to_a_file() {
        let scratch = tempfile::tempdir().unwrap();
        let [settings, beside] = ["settings.json", "x.json"].map(|it| scratch.path().join(it));
        let of = |length: usize| {
            std::fs::write(&settings, format!("{{\"x\": \"{}\"}}", "x".repeat(length))).unwrap();
            arguments(JobId(7), 80, &settings, Path::new("/o"), &beside).unwrap()
        };
        let short = of(10);
        assert_eq!(
            short[..3],
            [
                "--job-id=7",
                "--cluster-utils-server=127.0.0.1:80",
                "--parameter-dict"
            ]
        );
        assert_eq!(
            short[3],
            r#"{"x": "xxxxxxxxxx", "working_dir": "/o", "id": 7}"#
        );
        let long = of(200_000);
        assert_eq!(long[2..], [beside.to_str().unwrap()]);
        let written: Value = serde_json::from_slice(&std::fs::read(&beside).unwrap()).unwrap();
        assert_eq!(written["id"], 7);
        assert_eq!(written["working_dir"], "/o");
    }
}
