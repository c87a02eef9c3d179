//! The findings of `cu doctor`: those of backends, with the keys of the config that they concern, and
//! those of `cu` itself.

use cu_scheduler::{Advice, Level, Subject};

use super::Kind;
use super::shared::key_of;

/// One thing that a person should know before relying on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, in a word or two.
    pub subject: &'static str,
    /// How bad it is.
    pub level: Level,
    /// The fact, and what it leads to.
    pub text: String,
    /// What to do about it, if something can be done.
    pub advice: Option<String>,
}

impl Finding {
    /// A finding without advice.
    pub fn new(subject: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self {
            subject,
            level,
            text: text.into(),
            advice: None,
        }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// A finding of the backend `kind`, with its advice in keys of the config.
    pub fn of_backend(kind: Kind, found: cu_scheduler::Finding) -> Self {
        let advice = found.advice.map(|advice| match (advice, found.subject) {
            (Advice::Set { option, to }, _) => format!("set `{}` to {to}", key_of(kind, option)),
            (_, Subject::GraceTime) => "save before the time limit: set `stop.before_limit`".into(),
            (_, Subject::ExitCodes) => {
                "choose another `resume.exit_code` if it is one of them".into()
            }
            (_, Subject::Preemption) => {
                "save every so often: set `stop.after`, or save checkpoints periodically".into()
            }
            (_, Subject::Containers) => {
                "put cu, the program and what they need into the image, or have the pool show them \
                 there"
                    .into()
            }
            (advice, _) => advice.to_string(),
        });
        Self {
            subject: found.subject.name(),
            level: found.level,
            text: found.text,
            advice,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(kind: Kind, found: cu_scheduler::Finding) -> String {
        Finding::of_backend(kind, found).advice.expect("advice")
    }

    fn found(subject: Subject) -> cu_scheduler::Finding {
        cu_scheduler::Finding::new(subject, Level::Warning, "it will hurt")
    }

    #[test]
    fn advice_names_the_key_to_type_not_the_option() {
        let poll = found(Subject::EndedJobs).advise_option("poll", "a shorter time");
        let expected = "set `backend.slurm.poll` to a shorter time";
        assert_eq!(advice(Kind::Slurm, poll), expected);
        let grace = found(Subject::GraceTime).advise_option("grace", "a shorter time");
        let expected = "set `stop.grace` to a shorter time";
        assert_eq!(advice(Kind::Htcondor, grace), expected);
        let elsewhere = found(Subject::StateDirectory).advise_option("state_dir", "/shared");
        let expected = "set `results_dir` to /shared";
        assert_eq!(advice(Kind::Htcondor, elsewhere), expected);
        let warning = found(Subject::GraceTime).advise("ask for a warning");
        assert!(advice(Kind::Slurm, warning).contains("`stop.before_limit`"));
        let clock = found(Subject::Clock).advise("synchronise them");
        assert_eq!(advice(Kind::Slurm, clock), "synchronise them");
    }

    #[test]
    fn good_findings_get_no_advice() {
        let good = cu_scheduler::Finding::new(Subject::GraceTime, Level::Good, "30 s");
        assert_eq!(Finding::of_backend(Kind::Slurm, good).advice, None);
    }
}
