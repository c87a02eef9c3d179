//! Reads the answer of sbatch.

use super::client::{is_out_of_reach, is_unauthorized, is_unclear, with_renewal};
use crate::cluster::{Failure, Output, Refusal};

/// Limits on how many jobs there may be, as Slurm names them or says them.
const LIMITS: [&str; 8] = [
    "MaxSubmitJob",
    "GrpSubmitJob",
    "MaxSubmitJobs",
    "GrpSubmitJobs",
    GENERAL,
    "temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Job count limit",
];

/// In the words for whatever limit was reached.
const GENERAL: &str = "job submit limit";

/// Limits on what one job may ask for. In their company the general words, which name the submit
/// limit among others, mean that the job is too large, or too small.
const OF_ONE_JOB: [&str; 8] = [
    "MaxWall", "MaxTRES", "MaxNode", "MaxCpu", "MaxMem", "MinTRES", "PerJob", "QOSMin",
];

/// Refusals of sbatch that pass by themselves.
const NOT_NOW: [&str; 5] = [
    "Required partition not available (inactive or drain)",
    "Requested partition configuration not available now",
    "Unable to accept new jobs",
    // The disk on which the controller keeps them is full.
    "I/O error writing script/environment to file",
    "in standby mode",
];

/// The words of an ssh that lost its connection, whatever sbatch said before.
const LOST_CONNECTION: [&str; 4] = [
    "Connection to ",
    "Connection closed by ",
    "client_loop: ",
    "not responding.",
];

/// The words of an sbatch that waits for room by itself: longer than we wait for it. It has been
/// refused then.
pub(super) const SLEEPS: &str = "sleeping and retrying";

/// The job id in the answer of `sbatch --parsable`.
pub(super) fn read(answer: Result<Output, Failure>) -> Result<u32, Refusal> {
    let output = answer.map_err(|failure| match failure {
        Failure::GaveUp { said, .. } => Refusal::full(said),
        other => Refusal::of_failure(other),
    })?;
    let words = words(&output);
    // What failed behind sbatch, such as the rest of a site's wrapper, undoes no submission.
    if output.code != 0 && id(&output.stdout).is_some() {
        return Err(Refusal::uncertain(words));
    }
    if output.code == 0 {
        let no_id = || Refusal::uncertain(format!("sbatch printed no job id: {words}"));
        return id(&output.stdout).ok_or_else(no_id);
    }
    // sbatch ends with 255 when an option is at fault, before it talks to anybody. So does ssh, in a
    // wrapper that runs sbatch elsewhere, when the connection is lost.
    let is_of_sbatch = words.contains("sbatch: ");
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    if output.code == 255 && is_of_sbatch {
        return Err(match says(&LOST_CONNECTION) {
            true => Refusal::uncertain(words),
            false => Refusal::rejected(words),
        });
    }
    Err(if is_unclear(&words) {
        Refusal::uncertain(words)
    } else if is_out_of_reach(&words) || says(&NOT_NOW) {
        Refusal::unavailable(words)
    } else if is_unauthorized(&words) {
        Refusal::unavailable(with_renewal(words))
    } else if says(&LIMITS) && !says(&OF_ONE_JOB) {
        Refusal::full(with_doubt(words))
    } else if is_of_sbatch {
        Refusal::rejected(words)
    } else {
        Refusal::uncertain(words)
    })
}

/// What sbatch said, on both streams: what a site puts around it may use the other one.
fn words(output: &Output) -> String {
    let (stderr, stdout) = (output.stderr.trim(), output.stdout.trim());
    match stderr.is_empty() || stdout.is_empty() || output.code == 0 {
        true => output.words(),
        false => format!("{stderr}\n{stdout}"),
    }
}

/// The words about a limit, with a note if they name none: then it may be one that this job exceeds alone.
fn with_doubt(words: String) -> String {
    if !words.contains(GENERAL) || LIMITS.iter().any(|it| *it != GENERAL && words.contains(it)) {
        return words;
    }
    format!(
        "{words} (if this job alone asks for more than your limits allow, this never ends: compare its \
         resources with `sacctmgr show qos` and `sacctmgr show associations`)"
    )
}

/// The id in `123`, `123;cluster` or `Submitted batch job 123`: a site's wrapper may print something before
/// and behind it. `None` if several lines may be it, since a job is also found by its name.
fn id(stdout: &str) -> Option<u32> {
    const WORDS: &str = "Submitted batch job ";
    let id = |line: &str| -> Option<u32> {
        let line = line.trim();
        let text = match line.strip_prefix(WORDS) {
            Some(rest) => rest.split(' ').next()?,
            None => line.split(';').next()?.trim(),
        };
        text.parse().ok()
    };
    let mut ids = stdout.lines().filter_map(id);
    ids.next().filter(|_| ids.next().is_none())
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

    fn failed(stderr: &str) -> Refusal {
        read(output(1, "", stderr)).unwrap_err()
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
    fn recorded_refusals_of_each_version_are_read() {
        for (version, recorded) in RECORDED {
            let blocks = blocks(recorded);
            assert!(blocks.len() > 10, "{version}");
            for (command, stderr, code) in blocks {
                let answer = read(output(code, "", &stderr)).unwrap_err();
                let what = format!("{version}: {command}: {answer:?}");
                if stderr.contains("Unable to contact") {
                    assert!(matches!(answer, Refusal::Unavailable { .. }), "{what}");
                } else if stderr.contains("Socket timed out") {
                    assert!(matches!(answer, Refusal::Uncertain { .. }), "{what}");
                } else {
                    assert_eq!(answer, Refusal::rejected(stderr.trim()), "{what}");
                }
            }
        }
    }

    #[test]
    fn an_id_is_read_whatever_a_site_says_around_it() {
        assert_eq!(read(output(0, "123\n", "")), Ok(123));
        assert_eq!(read(output(0, "123;cluster\n", "")), Ok(123));
        // In a federation the cluster is in the upper bits.
        let federated = read(output(0, "4227858432\n", ""));
        assert_eq!(federated, Ok(4_227_858_432));
        assert_eq!(read(output(0, "Welcome!\n123\n\n", "")), Ok(123));
        assert_eq!(read(output(0, "123\nPlease cite us.\n", "")), Ok(123));
        let words = "Submitted batch job 123 on cluster gpu\n";
        assert_eq!(read(output(0, words, "sbatch: INFO")), Ok(123));
        for unclear in [
            output(0, "123\n4\n", ""),
            output(1, "123\n", "sbatch: INFO"),
        ] {
            let unclear = read(unclear);
            assert!(
                matches!(unclear, Err(Refusal::Uncertain { .. })),
                "{unclear:?}"
            );
        }
        assert!(matches!(
            read(output(0, "", "")),
            Err(Refusal::Uncertain { .. })
        ));
        assert!(matches!(
            read(output(0, "no id", "")),
            Err(Refusal::Uncertain { .. })
        ));
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
            assert!(matches!(with(limit), Refusal::Full { .. }), "{limit}");
        }
        // It may be either.
        match failed(GENERAL) {
            Refusal::Full { reason } => assert!(reason.contains("never ends"), "{reason}"),
            other => panic!("{other:?}"),
        }
        match with("AssocMaxSubmitJobLimit") {
            Refusal::Full { reason } => assert!(!reason.contains("never ends"), "{reason}"),
            other => panic!("{other:?}"),
        }
        for limit in [
            "QOSMaxWallDurationPerJobLimit",
            "AssocMaxCpuPerJobLimit",
            "QOSMaxGRESPerJob",
            "QOSMinCpuNotSatisfied",
        ] {
            assert!(matches!(with(limit), Refusal::Rejected { .. }), "{limit}");
        }
        let full = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n\
             sbatch: error: Batch job submission failed: Resource temporarily unavailable";
        assert!(matches!(failed(full), Refusal::Full { .. }));
    }

    #[test]
    fn a_controller_whose_name_is_not_found_was_asked_nothing() {
        // The words of versions 20.11 and 22.05; later ones say that they can't reach it.
        let words = "sbatch: error: get_addr_info: getaddrinfo() failed: Name or service not known\n\
             sbatch: error: slurm_set_addr: Unable to resolve \"slurm1\"\n\
             sbatch: error: Unable to establish control machine address\n\
             sbatch: error: Batch job submission failed: No error";
        assert_eq!(failed(words), Refusal::unavailable(words));
    }

    #[test]
    fn a_name_service_that_hiccups_refuses_nothing() {
        let words = "sbatch: error: Invalid user for SlurmUser slurm, ignored\n\
             sbatch: fatal: Unable to process configuration file";
        assert_eq!(failed(words), Refusal::unavailable(words));
    }

    #[test]
    fn credentials_that_ran_out_are_renewed_not_refused() {
        for words in [
            "sbatch: error: Batch job submission failed: Authentication credential expired",
            "sbatch: error: Batch job submission failed: Error generating job credential",
            "sbatch: error: Batch job submission failed: Invalid authentication credential",
            "sbatch: error: Munge encode failed: Failed to access \"/run/munge/munge.socket.2\": No such file \
             or directory\nsbatch: error: Batch job submission failed: Unspecified error",
            "sbatch: error: spank-auks: unable to read credential cache (krb5 error)",
        ] {
            match failed(words) {
                Refusal::Unavailable { reason, .. } => {
                    assert!(
                        reason.starts_with(words) && reason.contains("kinit"),
                        "{reason}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_refusal_is_read_on_either_stream() {
        let words = "sbatch: error: Batch job submission failed: Invalid partition name specified";
        let greeting = "Lmod: module gcc loaded";
        for output in [output(1, words, greeting), output(1, greeting, words)] {
            match read(output) {
                Err(Refusal::Rejected { reason }) => assert!(reason.contains(words), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn unknown_words_of_sbatch_are_not_a_refusal() {
        assert!(matches!(
            failed("Segmentation fault"),
            Refusal::Uncertain { .. }
        ));
        assert!(matches!(failed(""), Refusal::Uncertain { .. }));
        // The words of a command that runs sbatch elsewhere, whatever it said before.
        let lost = output(255, "", "Connection to login1 closed by remote host.");
        assert!(matches!(read(lost), Err(Refusal::Uncertain { .. })));
        for words in [
            "Connection to login1 closed by remote host.",
            "client_loop: send disconnect: Broken pipe",
            "Timeout, server login1 not responding.",
        ] {
            let lost = read(output(
                255,
                "",
                &format!("sbatch: INFO: charged to x\n{words}"),
            ));
            assert!(matches!(lost, Err(Refusal::Uncertain { .. })), "{lost:?}");
        }
        let wrong = read(output(255, "", "sbatch: unrecognized option '--nope'"));
        assert!(matches!(wrong, Err(Refusal::Rejected { .. })), "{wrong:?}");
        let failure = Failure::Broken {
            program: "sbatch".into(),
            reason: "signal: 9".into(),
        };
        assert!(matches!(read(Err(failure)), Err(Refusal::Uncertain { .. })));
    }

    proptest! {
        #[test]
        fn any_words_are_read(code in 0..256_i32, stdout in "(?s).{0,40}", stderr in "(?s).{0,80}") {
            let answer = read(output(code, &stdout, &stderr));
            prop_assert!(code == 0 || answer.is_err());
        }
    }
}
