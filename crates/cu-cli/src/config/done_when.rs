//! `resume.done_when`: what shows that a job is done.

use cu_run_dir::DoneWhen;
use serde::Deserialize;

use super::error::Result;
use super::source::Parsed;
use super::units::ZeroWhenStopped;

/// The condition, one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Given")]
pub struct Done(pub DoneWhen);

#[derive(Deserialize)]
struct Given {
    file: Option<String>,
    contains: Option<String>,
    output: Option<String>,
}

impl TryFrom<Given> for Done {
    type Error = &'static str;

    fn try_from(given: Given) -> Result<Self, &'static str> {
        let texts = [&given.file, &given.contains, &given.output];
        if texts.into_iter().flatten().any(String::is_empty) {
            return Err("the name of a file and a text to look for can't be empty");
        }
        match (given.file, given.contains, given.output) {
            (Some(file), contains, None) => Ok(Self(DoneWhen::File {
                path: file.into(),
                contains,
            })),
            (None, None, Some(text)) => Ok(Self(DoneWhen::Output(text))),
            (Some(_), _, Some(_)) => {
                Err("give either a `file` or a text in the `output`, not both")
            }
            (None, Some(_), _) => Err("`contains` needs the `file` that contains the text"),
            (None, None, None) => {
                Err("expected { file = \"FINISHED\" } or { output = \"Total wall time\" }")
            }
        }
    }
}

/// Checks that "done" is said in one way.
///
/// # Errors
/// If exit code 0 is to mean it as well.
pub fn check(parsed: &Parsed) -> Result<()> {
    let resume = &parsed.file.resume;
    match resume.exit_0_when_stopped {
        Some(ZeroWhenStopped::Completed) if resume.done_when.is_some() => {
            let reason = "with resume.done_when, exit code 0 does not mean that the job is done; leave \
                          one of the two out";
            Err(parsed.wrong("resume.exit_0_when_stopped", reason))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::tests::parsed;

    #[test]
    fn done_is_said_in_one_way() {
        for (given, expected) in [
            ("{ file = \"a\", output = \"b\" }", "not both"),
            ("{ contains = \"b\" }", "`contains` needs the `file`"),
            ("{}", "expected { file = "),
            ("{ file = \"\" }", "can't be empty"),
            ("{ fiel = \"a\" }", "resume.done_when"),
            ("\"FINISHED\"", "expected a table"),
        ] {
            let text = format!("[resume]\ndone_when = {given}\n");
            let error = parsed(&text, &[]).expect_err(given).to_string();
            assert!(
                error.contains(expected) && error.contains("line 2"),
                "{error}"
            );
        }
        let done = "resume.done_when.output=Done.";
        let checked = check(&parsed("", &[done]).expect("valid"));
        checked.expect("consistent");
        let zero = "resume.exit_0_when_stopped=completed";
        let error = check(&parsed("", &[done, zero]).expect("valid")).expect_err("both");
        assert!(
            error.to_string().contains("leave one of the two out"),
            "{error}"
        );
    }
}
