//! What sbatch said, and what of it follows for the submissions it was given.

use super::client::{is_out_of_reach, is_unclear};
use crate::command::{Failure, Output};

/// The answer to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was taken under this id.
    Accepted(u32),
    /// It was refused, and would be again.
    Refused(String),
    /// It was refused because there are too many jobs; fewer may be taken.
    TooMany(String),
    /// Nothing was taken: Slurm is away, or does not take jobs now.
    Away(String),
    /// Nobody knows whether it was taken.
    Unclear(String),
}

/// Limits on how many jobs there may be, as Slurm names them or says them.
const LIMITS: [&str; 8] = [
    "MaxSubmitJob",
    "GrpSubmitJob",
    "MaxSubmitJobs",
    "GrpSubmitJobs",
    "job submit limit",
    "temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Job count limit",
];

/// Limits on what one job may ask for. In their company the general words, which name the submit
/// limit among others, mean that the job is too large, or too small.
const OF_ONE_JOB: [&str; 8] = [
    "MaxWall", "MaxTRES", "MaxNode", "MaxCpu", "MaxMem", "MinTRES", "PerJob", "QOSMin",
];

/// What passes without our doing, though sbatch calls it a refusal.
const NOT_NOW: [&str; 7] = [
    "Required partition not available (inactive or drain)",
    "Requested partition configuration not available now",
    "Protocol authentication error",
    "Invalid authentication credential",
    "Unable to accept new jobs",
    // The disk on which the controller keeps them is full.
    "I/O error writing script/environment to file",
    "in standby mode",
];

/// Reads the answer of `sbatch --parsable`.
pub(super) fn read(answer: Result<Output, Failure>) -> Answer {
    let output = match answer {
        Ok(output) => output,
        Err(failure @ Failure::NotStarted { .. }) => return Answer::Away(failure.to_string()),
        Err(failure) => return Answer::Unclear(failure.to_string()),
    };
    let words = output.words();
    if output.code == 0 {
        return match id(&output.stdout) {
            Some(id) => Answer::Accepted(id),
            None => Answer::Unclear(format!("sbatch printed no job id: {words}")),
        };
    }
    // sbatch ends with 255 when an option is at fault, before it talks to anybody. So does ssh, in a
    // wrapper that runs sbatch elsewhere, when the connection is lost.
    let is_of_sbatch = words.contains("sbatch: ");
    if output.code == 255 && is_of_sbatch {
        return Answer::Refused(words);
    }
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    if is_unclear(&words) {
        Answer::Unclear(words)
    } else if is_out_of_reach(&words) || says(&NOT_NOW) {
        Answer::Away(words)
    } else if says(&LIMITS) && !says(&OF_ONE_JOB) {
        Answer::TooMany(words)
    } else if is_of_sbatch {
        Answer::Refused(words)
    } else {
        Answer::Unclear(words)
    }
}

/// The id in `123` or `123;cluster`, on the last line: a site's wrapper may say something before.
fn id(stdout: &str) -> Option<u32> {
    let last = stdout.lines().rfind(|line| !line.trim().is_empty())?;
    last.split(';').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::recorded::recorded;
    use super::*;

    const RECORDED: [(&str, &str); 4] = recorded!("sbatch.txt");

    fn output(code: i32, stdout: &str, stderr: &str) -> Result<Output, Failure> {
        Ok(Output {
            code,
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
    }

    fn failed(stderr: &str) -> Answer {
        read(output(1, "", stderr))
    }

    /// Blocks of a command, lines of its standard error and its exit code.
    fn blocks(recorded: &str) -> Vec<(&str, String, i32)> {
        recorded
            .split("\n\n")
            .map(|block| {
                let mut command = "";
                let mut stderr = String::new();
                let mut code = 0;
                for line in block.lines() {
                    if let Some(text) = line.strip_prefix("[stderr] ") {
                        stderr.push_str(text);
                        stderr.push('\n');
                    } else if let Some(number) = line.strip_prefix("[exit ") {
                        code = number.trim_end_matches(']').parse().unwrap();
                    } else if let Some(text) = line.strip_prefix("$ ") {
                        command = text;
                    }
                }
                (command, stderr, code)
            })
            .collect()
    }

    #[test]
    fn what_each_version_refuses_is_a_refusal_in_its_words() {
        for (version, recorded) in RECORDED {
            let blocks = blocks(recorded);
            assert!(blocks.len() > 10, "{version}");
            for (command, stderr, code) in blocks {
                let answer = read(output(code, "", &stderr));
                let what = format!("{version}: {command}: {answer:?}");
                if stderr.contains("Unable to contact") {
                    assert!(matches!(answer, Answer::Away(_)), "{what}");
                } else if stderr.contains("Socket timed out") {
                    assert!(matches!(answer, Answer::Unclear(_)), "{what}");
                } else {
                    assert_eq!(answer, Answer::Refused(stderr.trim().into()), "{what}");
                }
            }
        }
    }

    #[test]
    fn an_id_is_read_whatever_a_site_says_before_it() {
        assert_eq!(read(output(0, "123\n", "")), Answer::Accepted(123));
        assert_eq!(read(output(0, "123;cluster\n", "")), Answer::Accepted(123));
        assert_eq!(
            read(output(0, "Welcome!\n123\n\n", "")),
            Answer::Accepted(123)
        );
        assert!(matches!(read(output(0, "", "")), Answer::Unclear(_)));
        assert!(matches!(read(output(0, "no id", "")), Answer::Unclear(_)));
    }

    #[test]
    fn a_limit_on_jobs_is_told_from_one_on_their_size() {
        const GENERAL: &str = "sbatch: error: Batch job submission failed: Job violates \
             accounting/QOS policy (job submit limit, user's size and/or time limits)";
        let with = |reason: &str| failed(&format!("sbatch: error: {reason}\n{GENERAL}"));
        for limit in [
            "AssocMaxSubmitJobLimit",
            "QOSMaxSubmitJobPerUserLimit",
            "AssocGrpSubmitJobsLimit",
        ] {
            assert!(matches!(with(limit), Answer::TooMany(_)), "{limit}");
        }
        assert!(matches!(failed(GENERAL), Answer::TooMany(_)));
        for limit in [
            "QOSMaxWallDurationPerJobLimit",
            "AssocMaxCpuPerJobLimit",
            "QOSMaxGRESPerJob",
            "QOSMinCpuNotSatisfied",
        ] {
            assert!(matches!(with(limit), Answer::Refused(_)), "{limit}");
        }
        let full = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n\
             sbatch: error: Batch job submission failed: Resource temporarily unavailable";
        assert!(matches!(failed(full), Answer::TooMany(_)));
    }

    #[test]
    fn a_controller_whose_name_is_not_found_was_asked_nothing() {
        // As versions 20.11 and 22.05 say it; later ones say that they can't reach it.
        let words = "sbatch: error: get_addr_info: getaddrinfo() failed: Name or service not known\n\
             sbatch: error: slurm_set_addr: Unable to resolve \"slurm1\"\n\
             sbatch: error: Unable to establish control machine address\n\
             sbatch: error: Batch job submission failed: No error";
        assert_eq!(failed(words), Answer::Away(words.into()));
    }

    #[test]
    fn what_nobody_understands_is_not_taken_for_a_refusal() {
        assert!(matches!(failed("Segmentation fault"), Answer::Unclear(_)));
        assert!(matches!(failed(""), Answer::Unclear(_)));
        // As that of a command that runs sbatch elsewhere, whatever it said before.
        let lost = output(255, "", "Connection to login1 closed by remote host.");
        assert!(matches!(read(lost), Answer::Unclear(_)));
        let failure = Failure::Broken {
            program: "sbatch".into(),
            reason: "signal: 9".into(),
        };
        assert!(matches!(read(Err(failure)), Answer::Unclear(_)));
    }

    proptest! {
        #[test]
        fn any_words_are_read(code in 0..256_i32, stdout in "(?s).{0,40}", stderr in "(?s).{0,80}") {
            let answer = read(output(code, &stdout, &stderr));
            prop_assert!(code == 0 || !matches!(answer, Answer::Accepted(_)));
        }
    }
}
