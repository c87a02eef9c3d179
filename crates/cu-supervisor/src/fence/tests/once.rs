//! Tests that an attempt is started once, and that its record is true while it runs.

use super::*;

#[test]
fn a_full_disk_delays_the_decision_to_start() {
    let job = Job::new();
    let mut fence = job.fence(1);
    fs::remove_dir(job.run.attempt(JOB, Attempt(1))).unwrap();
    let text = reason(fence.ask(job.start));
    assert!(text.contains("started.json"), "{text}");
    // Its own record is not in its way.
    fs::create_dir(job.run.attempt(JOB, Attempt(1))).unwrap();
    held(|| fence.ask(job.start));
}

#[test]
fn a_second_copy_of_an_attempt_learns_who_decided() {
    let job = Job::new();
    let first = held(|| job.fence(0).ask(job.start));
    let mut copy = job.fence(0);
    reason(copy.ask(job.start));
    let Turn::DecidedByAnother { text, at, is_over } = copy.ask(job.after(900)) else {
        panic!("it is not decided");
    };
    assert!(!is_over && at.is_some());
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    drop(first);
    let turn = copy.ask(job.start);
    assert!(matches!(turn, Turn::DecidedByAnother { is_over: true, .. }));
}

#[test]
fn an_attempt_that_was_given_up_is_never_started() {
    let job = Job::new();
    assert!(Fence::decide_against(&job.run, JOB, Attempt(0)).unwrap());
    assert!(!Fence::decide_against(&job.run, JOB, Attempt(0)).unwrap());
    let turn = job.fence(0).ask(job.start);
    assert!(matches!(turn, Turn::DecidedByAnother { is_over: true, .. }));
}

#[test]
fn a_cancelled_attempt_that_arrives_later_starts_nothing() {
    let job = Job::new();
    fs::write(job.run.cancelled(JOB, Attempt(0)), "").unwrap();
    let Turn::Never(text) = job.fence(0).ask(job.start) else {
        panic!("it may start");
    };
    assert!(text.contains("it was cancelled before"), "{text}");
    // The mark is of one attempt: a retried job runs.
    job.set_newest(1);
    held(|| job.fence(1).ask(job.start));
}

#[test]
fn an_attempt_cancelled_while_it_waits_starts_nothing() {
    let job = Job::new();
    let first = held(|| job.fence(0).ask(job.start));
    job.set_newest(1);
    let mut second = job.fence(1);
    reason(second.ask(job.start));
    fs::write(job.run.cancelled(JOB, Attempt(1)), "").unwrap();
    drop(first);
    assert!(matches!(second.ask(job.start), Turn::Never(_)));
}

#[test]
fn the_record_is_renewed_and_a_newer_attempt_noticed() {
    let job = Job::new();
    job.set_newest(1);
    let mut held = held(|| job.fence(1).ask(job.start));
    let record = || fs::read(job.run.attempt_holder(JOB)).unwrap();
    let before = record();
    let due = held.next_deadline();
    assert_eq!(held.renew_if_due(due - Duration::from_millis(1)), None);
    assert_eq!(record(), before);
    assert_eq!(held.renew_if_due(due), Some(Renewal::Done));
    assert_ne!(record(), before);
    assert!(held.next_deadline() <= due + TIMES.renew_every);
    job.set_newest(2);
    let renewal = held.renew_if_due(due + TIMES.renew_every);
    assert_eq!(renewal, Some(Renewal::Superseded));
}

#[test]
fn a_record_is_renewed_where_no_new_file_can_be_made() {
    let scratch = tempfile::tempdir().unwrap();
    // So long a path that the record has a place there, and a temporary file's longer name has none.
    let longest = 4095 - "/.cu-holder.json".len();
    let mut directory = scratch.path().to_owned();
    while directory.as_os_str().len() < longest {
        let left = longest - directory.as_os_str().len() - 1;
        directory.push("d".repeat(if left > 200 { 100 } else { left }));
    }
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(".cu-holder.json");
    let mut holder = Holder::new(Attempt(0), Place::here());
    assert!(
        holder.write(&path).is_err(),
        "it makes no file half-written"
    );
    fs::write(&path, "").unwrap();
    for renewals in [1000, 1] {
        holder.renewals = renewals;
        holder.write(&path).unwrap();
        assert_eq!(
            Holder::parse(&fs::read(&path).unwrap()),
            Some(holder.clone())
        );
    }
}

#[test]
fn a_record_of_somebody_else_s_is_left_alone() {
    let job = Job::new();
    let held = held(|| job.fence(0).ask(job.start));
    job.forge(elsewhere);
    drop(held);
    assert!(job.run.attempt_holder(JOB).exists());
}

#[test]
fn an_attempt_of_an_earlier_version_is_waited_for() {
    // It has its lock and its record in the output directory.
    let job = Job::new();
    let [lock, record] = job.run.former_lock_and_holder(JOB);
    let holder = Holder::new(Attempt(0), Place::here());
    holder.write(&record).unwrap();
    let mut fence = job.fence(1);
    let text = reason(fence.ask(job.start));
    assert!(text.contains("attempt 0 of job 3"), "{text}");
    fs::remove_file(&record).unwrap();
    let locked = fs::File::create(&lock).unwrap();
    flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap();
    let text = reason(fence.ask(job.start));
    assert!(text.contains("holds its lock"), "{text}");
    drop(locked);
    let mut dead = holder;
    dead.supervisor.start_ticks -= 1;
    dead.write(&record).unwrap();
    held(|| fence.ask(job.start));
    assert!(!record.exists());
}

#[test]
fn a_lock_on_a_file_that_was_removed_does_not_count() {
    let job = Job::new();
    let first = held(|| job.fence(0).ask(job.start));
    let mut waiting = job.fence(1);
    reason(waiting.ask(job.start));
    fs::remove_file(job.run.attempt_lock(JOB)).unwrap();
    // The record keeps the others out.
    reason(waiting.ask(job.start));
    drop(first);
    let _second = held(|| waiting.ask(job.start));
    let there = fs::File::open(job.run.attempt_lock(JOB)).unwrap();
    let lock = flock(&there, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(lock, Err(Errno::WOULDBLOCK), "the one that others find");
}
