//! Hands a batch over to a cluster, in as few calls as it can.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Answer, Batch, Refusal};
use crate::{ClusterJobId, Submission};

/// After this time no further call is begun, so that `submit` returns within about a minute.
const BEGIN_NO_MORE: Duration = Duration::from_secs(30);

/// How a cluster takes submissions. [`submit`] does the rest.
#[async_trait]
pub trait Intake: Send + Sync {
    /// What submissions must have in common to go into one call, beside their run.
    type Needs: Hash + Eq + Send;

    /// The needs of a submission.
    fn needs(&self, submission: &Submission) -> Self::Needs;

    /// The most submissions in one call; any number unless said otherwise.
    fn most_in_one_call(&self) -> usize {
        usize::MAX
    }

    /// Called when the cluster refused several submissions in one call and took the first of them
    /// alone: from now on [`most_in_one_call`](Self::most_in_one_call) had better be 1.
    fn takes_only_one_in_a_call(&self) {}

    /// Checks a submission before the cluster is asked. [`check`](super::check()) finds what no
    /// cluster takes.
    ///
    /// # Errors
    /// Why the cluster would never take it. It is rejected for this reason.
    fn check(&self, submission: &Submission) -> Result<(), String>;

    /// Puts the cluster jobs of predecessors back in the queue and answers for those that it put back.
    /// The others are submitted. Does nothing unless the cluster can do it.
    async fn put_back(&self, batch: &mut Batch<'_>) {
        let _ = batch;
    }

    /// One call of the submit command for submissions of one run and of equal needs, at least one. The
    /// ids stand in their order.
    ///
    /// # Errors
    /// Why none has an id.
    async fn call(&self, group: &[&Submission]) -> Result<Vec<ClusterJobId>, Refusal>;
}

/// The places of the submissions without an answer, by the call that they go into.
pub fn groups<I: Intake>(intake: &I, batch: &Batch<'_>) -> Vec<Vec<usize>> {
    batch.groups(intake.most_in_one_call(), |it| intake.needs(it))
}

/// Hands a batch over and returns its answers in its order.
///
/// Submissions that do not pass the check are rejected, what can be put back is put back, and the rest
/// goes in groups of equal needs. A group for which there is no room is halved. If a group is
/// rejected, its first submission is tried alone: if that is taken, all others go alone too; if not,
/// the others of the group are not tried. Once the cluster is away, or the time is over, no further
/// call is made.
pub async fn submit<I: Intake>(intake: &I, submissions: &[Submission]) -> Vec<Answer> {
    let mut batch = Batch::new(submissions);
    for (at, submission) in submissions.iter().enumerate() {
        if let Err(reason) = intake.check(submission) {
            batch.refuse(at, &Refusal::Rejected { reason });
        }
    }
    intake.put_back(&mut batch).await;
    let begun = Instant::now();
    let mut groups = VecDeque::from(groups(intake, &batch));
    while let Some(mut group) = groups.pop_front() {
        if begun.elapsed() > BEGIN_NO_MORE {
            let reason = "the calls before it took too long";
            batch.refuse_open(&Refusal::unavailable(reason));
            break;
        }
        let members: Vec<&Submission> = group.iter().map(|at| batch.submission(*at)).collect();
        let mut answer = intake.call(&members).await;
        if matches!(answer, Err(Refusal::Rejected { .. })) && group.len() > 1 {
            // The cluster may forbid to hand over several at once.
            answer = intake.call(&members[..1]).await;
            if !matches!(answer, Err(Refusal::Rejected { .. })) {
                groups.push_front(group.split_off(1));
            }
            if answer.is_ok() {
                intake.takes_only_one_in_a_call();
                groups = groups.into_iter().flatten().map(|at| vec![at]).collect();
            }
        }
        match answer {
            Ok(jobs) => batch.accept_group(&group, jobs),
            // Half of them may fit. The other half, and all behind it, keep their order.
            Err(Refusal::Full { .. }) if group.len() > 1 => {
                let rest = group.split_off(group.len() / 2);
                groups.push_front(rest);
                groups.push_front(group);
            }
            Err(refusal) => {
                for at in group {
                    batch.refuse(at, &refusal);
                }
                if let Some(refusal) = refusal.of_the_rest() {
                    batch.refuse_open(&refusal);
                    break;
                }
            }
        }
    }
    batch.into_answers()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::batch::tests::submission;
    use super::*;
    use crate::SubmitError;

    /// A cluster that answers as it is told: `script` says what the call for these jobs comes to.
    struct Scripted<F> {
        calls: Mutex<Vec<Vec<u32>>>,
        most: usize,
        takes: Duration,
        takes_only_one: AtomicBool,
        script: F,
    }

    #[async_trait]
    impl<F: Fn(&[u32]) -> Result<(), Refusal> + Send + Sync> Intake for Scripted<F> {
        type Needs = u32;

        fn needs(&self, submission: &Submission) -> u32 {
            submission.resources.gpus
        }

        fn most_in_one_call(&self) -> usize {
            self.most
        }

        fn takes_only_one_in_a_call(&self) {
            self.takes_only_one.store(true, Ordering::Relaxed);
        }

        fn check(&self, submission: &Submission) -> Result<(), String> {
            super::super::check(submission)
        }

        async fn put_back(&self, batch: &mut Batch<'_>) {
            let back: Vec<_> = batch
                .open()
                .filter_map(|(at, it)| Some((at, it.previous.clone()?)))
                .collect();
            for (at, previous) in back {
                batch.accept(at, previous);
            }
        }

        async fn call(&self, group: &[&Submission]) -> Result<Vec<ClusterJobId>, Refusal> {
            let jobs: Vec<u32> = group.iter().map(|it| it.name.job()).collect();
            self.calls.lock().unwrap().push(jobs.clone());
            tokio::time::sleep(self.takes).await;
            (self.script)(&jobs)?;
            Ok(jobs.iter().map(|job| id(*job)).collect())
        }
    }

    fn id(job: u32) -> ClusterJobId {
        ClusterJobId(format!("cluster-{job}"))
    }

    fn scripted<F>(script: F) -> Scripted<F> {
        Scripted {
            calls: Mutex::default(),
            most: usize::MAX,
            takes: Duration::ZERO,
            takes_only_one: AtomicBool::new(false),
            script,
        }
    }

    impl<F> Scripted<F> {
        fn calls(self) -> Vec<Vec<u32>> {
            self.calls.into_inner().unwrap()
        }
    }

    fn batch(gpus: &[u32]) -> Vec<Submission> {
        let one = |(job, gpus): (u32, &u32)| {
            let mut submission = submission(job);
            submission.resources.gpus = *gpus;
            submission
        };
        (0..).zip(gpus).map(one).collect()
    }

    #[tokio::test]
    async fn equal_needs_share_calls_in_order_up_to_the_most() {
        let cluster = Scripted {
            most: 2,
            ..scripted(|_: &[u32]| Ok(()))
        };
        let answers = submit(&cluster, &batch(&[0, 1, 0, 0, 1, 1])).await;
        let expected: Vec<Answer> = (0..6).map(|job| Ok(id(job))).collect();
        assert_eq!(answers, expected);
        assert_eq!(cluster.calls(), [vec![0, 2], vec![1, 4], vec![3], vec![5]]);
    }

    #[tokio::test]
    async fn runs_do_not_share_a_call() {
        let cluster = scripted(|_: &[u32]| Ok(()));
        let mut both = batch(&[0, 0]);
        both[1].name = crate::SubmissionName::new("other", 1, 0).unwrap();
        submit(&cluster, &both).await;
        assert_eq!(cluster.calls(), [[0], [1]]);
    }

    #[tokio::test]
    async fn invalid_or_put_back_submissions_are_not_submitted() {
        let cluster = scripted(|_: &[u32]| Ok(()));
        let mut batch = batch(&[0, 0, 0]);
        batch[0].command.clear();
        batch[1].previous = Some(id(77));
        let answers = submit(&cluster, &batch).await;
        assert!(matches!(answers[0], Err(SubmitError::Rejected { .. })));
        assert_eq!(answers[1..], [Ok(id(77)), Ok(id(2))]);
        assert_eq!(cluster.calls(), [[2]]);
    }

    #[tokio::test]
    async fn a_full_cluster_takes_the_first_that_fit() {
        let room = Mutex::new(5);
        let cluster = scripted(|jobs: &[u32]| {
            let mut room = room.lock().unwrap();
            match jobs.len() <= *room {
                true => *room -= jobs.len(),
                false => return Err(Refusal::full("MaxSubmitJobs")),
            }
            Ok(())
        });
        let answers = submit(&cluster, &batch(&[0; 12])).await;
        for (job, answer) in (0..).zip(&answers) {
            match answer {
                Ok(taken) => assert!(job < 5 && *taken == id(job), "{answers:?}"),
                Err(SubmitError::Unavailable { retry_after, .. }) => {
                    assert!(job >= 5 && retry_after.is_some(), "{answers:?}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[tokio::test]
    async fn a_rejected_group_does_not_stop_the_others() {
        let cluster = scripted(|jobs: &[u32]| match jobs {
            [0] => Err(Refusal::rejected("no such partition")),
            _ => Ok(()),
        });
        let answers = submit(&cluster, &batch(&[0, 1])).await;
        assert!(matches!(answers[0], Err(SubmitError::Rejected { .. })));
        assert_eq!(answers[1], Ok(id(1)));
    }

    #[tokio::test]
    async fn groups_that_are_forbidden_become_single_calls() {
        let cluster = scripted(|jobs: &[u32]| match jobs {
            [_] => Ok(()),
            _ => Err(Refusal::rejected("no arrays here")),
        });
        let answers = submit(&cluster, &batch(&[0, 0, 0, 1, 1])).await;
        let expected: Vec<Answer> = (0..5).map(|job| Ok(id(job))).collect();
        assert_eq!(answers, expected);
        assert!(cluster.takes_only_one.load(Ordering::Relaxed));
        let calls = [vec![0, 1, 2], vec![0], vec![1], vec![2], vec![3], vec![4]];
        assert_eq!(cluster.calls(), calls);
    }

    #[tokio::test]
    async fn a_group_whose_first_is_rejected_is_not_tried_singly() {
        let cluster = scripted(|_: &[u32]| Err(Refusal::rejected("no such partition")));
        let answers = submit(&cluster, &batch(&[0, 0, 0, 1])).await;
        for answer in &answers {
            assert!(matches!(answer, Err(SubmitError::Rejected { .. })));
        }
        assert!(!cluster.takes_only_one.load(Ordering::Relaxed));
        assert_eq!(cluster.calls(), [vec![0, 1, 2], vec![0], vec![3]]);
    }

    #[tokio::test]
    async fn only_the_one_that_was_tried_alone_is_uncertain() {
        let cluster = scripted(|jobs: &[u32]| match jobs {
            [_] => Err(Refusal::uncertain("hung")),
            _ => Err(Refusal::rejected("no arrays here")),
        });
        let answers = submit(&cluster, &batch(&[0, 0])).await;
        assert!(matches!(answers[0], Err(SubmitError::Uncertain { .. })));
        assert!(matches!(answers[1], Err(SubmitError::Unavailable { .. })));
    }

    #[tokio::test]
    async fn a_cluster_that_is_away_is_asked_once() {
        for refusal in [Refusal::unavailable("away"), Refusal::uncertain("hung")] {
            let cluster = scripted(|_: &[u32]| Err(refusal.clone()));
            let answers = submit(&cluster, &batch(&[0, 1, 2])).await;
            assert_eq!(cluster.calls(), [[0]]);
            let first = answers[0].as_ref().unwrap_err();
            assert_eq!(*first, refusal.clone().of(&submission(0).name));
            // They were not in the call whose outcome is unknown.
            for answer in &answers[1..] {
                assert!(
                    matches!(answer, Err(SubmitError::Unavailable { .. })),
                    "{answers:?}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_calls_do_not_add_up_beyond_a_minute() {
        let cluster = Scripted {
            takes: Duration::from_secs(20),
            ..scripted(|_: &[u32]| Ok(()))
        };
        let begun = Instant::now();
        let answers = submit(&cluster, &batch(&[0, 1, 2, 3])).await;
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert_eq!(answers[..2], [Ok(id(0)), Ok(id(1))]);
        for answer in &answers[2..] {
            let reason = answer.as_ref().unwrap_err().to_string();
            assert!(reason.contains("took too long"), "{reason}");
        }
    }
}
