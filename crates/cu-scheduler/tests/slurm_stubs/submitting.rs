//! Outages and limits while something is handed over, and finding out afterwards.

use std::fs::File;

use cu_scheduler::{ClusterState, Error, Scheduler, SubmitError};

use crate::cluster::{Stubs, name};

const TIMED_OUT: &str = "sbatch: error: Batch job submission failed: Socket timed out on \
     send/recv operation";

#[tokio::test]
async fn taken_though_sbatch_timed_out_it_is_not_repeated() {
    let stubs = Stubs::new();
    stubs.sbatch(&format!("take \"$2\"; echo '{TIMED_OUT}' >&2; exit 1"));
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(1)).await;
    let Err(SubmitError::Uncertain { reason, .. }) = &answers[0] else {
        panic!("{answers:?}");
    };
    assert!(reason.contains("Socket timed out"), "{reason}");
    // The next process finds it just as well.
    drop(slurm);
    let found = stubs.open().await.find(&[name(0)]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].observation.job.0, "101");
    assert_eq!(stubs.calls("sbatch"), 1);
}

#[tokio::test]
async fn tasks_of_an_array_are_found_too() {
    let stubs = Stubs::new();
    stubs.sbatch("take \"$2\"; kill -KILL $$");
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(3)).await;
    let uncertain = |it: &Result<_, _>| matches!(it, Err(SubmitError::Uncertain { .. }));
    assert!(answers.iter().all(uncertain), "{answers:?}");
    let found = slurm.find(&[name(2), name(0)]).await.unwrap();
    let ids: Vec<&str> = found
        .iter()
        .map(|it| it.observation.job.0.as_str())
        .collect();
    assert_eq!(ids, ["101_2", "101_0"]);
}

#[tokio::test]
async fn a_job_that_left_the_queue_is_found_in_accounting() {
    let stubs = Stubs::new();
    stubs.sbatch(&format!("take \"$2\"; echo '{TIMED_OUT}' >&2; exit 1"));
    let slurm = stubs.open().await;
    slurm.submit(&stubs.submissions(1)).await;
    let queue = stubs.read("queue");
    let job_name = queue.trim_end().split('|').nth(9).unwrap();
    stubs.write(
        "accounts",
        &format!("101|FAILED|3:0|1|2|3|n1|None|{job_name}\n"),
    );
    stubs.write("queue", "");
    let found = slurm.find(&[name(0)]).await.unwrap();
    assert!(
        matches!(&found[0].observation.state, ClusterState::Ended(_)),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_given_up_call_that_arrives_late_runs_nothing() {
    let stubs = Stubs::new();
    // The controller is hung: it will take the script when it goes on.
    stubs.sbatch(&format!(
        "cp \"$2\" \"$directory/late\"; echo '{TIMED_OUT}' >&2; exit 1"
    ));
    let slurm = stubs.open().await;
    slurm.submit(&stubs.submissions(1)).await;
    assert_eq!(slurm.find(&[name(0)]).await.unwrap(), []);
    let late = std::process::Command::new("bash")
        .arg(stubs.path("late"))
        .output()
        .unwrap();
    assert_eq!(late.stdout, b"", "{late:?}");
    // The repetition is another job, and it runs.
    stubs.sbatch("take \"$2\"; cp \"$2\" \"$directory/again\"; echo \"$id\"");
    let answers = slurm.submit(&stubs.submissions(1)).await;
    assert_eq!(answers[0].as_ref().unwrap().0, "101");
    let again = std::process::Command::new("bash")
        .arg(stubs.path("again"))
        .output()
        .unwrap();
    assert_eq!(again.stdout, b"it runs\n");
    // Late or not, the first is nobody's: it has another name.
    stubs.sbatch("take \"$directory/late\"");
    std::process::Command::new(stubs.path("sbatch"))
        .output()
        .unwrap();
    let found = slurm.find(&[name(0)]).await.unwrap();
    assert_eq!(found[0].observation.job.0, "101", "{found:?}");
}

#[tokio::test]
async fn a_submission_is_kept_while_its_sbatch_lives() {
    let stubs = Stubs::new();
    stubs.sbatch(&format!("echo '{TIMED_OUT}' >&2; exit 1"));
    let slurm = stubs.open().await;
    slurm.submit(&stubs.submissions(1)).await;
    // As if the process that started sbatch had been killed, and sbatch not.
    let script = File::open(stubs.path("attempt-0/submit.sh")).unwrap();
    script.lock().unwrap();
    let answer = slurm.find(&[name(0)]).await;
    let Err(Error::Unavailable { reason, .. }) = &answer else {
        panic!("{answer:?}");
    };
    assert!(reason.contains("still at work"), "{reason}");
    drop(script);
    assert_eq!(slurm.find(&[name(0)]).await.unwrap(), []);
}

#[tokio::test]
async fn a_dropped_submission_ends_its_sbatch() {
    let stubs = Stubs::new();
    let mode = rustix::fs::Mode::RWXU;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, stubs.path("fifo"), kind, mode, 0).unwrap();
    stubs
        .sbatch("echo begun >\"$directory/fifo\"; read -r never <\"$directory/fifo\"; take \"$2\"");
    let slurm = stubs.open().await;
    let fifo = stubs.path("fifo");
    let begun = tokio::task::spawn_blocking(move || std::fs::read(fifo));
    let batch = stubs.submissions(1);
    tokio::select! {
        answers = slurm.submit(&batch) => panic!("it never ends: {answers:?}"),
        begun = begun => assert_eq!(begun.unwrap().unwrap(), b"begun\n"),
    }
    // Its lock would tell that it is at work.
    assert_eq!(slurm.find(&[name(0)]).await.unwrap(), []);
}

#[tokio::test]
async fn an_unreachable_controller_is_asked_once() {
    let stubs = Stubs::new();
    stubs.sbatch("echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1");
    let mut options = stubs.options();
    options.array = 0;
    let slurm = cu_scheduler::slurm::Slurm::open(options).await.unwrap();
    let answers = slurm.submit(&stubs.submissions(5)).await;
    for answer in &answers {
        let Err(SubmitError::Unavailable { reason, .. }) = answer else {
            panic!("{answers:?}");
        };
        assert!(reason.contains("Unable to contact"), "{reason}");
    }
    assert_eq!(stubs.calls("sbatch"), 1, "each would take ten seconds");
    // Nothing was taken, so nothing is looked for.
    assert_eq!(slurm.find(&[name(0), name(4)]).await.unwrap(), []);
    assert_eq!(stubs.calls("sacct"), 0);
}

#[tokio::test]
async fn under_a_job_limit_the_first_that_fit_are_taken() {
    let stubs = Stubs::new();
    stubs.sbatch(
        r#"
        tasks=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*$/\1/p' "$2")
        there=$(wc -l <"$directory/queue")
        if [ $((there + ${tasks:-0} + 1)) -gt 11 ]; then
            echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2
            echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, …)' >&2
            exit 1
        fi
        take "$2"; echo "$id""#,
    );
    let slurm = stubs.open().await;
    let batch = stubs.submissions(30);
    let answers = slurm.submit(&batch).await;
    let taken = answers.iter().take_while(|it| it.is_ok()).count();
    assert_eq!(taken, 11, "{answers:?}");
    for (answer, submission) in answers[taken..].iter().zip(&batch[taken..]) {
        let Err(SubmitError::Unavailable {
            name,
            reason,
            retry_after,
        }) = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!(name, &submission.name);
        assert!(
            reason.contains("AssocMaxSubmitJobLimit") && retry_after.is_some(),
            "{answer:?}"
        );
    }
    assert!(
        stubs.calls("sbatch") < 12,
        "{} calls",
        stubs.calls("sbatch")
    );
}

#[tokio::test]
async fn a_refusal_is_told_with_the_script_and_leaves_no_job() {
    let stubs = Stubs::new();
    // As --mem=1T does: refused, and yet there is a job.
    stubs.sbatch(
        "take \"$2\"; echo 'sbatch: error: Memory specification can not be satisfied' >&2; exit 1",
    );
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(1)).await;
    let Err(SubmitError::Rejected { reason, .. }) = &answers[0] else {
        panic!("{answers:?}");
    };
    let script = stubs.path("attempt-0/submit.sh");
    assert!(reason.contains("Memory specification"), "{reason}");
    assert!(
        reason.contains(script.to_str().unwrap()) && script.exists(),
        "{reason}"
    );
    stubs.becomes(
        "PENDING|0:0|0|1|N/A|N/A||Priority",
        "FAILED|1:0|0|1|2|2||BadConstraints",
    );
    assert_eq!(slurm.find(&[name(0)]).await.unwrap(), []);
}

#[tokio::test]
async fn a_full_disk_of_the_controller_rejects_nothing() {
    let stubs = Stubs::new();
    stubs.sbatch(
        "echo 'sbatch: error: Batch job submission failed: I/O error writing script/environment to \
         file' >&2; exit 1",
    );
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(2)).await;
    for answer in &answers {
        let Err(SubmitError::Unavailable { reason, .. }) = answer else {
            panic!("{answers:?}");
        };
        assert!(reason.contains("I/O error writing script"), "{reason}");
    }
}

#[tokio::test]
async fn an_sbatch_that_waits_for_room_is_halved() {
    let stubs = Stubs::new();
    stubs.sbatch(
        r#"
        last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*$/\1/p' "$2")
        if [ "${last:-0}" -ge 2 ]; then
            echo 'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying' >&2
            exec sleep 1000
        fi
        take "$2"; echo "$id""#,
    );
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(4)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(stubs.calls("sbatch"), 1 + 2, "four, and two arrays of two");
}
