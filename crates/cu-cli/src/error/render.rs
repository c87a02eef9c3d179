//! Errors as people and programs read them: message, causes, `hint:`; or one JSON value.

use std::fmt::Write;

use cu_system::causes;
use owo_colors::OwoColorize;
use serde_json::json;

use crate::error::Error;
use crate::text::visible::printable;

/// The error for people, with colours.
pub fn text(error: &Error) -> String {
    if let Error::NotReady { said, .. } = error {
        return printable(said.trim_end()).into_owned();
    }
    let message = error.to_string();
    let mut text = format!("{} {}", "error:".red().bold(), printable(&message));
    for cause in causes::of(error) {
        // Writing to a String can't fail.
        let _ = write!(text, "\n  caused by: {}", printable(&cause));
    }
    if let Some(hint) = error.hint() {
        let _ = write!(text, "\n{} {}", "hint:".cyan().bold(), printable(&hint));
    }
    text
}

/// The error for programs.
pub fn json(error: &Error) -> serde_json::Value {
    let message = match error {
        Error::NotReady { said, .. } => anstream::adapter::strip_str(said.trim_end()).to_string(),
        _ => error.to_string(),
    };
    json!({
        "error": {
            "message": message,
            "causes": causes::of(error).collect::<Vec<_>>(),
            "hint": error.hint(),
            "exit_code": error.exit_code(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::Path;

    fn plain(error: &Error) -> String {
        anstream::adapter::strip_str(&text(error)).to_string()
    }

    #[test]
    fn message_cause_hint() {
        let full = io::Error::other("disk full");
        let error = Error::write("write", Path::new("/results/a/run.toml"))(full);
        let expected = "error: can't write /results/a/run.toml\n  caused by: disk full";
        assert_eq!(plain(&error), expected);

        let error = Error::Run(cu_core::Error::RunExists {
            path: "/results/a".into(),
        });
        let expected = "error: there is a run in /results/a already\n\
                        hint: move it away, or choose another name with `--name NAME`";
        assert_eq!(plain(&error), expected);
    }

    #[test]
    fn a_deleted_run_gets_no_hint_to_resume() {
        let error = Error::Run(cu_core::Error::Record {
            path: "/nowhere/results/a/run.sqlite".into(),
            reason: "it was deleted while the run went on".to_owned(),
        });
        let expected = "error: can't record in /nowhere/results/a/run.sqlite: \
                        it was deleted while the run went on";
        assert_eq!(plain(&error), expected);
    }

    #[test]
    fn each_cause_is_shown_once() {
        let error = Error::Run(cu_core::Error::File {
            what: "make",
            path: "/results".into(),
            source: io::Error::other("read-only file system"),
        });
        assert_eq!(
            plain(&error),
            "error: can't make /results\n  caused by: read-only file system"
        );
    }

    #[test]
    fn programs_get_the_same() {
        let error = Error::usage_hint("no", "yes");
        let expected = json!(
            {"error": {"message": "no", "causes": [], "hint": "yes", "exit_code": 2}}
        );
        assert_eq!(super::json(&error), expected);
    }
}
