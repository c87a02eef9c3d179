//! Limits on how many jobs a user may have, as sacctmgr reports them.

use crate::{Finding, Level, Subject};

/// The fields of a user's associations.
pub(super) const ASSOCIATION: &str = "format=Account,Partition,MaxJobs,MaxSubmitJobs,MaxWall";
/// The fields of each quality of service, in the same order.
pub(super) const QOS: &str = "format=Name,Name,MaxJobsPerUser,MaxSubmitJobsPerUser,MaxWall";

/// The limits that come from one place; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Their origin: `account physics`, `quality of service long`.
    pub from: String,
    /// How many jobs run at once.
    pub running: Option<u32>,
    /// How many jobs are queued or running.
    pub submitted: Option<u32>,
    /// The longest time limit, in Slurm's form.
    pub longest: Option<String>,
}

/// Reads both answers of `sacctmgr --parsable2`.
pub(super) fn parse(associations: &str, qualities: &str) -> Vec<Limits> {
    let of = |answer: &str, kind: &str| -> Vec<Limits> {
        let line = |line: &str| {
            let mut columns = line.split('|');
            let from = format!("{kind} {}", columns.next()?);
            let mut number = |skip: usize| columns.nth(skip)?.parse().ok();
            let limits = Limits {
                from,
                running: number(1),
                submitted: number(0),
                longest: columns
                    .next()
                    .filter(|it| !it.is_empty())
                    .map(str::to_owned),
            };
            let some =
                limits.running.is_some() || limits.submitted.is_some() || limits.longest.is_some();
            some.then_some(limits)
        };
        answer.lines().filter_map(line).collect()
    };
    let mut limits = of(associations, "account");
    limits.extend(of(qualities, "quality of service"));
    limits
}

/// The finding about these limits.
pub(super) fn judge(limits: &[Limits]) -> Finding {
    if limits.is_empty() {
        return Finding::new(
            Subject::Limits,
            Level::Good,
            "enforced, and none applies to you",
        );
    }
    let one = |limits: &Limits| {
        let mut parts = Vec::new();
        parts.extend(limits.running.map(|most| format!("{most} jobs at once")));
        parts.extend(
            limits
                .submitted
                .map(|most| format!("{most} queued or running")),
        );
        parts.extend(
            limits
                .longest
                .as_ref()
                .map(|most| format!("time limits up to {most}")),
        );
        format!("{}: {}", limits.from, parts.join(", "))
    };
    let listed: Vec<String> = limits.iter().map(one).collect();
    let text = format!("{}. Jobs beyond them wait", listed.join("; "));
    Finding::new(Subject::Limits, Level::Note, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_limits_that_are_set_are_listed() {
        let limits = parse(
            "physics||10|200|\nphysics|long|||2-00:00:00\n",
            "normal|normal|||\nshort|short|5||\n",
        );
        let text = judge(&limits).text;
        assert_eq!(
            text,
            "account physics: 10 jobs at once, 200 queued or running; account physics: time \
             limits up to 2-00:00:00; quality of service short: 5 jobs at once. Jobs beyond them \
             wait"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "(?s).{0,100}", more in "(?s).{0,100}") {
            let _ = judge(&parse(&text, &more));
        }
    }
}
