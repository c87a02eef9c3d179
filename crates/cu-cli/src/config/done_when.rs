//! `resume.done_when`: what shows that a job is done.

use cu_run_dir::DoneWhen;
use serde::Deserialize;

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
