//! Submitting: scripts and tickets first, then one condor_submit for all that need the same.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_system::files;

use super::description::{self, description, header};
use super::event::Id;
use super::queue::first_lines;
use super::script;
use super::ticket::{Ticket, write_whole};
use super::{Htcondor, Resume, resume};
use crate::command::{Command, Failure, Output};
use crate::{ClusterJobId, Submission, SubmissionName, SubmitError};

/// How long a submission may take, of which thousands take seconds. The schedd that hangs is given
/// up after it, and the outcome is uncertain.
const SUBMIT_LIMIT: Duration = Duration::from_secs(40);
/// How long HTCondor's parser may take, which asks nobody.
const DRY_RUN_LIMIT: Duration = Duration::from_secs(10);
/// How long a submission of a process that was killed is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// When asking again is worth it after a limit of the pool was reached.
const LIMIT_RETRY: Duration = Duration::from_secs(60);

type Answer = Result<ClusterJobId, SubmitError>;

/// Why a whole group of submissions came to nothing.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    Rejected(String),
    Unavailable(String, Option<Duration>),
    Uncertain(String),
}

impl Refusal {
    /// The error of the submission `name`.
    pub fn of(self, name: &SubmissionName) -> SubmitError {
        let name = name.clone();
        match self {
            Self::Rejected(reason) => SubmitError::Rejected { name, reason },
            Self::Unavailable(reason, retry_after) => SubmitError::Unavailable {
                name,
                reason,
                retry_after,
            },
            Self::Uncertain(reason) => SubmitError::Uncertain { name, reason },
        }
    }
}

/// Hands over a batch. The answers stand in its order.
pub(super) async fn submit(condor: &Htcondor, batch: &[Submission]) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = Vec::new();
    for submission in batch {
        let refusal = script::refusal(submission);
        let refusal = refusal.or_else(|| description::refusal(&submission.resources));
        answers.push(refusal.map(|reason| Err(Refusal::Rejected(reason).of(&submission.name))));
    }
    if condor.options.resume != Resume::Submit {
        resume::put_back(condor, batch, &mut answers).await;
    }
    let left: Vec<usize> = (0..batch.len())
        .filter(|at| answers[*at].is_none())
        .collect();
    let mut away: Option<Refusal> = None;
    for (header, group) in groups(condor, batch, &left) {
        let submissions: Vec<&Submission> = group.iter().map(|at| &batch[*at]).collect();
        let submitted = match &away {
            None => submit_group(condor, &header, &submissions).await,
            Some(refusal) => Err(refusal.clone()),
        };
        match &submitted {
            Ok(_) if condor.options.resume == Resume::Submit => {}
            Ok(_) => resume::free_predecessors(condor, &submissions).await,
            Err(Refusal::Rejected(_)) => {}
            // Who is away for one is away for all; each question may take its time.
            Err(Refusal::Unavailable(reason, retry_after)) => {
                away = Some(Refusal::Unavailable(reason.clone(), *retry_after));
            }
            Err(Refusal::Uncertain(reason)) => {
                away = Some(Refusal::Unavailable(reason.clone(), None));
            }
        }
        for (nth, at) in group.into_iter().enumerate() {
            answers[at] = Some(match &submitted {
                Ok(ids) => Ok(ClusterJobId(ids[nth].to_string())),
                Err(refusal) => Err(refusal.clone().of(&batch[at].name)),
            });
        }
    }
    let unanswered = |submission: &Submission| {
        Err(
            Refusal::Unavailable("it was left out, which is a bug of ours".into(), None)
                .of(&submission.name),
        )
    };
    let answer = |(answer, submission): (Option<Answer>, &Submission)| {
        answer.unwrap_or_else(|| unanswered(submission))
    };
    answers.into_iter().zip(batch).map(answer).collect()
}

/// Those of `batch` at `places` that need the same, in its order, each group with its header. A
/// description holds one run's.
pub(super) fn groups(
    condor: &Htcondor,
    batch: &[Submission],
    places: &[usize],
) -> Vec<(String, Vec<usize>)> {
    let mut groups: Vec<((String, &str), Vec<usize>)> = Vec::new();
    let mut known: HashMap<(String, &str), usize> = HashMap::new();
    for at in places {
        let submission = &batch[*at];
        let header = header(&condor.options, &condor.state_dir, &submission.resources);
        let key = (header, submission.name.run());
        let number = *known.entry(key.clone()).or_insert(groups.len());
        match groups.get_mut(number) {
            Some((_, group)) => group.push(*at),
            None => groups.push((key, vec![*at])),
        }
    }
    let without_run = |((header, _), group): ((String, &str), Vec<usize>)| (header, group);
    groups.into_iter().map(without_run).collect()
}

/// Where the description lies whose first submission is `first`.
pub(super) fn description_path(condor: &Htcondor, first: &SubmissionName) -> PathBuf {
    let name = format!("{}-{}-{}.sub", first.run(), first.job(), first.attempt());
    condor.path("descriptions").join(name)
}

/// One condor_submit. The ids stand in the order of `group`.
async fn submit_group(
    condor: &Htcondor,
    header: &str,
    group: &[&Submission],
) -> Result<Vec<Id>, Refusal> {
    check_once(condor, header).await?;
    let locked = lock(&condor.path("submit.lock")).await;
    let lock = locked.map_err(|reason| Refusal::Unavailable(reason, None))?;
    let path = write_group(condor, header, group)
        .await
        .map_err(|error| Refusal::Unavailable(error, None))?;
    let command = submit_command(condor).argument(&path).holding(lock);
    let output = match command.limit(SUBMIT_LIMIT).run().await {
        Ok(output) if output.code == 0 => output,
        Ok(output) => return Err(refusal(&output)),
        Err(failure @ Failure::NotStarted { .. }) => {
            return Err(Refusal::Unavailable(failure.to_string(), None));
        }
        Err(failure) => return Err(Refusal::Uncertain(failure.to_string())),
    };
    let ids = submitted(&output.stdout, group.len())
        .ok_or_else(|| Refusal::Uncertain(format!("condor_submit said: {}", output.words())))?;
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
        Command::new(None, name).folder(&condor.commands.start_in)
    } else {
        condor.commands.command(name)
    };
    let own = options.submit_command.iter().skip(1).cloned();
    let bid = options.bid.map(|bid| bid.to_string());
    // It hands our environment on to the jobs.
    command.with_our_locale().arguments(own.chain(bid))
}

/// What condor_submit would only warn of is an error of ours: a word in `extra` that it does not
/// know. Each header is tried once; HTCondor parses it without asking the pool.
async fn check_once(condor: &Htcondor, header: &str) -> Result<(), Refusal> {
    if condor.is_checked(header) {
        return Ok(());
    }
    let output = dry_run(condor, &format!("{header}queue 0\n")).await;
    let output = output.map_err(|failure| Refusal::Unavailable(failure.to_string(), None))?;
    if output.code != 0 {
        return Err(refusal(&output));
    }
    if let Some(unused) = unused(&output) {
        return Err(Refusal::Rejected(unused));
    }
    condor.note_checked(header);
    Ok(())
}

/// What a dry run says of a line that HTCondor does not know. It would only warn of it.
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

/// What condor_submit says of a description without taking it.
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

fn refusal(output: &Output) -> Refusal {
    let words = first_lines(output);
    // The last step. Behind it stands why the schedd does not take them, if it said so.
    const COMMIT: &str = "Failed to commit job submission into the queue.";
    let away = [
        "Can't find address",
        "Failed to connect",
        "SECMAN",
        "AUTHENTICATE",
        "Failed to fetch",
        "communication",
        // It died while it was told of the jobs, of which it keeps none then.
        "Failed to create proc",
        "aborting entire submit",
    ];
    if words.contains("would exceed") || words.contains("MAX_JOBS") {
        Refusal::Unavailable(words, Some(LIMIT_RETRY))
    } else if away.iter().any(|it| words.contains(it)) {
        Refusal::Unavailable(words, None)
    } else if words.ends_with(COMMIT) {
        Refusal::Uncertain(words)
    } else {
        Refusal::Rejected(words)
    }
}

/// The ids in `2 job(s) submitted to cluster 259.`, if they are `count`.
fn submitted(stdout: &str, count: usize) -> Option<Vec<Id>> {
    let line = |line: &str| {
        let (number, rest) = line.trim().split_once(" job(s) submitted to cluster ")?;
        let cluster: u32 = rest.trim_end_matches('.').parse().ok()?;
        Some((number.parse::<usize>().ok()?, cluster))
    };
    let (number, cluster) = stdout.lines().find_map(line)?;
    if number != count {
        return None;
    }
    let procs = 0..u32::try_from(count).ok()?;
    Some(procs.map(|proc| Id { cluster, proc }).collect())
}

/// Writes scripts, tickets and the description, and tells where the last lies.
async fn write_group(
    condor: &Htcondor,
    header: &str,
    group: &[&Submission],
) -> Result<PathBuf, String> {
    let names: Vec<&SubmissionName> = group.iter().map(|it| &it.name).collect();
    let text = description(header, &names);
    let path = description_path(condor, names[0]);
    let folder = condor.path("descriptions");
    let needs = needs(header);
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
                needs,
            };
            tickets.write(&submission.name, 1, &ticket)?;
        }
        files::make_dir(&folder)?;
        write_whole(&path, &text, 0o600)?;
        Ok(path)
    };
    match condor.writer.ask(write).await {
        Ok(written) => written.map_err(|error| format!("its files can't be written: {error}")),
        Err(_) => Err("writing its files panicked, which is a bug of ours".into()),
    }
}

/// Writes what is run for one attempt, and tells where it lies.
pub(super) fn write_script(submission: &Submission, wrapper: &[String]) -> io::Result<String> {
    // `script::refusal` saw that it is text.
    let folder = submission.directory.to_string_lossy();
    let path = format!("{folder}/run.sh");
    let text = script::attempt(submission, &folder, wrapper);
    write_whole(Path::new(&path), &text, 0o700)?;
    Ok(path)
}

/// What tells descriptions with other needs apart: a checksum (FNV-1a) of all but the items.
pub(super) fn needs(header: &str) -> u64 {
    header.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Takes the lock that each condor_submit holds for as long as it lives, ours or of a process that
/// was killed: why not, if it takes too long.
pub(super) async fn lock(path: &Path) -> Result<File, String> {
    let failed = |error: io::Error| format!("{} can't be locked: {error}", path.display());
    let file = files::open_own(path, files::new_file().read(true).write(true)).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if began.elapsed() < LOCK_LIMIT => {
                tokio::time::sleep(LOOK).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err("an earlier condor_submit is still under way".into());
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
    fn what_is_away_and_what_is_wrong_are_told_apart() {
        let output = |stderr: &str| Output {
            code: 1,
            stdout: String::new(),
            stderr: stderr.into(),
        };
        let away = refusal(&output("\nERROR: Can't find address of local schedd\n"));
        assert!(matches!(away, Refusal::Unavailable(_, None)));
        // What a schedd that dies meanwhile leaves. It takes all jobs at the end, or none.
        for died in [
            "\nERROR: Failed to create proc\n",
            "\nERROR: Failed submission for job 1.139 - aborting entire submit\n\n\
             ERROR: Failed to queue job.\n",
        ] {
            let away = refusal(&output(died));
            assert!(matches!(away, Refusal::Unavailable(_, None)), "{died}");
        }
        const COMMIT: &str = "\nERROR: Failed to commit job submission into the queue.\n";
        let silent = refusal(&output(COMMIT));
        assert!(matches!(silent, Refusal::Uncertain(_)));
        let reason = "ERROR: This pool does not accept jobs without a project.\n";
        let wrong = refusal(&output(&format!("{COMMIT}{reason}")));
        assert!(matches!(wrong, Refusal::Rejected(_)));
        let wrong = refusal(&output("ERROR: I don't know about the 'nope' universe.\n"));
        assert!(matches!(wrong, Refusal::Rejected(_)));
    }
}
