//! Holders that are dead, alive, orphaned, elsewhere, damaged; with times given, so none is waited
//! for. What two real processes do to each other is in `tests/killed.rs`.

mod once;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cu_system::process::{ProcessId, ticks_since_boot};

use super::*;
use crate::members::Members;

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

/// A process that another test starts has a copy of the lock until it runs its own program, so that the
/// lock of one that is gone may be held a moment longer.
fn held(mut ask: impl FnMut() -> Turn) -> Held {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        match ask() {
            Turn::Ours(held) => return *held,
            other => assert!(Instant::now() < give_up, "not let in: {other:?}"),
        }
        std::thread::yield_now();
    }
}

fn reason(turn: Turn) -> String {
    match turn {
        Turn::Wait(reason) | Turn::WaitForAnother(reason) => reason,
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
    let first = held(|| job.fence(0).ask(job.start));
    assert!(job.run.attempt_holder(JOB).exists());
    drop(first);
    assert!(!job.run.attempt_holder(JOB).exists());
    held(|| job.fence(1).ask(job.start));
}

#[test]
fn a_living_holder_is_waited_for_and_then_given_up() {
    let job = Job::new();
    let first = held(|| job.fence(0).ask(job.start));
    let mut second = job.fence(1);
    let text = reason(second.ask(job.start));
    assert!(text.contains("attempt 0 of job 3"), "{text}");
    reason(second.ask(job.after(899)));
    let text = refusal(second.ask(job.after(900)));
    assert!(text.contains("within 900 s"), "{text}");
    assert!(!job.run.started(JOB, Attempt(1)).exists());
    drop(first);
    held(|| second.ask(job.after(901)));
}

#[test]
fn a_policy_with_a_long_grace_gets_a_longer_wait() {
    let job = Job::new();
    let _first = held(|| job.fence(0).ask(job.start));
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
    held(|| job.fence(1).ask(job.start));
}

#[test]
fn a_free_lock_does_not_prove_death() {
    let job = Job::new();
    // This process lives, and has closed what it inherited.
    job.forge(|_| {});
    let text = reason(job.fence(1).ask(job.start));
    assert!(text.contains("attempt 0 of job 3"), "{text}");
    assert!(!job.run.started(JOB, Attempt(1)).exists());
}

#[test]
fn an_unreachable_holder_is_awaited_until_its_record_is_stale() {
    let job = Job::new();
    job.forge(elsewhere);
    let mut fence = job.fence(1);
    let text = reason(fence.ask(job.start));
    assert!(text.contains("node9"), "{text}");
    reason(fence.ask(job.after(299)));
    held(|| fence.ask(job.after(300)));
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

/// As a supervisor that decided there has left it.
fn started(job: &Job, attempt: u32, place: Place, process: ProcessId) {
    let decision = StartedFile {
        version: StartedFile::VERSION,
        host: place.host.clone(),
        supervisor: process.pid,
        at: std::time::SystemTime::now().into(),
        place: Some(place),
        process: Some(process),
    };
    let path = job.run.started(JOB, Attempt(attempt));
    fs::write(&path, serde_json::to_vec(&decision).unwrap()).unwrap();
}

#[test]
fn a_damaged_record_keeps_the_next_attempt_waiting() {
    let this = ProcessId::of(std::process::id()).unwrap();
    let mut there = Place::here();
    there.boot = "another".to_owned();
    for place in [Place::here(), there] {
        let job = Job::new();
        started(&job, 0, place, this);
        fs::write(job.run.attempt_holder(JOB), "{\"version\":7}").unwrap();
        let mut fence = job.fence(1);
        reason(fence.ask(job.start));
        held(|| fence.ask(job.after(300)));
    }
}

#[test]
fn a_damaged_record_of_attempts_that_are_over_delays_nobody() {
    let job = Job::new();
    let mut dead = ProcessId::of(std::process::id()).unwrap();
    dead.start_ticks -= 1;
    started(&job, 0, Place::here(), dead);
    // The other one has recorded its end, wherever it was.
    fs::write(job.run.started(JOB, Attempt(1)), "{}").unwrap();
    fs::write(job.run.exit_record(JOB, Attempt(1)), "{}").unwrap();
    fs::write(job.run.attempt_holder(JOB), "{\"vers").unwrap();
    held(|| job.fence(2).ask(job.start));
}

#[test]
fn a_damaged_record_does_not_hide_an_orphaned_program() {
    let job = Job::new();
    let mut dead = ProcessId::of(std::process::id()).unwrap();
    dead.start_ticks -= 1;
    started(&job, 0, Place::here(), dead);
    fs::write(job.run.attempt_holder(JOB), "").unwrap();
    let mut left = Left::start(Command::new("cat").env("CU_OUTPUT_DIR", job.run.output_dir(JOB)));
    reason(job.fence(1).ask(job.start));
    left.end();
    held(|| job.fence(1).ask(job.start));
}

#[test]
fn a_holder_removes_its_own_damaged_record() {
    let job = Job::new();
    let first = held(|| job.fence(0).ask(job.start));
    let record = fs::read(job.run.attempt_holder(JOB)).unwrap();
    fs::write(job.run.attempt_holder(JOB), &record[..record.len() / 2]).unwrap();
    drop(first);
    assert!(!job.run.attempt_holder(JOB).exists());
}

#[test]
fn a_fifo_in_place_of_a_record_or_lock_never_blocks() {
    let fifo = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let job = Job::new();
    fifo(&job.run.attempt_holder(JOB));
    drop(held(|| job.fence(0).ask(job.start)));
    let job = Job::new();
    fifo(&job.run.attempt_lock(JOB));
    let mut fence = job.fence(0);
    let text = reason(fence.ask(job.start));
    assert!(text.contains("not a regular file"), "{text}");
    refusal(fence.ask(job.after(900)));
}

#[test]
fn where_nobody_holds_a_lock_the_processes_decide() {
    let job = Job::new();
    let is_free = |change: fn(&mut Holder)| {
        job.forge(change);
        let record = job.run.attempt_holder(JOB);
        let way = job.fence(1).way(&record, false, job.start);
        way.unwrap() == Way::Free
    };
    assert!(!is_free(|_| {}), "its supervisor lives");
    let dead = |holder: &mut Holder| holder.supervisor.start_ticks -= 1;
    assert!(is_free(dead), "its number is another's now");
    let in_another_container = |holder: &mut Holder| {
        holder.supervisor.start_ticks -= 1;
        holder.place.process_namespace = "another".to_owned();
    };
    assert!(!is_free(in_another_container), "it can't be asked");
}

/// A process that goes on until its input ends, or the test does.
struct Left {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Left {
    /// Starts one.
    fn start(command: &mut Command) -> Self {
        let mut left = Self::spawn(command);
        left.answer();
        left
    }

    /// The first process of a group of its own has ended; this is the second.
    fn in_a_group_without_its_first(variables: &[(&str, &Path)]) -> (Self, ProcessId) {
        let mut first = Command::new("sh");
        first.args(["-c", "exec 3<&0; cat <&3 &"]).process_group(0);
        first.envs(variables.iter().copied());
        let mut left = Self::spawn(&mut first);
        let first = ProcessId::of(left.child.id()).unwrap();
        left.child.wait().unwrap();
        left.answer();
        (left, first)
    }

    fn spawn(command: &mut Command) -> Self {
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = streams.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    /// It echoes: so it is what it will be.
    fn answer(&mut self) {
        self.input.as_mut().unwrap().write_all(b"!").unwrap();
        self.output.read_exact(&mut [0]).unwrap();
    }

    fn end(&mut self) {
        drop(self.input.take());
        let _ = self.output.read_to_end(&mut Vec::new());
        let _ = self.child.wait();
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.end();
    }
}

fn of_dead(program: Option<ProcessId>) -> impl Fn(&mut Holder) {
    move |holder| {
        holder.supervisor.start_ticks -= 1;
        holder.program = program;
    }
}

#[test]
fn a_program_whose_first_process_is_dead_lives_on_in_its_group() {
    let job = Job::new();
    let output_dir = job.run.output_dir(JOB);
    let (_left, first) = Left::in_a_group_without_its_first(&[("CU_OUTPUT_DIR", &output_dir)]);
    job.forge(of_dead(Some(first)));
    reason(job.fence(1).ask(job.start));
}

#[test]
fn a_reused_group_number_of_another_job_blocks_nobody() {
    let job = Job::new();
    let other = job.run.output_dir(JobId(77));
    let (_left, first) = Left::in_a_group_without_its_first(&[("CU_OUTPUT_DIR", &other)]);
    job.forge(of_dead(Some(first)));
    held(|| job.fence(1).ask(job.start));
}

#[test]
fn a_possible_member_is_waited_for_a_certain_one_stopped() {
    let job = Job::new();
    // As if it had been started by `env -i`.
    let (_left, first) = Left::in_a_group_without_its_first(&[]);
    let members = |seen_at| {
        let holder = job.forge(|holder| {
            of_dead(Some(first))(holder);
            holder.seen_at = seen_at;
        });
        left_by(&holder, &job.run, JOB)
    };
    let unsure = members(0);
    assert_eq!((unsure.certain.len(), unsure.possible.len()), (0, 1));
    // The supervisor has seen the group since.
    let sure = members(ticks_since_boot() + 1);
    assert_eq!((sure.certain, sure.possible.len()), (unsure.possible, 0));
}

#[test]
fn a_listed_process_is_known_by_its_number_alone() {
    let job = Job::new();
    let left = Left::start(Command::new("cat").env_clear().process_group(0));
    let process = ProcessId::of(left.child.id()).unwrap();
    job.forge(of_dead(None));
    held(|| job.fence(1).ask(job.start));
    let listed = |process: ProcessId| {
        let holder = job.forge(|holder| {
            of_dead(None)(holder);
            holder.seen = vec![process];
        });
        left_by(&holder, &job.run, JOB)
    };
    assert_eq!(listed(process).certain, [process.pid]);
    let earlier = ProcessId {
        start_ticks: process.start_ticks - 1,
        ..process
    };
    assert_eq!(listed(earlier), Members::default());
}

#[test]
fn a_run_that_is_named_by_another_path_is_the_same() {
    let job = Job::new();
    let alias = job.run.path().parent().unwrap().join("alias");
    let alias = alias.join(job.run.path().file_name().unwrap());
    fs::create_dir_all(alias.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(job.run.path(), &alias).unwrap();
    let run = RunDir::new(&alias);
    let _left = Left::start(
        Command::new("cat")
            .env("CU_JOB_ID", JOB.to_string())
            .env("CU_RUN_DIR", run.path())
            .env("CU_OUTPUT_DIR", run.output_dir(JOB)),
    );
    job.forge(of_dead(None));
    reason(job.fence(1).ask(job.start));
}

#[test]
fn a_record_goes_when_what_could_not_be_killed_is_gone() {
    let job = Job::new();
    let mut left = Left::start(Command::new("cat").env_clear().process_group(0));
    let process = ProcessId::of(left.child.id()).unwrap();
    let mut first = held(|| job.fence(0).ask(job.start));
    first.leave_to(vec![process]);
    drop(first);
    // Its supervisor is dead by now.
    let record = Holder::parse(&fs::read(job.run.attempt_holder(JOB)).unwrap()).unwrap();
    assert_eq!(record.seen, [process]);
    job.forge(|holder| {
        *holder = record;
        holder.supervisor.start_ticks -= 1;
    });
    let text = reason(job.fence(1).ask(job.start));
    assert!(text.contains("supervisor is dead"), "{text}");
    left.end();
    let mut second = held(|| job.fence(1).ask(job.start));
    second.leave_to(vec![process]);
    drop(second);
    assert!(!job.run.attempt_holder(JOB).exists());
}

#[test]
fn a_guessed_death_is_not_recorded_as_an_end() {
    let job = Job::new();
    started(
        &job,
        0,
        Place::here(),
        ProcessId::of(std::process::id()).unwrap(),
    );
    job.forge(elsewhere);
    let mut copy = job.fence(0);
    reason(copy.ask(job.start));
    let turn = copy.ask(job.after(300));
    assert!(matches!(
        turn,
        Turn::DecidedByAnother { is_over: false, .. }
    ));
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
fn entering_too_late_leaves_no_record_behind() {
    let job = Job::new();
    let mut late = job.fence(0);
    assert!(Fence::decide_against(&job.run, JOB, Attempt(0)).unwrap());
    reason(late.enter().unwrap());
    assert!(!job.run.attempt_holder(JOB).exists());
    let turn = late.ask(job.start);
    assert!(matches!(turn, Turn::DecidedByAnother { is_over: true, .. }));
}

#[test]
fn an_unreadable_file_lets_nobody_in_and_is_read_again() {
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
    held(|| fence.ask(job.after(901)));
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
