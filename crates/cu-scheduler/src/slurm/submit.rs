//! Hands submissions over: those that are due together and need the same go in one call of sbatch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_trait::async_trait;

use super::journal::Journal;
use super::known::{Call, Line};
use super::options::Resume;
use super::script::{self, Batch};
use super::settings::Settings;
use super::{Cluster, files, names, needs, sbatch};
use crate::cluster::{self, Answer, Failure, Intake, Refusal};
use crate::{ClusterJobId, Resources, Submission};

impl Cluster {
    pub(super) async fn submit_all(self: &Arc<Self>, submissions: &[Submission]) -> Vec<Answer> {
        let refused = |settings: &Settings| {
            let mut checked = submissions.iter().map(|it| self.check_with(it, settings));
            checked.any(|it| it.is_err())
        };
        if let Err(error) = self.settings.renew(&self.client(), refused).await {
            let mut batch = cluster::Batch::new(submissions);
            batch.refuse_open(&error.into());
            return batch.into_answers();
        }
        let answers = cluster::submit(self, submissions).await;
        self.pace.something_is_expected();
        answers
    }

    fn check_with(&self, submission: &Submission, settings: &Settings) -> Result<(), String> {
        needs::check(submission, &self.options, &settings.partitions)
    }
}

#[async_trait]
impl Intake for Arc<Cluster> {
    /// The resources, and the hosts to avoid.
    type Needs = (Resources, Vec<String>);

    fn needs(&self, submission: &Submission) -> Self::Needs {
        (submission.resources.clone(), submission.avoid_hosts.clone())
    }

    fn most_in_one_call(&self) -> usize {
        // Attempts that are not alike can't share a script.
        let are_unlike = !self.options.first_attempt.is_empty();
        if are_unlike || self.only_single_jobs.load(Ordering::Relaxed) {
            return 1;
        }
        let most = self.settings.get().config.max_array_size();
        self.options.array.min(most) as usize
    }

    fn takes_only_one_in_a_call(&self) {
        self.only_single_jobs.store(true, Ordering::Relaxed);
    }

    fn check(&self, submission: &Submission) -> Result<(), String> {
        self.check_with(submission, &self.settings.get())?;
        needs::check_directories(submission)
    }

    async fn put_back(&self, batch: &mut cluster::Batch<'_>) {
        if self.options.resume == Resume::Requeue {
            self.requeue_all(batch).await;
        }
    }

    /// One call of sbatch: for an array if there are several submissions.
    async fn call(&self, group: &[&Submission]) -> Result<Vec<ClusterJobId>, Refusal> {
        let cluster = self.clone();
        let members: Vec<Submission> = group.iter().map(|it| (*it).clone()).collect();
        let hosts = members.first().map_or(&[][..], |first| &first.avoid_hosts);
        let to_exclude = self.to_exclude(hosts).await;
        let prepared = self
            .writer
            .write(move || cluster.prepare(&members, &to_exclude))
            .await?;
        let (call, lock) = prepared?;
        let sbatch = self.client().sbatch();
        let command = sbatch.argument("--parsable").argument(&call.script);
        let command = command.holding(lock).give_up_at(sbatch::SLEEPS);
        let answer = command.run().await;
        if matches!(answer, Err(Failure::GaveUp { .. })) {
            // Should it have asked once more before it was ended, its job ends without running anything.
            files::withdraw(&call).map_err(Refusal::uncertain)?;
        }
        let answer = sbatch::read(answer);
        self.note_answer(&call, &answer);
        // The script of a refused call stays, so that a person can find out why.
        let base = answer.map_err(|refusal| match refusal {
            Refusal::Rejected { reason } => {
                Refusal::rejected(format!("{reason} (the script: {})", call.script.display()))
            }
            other => other,
        })?;
        let task = |task| call.array.then_some(task);
        let tasks = (0..).map(task).take(group.len());
        Ok(self.journal.with(|journal| {
            let job = |task| journal.known().job(call.number, base, task).to_cluster();
            Ok(tasks.map(job).collect())
        })?)
    }
}

impl Cluster {
    fn note_answer(&self, call: &Call, answer: &Result<u32, Refusal>) {
        let call_is_void = Line::Void { call: call.number };
        match answer {
            Ok(id) => self.note(Line::Accepted {
                call: call.number,
                id: *id,
            }),
            Err(Refusal::Uncertain { .. }) => {}
            Err(Refusal::Rejected { .. }) => {
                // An administrator may have changed the settings that we go by.
                self.settings.distrust();
                self.note(call_is_void);
            }
            Err(Refusal::Full { .. } | Refusal::Unavailable { .. }) => {
                self.note(call_is_void);
                files::discard(call);
            }
        }
    }
}

impl Cluster {
    /// Writes down that `members` are about to be handed over, and the files for it.
    fn prepare(
        &self,
        members: &[Submission],
        to_exclude: &[String],
    ) -> Result<(Call, std::fs::File), Refusal> {
        let now = SystemTime::now();
        let next_call = |journal: &mut Journal| Ok(journal.known().next_call(now));
        let number = self.journal.with(next_call)?;
        let call = self.plan(members, number);
        let borrowed: Vec<&Submission> = members.iter().collect();
        let text = self
            .batch(&call, &borrowed, to_exclude)
            .text()
            .map_err(Refusal::rejected)?;
        let lock = files::write_script(&call, &text).map_err(Refusal::unavailable)?;
        if script::is_indirect(&self.options, members.len()) {
            for (task, member) in (0..).zip(members) {
                let task = call.array.then_some(task);
                let start = script::start(member, &self.options).map_err(Refusal::rejected)?;
                files::point(&call.script, task, member, &start).map_err(Refusal::unavailable)?;
            }
        }
        self.journal
            .with(|journal| journal.intend(Line::Call(call.clone())))?;
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
        let directory = if script::is_indirect(&self.options, members.len()) {
            let calls = self.options.state_dir.join("calls");
            calls.join(number.to_string())
        } else {
            first.directory.clone()
        };
        Call {
            number,
            at_unix_s: number / 1000,
            job_name,
            script: directory.join("submit.sh"),
            names: members.iter().map(|it| it.name.to_string()).collect(),
            array,
        }
    }

    /// The parts of the script of a call.
    pub(super) fn batch<'a>(
        &'a self,
        call: &'a Call,
        members: &'a [&'a Submission],
        to_exclude: &'a [String],
    ) -> Batch<'a> {
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
            to_exclude,
        }
    }
}
