//! Errors as people and programs read them: message, causes, `hint:`; or one JSON value.

use std::fmt::Write;

use cu_system::causes;
use owo_colors::OwoColorize;
use serde_json::json;

use crate::config::{self, Excerpt};
use crate::error::Error;
use crate::text::visible::printable;
use crate::text::width::{columns, cut};

/// The error for people, with colours.
pub fn text(error: &Error) -> String {
    if let Error::NotReady { said, .. } = error {
        return printable(said.trim_end()).into_owned();
    }
    if let Error::Config(error) = error {
        let all: Vec<_> = error.all().iter().map(of_config).collect();
        return all.join("\n");
    }
    let mut text = head(&error.to_string());
    for cause in causes::of(error) {
        // Writing to a String can't fail.
        let _ = write!(text, "\n  caused by: {}", printable(&cause));
    }
    hint(&mut text, error.hint());
    text
}

fn head(message: &str) -> String {
    format!("{} {}", "error:".red().bold(), printable(message))
}

fn hint(text: &mut String, hint: Option<String>) {
    if let Some(hint) = hint {
        let _ = write!(text, "\n{} {}", "hint:".cyan().bold(), printable(&hint));
    }
}

/// One mistake of a config, with its line.
fn of_config(error: &config::Error) -> String {
    let mut text = head(&error.to_string());
    for cause in causes::of(error) {
        let _ = write!(text, "\n  caused by: {}", printable(&cause));
    }
    if let Some(excerpt) = error.excerpt() {
        let _ = write!(text, "\n{}", marked(excerpt));
    }
    hint(&mut text, error.hint());
    text
}

/// The line, and below it a mark of what is meant, unless that is far out.
fn marked(excerpt: &Excerpt) -> String {
    const LONGEST: usize = 100;
    let number = excerpt.line.to_string();
    let margin = " ".repeat(number.len());
    let shown = |part: &str| printable(&part.replace('\t', "    ")).into_owned();
    let before = columns(&shown(&excerpt.text[..excerpt.span.start]));
    let meant = columns(&shown(&excerpt.text[excerpt.span.clone()])).max(1);
    let line = shown(&excerpt.text);
    let bar = "|".cyan().bold().to_string();
    let mut text = format!("{} {bar} {}", number.cyan().bold(), cut(&line, LONGEST));
    if before + meant <= LONGEST {
        let (blanks, mark) = (" ".repeat(before), "^".repeat(meant));
        let _ = write!(text, "\n{margin} {bar} {blanks}{}", mark.red().bold());
    }
    text
}

/// The error for programs.
pub fn json(error: &Error) -> serde_json::Value {
    let message = match error {
        Error::NotReady { said, .. } => anstream::adapter::strip_str(said.trim_end()).to_string(),
        _ => error.to_string(),
    };
    let mut all = json!({
        "error": {
            "message": message,
            "causes": causes::of(error).collect::<Vec<_>>(),
            "hint": error.hint(),
            "exit_code": error.exit_code(),
        }
    });
    if let Error::Config(config::Error::Several(mistakes)) = error {
        let mistakes = mistakes.iter();
        let mistakes = mistakes.map(|it| json!({"message": it.to_string(), "hint": it.hint()}));
        all["error"]["mistakes"] = mistakes.collect();
    }
    all
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
    fn every_mistake_of_a_config_is_shown_with_its_line() {
        let config = "name = \"a\"\ncommand = [\"true\"]\n[stop]\n\taftre = \"1h\"\n[resources]\ncpus = 0 # none\n";
        let source = config::Source::new("run.toml".into(), config.to_owned(), Vec::new());
        let error = Error::Config(source.parse().expect_err("it is wrong"));
        let expected = "error: run.toml, line 4: unknown key `stop.aftre`\n\
                        4 |     aftre = \"1h\"\n  |     ^^^^^^^^^^^^\n\
                        hint: did you mean `stop.after`?\n\
                        error: run.toml, line 6: `resources.cpus`: expected a whole number above 0, found 0\n\
                        6 | cpus = 0 # none\n  | ^^^^^^^^\n\
                        hint: `cu config reference resources.cpus` explains it";
        assert_eq!(plain(&error), expected);
        let mistakes = &super::json(&error)["error"]["mistakes"];
        assert_eq!(mistakes[0]["hint"], "did you mean `stop.after`?");
        assert_eq!(mistakes.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_deleted_run_gets_no_hint_to_resume() {
        let error = Error::Run(cu_core::Error::Record {
            path: "/nowhere/results/a/run.sqlite".into(),
            source: io::Error::other("it was deleted while the run went on"),
        });
        let expected = "error: can't record in /nowhere/results/a/run.sqlite\n  \
                        caused by: it was deleted while the run went on";
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
