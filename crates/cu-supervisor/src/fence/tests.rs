//! Holders that are dead, alive, orphaned, elsewhere, damaged; with times given, so none is waited
//! for. What two real processes do to each other is in `tests/killed.rs`.

use std::fs;

use super::*;

const TIMES: FenceTimes = FenceTimes {
    wait: Duration::from_secs(900),
    stale_after: Duration::from_secs(300),
    renew_every: Duration::from_secs(30),
};

struct Job {
    _scratch: tempfile::TempDir,
    run: RunDir,
    start: Instant,
}

const JOB: JobId = JobId(3);

impl Job {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunDir::new(scratch.path());
        fs::create_dir_all(run.output_dir(JOB)).unwrap();
        for attempt in 0..4 {
            fs::create_dir_all(run.attempt(JOB, Attempt(attempt))).unwrap();
        }
        Self {
            _scratch: scratch,
            run,
            start: Instant::now(),
        }
    }

    fn fence(&self, attempt: u32) -> Fence<'_> {
        let stop = StopPolicy::default();
        Fence::new(&self.run, (JOB, Attempt(attempt)), &stop, TIMES, self.start)
    }

    fn after(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// A record as another supervisor would have left it.
    fn forge(&self, change: impl FnOnce(&mut Holder)) -> Holder {
        let mut holder = Holder::new(Attempt(0), Place::here());
        change(&mut holder);
        holder.write(&self.run.attempt_holder(JOB)).unwrap();
        holder
    }

    fn set_newest(&self, attempt: u32) {
        fs::write(self.run.newest_attempt(JOB), attempt.to_string()).unwrap();
    }
}

fn elsewhere(holder: &mut Holder) {
    holder.place.boot = "another".to_owned();
    holder.place.host = "node9".to_owned();
}

fn held(turn: Turn) -> Held {
    match turn {
        Turn::Ours(held) => held,
        other => panic!("not let in: {other:?}"),
    }
}

fn reason(turn: Turn) -> String {
    match turn {
        Turn::Wait(reason) => reason,
        other => panic!("no wait: {other:?}"),
    }
}

fn refusal(turn: Turn) -> String {
    match turn {
        Turn::Never(text) => text,
        other => panic!("no refusal: {other:?}"),
    }
}

#[test]
fn an_empty_directory_is_entered_and_left_without_a_trace() {
    let job = Job::new();
    let first = held(job.fence(0).ask(job.start));
    assert!(job.run.attempt_holder(JOB).exists());
    drop(first);
    assert!(!job.run.attempt_holder(JOB).exists());
    held(job.fence(1).ask(job.start));
}

#[test]
fn a_living_holder_is_waited_for_and_then_given_up() {
    let job = Job::new();
    let first = held(job.fence(0).ask(job.start));
    let mut second = job.fence(1);
    let text = reason(second.ask(job.start));
    assert!(text.contains("attempt 0 of job 3"), "{text}");
    reason(second.ask(job.after(899)));
    let text = refusal(second.ask(job.after(900)));
    assert!(text.contains("within 900 s"), "{text}");
    assert!(!job.run.started(JOB, Attempt(1)).exists());
    drop(first);
    held(second.ask(job.after(901)));
}

#[test]
fn a_policy_with_a_long_grace_gets_a_longer_wait() {
    let job = Job::new();
    let _first = held(job.fence(0).ask(job.start));
    let patient = StopPolicy {
        grace: Duration::from_secs(1000),
        ..StopPolicy::default()
    };
    let mut second = Fence::new(&job.run, (JOB, Attempt(1)), &patient, TIMES, job.start);
    reason(second.ask(job.after(2999)));
    refusal(second.ask(job.after(3000)));
}

#[test]
fn a_dead_holder_of_this_machine_delays_nobody() {
    let job = Job::new();
    job.forge(|holder| holder.supervisor.start_ticks -= 1);
    held(job.fence(1).ask(job.start));
}

#[test]
fn a_free_lock_is_no_proof_of_death() {
    let job = Job::new();
    // This process lives, and has closed what it inherited.
    job.forge(|_| {});
    let text = reason(job.fence(1).ask(job.start));
    assert!(text.contains("attempt 0 of job 3"), "{text}");
    assert!(!job.run.started(JOB, Attempt(1)).exists());
}

#[test]
fn a_holder_that_can_t_be_asked_is_waited_for_until_its_record_is_stale() {
    let job = Job::new();
    job.forge(elsewhere);
    let mut fence = job.fence(1);
    let text = reason(fence.ask(job.start));
    assert!(text.contains("node9"), "{text}");
    reason(fence.ask(job.after(299)));
    held(fence.ask(job.after(300)));
}

#[test]
fn a_holder_elsewhere_that_renews_its_record_is_alive() {
    let job = Job::new();
    let mut fence = job.fence(1);
    for renewals in 0..9 {
        job.forge(|holder| {
            elsewhere(holder);
            holder.renewals = renewals;
        });
        reason(fence.ask(job.after(100 * renewals)));
    }
    let text = refusal(fence.ask(job.after(900)));
    assert!(text.contains("node9"), "{text}");
}

#[test]
fn a_damaged_record_is_no_free_pass() {
    let job = Job::new();
    fs::write(job.run.attempt_holder(JOB), "{\"version\":7}").unwrap();
    let mut fence = job.fence(1);
    reason(fence.ask(job.start));
    held(fence.ask(job.after(300)));
}

#[test]
fn where_nobody_holds_a_lock_the_processes_decide() {
    for lock in [Lock::Ours, Lock::Unsupported] {
        let job = Job::new();
        let obstacle = |change: fn(&mut Holder)| {
            job.forge(change);
            job.fence(1).obstacle(&lock, job.start).unwrap()
        };
        assert!(obstacle(|_| {}).is_some(), "its supervisor lives");
        let dead = |holder: &mut Holder| holder.supervisor.start_ticks -= 1;
        assert!(obstacle(dead).is_none(), "its number is another's now");
        let in_another_container = |holder: &mut Holder| {
            holder.supervisor.start_ticks -= 1;
            holder.place.process_namespace = "another".to_owned();
        };
        assert!(
            obstacle(in_another_container).is_some(),
            "it can't be asked"
        );
    }
}

#[test]
fn a_program_whose_first_process_is_dead_lives_on_in_its_group() {
    use std::io::Read;
    use std::os::unix::process::CommandExt;
    let job = Job::new();
    // The first process of a group ends; the second goes on until its input ends.
    let mut group = std::process::Command::new("sh")
        .args(["-c", "trap '' USR1; exec 3<&0; cat <&3 &"])
        .env("CU_OUTPUT_DIR", job.run.output_dir(JOB))
        .env("CU_ATTEMPT", "0")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let first = ProcessId::of(group.id());
    let (mut input, mut output) = (group.stdin.take().unwrap(), group.stdout.take().unwrap());
    group.wait().unwrap();
    // It answers: so it is what it will be.
    input.write_all(b"!").unwrap();
    output.read_exact(&mut [0]).unwrap();
    job.forge(|holder| {
        holder.supervisor.start_ticks -= 1;
        holder.program = first;
    });
    reason(job.fence(1).ask(job.start));
    // As if the group's number were that of another program's group by now.
    let other = job.forge(|holder| {
        holder.attempt = Attempt(9);
        holder.supervisor.start_ticks -= 1;
        holder.program = first;
    });
    assert!(!other.has_living_process(&job.run, JOB));
    drop(input);
}

#[test]
fn older_attempts_are_refused_before_and_after_the_lock() {
    let job = Job::new();
    job.set_newest(2);
    let text = refusal(job.fence(1).ask(job.start));
    assert!(text.contains("attempt 2 is newer"), "{text}");
    // The number changes while it enters.
    let mut late = job.fence(2);
    job.set_newest(3);
    refusal(late.enter().unwrap());
    assert!(!job.run.attempt_holder(JOB).exists());
    assert!(!job.run.started(JOB, Attempt(2)).exists());
}

#[test]
fn who_enters_too_late_leaves_no_record_that_would_keep_it_waiting() {
    let job = Job::new();
    let mut late = job.fence(0);
    assert!(Fence::decide_against(&job.run, JOB, Attempt(0)).unwrap());
    reason(late.enter().unwrap());
    assert!(!job.run.attempt_holder(JOB).exists());
    let turn = late.ask(job.start);
    assert!(matches!(turn, Turn::DecidedByAnother { is_over: true, .. }));
}

#[test]
fn what_can_t_be_read_lets_nobody_in_and_is_read_again() {
    let job = Job::new();
    // A link to itself can't be followed, whoever asks.
    let newest = job.run.newest_attempt(JOB);
    std::os::unix::fs::symlink(&newest, &newest).unwrap();
    let mut fence = job.fence(1);
    let text = reason(fence.ask(job.start));
    assert!(text.contains("newest"), "{text}");
    reason(fence.ask(job.after(899)));
    let text = refusal(fence.ask(job.after(900)));
    assert!(
        text.contains("newest") && text.contains("within 900 s"),
        "{text}"
    );
    fs::remove_file(&newest).unwrap();
    job.set_newest(1);
    held(fence.ask(job.after(901)));
}

#[test]
fn a_damaged_number_of_the_newest_attempt_lets_nobody_in() {
    let job = Job::new();
    let newest = job.run.newest_attempt(JOB);
    fs::write(&newest, "many").unwrap();
    let text = refusal(job.fence(1).ask(job.start));
    assert!(text.contains("newest"), "{text}");
    fs::remove_file(&newest).unwrap();
    fs::create_dir(&newest).unwrap();
    let text = refusal(job.fence(1).ask(job.start));
    assert!(text.contains("a directory"), "{text}");
    assert!(!job.run.started(JOB, Attempt(1)).exists());
}

#[test]
fn what_is_no_file_in_the_fence_is_waited_for_within_bounds() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let fifo = |path: &Path| {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    };
    let job = Job::new();
    fifo(&job.run.attempt_holder(JOB));
    let mut fence = job.fence(1);
    reason(fence.ask(job.start));
    held(fence.ask(job.after(300)));

    let job = Job::new();
    fifo(&job.run.attempt_lock(JOB));
    let mut fence = job.fence(1);
    let text = reason(fence.ask(job.start));
    assert!(text.contains("a FIFO"), "{text}");
    refusal(fence.ask(job.after(900)));
}

#[test]
fn who_can_t_write_its_decision_enters_later() {
    let job = Job::new();
    let mut fence = job.fence(1);
    fs::remove_dir(job.run.attempt(JOB, Attempt(1))).unwrap();
    let text = reason(fence.ask(job.start));
    assert!(text.contains("started.json"), "{text}");
    // Its own record is not in its way.
    fs::create_dir(job.run.attempt(JOB, Attempt(1))).unwrap();
    held(fence.ask(job.start));
}

#[test]
fn a_second_copy_of_an_attempt_learns_who_decided_and_whether_it_is_over() {
    let job = Job::new();
    let first = held(job.fence(0).ask(job.start));
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
fn the_record_is_renewed_and_a_newer_attempt_noticed() {
    let job = Job::new();
    job.set_newest(1);
    let mut held = held(job.fence(1).ask(job.start));
    let record = || fs::read(job.run.attempt_holder(JOB)).unwrap();
    let before = record();
    let due = held.next_deadline();
    assert!(!held.renew_if_due(due - Duration::from_millis(1)));
    assert_eq!(record(), before);
    assert!(!held.renew_if_due(due));
    assert_ne!(record(), before);
    job.set_newest(2);
    assert!(held.renew_if_due(due + TIMES.renew_every));
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
    let held = held(job.fence(0).ask(job.start));
    job.forge(elsewhere);
    drop(held);
    assert!(job.run.attempt_holder(JOB).exists());
}
