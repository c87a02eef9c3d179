//! Handing over: what is due together and needs the same goes in one call of sbatch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cu_system::causes::in_one_line;

use super::job_id::JobId;
use super::known::{Call, Line};
use super::options::Resume;
use super::sbatch::{self, Answer};
use super::script::{self, Batch};
use super::settings::Settings;
use super::{Cluster, files, names, needs};
use crate::{ClusterJobId, Submission, SubmitError};

/// After so long no further call is begun, so that `submit` returns within a minute.
const BEGIN_NO_MORE: Duration = Duration::from_secs(30);
/// When it is worth asking again after a limit on jobs was reached.
const AFTER_A_LIMIT: Duration = Duration::from_secs(60);

type Answers = Vec<Option<Result<ClusterJobId, SubmitError>>>;

impl Cluster {
    pub(super) async fn submit_all(
        self: &Arc<Self>,
        batch: &[Submission],
    ) -> Vec<Result<ClusterJobId, SubmitError>> {
        let refused =
            |settings: &Settings| batch.iter().any(|it| self.check(it, settings).is_err());
        if let Err(error) = self.settings.renew(&self.client(), refused).await {
            let unavailable = |it: &Submission| {
                Err(SubmitError::Unavailable {
                    name: it.name.clone(),
                    reason: error.to_string(),
                    retry_after: None,
                })
            };
            return batch.iter().map(unavailable).collect();
        }
        let mut answers: Answers = batch.iter().map(|it| self.refusal(it).map(Err)).collect();
        if self.options.resume == Resume::Requeue {
            self.requeue_all(batch, &mut answers).await;
        }
        let begun = Instant::now();
        let mut units = self.units(batch, &answers);
        let mut stopped: Option<(String, Option<Duration>)> = None;
        while let Some(mut unit) = units.pop_front() {
            if stopped.is_none() && begun.elapsed() > BEGIN_NO_MORE {
                stopped = Some(("the calls before it took too long".into(), None));
            }
            if let Some((reason, retry_after)) = &stopped {
                for index in unit {
                    answers[index] = Some(Err(SubmitError::Unavailable {
                        name: batch[index].name.clone(),
                        reason: reason.clone(),
                        retry_after: *retry_after,
                    }));
                }
                continue;
            }
            let members: Vec<Submission> = unit.iter().map(|it| batch[*it].clone()).collect();
            let failed: Box<dyn Fn(&Submission) -> SubmitError> = match self.call(members).await {
                Answer::Accepted(base) => {
                    let array = unit.len() > 1;
                    for (task, index) in (0..).zip(unit) {
                        let task = array.then_some(task);
                        answers[index] = Some(Ok(JobId { base, task }.to_cluster()));
                    }
                    continue;
                }
                // Half of them may fit. The other half, and all behind it, keep their order.
                Answer::TooMany(_) if unit.len() > 1 => {
                    let rest = unit.split_off(unit.len() / 2);
                    units.push_front(rest);
                    units.push_front(unit);
                    continue;
                }
                Answer::TooMany(reason) => {
                    stopped = Some((reason.clone(), Some(AFTER_A_LIMIT)));
                    Box::new(move |it| SubmitError::Unavailable {
                        name: it.name.clone(),
                        reason: reason.clone(),
                        retry_after: Some(AFTER_A_LIMIT),
                    })
                }
                Answer::Away(reason) => {
                    stopped = Some((reason.clone(), None));
                    Box::new(move |it| SubmitError::Unavailable {
                        name: it.name.clone(),
                        reason: reason.clone(),
                        retry_after: None,
                    })
                }
                Answer::Refused(reason) => Box::new(move |it| SubmitError::Rejected {
                    name: it.name.clone(),
                    reason: reason.clone(),
                }),
                Answer::Unclear(reason) => {
                    stopped = Some((
                        "it was not clear what became of the call before".into(),
                        None,
                    ));
                    Box::new(move |it| SubmitError::Uncertain {
                        name: it.name.clone(),
                        reason: reason.clone(),
                    })
                }
            };
            for index in unit {
                answers[index] = Some(Err(failed(&batch[index])));
            }
        }
        self.pace.something_is_expected();
        let all = answers.into_iter();
        all.map(|answer| answer.expect("each submission is in a unit or was answered before"))
            .collect()
    }

    /// What is wrong with a submission, so far as we can know it.
    fn refusal(&self, submission: &Submission) -> Option<SubmitError> {
        let checked = self
            .check(submission, &self.settings.get())
            .and_then(|()| needs::check_folders(submission));
        checked.err().map(|reason| SubmitError::Rejected {
            name: submission.name.clone(),
            reason,
        })
    }

    fn check(&self, submission: &Submission, settings: &Settings) -> Result<(), String> {
        needs::check(submission, &self.options, &settings.partitions)
    }

    /// The indices of what is not answered yet, by call: those of equal needs together, as many as
    /// an array may have, in their order.
    pub(super) fn units(
        &self,
        batch: &[Submission],
        answers: &[Option<Result<ClusterJobId, SubmitError>>],
    ) -> VecDeque<Vec<usize>> {
        let most = self.settings.get().config.max_array_size();
        let most = self.options.array.min(most).max(1) as usize;
        let mut units: VecDeque<Vec<usize>> = VecDeque::new();
        for (index, submission) in batch.iter().enumerate() {
            if answers[index].is_some() {
                continue;
            }
            let alike = |unit: &&mut Vec<usize>| {
                let first = &batch[unit[0]];
                unit.len() < most
                    && first.resources == submission.resources
                    && first.name.run() == submission.name.run()
            };
            match units.iter_mut().rfind(alike) {
                Some(unit) => unit.push(index),
                None => units.push_back(vec![index]),
            }
        }
        units
    }

    /// One call of sbatch for submissions of equal needs: an array if they are several.
    async fn call(self: &Arc<Self>, members: Vec<Submission>) -> Answer {
        let cluster = self.clone();
        let prepared = self.writer.ask(move || cluster.prepare(&members)).await;
        let (call, lock) = match prepared {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(refused)) => return refused,
            Err(_) => {
                let reason = "writing its files panicked, which is a bug of ours";
                return Answer::Away(reason.to_owned());
            }
        };
        let sbatch = self.client().sbatch();
        let command = sbatch.argument("--parsable").argument(&call.script);
        let mut answer = sbatch::read(command.holding(lock).run().await);
        match &mut answer {
            Answer::Accepted(id) => self.note(Line::Accepted {
                call: call.number,
                id: *id,
            }),
            Answer::Unclear(_) => {}
            Answer::Refused(reason) => {
                // Who runs the cluster may have changed what we go by.
                self.settings.distrust();
                // The script stays where it is, for the person who has to find out why.
                reason.push_str(&format!(" (the script: {})", call.script.display()));
                self.note(Line::Void { call: call.number });
            }
            Answer::TooMany(_) | Answer::Away(_) => {
                self.note(Line::Void { call: call.number });
                files::discard(&call);
            }
        }
        answer
    }
}

impl Cluster {
    /// Writes down that `members` are about to be handed over, and the files for it.
    fn prepare(&self, members: &[Submission]) -> Result<(Call, std::fs::File), Answer> {
        let now = SystemTime::now();
        let away = |error: crate::Error| Answer::Away(in_one_line(&error));
        let number = self
            .journal
            .with(|journal| Ok(journal.known().next_call(now)))
            .map_err(away)?;
        let call = self.plan(members, number);
        let borrowed: Vec<&Submission> = members.iter().collect();
        let text = self
            .batch(&call, &borrowed)
            .text()
            .map_err(Answer::Refused)?;
        let lock = files::write_script(&call, &text).map_err(Answer::Away)?;
        if script::is_indirect(&self.options, members.len()) {
            for (task, member) in (0..).zip(members) {
                let task = call.array.then_some(task);
                let start = script::start(member, &self.options).map_err(Answer::Refused)?;
                files::point(&call.script, task, member, &start).map_err(Answer::Away)?;
            }
        }
        self.journal
            .with(|journal| journal.intend(Line::Call(call.clone())))
            .map_err(away)?;
        Ok((call, lock))
    }

    /// The call `number` for `members`, which are at least one.
    pub(super) fn plan(&self, members: &[Submission], number: u64) -> Call {
        let label = names::label(&self.options.label);
        let array = members.len() > 1;
        let first = &members[0];
        let job_name = if array {
            names::of_array(&label, first.name.run(), number)
        } else {
            names::of_one(&label, &first.name, number)
        };
        let folder = if script::is_indirect(&self.options, members.len()) {
            let calls = self.options.state_dir.join("calls");
            calls.join(number.to_string())
        } else {
            first.directory.clone()
        };
        Call {
            number,
            at_unix_s: number / 1000,
            job_name,
            script: folder.join("submit.sh"),
            names: members.iter().map(|it| it.name.to_string()).collect(),
            array,
        }
    }

    /// What the script of a call is written from.
    pub(super) fn batch<'a>(&'a self, call: &'a Call, members: &'a [&'a Submission]) -> Batch<'a> {
        let first = members.first();
        let settings = self.settings.get();
        let limit = |first: &&Submission| {
            needs::time_limit(&self.options, &first.resources, &settings.partitions)
        };
        Batch {
            options: &self.options,
            call,
            members,
            time_limit: first.and_then(limit),
            kill_wait: settings.config.seconds("KillWait"),
        }
    }
}
