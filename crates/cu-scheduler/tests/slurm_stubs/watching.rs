//! Jobs that vanish, numbers that are given away again, and what is ended by us.

use cu_scheduler::{Cancel, ClusterJobId, ClusterState, EndCause, Error, Scheduler};

use crate::cluster::Stubs;

async fn state(slurm: &impl Scheduler, job: &ClusterJobId) -> ClusterState {
    let observed = slurm.observe(std::slice::from_ref(job)).await;
    observed.unwrap().remove(0).state
}

fn cause(state: ClusterState) -> EndCause {
    match state {
        ClusterState::Ended(end) => end.cause,
        other => panic!("it has ended, and is {other:?}"),
    }
}

#[tokio::test]
async fn thousands_are_one_question() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(50)).await;
    let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    let states = slurm.observe(&jobs).await.unwrap();
    let queued = |state: &ClusterState| matches!(state, ClusterState::Queued { .. });
    assert!(states.iter().all(|it| queued(&it.state)));
    assert_eq!((stubs.calls("squeue"), stubs.calls("sacct")), (1, 0));
}

#[tokio::test]
async fn a_job_that_vanished_is_looked_for_in_accounting() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    let queue = stubs.read("queue");
    let job_name = queue.trim_end().split('|').nth(9).unwrap();
    stubs.write("queue", "");
    // Accounting is late, then away: nothing follows from either.
    let late = state(&slurm, &job).await;
    assert!(matches!(late, ClusterState::Unknown { .. }), "{late:?}");
    stubs.does(
        "sacct",
        "echo 'Problem talking to the database' >&2; exit 1",
    );
    let silent = state(&slurm, &job).await;
    let ClusterState::Unknown { reason } = &silent else {
        panic!("{silent:?}");
    };
    assert!(
        reason.contains("Problem talking to the database"),
        "{reason}"
    );
    stubs.does("sacct", "cat \"$directory/accounts\"");
    stubs.write(
        "accounts",
        &format!("101|RUNNING|0:0|1|2|Unknown|n1|None|{job_name}\n"),
    );
    let stale = state(&slurm, &job).await;
    assert!(matches!(stale, ClusterState::Unknown { .. }), "{stale:?}");
    stubs.write(
        "accounts",
        &format!("101|OUT_OF_MEMORY|0:125|1|2|3|n1|None|{job_name}\n"),
    );
    assert_eq!(cause(state(&slurm, &job).await), EndCause::OutOfMemory);
}

/// An array of four, of which tasks 1 and 2 were cancelled while they waited: real Slurms keep no
/// trace of them.
async fn without_two_of_four(stubs: &Stubs, slurm: &impl Scheduler) -> Vec<ClusterJobId> {
    let answers = slurm.submit(&stubs.submissions(4)).await;
    let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    let queue = stubs.read("queue");
    let job_name = queue.lines().next().unwrap().split('|').nth(9).unwrap();
    let accounts =
        format!("101_[0-3:3]|PENDING|0:0|1|Unknown|Unknown|None assigned|None|{job_name}\n");
    stubs.write("accounts", &accounts);
    let is_left = |line: &&str| !line.starts_with("101_1|") && !line.starts_with("101_2|");
    let left = |queue: &str| queue.lines().filter(is_left).collect::<Vec<_>>().join("\n");
    stubs.write("left", &left(&queue));
    jobs
}

#[tokio::test]
async fn a_waiting_task_cancelled_by_a_person_is_not_lost() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let jobs = without_two_of_four(&stubs, &slurm).await;
    stubs.does("squeue", "cat \"$directory/left\"");
    let two_minutes = async || {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(120)).await;
        tokio::time::resume();
    };
    // It could have started, and accounting be late: it was away until now.
    stubs.does("sacct", "exit 1");
    let silent = state(&slurm, &jobs[1]).await;
    assert!(matches!(silent, ClusterState::Unknown { .. }), "{silent:?}");
    two_minutes().await;
    stubs.does("sacct", "cat \"$directory/accounts\"");
    let late = state(&slurm, &jobs[1]).await;
    assert!(matches!(late, ClusterState::Unknown { .. }), "{late:?}");
    two_minutes().await;
    assert_eq!(cause(state(&slurm, &jobs[1]).await), EndCause::Cancelled);
    // The other one did start, though accounting never heard of it: a controller that crashed.
    std::fs::write(stubs.path("attempt-2").join("stdout"), "").unwrap();
    let late = state(&slurm, &jobs[2]).await;
    assert!(matches!(late, ClusterState::Unknown { .. }), "{late:?}");
    two_minutes().await;
    assert_eq!(state(&slurm, &jobs[2]).await, ClusterState::Gone);
    let waits = state(&slurm, &jobs[3]).await;
    assert!(matches!(waits, ClusterState::Queued { .. }), "{waits:?}");
}

#[tokio::test]
async fn a_task_that_we_cancel_while_it_waits_is_cancelled_at_once() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let jobs = without_two_of_four(&stubs, &slurm).await;
    stubs.does("scancel", "cp \"$directory/left\" \"$directory/queue\"");
    slurm.cancel(&jobs[1..3], Cancel::Terminate).await.unwrap();
    assert_eq!(cause(state(&slurm, &jobs[1]).await), EndCause::Cancelled);
    assert_eq!(cause(state(&slurm, &jobs[2]).await), EndCause::Cancelled);
}

/// As sacct writes tasks that were cancelled while they waited: no more than 64 bytes of them, unless
/// it is told to.
const CUTS_IDS: &str = r#"if [ "$SLURM_BITSTR_LEN" = 0 ]; then
    cat "$directory/accounts"
else
    sed 's/_\[\(.\{60\}\)[^]]*\]/_[\1...]/' "$directory/accounts"
fi"#;

#[tokio::test]
async fn many_tasks_cancelled_while_waiting_are_all_found() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(60)).await;
    let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    let queue = stubs.read("queue");
    let job_name = queue.lines().next().unwrap().split('|').nth(9).unwrap();
    stubs.write("queue", "");
    let every_second: Vec<String> = (0..60).step_by(2).map(|task| task.to_string()).collect();
    let tasks = every_second.join(",");
    stubs.write(
        "accounts",
        &format!("101_[{tasks}]|CANCELLED by 1000|0:0|1|None|2|None assigned|None|{job_name}\n"),
    );
    stubs.does("sacct", CUTS_IDS);
    for task in [0, 30, 58] {
        let cancelled = cause(state(&slurm, &jobs[task]).await);
        assert_eq!(cancelled, EndCause::Cancelled, "task {task}");
    }
}

async fn some_seconds_later() {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn without_accounting_a_job_is_gone_when_missed_twice() {
    let stubs = Stubs::new();
    stubs.write(
        "config",
        "SLURM_VERSION = 24.11.5\nAccountingStorageType = (null)\n",
    );
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    let queue = stubs.read("queue");
    for _ in 0..2 {
        stubs.write("queue", "");
        let missed = state(&slurm, &job).await;
        assert!(matches!(missed, ClusterState::Unknown { .. }), "{missed:?}");
        some_seconds_later().await;
        // It was a hiccup.
        stubs.write("queue", &queue);
        let waits = state(&slurm, &job).await;
        assert!(matches!(waits, ClusterState::Queued { .. }), "{waits:?}");
    }
    stubs.write("queue", "");
    let missed = state(&slurm, &job).await;
    assert!(matches!(missed, ClusterState::Unknown { .. }), "{missed:?}");
    some_seconds_later().await;
    assert_eq!(state(&slurm, &job).await, ClusterState::Gone);
    assert_eq!(stubs.calls("sacct"), 0);
}

#[tokio::test]
async fn a_job_that_an_answer_lacks_is_cancelled_by_name() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    let queue = stubs.read("queue");
    let name = queue.lines().next().unwrap().split('|').nth(9).unwrap();
    stubs.write("queue", "");
    let unknown = ClusterJobId("999".into());
    slurm
        .cancel(&[job, unknown], Cancel::Terminate)
        .await
        .unwrap();
    let expected = format!("--name={name} 101\n");
    assert_eq!(stubs.read("scancel.calls"), expected);
}

#[tokio::test]
async fn a_banner_before_an_empty_table_is_no_silence() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    stubs.does(
        "squeue",
        r#"echo 'NOTE: | answers are 30 s old |'; echo 'CLUSTER: fake'
        case "$*" in *--noheader*) ;; *) echo 'JOBID|STATE|EXIT_CODE|RESTARTCNT|A|B|C|D|E|NAME|' ;; esac
        cat "$directory/queue""#,
    );
    let waits = state(&slurm, &job).await;
    assert!(matches!(waits, ClusterState::Queued { .. }), "{waits:?}");
    let asked = stubs.calls("squeue");
    stubs.write("queue", "");
    let missed = state(&slurm, &job).await;
    assert!(matches!(missed, ClusterState::Unknown { .. }), "{missed:?}");
    assert_eq!(stubs.calls("squeue"), asked + 2);
}

#[tokio::test]
async fn a_cancel_by_the_sites_own_user_is_a_removal() {
    let stubs = Stubs::new();
    stubs.write(
        "config",
        "SLURM_VERSION = 24.11.5\nAccountingStorageType = accounting_storage/slurmdbd\n\
         SlurmUser = slurm(64030)\n",
    );
    let slurm = stubs.open().await;
    let submissions = stubs.submissions(1);
    let job = slurm.submit(&submissions).await.remove(0).unwrap();
    std::fs::write(submissions[0].directory.join("stdout"), "").unwrap();
    let queue = stubs.read("queue");
    let name = queue.lines().next().unwrap().split('|').nth(9).unwrap();
    stubs.write(
        "queue",
        &format!("101|CANCELLED|0:15|0|1|2|9|n1|None|{name}|\n"),
    );
    for (by, expected) in [
        ("64030", EndCause::Removed),
        ("0", EndCause::Removed),
        ("1000", EndCause::Cancelled),
    ] {
        let row = format!("101|CANCELLED by {by}|0:15|1|2|9|n1|None|{name}\n");
        stubs.write("accounts", &row);
        let ClusterState::Ended(end) = state(&slurm, &job).await else {
            panic!("{by}: it has not ended");
        };
        assert_eq!(end.cause, expected, "{by}");
        assert!(end.text.starts_with("CANCELLED by "), "{}", end.text);
    }
}

#[tokio::test]
async fn a_silent_controller_is_no_end() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    stubs.does(
        "squeue",
        "echo 'Unable to contact slurm controller' >&2; exit 1",
    );
    let jobs = [job];
    let error = slurm.observe(&jobs).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { reason, .. } if reason.contains("contact")));
    stubs.does(
        "scancel",
        "echo 'Unable to contact slurm controller' >&2; exit 1",
    );
    assert!(matches!(
        slurm.cancel(&jobs, Cancel::Kill).await,
        Err(Error::Unavailable { .. })
    ));
    // Nor is an answer that has no jobs in it at all.
    stubs.does("squeue", "echo 'Maintenance until Monday'");
    let error = slurm.observe(&jobs).await.unwrap_err();
    assert!(matches!(error, Error::Misunderstood { .. }), "{error}");
}

#[tokio::test]
async fn a_reused_job_id_is_neither_watched_nor_cancelled() {
    let stubs = Stubs::new();
    stubs.write(
        "config",
        "SLURM_VERSION = 24.11.5\nAccountingStorageType = (null)\n",
    );
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    stubs.write("queue", "101|RUNNING|0:0|0|9|9|N/A|n1|None|another|\n");
    assert_eq!(state(&slurm, &job).await, ClusterState::Gone);
    slurm.cancel(&[job], Cancel::Terminate).await.unwrap();
    assert_eq!(stubs.calls("scancel"), 0);
}

#[tokio::test]
async fn jobs_are_cancelled_by_name_if_the_queue_is_silent() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(2)).await;
    let mut jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    let name = stubs.read("queue").lines().next().unwrap().to_owned();
    let name = name.split('|').nth(9).unwrap().to_owned();
    // It is not known to be ours.
    jobs.push(ClusterJobId("999".into()));
    stubs.does("squeue", "echo 'unrecognized arguments' >&2; exit 2");
    slurm.cancel(&jobs, Cancel::Terminate).await.unwrap();
    let expected = format!("--name={name} 101_0 101_1\n");
    assert_eq!(stubs.read("scancel.calls"), expected);
}

#[tokio::test]
async fn an_id_that_is_given_again_mixes_up_no_attempts() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let jobs = async |attempts: std::ops::Range<u32>| {
        let submissions: Vec<_> = attempts.map(|it| stubs.submission(it)).collect();
        let answers = slurm.submit(&submissions).await.into_iter();
        answers.map(Result::unwrap).collect::<Vec<ClusterJobId>>()
    };
    let old = jobs(0..2).await;
    let name = stubs.read("queue").lines().next().unwrap().to_owned();
    let name = name.split('|').nth(9).unwrap().to_owned();
    // The controller crashed, forgot them and counts anew.
    stubs.write("queue", "");
    stubs.write("last_id", "100");
    let new = jobs(2..4).await;
    assert!(new.iter().all(|it| !old.contains(it)), "{new:?}");
    stubs.becomes("101_0|PENDING", "101_0|RUNNING");
    stubs.write(
        "accounts",
        &format!("101_0|NODE_FAIL|0:0|1|2|3|n1|None|{name}\n"),
    );
    for slurm in [slurm, stubs.open().await] {
        assert_eq!(cause(state(&slurm, &old[0]).await), EndCause::NodeFailure);
        let gone = state(&slurm, &old[1]).await;
        assert!(matches!(gone, ClusterState::Unknown { .. }), "{gone:?}");
        let runs = state(&slurm, &new[0]).await;
        assert!(matches!(runs, ClusterState::Running { .. }), "{runs:?}");
        let found = slurm
            .find(&[crate::cluster::name(0), crate::cluster::name(3)])
            .await;
        let found: Vec<_> = found
            .unwrap()
            .into_iter()
            .map(|it| it.observation.job)
            .collect();
        assert_eq!(found, [old[0].clone(), new[1].clone()]);
        slurm.cancel(&old, Cancel::Terminate).await.unwrap();
        assert_eq!(stubs.calls("scancel"), 0);
    }
    let slurm = stubs.open().await;
    slurm.cancel(&new[1..], Cancel::Terminate).await.unwrap();
    assert_eq!(stubs.read("scancel.calls"), "101_1\n");
}

#[tokio::test]
async fn one_scancel_ends_all_and_no_others() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(3)).await;
    let mut jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    stubs.becomes("101_1|PENDING", "101_1|COMPLETED");
    jobs.push(ClusterJobId("999".into()));
    jobs.push(ClusterJobId("local-1".into()));
    jobs.push(ClusterJobId("-u root".into()));
    slurm.cancel(&jobs, Cancel::Terminate).await.unwrap();
    assert_eq!(stubs.read("scancel.calls"), "101_0 101_2\n");
}

#[tokio::test]
async fn scancel_of_a_job_that_just_ended_is_not_an_error() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let jobs = [slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap()];
    let error = "scancel: error: Kill job error on job id 101:";
    let ended = "Job/step already completing or completed";
    stubs.does("scancel", &format!("echo '{error} {ended}' >&2; exit 1"));
    slurm.cancel(&jobs, Cancel::Terminate).await.unwrap();
    stubs.does(
        "scancel",
        &format!("echo '{error} Access/permission denied' >&2; exit 210"),
    );
    let denied = slurm.cancel(&jobs, Cancel::Terminate).await;
    assert!(matches!(denied, Err(Error::Refused { .. })), "{denied:?}");
    stubs.does(
        "scancel",
        &format!("echo '{error} Socket timed out' >&2; exit 140"),
    );
    let unclear = slurm.cancel(&jobs, Cancel::Terminate).await;
    assert!(
        matches!(unclear, Err(Error::Unavailable { .. })),
        "{unclear:?}"
    );
}

#[tokio::test]
async fn a_kill_of_ours_is_a_cancel_and_any_other_is_not() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(2)).await;
    let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    let kill = std::slice::from_ref(&jobs[0]);
    slurm.cancel(kill, Cancel::Kill).await.unwrap();
    assert_eq!(
        stubs.read("scancel.calls"),
        "--signal=KILL --full 101_0\n101_0\n"
    );
    stubs.becomes(
        "PENDING|0:0|0|1|N/A|N/A||Priority",
        "FAILED|0:9|0|1|2|9999999999|n1|None",
    );
    // The next process knows it, too.
    drop(slurm);
    let slurm = stubs.open().await;
    assert_eq!(cause(state(&slurm, &jobs[0]).await), EndCause::Cancelled);
    assert_eq!(cause(state(&slurm, &jobs[1]).await), EndCause::Signaled(9));
}

#[tokio::test]
async fn memory_exceeded_is_read_from_the_words_of_slurm() {
    let stubs = Stubs::new();
    let mut options = stubs.options();
    options.wrapper = vec!["srun".into()];
    let slurm = cu_scheduler::slurm::Slurm::open(options).await.unwrap();
    let answers = slurm.submit(&stubs.submissions(4)).await;
    let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    let queue = stubs.read("queue");
    let ended = "0|1|2|9999999999|n1|None";
    let mut rows = String::new();
    for (task, exit) in [(0, "0:9"), (1, "1:0"), (2, "0:9"), (3, "3:0")] {
        let name = queue.lines().next().unwrap().split('|').nth(9).unwrap();
        rows.push_str(&format!("101_{task}|FAILED|{exit}|{ended}|{name}|\n"));
    }
    stubs.write("queue", &rows);
    let says = |attempt: u32, words: &str| {
        let path = stubs.path(&format!("attempt-{attempt}")).join("stderr");
        std::fs::write(path, format!("of the program\n{words}\n")).unwrap();
    };
    says(
        0,
        "slurmstepd-n1: error: Step 7.batch exceeded memory limit (9 > 8), being killed",
    );
    says(
        1,
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.",
    );
    says(2, "the program says: exceeded memory limit");
    says(
        3,
        "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.",
    );
    for (job, expected) in jobs.iter().zip([
        EndCause::OutOfMemory,
        EndCause::OutOfMemory,
        EndCause::Signaled(9),
        EndCause::Exited(3),
    ]) {
        assert_eq!(cause(state(&slurm, job).await), expected, "{job:?}");
    }
}

#[tokio::test]
async fn accounting_says_who_cancelled_a_job_that_is_listed() {
    for (uid, expected) in [(0, EndCause::Removed), (1000, EndCause::Cancelled)] {
        let stubs = Stubs::new();
        let slurm = stubs.open().await;
        let submissions = stubs.submissions(1);
        let job = slurm.submit(&submissions).await.remove(0).unwrap();
        std::fs::write(submissions[0].directory.join("stdout"), "").unwrap();
        let queue = stubs.read("queue");
        let job_name = queue.trim_end().split('|').nth(9).unwrap();
        stubs.becomes(
            "PENDING|0:0|0|1|N/A|N/A||Priority",
            "CANCELLED|0:15|0|1|2|3|n1|None",
        );
        // Accounting has not heard of it.
        let row = |state: &str| format!("101|{state}|0:0|1|2|3|n1|None|{job_name}\n");
        for early in [String::new(), row("RUNNING")] {
            stubs.write("accounts", &early);
            let open = state(&slurm, &job).await;
            assert!(matches!(open, ClusterState::Unknown { .. }), "{open:?}");
        }
        stubs.write("accounts", &row(&format!("CANCELLED by {uid}")));
        assert_eq!(cause(state(&slurm, &job).await), expected);
    }
}

/// A prolog that fails, or a node that has a job of this id already. How long Slurm took for it does not tell.
#[tokio::test]
async fn a_cancel_of_what_no_node_could_start_is_nobodys() {
    for (accounting, by) in [("(null)", ""), ("accounting_storage/slurmdbd", " by 0")] {
        let stubs = Stubs::new();
        stubs.write("config", &format!("AccountingStorageType = {accounting}\n"));
        let slurm = stubs.open().await;
        let submissions = stubs.submissions(1);
        let job = slurm.submit(&submissions).await.remove(0).unwrap();
        let queue = stubs.read("queue");
        let job_name = queue.trim_end().split('|').nth(9).unwrap();
        for ended in [2, 3, 60] {
            let row = format!("101|CANCELLED|0:15|0|1|2|{ended}|n1|None|{job_name}|\n");
            stubs.write("queue", &row);
            let row = format!("101|CANCELLED{by}|0:15|1|2|{ended}|n1|None|{job_name}\n");
            stubs.write("accounts", &row);
            let cause = cause(state(&slurm, &job).await);
            assert_eq!(cause, EndCause::NotStarted, "{accounting}, after {ended}");
        }
        std::fs::write(submissions[0].directory.join("stdout"), "").unwrap();
        let by_site = [EndCause::Cancelled, EndCause::Removed][usize::from(!by.is_empty())];
        assert_eq!(cause(state(&slurm, &job).await), by_site, "{accounting}");
    }
}

#[tokio::test]
async fn a_job_that_completes_for_ever_ends_nevertheless() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let answers = slurm.submit(&stubs.submissions(3)).await;
    let jobs: Vec<ClusterJobId> = answers.into_iter().map(Result::unwrap).collect();
    let later = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    let states = async || {
        let observed = slurm.observe(&jobs).await.unwrap();
        observed.into_iter().map(|it| it.state).collect::<Vec<_>>()
    };
    let queue = stubs.read("queue");
    let job_name = queue.lines().next().unwrap().split('|').nth(9).unwrap();
    let running = queue.replace(
        "PENDING|0:0|0|1|N/A|N/A||Priority",
        "RUNNING|0:0|0|1|2|N/A|n1|None",
    );
    stubs.write("queue", &running);
    slurm.cancel(&jobs[2..], Cancel::Terminate).await.unwrap();
    stubs.write("queue", &running.replace("RUNNING", "COMPLETING"));
    // An epilog may take so long.
    for pause in [0, 80] {
        later(pause).await;
        let running = |state: &ClusterState| matches!(state, ClusterState::Running { .. });
        let seen = states().await;
        assert!(seen.iter().all(running), "{seen:?}");
    }
    assert_eq!(stubs.calls("sacct"), 0);
    stubs.write(
        "accounts",
        &format!("101_0|FAILED|0:9|1|2|3|n1|None|{job_name}\n"),
    );
    later(10).await;
    let causes: Vec<_> = states().await.into_iter().map(cause).collect();
    assert_eq!(
        causes,
        [
            EndCause::Signaled(9),
            EndCause::NodeFailure,
            EndCause::Cancelled
        ]
    );
    stubs.write("queue", &running);
    let seen = states().await;
    assert!(matches!(seen[0], ClusterState::Running { .. }), "{seen:?}");
}

#[tokio::test]
async fn our_own_cancel_asks_no_accounting() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    stubs.becomes("PENDING", "RUNNING");
    let jobs = std::slice::from_ref(&job);
    slurm.cancel(jobs, Cancel::Terminate).await.unwrap();
    stubs.becomes("RUNNING", "CANCELLED");
    assert_eq!(cause(state(&slurm, &job).await), EndCause::Cancelled);
    assert_eq!(stubs.calls("sacct"), 0);
}

#[tokio::test]
async fn a_squeue_that_cant_be_started_may_be_there_again() {
    let stubs = Stubs::new();
    let slurm = stubs.open().await;
    let job = slurm.submit(&stubs.submissions(1)).await.remove(0).unwrap();
    // Its file system is away.
    std::fs::rename(stubs.path("squeue"), stubs.path("away")).unwrap();
    let error = slurm.observe(std::slice::from_ref(&job)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("can't be started"), "{words}");
    assert!(!words.contains("refused"), "{words}");
    std::fs::rename(stubs.path("away"), stubs.path("squeue")).unwrap();
    let there = state(&slurm, &job).await;
    assert!(matches!(there, ClusterState::Queued { .. }), "{there:?}");
}
