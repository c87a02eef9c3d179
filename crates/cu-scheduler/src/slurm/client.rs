//! Slurm's commands, run so that nothing in our environment changes what they mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::options::SlurmOptions;
use crate::Error;
use crate::cluster::{Command, Failure, Output};

/// Slurm's commands on one cluster.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Their directory; `PATH` if `None`.
    pub commands: Option<PathBuf>,
    /// The directory in which they start. It exists.
    pub directory: PathBuf,
    /// Which cluster of several behind one login they speak to; the login's own if `None`.
    pub cluster: Option<String>,
    /// The variables of sbatch that it may find.
    pub defaults: &'static [&'static str],
}

/// The words for an outage of the controller before anything was sent to it, and, up to version 22.05,
/// for one of the name service.
const OUT_OF_REACH: [&str; 5] = [
    "Unable to contact slurm controller (connect failure)",
    "Unable to establish control machine address",
    "Unable to establish configuration source",
    "fatal: Could not establish a configuration source",
    // So end users' names that a name service does not know for a moment.
    "fatal: Unable to process configuration file",
];

/// The words for credentials that Slurm does not take any more. They say nothing about a request.
const CREDENTIALS: [&str; 10] = [
    "Authentication credential expired",
    "Invalid authentication credential",
    "Protocol authentication error",
    "Error generating job credential",
    "Error creating job credential",
    "Unable to resolve token",
    "Munge encode failed",
    "Munge decode failed",
    // Words of what sites put in front of sbatch, such as auks.
    "krb5",
    "Kerberos",
];

/// The words, in small letters, for a controller that has too many requests (`rl_enable`).
const COME_BACK: [&str; 3] = ["rate limit", "back off", "backing off"];
/// The pauses between requests to a controller that has too many, of which each is twice the one before,
/// and for how long it is asked again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_secs(45);
/// A line that only the output of `scontrol show config` has.
const IN_SETTINGS: &str = "SLURM_VERSION ";

/// Defaults of a person's sbatch that no option of ours stands for. Those of them that one does
/// [are in the options](SlurmOptions::or_as_for_sbatch); all other `SBATCH_` variables would change
/// what we ask for.
const DEFAULTS: [&str; 3] = ["SBATCH_DEBUG", "SBATCH_NO_KILL", "SBATCH_ACCTG_FREQ"];

/// Variables by which the commands find the cluster. All other `SLURM_` variables belong to a job in
/// which we may run, not to the job that we submit.
const OF_THE_CLUSTER: [&str; 5] = [
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_JWT",
    "SLURM_SACK_KEY",
    "SLURM_SACK_SOCKET",
];

impl Client {
    pub fn new(options: &SlurmOptions) -> Self {
        let state_dir = options.state_dir.ancestors();
        let directory = state_dir.into_iter().find(|directory| directory.is_dir());
        Self {
            commands: options.commands.clone(),
            directory: directory.unwrap_or(Path::new("/")).to_path_buf(),
            cluster: options.cluster.clone(),
            defaults: match options.sbatch {
                Some(_) => &[],
                None => &DEFAULTS,
            },
        }
    }

    /// A command that asks or orders something about jobs that are there. Times are in Unix seconds,
    /// and the tasks of an array are listed however many they are.
    pub fn command(&self, name: &str) -> Command {
        let filters = ["SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_", "SINFO_"];
        let unwanted = |variable: &str| {
            variable == "SLURM_CLUSTERS" || filters.iter().any(|it| variable.starts_with(it))
        };
        self.bare(name, unwanted)
            .variable("SLURM_TIME_FORMAT", "%s")
            .variable("SLURM_BITSTR_LEN", "0")
    }

    /// sbatch: what it finds in its environment a job may find too.
    pub fn sbatch(&self) -> Command {
        let unwanted = |variable: &str| match variable.starts_with("SBATCH_") {
            true => !self.defaults.contains(&variable),
            false => variable.starts_with("SLURM_") && !OF_THE_CLUSTER.contains(&variable),
        };
        self.bare("sbatch", unwanted).with_our_locale()
    }

    fn bare(&self, name: &str, unwanted: impl Fn(&str) -> bool) -> Command {
        let command = Command::new(self.commands.as_deref(), name).start_in(&self.directory);
        let cluster = self.cluster.iter().map(|name| format!("--clusters={name}"));
        command.arguments(cluster).without_variables(unwanted)
    }

    /// The output of `scontrol show`, with one entry a line where it has several. Unlike other commands
    /// scontrol does not ask again by itself when the controller wants it to come back later.
    ///
    /// # Errors
    /// [`Error::Refused`] if scontrol is missing; [`Error::Unavailable`] if the controller
    /// does not answer.
    pub async fn show(&self, what: &str) -> Result<String, Error> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let command = self.command("scontrol");
            let command = command.arguments(["--oneliner", "show", what]);
            let output = command.run().await;
            let output = output.map_err(|failure| match failure {
                // Without it nothing can be told of the cluster.
                Failure::NotStarted { .. } => Error::Refused {
                    scheduler: "Slurm".into(),
                    reason: failure.to_string(),
                },
                failure => unavailable(&failure),
            })?;
            // Behind the settings stands whether the controller answers a ping, which may fail alone.
            if output.code == 0 || output.stdout.contains(IN_SETTINGS) {
                return Ok(output.stdout);
            }
            let words = output.words().to_lowercase();
            let is_told_to_wait = COME_BACK.iter().any(|it| words.contains(it));
            if !is_told_to_wait || begun.elapsed() + pause > ASK_AGAIN {
                return Err(failed(&output));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Runs a command whose failure means that nothing is known.
    pub async fn ask(&self, command: Command) -> Result<Output, Error> {
        let output = command
            .run()
            .await
            .map_err(|failure| unavailable(&failure))?;
        match output.code {
            0 => Ok(output),
            _ => Err(failed(&output)),
        }
    }
}

/// The error for a command that failed, with the first lines of its words: some print much before
/// they fail.
fn failed(output: &Output) -> Error {
    let words = output.words();
    let first: Vec<&str> = words.lines().take(2).collect();
    Error::Unavailable {
        scheduler: "Slurm".into(),
        reason: with_renewal(first.join("\n")),
    }
}

/// The error for a command that did not run to its end. One that can't be started, for example because a file
/// system is away, may be there again later.
pub(super) fn unavailable(failure: &Failure) -> Error {
    Error::Unavailable {
        scheduler: "Slurm".into(),
        reason: failure.to_string(),
    }
}

/// Whether a command failed because it could not reach the controller: then it did nothing.
pub(super) fn is_out_of_reach(words: &str) -> bool {
    OUT_OF_REACH.iter().any(|outage| words.contains(outage))
}

/// Whether a command failed because credentials ran out, or were not taken: then it did nothing.
pub(super) fn is_unauthorized(words: &str) -> bool {
    CREDENTIALS.iter().any(|refusal| words.contains(refusal))
}

/// The words of a command that failed, with the way to new credentials if it failed for want of them.
pub(super) fn with_renewal(words: String) -> String {
    if !is_unauthorized(&words) {
        return words;
    }
    let way = match std::env::var_os("SLURM_JWT") {
        Some(_) => {
            "the token in SLURM_JWT may have run out: end this process, set SLURM_JWT to what \
             `scontrol token` prints, and type `cu resume`"
        }
        None => {
            "if your credentials ran out, renew them with `kinit` or with the command of your \
             site; it is tried again"
        }
    };
    format!("{words} ({way})")
}

/// Whether a command failed while it talked to the controller: then what it did is not known.
pub(super) fn is_unclear(words: &str) -> bool {
    const UNCLEAR: [&str; 12] = [
        // Also when its answer is lost on the way: `(receive failure)`.
        "Unable to contact slurm controller",
        "Socket timed out",
        "Zero Bytes were transmitted",
        "Transport endpoint",
        "Connection reset",
        "Broken pipe",
        "Message receive failure",
        "Message send failure",
        "Unexpected message received",
        "communication",
        "Communication",
        "Connection timed out",
    ];
    !is_out_of_reach(words) && UNCLEAR.iter().any(|unclear| words.contains(unclear))
}
