//! Submitting: scripts and tickets first, then one condor_submit for all that need the same.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cu_system::files;

use super::description::{self, checksum, description};
use super::event::Id;
use super::queue::first_lines;
use super::script::{self, write_script};
use super::ticket::{Ticket, files_refused};
use super::{Htcondor, Resume, resume};
use crate::cluster::{Batch, Command, Failure, Intake, Output, Refusal};
use crate::{ClusterJobId, Submission, SubmissionName};

/// How long a submission may take, of which thousands take seconds. A schedd that takes longer is given
/// up, and the outcome is uncertain.
const SUBMIT_LIMIT: Duration = Duration::from_secs(40);
/// How long HTCondor's parser may take, which asks no daemon.
const DRY_RUN_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for the condor_submit of a process that was killed.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

#[async_trait]
impl Intake for Htcondor {
    /// The header of the description.
    type Needs = String;

    fn needs(&self, submission: &Submission) -> String {
        self.header(submission)
    }

    fn check(&self, submission: &Submission) -> Result<(), String> {
        script::check(submission)?;
        description::check(&submission.resources)
    }

    async fn put_back(&self, batch: &mut Batch<'_>) {
        if self.options.resume != Resume::Submit {
            resume::put_back(self, batch).await;
        }
    }

    async fn call(&self, group: &[&Submission]) -> Result<Vec<ClusterJobId>, Refusal> {
        let ids = submit_group(self, group).await?;
        if self.options.resume != Resume::Submit {
            resume::free_predecessors(self, group).await;
        }
        Ok(ids.iter().map(|id| id.to_cluster()).collect())
    }
}

/// The path of the description whose first submission is `first`.
pub(super) fn description_path(condor: &Htcondor, first: &SubmissionName) -> PathBuf {
    let name = format!("{}-{}-{}.sub", first.run(), first.job(), first.attempt());
    condor.path("descriptions").join(name)
}

/// One condor_submit. The ids stand in the order of `group`.
async fn submit_group(condor: &Htcondor, group: &[&Submission]) -> Result<Vec<Id>, Refusal> {
    let avoided = condor.to_avoid(&group[0].avoid_hosts).await;
    let header = condor.header_off(group[0], &avoided);
    check_once(condor, &header).await?;
    let lock = lock_submit(condor).await.map_err(Refusal::unavailable)?;
    let path = write_group(condor, &header, group).await?;
    let command = submit_command(condor).argument(&path).holding(lock);
    let output = command.limit(SUBMIT_LIMIT).run().await;
    let output = output.map_err(Refusal::of_failure)?;
    if output.code != 0 {
        // What failed behind condor_submit, such as the rest of a site's wrapper, undoes no submission.
        return Err(match cluster(&output.stdout) {
            Some(_) => Refusal::uncertain(output.words()),
            None => refusal(&output),
        });
    }
    let ids = submitted(&output.stdout, group.len()).ok_or_else(|| {
        Refusal::uncertain(format!("condor_submit named no jobs: {}", output.words()))
    })?;
    let noted = condor.watch.up_to_date(&condor.commands, |table| {
        for (id, submission) in ids.iter().zip(group) {
            table.note(*id, submission.name.clone());
        }
    });
    // They are submitted, whether the log can be read or not.
    noted.ok();
    Ok(ids)
}

/// The submit command with what goes before its file.
pub(super) fn submit_command(condor: &Htcondor) -> Command {
    let options = &condor.options;
    let default = match options.bid {
        Some(_) => "condor_submit_bid",
        None => "condor_submit",
    };
    let name = options.submit_command.first().map_or(default, |it| it);
    let command = if name.contains('/') {
        Command::new(None, name).start_in(&condor.commands.start_in)
    } else {
        condor.commands.command(name)
    };
    let own = options.submit_command.iter().skip(1).cloned();
    let bid = options.bid.map(|bid| bid.to_string());
    let schedd = condor.commands.schedd.iter();
    let schedd = schedd.flat_map(|schedd| ["-name".to_owned(), schedd.clone()]);
    // It hands our environment on to the jobs.
    let command = command.with_our_locale();
    command.arguments(own.chain(bid).chain(schedd))
}

/// Makes an error of what condor_submit would only warn of: a word in `extra` that it does not
/// know. Each header is tried once; HTCondor parses it without asking the pool.
async fn check_once(condor: &Htcondor, header: &str) -> Result<(), Refusal> {
    if condor.is_checked(header) {
        return Ok(());
    }
    let output = dry_run(condor, &format!("{header}queue 0\n")).await;
    let output = output.map_err(|failure| Refusal::unavailable(failure.to_string()))?;
    if output.code != 0 {
        return Err(refusal(&output));
    }
    if let Some(unused) = unused(&output) {
        return Err(Refusal::rejected(unused));
    }
    condor.note_checked(header);
    Ok(())
}

/// The warning of a dry run about a line that HTCondor does not know, without its prefix.
pub(super) fn unused(output: &Output) -> Option<String> {
    let mut lines = output.stderr.lines();
    let unused = lines.find(|line| line.contains("was unused by condor_submit"))?;
    let unused = unused.trim();
    Some(
        unused
            .strip_prefix("WARNING: ")
            .unwrap_or(unused)
            .to_owned(),
    )
}

/// Has condor_submit parse a description without submitting it.
pub(super) async fn dry_run(condor: &Htcondor, text: &str) -> Result<Output, Failure> {
    let command = condor.commands.command("condor_submit").with_our_locale();
    // The ads go to standard output; the description is read from standard input.
    command
        .arguments(["-dry-run", "-", "-"])
        .input(text)
        .limit(DRY_RUN_LIMIT)
        .run()
        .await
}

/// What condor_submit says when a ticket or a token ran out, in part on standard output.
const CREDENTIALS: [&str; 4] = [
    "job credential requests",
    "No credential stored",
    "store_cred",
    "credential has expired",
];

/// The line about credentials that ran out, and how to renew them.
fn without_credentials(output: &Output) -> Option<Refusal> {
    let mut lines = output.stderr.lines().chain(output.stdout.lines());
    let is_about_them = |line: &&str| {
        let is_disabled = line.contains("User ") && line.ends_with("is disabled");
        is_disabled || CREDENTIALS.iter().any(|words| line.contains(words))
    };
    let line = lines.find(is_about_them)?;
    Some(Refusal::unavailable(format!(
        "{} (if your credentials ran out, renew them with `kinit` or with the command of your \
         site; it is tried again)",
        line.trim()
    )))
}

fn refusal(output: &Output) -> Refusal {
    if let Some(refusal) = without_credentials(output) {
        return refusal;
    }
    // A site may warn on standard error, and an error be on standard output.
    let is_on_stdout = !output.stderr.contains("ERROR") && output.stdout.contains("ERROR");
    let words = match is_on_stdout {
        true => first_lines(&Output {
            stderr: String::new(),
            ..output.clone()
        }),
        false => first_lines(output),
    };
    // The last step. Behind it stands why the schedd does not take them, if it said so.
    const COMMIT: &str = "Failed to commit job submission into the queue.";
    let away = [
        "Can't find address",
        "Failed to connect",
        "SECMAN",
        "AUTHENTICATE",
        "Failed to fetch",
        "communication",
        // The schedd died while it took the jobs. It keeps none of them then.
        "Failed to create proc",
        "aborting entire submit",
    ];
    // Each of its own messages has this word. What runs it elsewhere says others, and may have lost its answer.
    let is_silent = output.stdout.trim().is_empty() && output.stderr.trim().is_empty();
    if is_silent || (output.code == 255 && !words.contains("ERROR")) {
        Refusal::uncertain(words)
    } else if words.contains("would exceed") || words.contains("MAX_JOBS") {
        Refusal::full(words)
    } else if away.iter().any(|it| words.contains(it)) {
        Refusal::unavailable(words)
    } else if words.ends_with(COMMIT) {
        Refusal::uncertain(words)
    } else {
        Refusal::rejected(words)
    }
}

/// The ids in `2 job(s) submitted to cluster 259.`, if they are `count`.
fn submitted(stdout: &str, count: usize) -> Option<Vec<Id>> {
    let (number, cluster) = cluster(stdout)?;
    if number != count {
        return None;
    }
    let procs = 0..u32::try_from(count).ok()?;
    Some(procs.map(|proc| Id { cluster, proc }).collect())
}

/// How many jobs were submitted, and to which cluster.
fn cluster(stdout: &str) -> Option<(usize, u32)> {
    let line = |line: &str| {
        let (number, rest) = line.trim().split_once(" job(s) submitted to cluster ")?;
        let cluster: u32 = rest.trim_end_matches('.').parse().ok()?;
        Some((number.parse::<usize>().ok()?, cluster))
    };
    stdout.lines().find_map(line)
}

/// Writes scripts, tickets and the description, and returns the path of the description.
async fn write_group(
    condor: &Htcondor,
    header: &str,
    group: &[&Submission],
) -> Result<PathBuf, Refusal> {
    let names: Vec<&SubmissionName> = group.iter().map(|it| &it.name).collect();
    let text = description(header, &names);
    let path = description_path(condor, names[0]);
    let directory = condor.path("descriptions");
    let header_checksum = checksum(header);
    let submissions: Vec<Submission> = group.iter().map(|it| (*it).clone()).collect();
    let (tickets, wrapper) = (condor.tickets.clone(), condor.options.wrapper.clone());
    let write = move || -> io::Result<PathBuf> {
        for submission in &submissions {
            let script = write_script(submission, &wrapper)?;
            let ticket = Ticket {
                script,
                name: submission.name.clone(),
                starts: 1,
                events: 0,
                in_slot: false,
                header_checksum,
            };
            tickets.write(&submission.name, 1, &ticket)?;
        }
        files::make_dir(&directory)?;
        files::write_whole(&path, text.as_bytes(), files::PRIVATE_FILE)?;
        Ok(path)
    };
    let written = condor.writer.write(write).await?;
    written.map_err(files_refused)
}

/// Takes the lock that each condor_submit of this state directory holds for as long as it lives, also one
/// whose process was killed.
///
/// # Errors
/// Why not, if another holds it for [`LOCK_LIMIT`], or the file can't be locked.
pub(super) async fn lock_submit(condor: &Htcondor) -> Result<File, String> {
    let path = condor.path("submit.lock");
    let failed = |error: io::Error| format!("{} can't be locked: {error}", path.display());
    let file = files::open_own(&path, files::new_file().read(true).write(true)).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if began.elapsed() < LOCK_LIMIT => {
                tokio::time::sleep(LOOK).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err("an earlier condor_submit is still at work".into());
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_from_the_cluster() {
        let said = "Submitting job(s)...\n3 job(s) submitted to cluster 259.\n";
        let ids = submitted(said, 3).unwrap();
        assert_eq!(
            ids.iter().map(Id::to_string).collect::<Vec<_>>(),
            ["259.0", "259.1", "259.2"]
        );
        assert_eq!(submitted(said, 2), None);
        assert_eq!(submitted("Submitting job(s)", 1), None);
    }

    #[test]
    fn a_limit_on_jobs_in_one_submission_halves_it() {
        let output = Output {
            code: 1,
            stdout: String::new(),
            stderr: "ERROR: Failed to create proc\n\
                     ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_SUBMISSION\n"
                .into(),
        };
        assert!(matches!(refusal(&output), Refusal::Full { .. }));
    }

    #[test]
    fn an_outage_is_not_taken_for_a_rejection() {
        let output = |stderr: &str| Output {
            code: 1,
            stdout: String::new(),
            stderr: stderr.into(),
        };
        let away = refusal(&output("\nERROR: Can't find address of local schedd\n"));
        assert!(matches!(
            away,
            Refusal::Unavailable {
                retry_after: None,
                ..
            }
        ));
        // The words after the death of a schedd. It takes all jobs at the end, or none.
        for died in [
            "\nERROR: Failed to create proc\n",
            "\nERROR: Failed submission for job 1.139 - aborting entire submit\n\n\
             ERROR: Failed to queue job.\n",
        ] {
            let away = refusal(&output(died));
            assert!(
                matches!(
                    away,
                    Refusal::Unavailable {
                        retry_after: None,
                        ..
                    }
                ),
                "{died}"
            );
        }
        const COMMIT: &str = "\nERROR: Failed to commit job submission into the queue.\n";
        let silent = refusal(&output(COMMIT));
        assert!(matches!(silent, Refusal::Uncertain { .. }));
        let reason = "ERROR: This pool does not accept jobs without a project.\n";
        let wrong = refusal(&output(&format!("{COMMIT}{reason}")));
        assert!(matches!(wrong, Refusal::Rejected { .. }));
        let unfound = Output {
            stdout: "Submitting job(s)\nERROR: Can't find address of local schedd\n".into(),
            ..output("WARNING: drained on Monday\n")
        };
        assert!(matches!(refusal(&unfound), Refusal::Unavailable { .. }));
        let wrong = refusal(&output("ERROR: I don't know about the 'nope' universe.\n"));
        assert!(matches!(wrong, Refusal::Rejected { .. }));
    }
}
