//! A text of a job that is complete only when an attempt starts: it may name the output directory, the
//! job and the attempt.

use std::fmt;
use std::path::Path;

use cu_protocol::{Attempt, JobId};
use serde::{Deserialize, Serialize};

/// An argument, a variable or a path, with what each attempt fills in. A text alone is only that text,
/// whatever braces it has.
///
/// ```
/// use cu_protocol::{Attempt, JobId};
/// use cu_run_dir::{Part, Template};
///
/// let template: Template = [Part::from("--out="), Part::OutputDir].into_iter().collect();
/// let filled = template.fill("/runs/a/working_directories/7".as_ref(), JobId(7), Attempt(0));
/// assert_eq!(filled, "--out=/runs/a/working_directories/7");
/// assert_eq!(Template::from("{job}").as_text(), Some("{job}"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub struct Template(Vec<Part>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// The path of the job's output directory.
    OutputDir,
    /// The job's number.
    Job,
    /// The attempt's number.
    Attempt,
    /// Several arguments: those with which the Python package cluster_utils starts a program. The supervisor
    /// puts them in the place of an argument that is this part alone.
    ClusterUtils,
}

/// How a template is stored: most are a text, which is also what older files have.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Parts(Vec<Part>),
}

impl Template {
    /// Appends a part.
    pub fn push(&mut self, part: Part) {
        match (self.0.last_mut(), part) {
            (_, Part::Text(text)) if text.is_empty() => {}
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, part) => self.0.push(part),
        }
    }

    /// The parts. Between two texts there is another part, and no text is empty.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The whole text, if there is nothing to fill in.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for an attempt.
    #[must_use]
    pub fn fill(&self, output_dir: &Path, job: JobId, attempt: Attempt) -> String {
        let filled = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            // The path of a run is text: another one is refused when the run is made.
            Part::OutputDir => output_dir.to_string_lossy().into_owned(),
            Part::Job => job.to_string(),
            Part::Attempt => attempt.to_string(),
            Part::ClusterUtils => part.name().to_owned(),
        });
        filled.collect()
    }
}

impl Part {
    /// The text itself, or the placeholder.
    fn name(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::OutputDir => "{output_dir}",
            Self::Job => "{job}",
            Self::Attempt => "{attempt}",
            Self::ClusterUtils => "{cluster_utils}",
        }
    }
}

/// For people: what is to be filled in stands in braces.
impl fmt::Display for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|part| out.write_str(part.name()))
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self::from_iter([Part::from(text)])
    }
}

impl From<String> for Template {
    fn from(text: String) -> Self {
        Self::from_iter([Part::Text(text)])
    }
}

impl FromIterator<Part> for Template {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        let mut template = Self::default();
        parts.into_iter().for_each(|part| template.push(part));
        template
    }
}

impl From<Form> for Template {
    fn from(form: Form) -> Self {
        match form {
            Form::Text(text) => text.into(),
            Form::Parts(parts) => parts.into_iter().collect(),
        }
    }
}

impl From<Template> for Form {
    fn from(template: Template) -> Self {
        match template.as_text() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Parts(template.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Template {
        let parts = [
            Part::from("a{"),
            Part::from(""),
            Part::Job,
            Part::from("/"),
            Part::from("b"),
            Part::Attempt,
        ];
        parts.into_iter().collect()
    }

    #[test]
    fn a_text_that_looks_like_a_placeholder_is_not_filled() {
        let output_dir = Path::new("/runs/{job}");
        let filled = |template: &Template| template.fill(output_dir, JobId(7), Attempt(2));
        assert_eq!(filled(&example()), "a{7/b2");
        assert_eq!(filled(&"{job}{attempt}".into()), "{job}{attempt}");
        assert_eq!(filled(&Template(vec![Part::OutputDir])), "/runs/{job}");
        assert_eq!(example().to_string(), "a{{job}/b{attempt}");
    }

    #[test]
    fn a_template_without_placeholders_is_stored_as_text() {
        for (template, stored) in [
            (Template::default(), r#""""#),
            ("{job}".into(), r#""{job}""#),
            (
                example(),
                r#"[{"text":"a{"},"job",{"text":"/b"},"attempt"]"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&template).unwrap(), stored);
            let read: Template = serde_json::from_str(stored).unwrap();
            assert_eq!(read, template);
        }
    }
}
