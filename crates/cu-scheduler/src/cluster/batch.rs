//! A batch of submissions with the answers that are known so far.

use std::collections::HashMap;
use std::hash::Hash;

use super::Refusal;
use crate::{ClusterJobId, Submission, SubmitError};

/// What became of one submission.
pub type Answer = Result<ClusterJobId, SubmitError>;

/// Submissions in their order, each with its answer once it has one. Places are counted from 0.
#[derive(Debug)]
pub struct Batch<'a> {
    submissions: &'a [Submission],
    answers: Vec<Option<Answer>>,
}

impl<'a> Batch<'a> {
    /// No submission is answered yet.
    #[must_use]
    pub fn new(submissions: &'a [Submission]) -> Self {
        Self {
            submissions,
            answers: submissions.iter().map(|_| None).collect(),
        }
    }

    /// The submission at a place.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn submission(&self, at: usize) -> &'a Submission {
        &self.submissions[at]
    }

    /// The submissions without an answer, with their places, in their order.
    pub fn open(&self) -> impl Iterator<Item = (usize, &'a Submission)> {
        let all = self.submissions.iter().zip(&self.answers).enumerate();
        all.filter(|(_, (_, answer))| answer.is_none())
            .map(|(at, (submission, _))| (at, submission))
    }

    /// Answers that the submission at a place became this job.
    pub fn accept(&mut self, at: usize, job: ClusterJobId) {
        self.answers[at] = Some(Ok(job));
    }

    /// Answers for the submission at a place as another scheduler did.
    pub fn answer(&mut self, at: usize, answer: Answer) {
        self.answers[at] = Some(answer);
    }

    /// Answers that the submission at a place came to nothing.
    pub fn refuse(&mut self, at: usize, refusal: &Refusal) {
        self.answers[at] = Some(Err(refusal.clone().of(&self.submissions[at].name)));
    }

    /// Refuses all that have no answer.
    pub fn refuse_open(&mut self, refusal: &Refusal) {
        for at in 0..self.answers.len() {
            if self.answers[at].is_none() {
                self.refuse(at, refusal);
            }
        }
    }

    /// Answers that the submissions at `group` became `jobs`, in this order.
    pub(super) fn accept_group(&mut self, group: &[usize], jobs: Vec<ClusterJobId>) {
        let count = jobs.len();
        for (at, job) in group.iter().zip(jobs) {
            self.accept(*at, job);
        }
        for at in group.iter().skip(count) {
            let reason = format!("the cluster named {count} jobs for {}", group.len());
            self.refuse(*at, &Refusal::uncertain(reason));
        }
    }

    /// The places of the submissions without an answer, by the call that they go into: those of one
    /// run and of equal needs together, in their order, at most `most` of them.
    pub fn groups<N: Eq + Hash>(
        &self,
        most: usize,
        needs: impl Fn(&Submission) -> N,
    ) -> Vec<Vec<usize>> {
        let most = most.max(1);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut with_room: HashMap<(&str, N), usize> = HashMap::new();
        for (at, submission) in self.open() {
            let key = (submission.name.run(), needs(submission));
            let number = with_room.entry(key).or_insert(groups.len());
            match groups.get_mut(*number).filter(|group| group.len() < most) {
                Some(group) => group.push(at),
                None => {
                    *number = groups.len();
                    groups.push(vec![at]);
                }
            }
        }
        groups
    }

    /// The answers, in the order of the submissions.
    #[must_use]
    pub fn into_answers(mut self) -> Vec<Answer> {
        self.refuse_open(&Refusal::unavailable(
            "it was left out, which is a bug of ours",
        ));
        self.answers.into_iter().flatten().collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{Resources, SubmissionName};

    pub fn submission(job: u32) -> Submission {
        Submission {
            name: SubmissionName::new("run", job, 0).unwrap(),
            command: vec!["/bin/true".into()],
            environment: Default::default(),
            working_directory: "/".into(),
            directory: "/".into(),
            resources: Resources::default(),
            previous: None,
            avoid_hosts: Vec::new(),
        }
    }

    #[test]
    fn no_submission_is_left_without_an_answer() {
        let submissions = [submission(0), submission(1), submission(2)];
        let mut batch = Batch::new(&submissions);
        batch.accept_group(&[2, 0], vec![ClusterJobId("7".into())]);
        let answers = batch.into_answers();
        let uncertain = |answer| matches!(answer, &Err(SubmitError::Uncertain { .. }));
        assert!(uncertain(&answers[0]), "{answers:?}");
        let reason = answers[1].as_ref().unwrap_err().to_string();
        assert!(reason.contains("left out"), "{reason}");
        assert_eq!(answers[2], Ok(ClusterJobId("7".into())));
    }
}
