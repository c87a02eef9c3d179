//! From the first line of `cu exec` to its last: the fence, the program, the exit record, the
//! farewell.

use std::time::{Duration, Instant, SystemTime};

use cu_protocol::{
    Attempt, ExitRecord, JobId, Message, Metrics, Noticed, OutputChange, ProgramEnd, Started,
    StopCause, Timestamp,
};
use cu_run_dir::{
    EarlyResults, JobSpec, check_attempt, check_way, newest_checkpoint, read_exit_record,
    read_metrics, read_newest_attempt, renew_settings_copy, sync_exit_record, write_exit_record,
};
use cu_system::causes::in_one_line;
use cu_system::files;
use cu_system::machine::host;
use rustix::process::{Signal, getpid, set_child_subreaper, setsid};

use crate::asking_file::AskingFile;
use crate::attempt::{Phase, Running, kill_wait, stop_moments, time_limit};
use crate::cluster_utils::Client;
use crate::done::Watched;
use crate::door::Door;
use crate::doorway::Kept;
use crate::event::{Event, Happening};
use crate::farewell::{self, Afterwards};
use crate::fence::{Fence, FenceTimes, Held, Turn};
use crate::launch::Launch;
use crate::mail::Mail;
use crate::output_copies::Copies;
use crate::output_dir::{Before, Moment, Places, look, patience};
use crate::program::Program;
use crate::relay::{Identity, Relay};
use crate::sent::Sender;
use crate::signals::Signals;
use crate::stop::Stop;
use crate::waiting::Herald;
use crate::{Error, Result, RunDir, made_file, printed, tell};

/// How long a network file system may show the number of the newest attempt as it was before.
const OLD_VIEW: Duration = Duration::from_secs(60);
/// How long until it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How supervising an attempt came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How the program ended, or why it was not started.
    pub end: ProgramEnd,
    /// Whether the attempt is over in all respects: its end is recorded and acknowledged, and its job is free. Only
    /// then may this process supervise another attempt; else it must end, since its life says that this one may
    /// not be over.
    pub is_settled: bool,
}

impl Outcome {
    /// The exit code of a supervisor that did not start its program because another attempt may
    /// still be running, a newer one exists, this one was started before, or a machine or file
    /// system failed; and of one that failed itself. No signal is so high that 128 and its number
    /// give this, and few programs use it. Nobody takes it for a failure of the program.
    pub const FENCED: u8 = 200;
    /// The exit code of a supervisor whose program could not be started, as shells have it.
    pub const NOT_STARTED: u8 = 127;

    fn unsettled(end: ProgramEnd) -> Self {
        Self {
            end,
            is_settled: false,
        }
    }

    /// What the supervisor exits with: the program's own code, or as shells do 128 and the signal
    /// that killed it. A program may exit with any of these codes itself; the exit record distinguishes them.
    ///
    /// ```
    /// use cu_protocol::ProgramEnd;
    /// use cu_supervisor::Outcome;
    ///
    /// let code = |end| Outcome { end, is_settled: true }.exit_code();
    /// assert_eq!(code(ProgramEnd::Exited(3)), 3);
    /// assert_eq!(code(ProgramEnd::Signaled(9)), 137);
    /// assert_eq!(code(ProgramEnd::Fenced(String::new())), 200);
    /// ```
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        // Both numbers fit by how the kernel encodes them.
        let low_byte = |number: i32| number.to_le_bytes()[0];
        match &self.end {
            ProgramEnd::Exited(code) => low_byte(*code),
            ProgramEnd::Signaled(signal) => low_byte(128 + signal),
            ProgramEnd::NotStarted(_) => Self::NOT_STARTED,
            ProgramEnd::Fenced(_) => Self::FENCED,
        }
    }
}

/// Runs an attempt of a job from its start to its end, as the first process of the attempt.
///
/// Without a number, the attempt is the one in [`RunDir::newest_attempt`]. Call this first thing in
/// `main`, before there are threads or children, and exit with [`Outcome::exit_code`] afterwards: the process
/// becomes the leader of a session, takes in orphans of the program's and kills them, and ignores the stop
/// signals from then on.
///
/// # Errors
/// If the run is not this user's own, it isn't known which attempt is meant, it was never submitted, or
/// it could neither be started nor be given up durably. Nothing was started then: exit with
/// [`Outcome::FENCED`]. Everything else that keeps a program from running is an [`Outcome`].
pub fn supervise(run: &RunDir, job: JobId, attempt: Option<Attempt>) -> Result<Outcome> {
    Resident::default().supervise(run, job, attempt, &|| {})
}

/// A process that supervises one attempt after another. It keeps what would have to be made for each.
#[derive(Debug, Default)]
pub struct Resident {
    doorway: Kept,
}

impl Resident {
    /// Makes what the first attempt would have to wait for.
    #[must_use]
    pub fn prepared() -> Self {
        Self {
            doorway: Kept::prepared(),
        }
    }

    /// As [`supervise`]. Another attempt may follow only if [`Outcome::is_settled`] allows it.
    ///
    /// Calls `is_over` once the program and all that it started have ended: what this process does from then on
    /// needs no processor of the attempt's. Not if nothing was started.
    ///
    /// # Errors
    /// Those of [`supervise`].
    pub fn supervise(
        &mut self,
        run: &RunDir,
        job: JobId,
        attempt: Option<Attempt>,
        is_over: &dyn Fn(),
    ) -> Result<Outcome> {
        let path = std::path::absolute(run.path()).map_err(Error::file("find", run.path()))?;
        let run = RunDir::new(path);
        // A signal for the terminal, or for the scheduler's process group, is not the program's. Fails
        // for the leader of a process group, which a backend may have made us.
        let _ = setsid();
        // Only orphans in the program's own process group would be found without.
        let _ = set_child_subreaper(Some(getpid()));
        let happening = Happening::new();
        let _signals = Signals::catch(&happening)?;
        check_way(&run)?; // Before the number of the newest attempt counts.
        let attempt = match attempt {
            Some(attempt) => attempt,
            None => read_newest_attempt(&run, job)?.ok_or_else(|| {
                let path = run.newest_attempt(job);
                Error::file("read", &path)(std::io::ErrorKind::NotFound.into())
            })?,
        };
        check_attempt(&run, job, attempt)?;
        check_submitted(&run, job, attempt, &happening)?;
        let supervisor = Supervisor {
            run,
            job,
            attempt,
            happening,
            is_over,
        };
        supervisor.run(&mut self.doorway)
    }
}

/// Refuses an attempt that was never submitted, before anything is made for it: what it saved would count
/// as newer than all that real attempts save after it.
///
/// The main process makes an attempt's directory, then writes its number, then submits it. So a number
/// that is not written yet, though the directory is there, may be an old view of the file.
fn check_submitted(
    run: &RunDir,
    job: JobId,
    attempt: Attempt,
    happening: &Happening,
) -> Result<()> {
    let start = Instant::now();
    let mut is_asked_to_stop = false;
    let mut is_told = false;
    loop {
        let newest = match read_newest_attempt(run, job) {
            Ok(newest) => newest,
            // The fence waits until it can be read.
            Err(_) => return Ok(()),
        };
        if newest.is_some_and(|newest| newest >= attempt) {
            return Ok(());
        }
        let is_prepared = run.attempt(job, attempt).is_dir();
        if is_prepared && newest.is_none() {
            return Ok(());
        }
        let attempts = run.attempts(job);
        if !attempts.is_dir() {
            // A node without the file system, or a wrong path.
            return Err(Error::file("find", &attempts)(
                std::io::ErrorKind::NotFound.into(),
            ));
        }
        let refusal = Error::NotSubmitted {
            job,
            attempt,
            newest,
        };
        if !is_prepared || is_asked_to_stop || start.elapsed() >= OLD_VIEW {
            return Err(refusal);
        }
        if !std::mem::replace(&mut is_told, true) {
            let longest = OLD_VIEW.as_secs();
            tell(&format!("waiting for at most {longest} s: {refusal}"));
        }
        let event = happening.within(LOOK_AGAIN);
        is_asked_to_stop = matches!(event, Some(Event::StopSignal(_)));
    }
}

struct Supervisor<'a> {
    run: RunDir,
    job: JobId,
    attempt: Attempt,
    happening: Happening,
    is_over: &'a dyn Fn(),
}

/// What the fence said.
enum Admission {
    Admitted(Box<Held>),
    /// To be recorded.
    Refused(String),
    /// Another supervisor of the same attempt has said, or will say, what becomes of it.
    Elsewhere(String),
}

impl Supervisor<'_> {
    fn run(self, doorway: &mut Kept) -> Result<Outcome> {
        let directory = self.run.attempt(self.job, self.attempt);
        files::make_dir(&directory).map_err(Error::file("create", &directory))?;
        let mut spec = match JobSpec::read(&self.run.job_spec(self.job)) {
            Ok(spec) => spec,
            // The main process writes it anew for the next attempt.
            Err(error) => return self.give_up(None, ProgramEnd::Fenced(in_one_line(&error))),
        };
        let start = spec.start_directory(&self.run, self.attempt);
        if let Some(file) = &mut spec.stop.create {
            file.path = start.join(&file.path);
        }
        match self.pass_the_fence(&spec) {
            Admission::Admitted(held) => Ok(self.run_program(&spec, *held, doorway)),
            Admission::Refused(text) => self.give_up(Some(&spec), ProgramEnd::Fenced(text)),
            Admission::Elsewhere(text) => {
                tell(&text);
                Ok(Outcome::unsettled(ProgramEnd::Fenced(text)))
            }
        }
    }

    fn pass_the_fence(&self, spec: &JobSpec) -> Admission {
        let names = (self.job, self.attempt);
        let times = FenceTimes::default();
        let start = Instant::now();
        let mut fence = Fence::new(&self.run, names, &spec.stop, times, start);
        let mut herald = Herald::new(self.identity(spec), start, fence.patience(start));
        let mut said = None;
        loop {
            let now = Instant::now();
            let reason = match fence.ask(now) {
                Turn::Ours(held) => return Admission::Admitted(held),
                Turn::Never(text) => return Admission::Refused(text),
                Turn::DecidedByAnother { text, at, is_over } => {
                    let record = self.run.exit_record(self.job, self.attempt);
                    // A record that can't be read is a record, too.
                    if is_over && matches!(read_exit_record(&record), Ok(None)) {
                        // It died without a record, and so did its program: this one writes it. Not as a
                        // message: that would be taken for a repeat of the other's first.
                        self.write_record(
                            &self.unstarted_record(ProgramEnd::Fenced(text.clone()), at),
                        );
                        self.sync_record();
                    }
                    return Admission::Elsewhere(text);
                }
                Turn::Wait(reason) => {
                    herald.tell(&reason, now);
                    reason
                }
                Turn::WaitForAnother(reason) => {
                    // The other supervisor speaks for the attempt.
                    herald.hush();
                    reason
                }
            };
            if said.as_ref() != Some(&reason) {
                tell(&format!("waiting: {reason}"));
            }
            if let Some(Event::StopSignal(signal)) = self.happening.within(fence.pause(now)) {
                let signal = signal.as_raw();
                return Admission::Refused(format!(
                    "{reason}; signal {signal} ended the wait, and nothing was started"
                ));
            }
            said = Some(reason);
        }
    }

    fn run_program(&self, spec: &JobSpec, mut held: Held, doorway: &mut Kept) -> Outcome {
        let (run, job, attempt) = (&self.run, self.job, self.attempt);
        let output_dir = run.output_dir(job);
        // One that an earlier attempt left would stop this one.
        made_file::remove(&run.made_file(job));
        let checkpoint = newest_checkpoint(&output_dir);
        let start = self.renew_settings();
        let client = Client::of(spec, run, (job, attempt), &self.happening);
        let mut client = match client {
            Ok(client) => client,
            Err(error) => {
                return self.record_unstarted(Some(spec), unstarted(&error), Noticed::default());
            }
        };
        let arguments = client.as_ref().map(Client::arguments).unwrap_or_default();
        let launch = Launch::of(spec, run, (job, attempt), arguments);
        let before = Before {
            checkpoint,
            start,
            copies: launch.output.files(),
        };
        let working_directory = Some(launch.working_directory.as_path());
        let places = Places {
            output_dir: &output_dir,
            working_directory: working_directory.filter(|path| *path != output_dir),
        };
        let condition = spec.done_when.as_ref();
        let condition = condition.map(|it| Watched::begin(it, places, &run.found_before(job)));
        // A program that runs may have it made at once.
        let asking_file = spec.stop.file.as_ref();
        let asking_file =
            asking_file.map(|file| AskingFile::new(output_dir.join(file), Instant::now()));
        let (program, door, copies) = match self.start_program(&launch, &mut held, doorway) {
            Ok(started) => started,
            Err(error) => {
                let noticed = Noticed {
                    not_activated: matches!(error, Error::Activation(_)),
                    ..Noticed::default()
                };
                return self.record_unstarted(Some(spec), unstarted(&error), noticed);
            }
        };
        let host = host();
        let started_at = Timestamp::from(SystemTime::now());
        let mut mail = self.mail();
        mail.say(Message::Started(Started {
            host: host.clone(),
            supervisor: std::process::id(),
            program: program.pid(),
            at: started_at,
            checkpoint,
        }));
        let _relay = Relay::start(self.identity(spec), &self.happening);
        let now = Instant::now();
        let limit = time_limit(std::env::var("CU_DEADLINE").ok().as_deref());
        let given_kill_wait = std::env::var("CU_KILL_WAIT").ok();
        let running = Running {
            spec,
            program,
            held: &mut held,
            door: &door,
            mail: &mut mail,
            client: client.as_mut(),
            stop: Stop::new(spec.stop.grace),
            started: now,
            manner: spec.stop.signal.into(),
            sender: Sender::of(run, job, attempt),
            listens: false,
            kill_wait: kill_wait(spec, given_kill_wait.as_deref()),
            limit,
            bound: limit.and_then(|limit| {
                now.checked_add(limit.duration_since(SystemTime::now()).unwrap_or_default())
            }),
            stop_file: run.stop_file(job, attempt),
            made_file: run.made_file(job),
            asking_file,
            stop_at: stop_moments(spec, limit, now),
            phase: Phase::Runs,
            ended_processes: None,
        };
        let finished = running.run(&self.happening);
        (self.is_over)();
        copies.finish();
        if let Some(client) = &mut client {
            let was_asked = finished.end.stop.is_some();
            client.conclude(&finished.end.end, was_asked, &mut mail, Instant::now());
        }
        // Before the search for what the program has changed.
        made_file::remove(&run.made_file(job));
        // After a signal, SIGKILL may follow.
        let hurry = matches!(
            finished.stop,
            Some(StopCause::Signal(_) | StopCause::TimeLimit)
        );
        let condition = condition.map(|condition| condition.look(patience(hurry)));
        let mut left = look(places, before, patience(hurry));
        let is_unseen = left.output_changed == OutputChange::Unchanged && !mail.has_progress();
        if is_unseen && printed::is_new(run, job, self.attempt) {
            left.output_changed = OutputChange::Unknown(printed::NEW_OUTPUT.to_owned());
        }
        let record = ExitRecord {
            end: finished.end.end.clone(),
            stop: finished.end.stop,
            host,
            started: Some(started_at),
            ended: finished.end.at,
            peak_memory_bytes: finished.peak_memory.bytes(),
            checkpoint: left.checkpoint,
            output_changed: left.output_changed,
            condition,
            noticed: Noticed {
                ended_processes: finished.ended_processes,
                printed_the_same: printed::is_the_same(run, job, attempt),
                not_activated: false,
            },
        };
        let is_recorded = self.write_record(&record);
        if let Some(stopped) = finished.stopped {
            mail.say(Message::Stopped(stopped));
        }
        // The next attempt may start as soon as it is told.
        let is_free = held.release();
        let end = record.end.clone();
        let afterwards = self.farewell(&mut mail, record);
        // After SIGTERM the place is wanted for others.
        let is_to_leave = finished.stop == Some(StopCause::Signal(Signal::TERM.as_raw()));
        if afterwards == Afterwards::Stays && !is_to_leave {
            farewell::stay(&self.happening, limit);
        }
        let is_settled = is_recorded && is_free && mail.is_all_acknowledged();
        Outcome { end, is_settled }
    }

    /// Writes the settings into the output directory. Returns the time of its clock, which the program's
    /// files go by.
    fn renew_settings(&self) -> std::io::Result<Moment> {
        let (run, job) = (&self.run, self.job);
        match renew_settings_copy(run, job) {
            Ok(()) => Moment::of_change(&run.settings_copy(job)),
            Err(error) => {
                // The program has the path of the original.
                tell(&in_one_line(&error));
                Moment::of_change(&run.attempt_holder(job))
            }
        }
    }

    fn start_program(
        &self,
        launch: &Launch,
        held: &mut Held,
        doorway: &mut Kept,
    ) -> Result<(Program, Door, Copies)> {
        let directory = self.run.attempt(self.job, self.attempt);
        let door = Door::open(&self.happening, doorway.take(&directory)?)?;
        // Open in this process until the program has it.
        let _lock = held.for_program()?;
        let names = (self.job, self.attempt);
        // What we say before is none of the program's output.
        let copies = launch.output.begin(&self.run, self.job, self.attempt);
        let program = Program::start(launch, &self.run, names, door.path(), &self.happening)?;
        held.program_started(program.pid(), door.directory());
        Ok((program, door, copies))
    }

    /// Ends an attempt that was not started here, unless another supervisor has taken it up.
    fn give_up(&self, spec: Option<&JobSpec>, end: ProgramEnd) -> Result<Outcome> {
        if Fence::decide_against(&self.run, self.job, self.attempt)? {
            return Ok(self.record_unstarted(spec, end, Noticed::default()));
        }
        tell("another supervisor has taken this attempt up");
        Ok(Outcome::unsettled(end))
    }

    fn record_unstarted(
        &self,
        spec: Option<&JobSpec>,
        end: ProgramEnd,
        noticed: Noticed,
    ) -> Outcome {
        if let ProgramEnd::NotStarted(text) | ProgramEnd::Fenced(text) = &end {
            tell(text);
        }
        let record = ExitRecord {
            noticed,
            ..self.unstarted_record(end.clone(), None)
        };
        self.write_record(&record);
        let mut mail = self.mail();
        // Without a job specification nobody knows which run this is; the record remains.
        let relay = spec.map(|spec| Relay::start(self.identity(spec), &self.happening));
        if relay.is_none() {
            mail.disconnected(Instant::now());
        }
        self.farewell(&mut mail, record);
        Outcome::unsettled(end)
    }

    fn unstarted_record(&self, end: ProgramEnd, started: Option<Timestamp>) -> ExitRecord {
        ExitRecord {
            end,
            stop: None,
            host: host(),
            started,
            ended: SystemTime::now().into(),
            peak_memory_bytes: None,
            checkpoint: newest_checkpoint(&self.run.output_dir(self.job)),
            output_changed: OutputChange::Unchanged,
            condition: None,
            noticed: Noticed::default(),
        }
    }

    /// Returns whether it is written.
    fn write_record(&self, record: &ExitRecord) -> bool {
        let path = self.run.exit_record(self.job, self.attempt);
        let written = write_exit_record(&path, record);
        if let Err(error) = &written {
            // The main process is told all the same, and the scheduler by our exit code.
            tell(&in_one_line(error));
        }
        written.is_ok()
    }

    /// Says how the attempt ended. Afterwards all that was said is durable, here or with the main process.
    fn farewell(&self, mail: &mut Mail, record: ExitRecord) -> Afterwards {
        let afterwards = farewell::say(&self.happening, mail, record);
        if !mail.is_all_acknowledged() {
            mail.leave_the_rest();
            self.sync_record();
        }
        afterwards
    }

    fn sync_record(&self) {
        let path = self.run.exit_record(self.job, self.attempt);
        if let Err(error) = sync_exit_record(&path) {
            tell(&in_one_line(&error));
        }
    }

    fn mail(&self) -> Mail {
        let outbox = self.run.outbox(self.job, self.attempt);
        let measured = read_metrics(&self.run.metrics(self.job));
        let measured = measured.unwrap_or_else(|error| {
            // The attempt is bounded all the same.
            tell(&in_one_line(&error));
            Metrics::default()
        });
        let series = EarlyResults::new(self.run.early_results(self.job), self.attempt);
        let names = (self.job, self.attempt);
        Mail::new(names, outbox, (measured, series), Instant::now())
    }

    fn identity(&self, spec: &JobSpec) -> Identity {
        Identity {
            run_dir: self.run.clone(),
            run: spec.run,
            job: self.job,
            attempt: self.attempt,
        }
    }
}

/// How an attempt ended whose program this error kept from starting. Only what its user can mend is
/// the job's failure: the next attempt finds another machine, or the same one in a better state, and
/// files that were written anew.
fn unstarted(error: &Error) -> ProgramEnd {
    match error {
        Error::Program(_) | Error::Activation(_) => ProgramEnd::NotStarted(in_one_line(error)),
        Error::RunDir(_)
        | Error::File { .. }
        | Error::System { .. }
        | Error::NotSubmitted { .. } => ProgramEnd::Fenced(in_one_line(error)),
    }
}
