//! Cases on submitting: a command runs once, unchanged, in the given directory, and in its turn.

use std::collections::BTreeSet;

use super::{Case, Program, Step, Testbed};
use crate::{EndCause, SubmitError};

/// Texts that a shell, a submission file or a line-based format would change.
const HOSTILE: [&str; 12] = [
    "plain",
    "",
    " two  spaces ",
    "a\"double\" and 'single'",
    "line\nbreak",
    "trailing newline\n",
    "$(touch F) `touch F` $HOME ${X} %d %%",
    "back\\slash \\n \\",
    "größer, 日本, 🦀",
    "-n",
    "* ? [a] ~ # ; & | < >",
    "tab\there",
];

/// *Nothing twice.* A command that ends is not started again.
pub async fn a_command_runs_once<B: Testbed>(case: Case<B>) {
    let started = case.path("started");
    let job = case
        .submit(&Program::new([Step::Mark(started.clone())]))
        .await;
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(0));
    assert_eq!(case.marks(&started), 1);
}

/// *Arguments unchanged.* Each arrives byte for byte, and nothing in them is executed.
pub async fn arguments_are_unchanged<B: Testbed>(case: Case<B>) {
    let seen = case.path("arguments");
    let arguments = HOSTILE.map(str::to_owned);
    let program = Program::new([Step::Arguments(seen.clone())]);
    let job = case
        .hand_over(case.submission_with(&program, &arguments))
        .await;
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(0));
    let seen = std::fs::read_to_string(&seen).expect("the program wrote its arguments");
    let seen: Vec<&str> = seen.split_terminator('\0').collect();
    assert_eq!(seen, HOSTILE);
    let touched = case.path("F").exists();
    assert!(!touched, "an argument was executed");
}

/// *Arguments unchanged.* Variables arrive byte for byte, too.
pub async fn variables_are_unchanged<B: Testbed>(case: Case<B>) {
    let paths: Vec<_> = (0..HOSTILE.len())
        .map(|number| case.path(&format!("value-{number}")))
        .collect();
    let step = |(number, path): (usize, &std::path::PathBuf)| {
        Step::Variable(format!("CU_TEST_{number}"), path.clone())
    };
    let program = Program::new(paths.iter().enumerate().map(step));
    let mut submission = case.submission(&program);
    for (number, value) in HOSTILE.into_iter().enumerate() {
        let name = format!("CU_TEST_{number}");
        submission.environment.insert(name, value.to_owned());
    }
    let job = case.hand_over(submission).await;
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(0));
    for (path, value) in paths.iter().zip(HOSTILE) {
        let seen = std::fs::read_to_string(path).expect("the program wrote the value");
        assert_eq!(seen, value);
    }
}

/// A command starts in its `working_directory`.
pub async fn the_command_starts_where_told<B: Testbed>(case: Case<B>) {
    let (seen, directory) = (case.path("seen"), case.path("a directory"));
    std::fs::create_dir(&directory).expect("the directory of the case can be written");
    let mut submission = case.submission(&Program::new([Step::WorkingDirectory(seen.clone())]));
    submission.working_directory = directory.clone();
    let job = case.hand_over(submission).await;
    case.end(&job).await;
    let seen = std::fs::read_to_string(&seen).expect("the program wrote its directory");
    let directory = directory.canonicalize().expect("the directory is there");
    assert_eq!(
        seen.trim_end(),
        directory.to_str().expect("its path is UTF-8")
    );
}

/// The files `stdout` and `stderr` appear in `directory`.
pub async fn output_goes_to_the_files_of_the_submission<B: Testbed>(case: Case<B>) {
    let submission = case.submission(&Program::new([
        Step::Print("to standard output".into()),
        Step::PrintError("to standard error".into()),
    ]));
    let directory = submission.directory.clone();
    let job = case.hand_over(submission).await;
    case.end(&job).await;
    for (file, line) in [
        ("stdout", "to standard output"),
        ("stderr", "to standard error"),
    ] {
        // On another machine the last bytes may arrive later than the end.
        let path = directory.join(file);
        case.until_true(&format!("{file} holds the line"), || {
            std::fs::read_to_string(&path).is_ok_and(|text| text.lines().any(|it| it == line))
        })
        .await;
    }
}

/// A processor is never given to two jobs at once.
pub async fn no_more_run_at_once_than_there_are_slots<B: Testbed>(case: Case<B>) {
    let (started, go) = (case.path("started"), case.path("go"));
    let mut jobs = case.fill_slots(&started, &go).await;
    let late = case.path("late");
    let program = Program::new([Step::Mark(late.clone())]);
    let batch = vec![case.submission(&program), case.submission(&program)];
    let waiting = case.hand_over_all(batch).await;
    case.stay_queued(&waiting).await;
    assert_eq!(case.marks(&late), 0);
    case.touch(&go);
    jobs.extend(waiting);
    for job in &jobs {
        assert_eq!(case.end(job).await.cause, EndCause::Exited(0));
    }
    assert_eq!(case.marks(&late), 2);
}

/// *In order.* Submissions with equal needs start in the order in which they were submitted.
pub async fn those_that_wait_start_in_order<B: Testbed>(case: Case<B>) {
    let (started, go) = (case.path("started"), case.path("go"));
    // All slots but one stay taken, and each waiting job in turn holds the last one until it may
    // end.
    let release = case.path("release");
    let blocker = Program::new([Step::Mark(started.clone()), Step::Await(release.clone())]);
    let first = case.submit(&blocker).await;
    case.until_exists(&started).await;
    let program = Program::new([Step::Mark(started.clone()), Step::Await(go.clone())]);
    let others = (1..case.bed.slots()).map(|_| case.submission(&program));
    let mut jobs = case.hand_over_all(others.collect()).await;
    case.until_true("all slots are taken", || {
        case.marks(&started) == case.bed.slots() as usize
    })
    .await;
    let file = |kind: &str, number: usize| case.path(&format!("{kind}-{number}"));
    let mut waiting = Vec::new();
    for number in 0..3 {
        let steps = [
            Step::Mark(file("begun", number)),
            Step::Await(file("end", number)),
        ];
        waiting.push(case.submit(&Program::new(steps)).await);
    }
    case.touch(&release);
    for number in 0..3 {
        case.until_exists(&file("begun", number)).await;
        for later in number + 1..3 {
            assert!(
                !file("begun", later).exists(),
                "{later} began before its turn"
            );
        }
        case.touch(&file("end", number));
    }
    case.touch(&go);
    jobs.push(first);
    jobs.extend(waiting);
    for job in &jobs {
        case.end(job).await;
    }
}

/// A large batch is accepted whole: each job runs once, under an id of its own.
pub async fn many_are_taken_in_one_batch<B: Testbed>(case: Case<B>) {
    let started = case.path("started");
    let program = Program::new([Step::Mark(started.clone())]);
    let batch: Vec<_> = (0..40).map(|_| case.submission(&program)).collect();
    let jobs = case.hand_over_all(batch).await;
    let distinct: BTreeSet<_> = jobs.iter().collect();
    assert_eq!(distinct.len(), 40, "each has an id of its own");
    for job in &jobs {
        assert_eq!(case.end(job).await.cause, EndCause::Exited(0));
    }
    assert_eq!(case.marks(&started), 40);
}

/// A rejected submission is not on the cluster, its error names it, and the others are accepted.
pub async fn a_rejected_submission_leaves_nothing<B: Testbed>(case: Case<B>) {
    let good = case.submission(&Program::default());
    let mut bad = case.submission(&Program::default());
    bad.command = vec!["not/absolute".into()];
    let name = bad.name.clone();
    let mut answers = case.try_hand_over(vec![bad, good]).await.into_iter();
    match answers.next() {
        Some(Err(SubmitError::Rejected {
            name: rejected,
            reason,
        })) => {
            assert_eq!(rejected, name);
            assert!(
                reason.contains("not/absolute"),
                "says what is wrong: {reason}"
            );
        }
        other => panic!("a relative program path is rejected, not {other:?}"),
    }
    let good = answers.next().expect("one answer each");
    let good = good.expect("its neighbour is not to blame");
    assert_eq!(case.end(&good).await.cause, EndCause::Exited(0));
    for found in case.find(&[name]).await {
        let over = found.observation.state.is_over();
        assert!(over, "a rejected submission is on the cluster: {found:?}");
    }
}

/// A submission with `previous` is accepted, and the cluster queues the same job again or makes a
/// new one.
pub async fn a_resubmission_runs_after_its_predecessor<B: Testbed>(case: Case<B>) {
    let (first, second) = (case.path("first"), case.path("second"));
    let steps = [Step::Mark(first.clone()), Step::Exit(3)];
    let job = case.submit(&Program::new(steps)).await;
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(3));
    let mut submission = case.submission(&Program::new([Step::Mark(second.clone())]));
    submission.previous = Some(job);
    let job = case.hand_over(submission).await;
    case.until_exists(&second).await;
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(0));
    assert_eq!((case.marks(&first), case.marks(&second)), (1, 1));
}

/// *Names.* A caller whose memory was restored from a copy may submit the same name again. Either
/// it gets [`SubmitError::Uncertain`] and finds the first submission, or the cluster accepts a
/// second one under another id.
pub async fn a_name_that_was_submitted_before_is_not_refused<B: Testbed>(mut case: Case<B>) {
    let (started, go) = (case.path("started"), case.path("go"));
    let program = Program::new([Step::Mark(started.clone()), Step::Await(go.clone())]);
    let submission = case.submission(&program);
    let job = case.hand_over(submission.clone()).await;
    case.until_exists(&started).await;
    for _ in 0..2 {
        let again = std::slice::from_ref(&submission);
        match case.scheduler().submit(again).await.remove(0) {
            Ok(other) => assert_ne!(other, job, "one id for two submissions"),
            Err(SubmitError::Rejected { reason, .. }) => panic!("refused: {reason}"),
            Err(_) => {
                let found = case.find(std::slice::from_ref(&submission.name)).await;
                let ids: Vec<_> = found.iter().map(|found| &found.observation.job).collect();
                assert_eq!(ids, [&job]);
            }
        }
        case.reopen(async |_: &Case<B>| {}).await;
    }
    case.touch(&go);
    case.end(&job).await;
}
