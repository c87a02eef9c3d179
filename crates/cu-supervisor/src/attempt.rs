//! A running attempt: its state, what each event does to it, and what is due when.
//!
//! One channel brings everything that happens; one loop handles it. The attempt runs, then what the
//! program left behind is cleared away, then the door is drained; then it is over.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cu_protocol::{
    Acknowledgement, LeftBehind, Message, ProgramAnswer, ProgramEnd, ProgramRequest, StopCause,
    StopRule, Stopped, Timestamp, Wish,
};
use cu_run_dir::{JobSpec, SignalReason};
use cu_system::files;
use cu_system::machine::host;
use cu_system::process::{self, unread_input};
use rustix::process::Signal;

use crate::asking::{Manner, Relative, relatives, whom_to_ask};
use crate::asking_file::AskingFile;
use crate::clearing::{Clearing, Sweep};
use crate::cluster_utils::Client;
use crate::door::Door;
use crate::event::{Event, Happening};
use crate::fence::{Held, Renewal};
use crate::mail::Mail;
use crate::peak_memory::PeakMemory;
use crate::program::{Program, Reaped};
use crate::sent::{Sender, listed, milliseconds};
use crate::stop::{Push, Stop};
use crate::{made_file, tell};

/// How long after the program's end a signal may still be the one that ended it.
const SAME_MOMENT: Duration = Duration::from_secs(1);
/// Requests that were made before the end are read until none comes for `DRAIN_SILENCE`, and for at most
/// `DRAIN_TIMEOUT`: a process outside this attempt may hold a connection open for ever.
const DRAIN_SILENCE: Duration = Duration::from_secs(1);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// A running attempt.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub spec: &'a JobSpec,
    pub program: Program,
    pub held: &'a mut Held,
    pub door: &'a Door,
    pub mail: &'a mut Mail,
    /// The client of cluster_utils, if the program has one.
    pub client: Option<&'a mut Client>,
    pub stop: Stop,
    /// When the program was started.
    pub started: Instant,
    pub manner: Manner,
    pub sender: Sender,
    /// Whether the program asks by the door if it should exit: then it needs no signal.
    pub listens: bool,
    /// How long after its SIGTERM the scheduler sends SIGKILL.
    pub kill_wait: Duration,
    /// The time limit, if one is known. A SIGTERM from then on is the scheduler's last word.
    pub limit: Option<SystemTime>,
    /// When a program that is being stopped is past its time limit. Once only.
    pub bound: Option<Instant>,
    pub stop_file: std::path::PathBuf,
    /// The note of the file that is made to ask the program.
    pub made_file: std::path::PathBuf,
    /// The file that asks to stop.
    pub asking_file: Option<AskingFile>,
    /// Moments at which the program is asked to stop.
    pub stop_at: Vec<(Instant, StopCause)>,
    pub phase: Phase,
    /// The processes that the program left behind and that were ended.
    pub ended_processes: Option<String>,
}

/// How far an attempt is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The program runs.
    Runs,
    /// It has ended; others that it started have not.
    Clears { end: End, clearing: Clearing },
    /// No process is left; the last requests are being read.
    Drains {
        end: End,
        /// Unless a request comes before.
        until: Instant,
        at_most_until: Instant,
    },
    /// All requests are read.
    Over(End),
}

/// How and when the program ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub end: ProgramEnd,
    pub at: Timestamp,
    /// Why it had been asked to stop by then, if it was.
    pub stop: Option<StopCause>,
}

impl End {
    /// Whether a signal that arrives now may have ended the program, too: a scheduler sends it to all
    /// processes of a job at once, and the program's end may be seen first.
    fn is_recent(&self) -> bool {
        Timestamp::from(SystemTime::now()).since(self.at) < SAME_MOMENT
    }
}

/// What the loop leaves.
#[derive(Debug)]
pub(crate) struct Finished {
    pub end: End,
    /// Why whatever it was is to end, if it is: also what the program left behind.
    pub stop: Option<StopCause>,
    /// What was done to stop the program, if anything was.
    pub stopped: Option<Stopped>,
    /// The processes that it left behind and that were ended: the first few, for people.
    pub ended_processes: Option<String>,
    pub peak_memory: PeakMemory,
}

impl Running<'_> {
    /// Runs it to its end.
    pub fn run(mut self, happening: &Happening) -> Finished {
        loop {
            let now = Instant::now();
            self.due(now);
            if let Phase::Over(end) = &self.phase {
                let end = end.clone();
                let stopped = self.stopped(&end, now);
                if let Some(stopped) = &stopped {
                    self.sender.conclude(stopped);
                }
                return Finished {
                    end,
                    stop: self.stop.cause(),
                    stopped,
                    ended_processes: self.ended_processes,
                    peak_memory: self.program.peak_memory(),
                };
            }
            let wait = self.next_deadline().saturating_duration_since(now);
            if let Some(event) = happening.within(wait) {
                self.handle(event, Instant::now());
            }
        }
    }

    /// What was done to stop the program, if it was asked to stop before its end.
    fn stopped(&self, end: &End, now: Instant) -> Option<Stopped> {
        let cause = end.stop?;
        let since = self.stop.since()?;
        let stop = &self.spec.stop;
        let rule = match cause {
            StopCause::TimeBudget => stop.after.map(milliseconds).map(StopRule::After),
            // The backend's own limit asks for it without a rule.
            StopCause::TimeLimit => stop
                .before_limit
                .map(milliseconds)
                .map(StopRule::BeforeLimit),
            StopCause::StopFile => {
                let file = stop.file.as_ref();
                file.map(|file| StopRule::File(file.to_string_lossy().into_owned()))
            }
            _ => None,
        };
        let ago = now.saturating_duration_since(since);
        let asked = Timestamp::from(SystemTime::now() - ago);
        // The two clocks are not read at the same moment.
        let asked = Timestamp::from_millis(asked.millis().saturating_sub(50));
        Some(Stopped {
            after_milliseconds: milliseconds(since.saturating_duration_since(self.started)),
            rule,
            grace_milliseconds: milliseconds(stop.grace),
            pushes: self.sender.pushes(asked),
        })
    }

    fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::ChildEnded => self.child_ended(now),
            Event::StopSignal(signal) => self.stop_signal(signal, now),
            Event::Asked(ProgramRequest::ShouldExit, reply) => {
                self.listens = true;
                // The program may have left.
                let _ = reply.send(ProgramAnswer::ShouldExit(self.stop.cause()));
            }
            Event::Asked(ProgramRequest::Say(message), reply) => {
                let is_last_word =
                    matches!(message, Message::ResumeRequest(_) | Message::Results(_));
                if self.mail.take(message, reply, now) && is_last_word {
                    // The next attempt, or the whole run, waits for our end. A program that hangs now
                    // would hold it up for ever.
                    self.stop.expect_end(now);
                }
                // Afterwards: a slow disk is not silence.
                self.wait_for_more(Instant::now());
            }
            Event::MessageForClusterUtils => {
                if let Some(client) = &mut self.client {
                    client.listen(self.mail, now);
                }
            }
            Event::DoorClosed => {
                if let Phase::Drains { end, .. } = &self.phase {
                    self.phase = Phase::Over(end.clone());
                }
            }
            Event::Connected(link, welcome) => {
                self.mail.connected(link, welcome.sequence, now);
                self.acknowledged(welcome, now);
            }
            Event::Acknowledged(acknowledgement) => self.acknowledged(acknowledgement, now),
            // Said of an attempt that is over. This one was given up.
            Event::Stay(sequence) => self.mail.acknowledged(sequence),
            Event::Unreachable => self.mail.disconnected(now),
        }
    }

    fn acknowledged(&mut self, acknowledgement: Acknowledgement, now: Instant) {
        self.mail.acknowledged(acknowledgement.sequence);
        match acknowledgement.wish {
            Some(Wish::CheckpointAndExit) => self.wish(StopCause::Operator, now),
            Some(Wish::Cancel) => self.wish(StopCause::Cancel, now),
            None => {}
        }
    }

    fn wish(&mut self, cause: StopCause, now: Instant) {
        self.child_ended(now); // A program that has ended already ended unasked.
        self.stop.wish(cause, now);
    }

    fn stop_signal(&mut self, signal: Signal, now: Instant) {
        self.child_ended(now);
        if let Phase::Clears { clearing, .. } = &mut self.phase {
            // A signal now means that no time is left.
            clearing.hurry(now);
        }
        let is_at_limit = self.limit.is_some_and(|limit| limit <= SystemTime::now());
        match signal {
            Signal::TERM if is_at_limit => self.stop.end(self.kill_wait, now),
            Signal::TERM => {
                self.stop.hurry(self.kill_wait, now);
                self.wish(StopCause::Signal(signal.as_raw()), now);
            }
            _ => self.wish(StopCause::Signal(signal.as_raw()), now),
        }
        let cause = self.stop.cause();
        if let Phase::Clears { end, .. } | Phase::Drains { end, .. } = &mut self.phase
            && end.is_recent()
        {
            end.stop = end.stop.or(cause);
        }
    }

    fn child_ended(&mut self, now: Instant) {
        // Once it is waited for, it has no name any more.
        let called = process::name(self.program.pid());
        let Reaped {
            end,
            other,
            mut is_last,
        } = self.program.reap();
        // Another process may have waited for it, and only that one knows how it ended.
        let unseen = || ProgramEnd::Fenced("another process has waited for it".to_owned());
        let end = end.or_else(|| is_last.then(unseen));
        if let (Phase::Runs, Some(mut end)) = (&self.phase, end) {
            let has_moved_on = end == ProgramEnd::Exited(0) && called.as_deref() == Some("setsid");
            if has_moved_on && let Some(heirs) = other {
                end = heirs;
            } else if has_moved_on && !is_last {
                if self.follow() {
                    return;
                }
                // It has ended meanwhile.
                let reaped = self.program.reap();
                is_last = reaped.is_last;
                end = reaped.other.unwrap_or(end);
            }
            let end = End {
                end,
                at: SystemTime::now().into(),
                stop: self.stop.cause(),
            };
            let clearing = Clearing::new(self.spec.stop.grace, self.stop.kill_by(), now);
            self.phase = Phase::Clears { end, clearing };
        }
        if is_last {
            self.drain(now);
        }
    }

    /// `setsid` forks if it leads a process group, as a program does, and ends at once. What it started
    /// takes its place.
    fn follow(&mut self) -> bool {
        let family = relatives();
        let is_orphan = |relative: &&Relative| relative.parent == std::process::id();
        let orphans = family.iter().filter(is_orphan);
        let Some(heir) = orphans.min_by_key(|relative| relative.id.start_ticks) else {
            return false;
        };
        let pid = heir.id.pid;
        self.program.hand_over(pid);
        self.held.program_started(pid, self.door.directory());
        true
    }

    /// Ends what the program left behind.
    fn sweep(&mut self, sweep: Sweep, now: Instant) {
        let family = relatives();
        let (signal, all) = match sweep {
            Sweep::Terminate { all } => (Signal::TERM, all),
            Sweep::Kill => (Signal::KILL, true),
            Sweep::GiveUp => return self.give_up_killing(&family, now),
        };
        // What filters still have to read are the program's last lines. After a program that was asked to
        // stop, a process that reads no more may well be the work itself.
        let unread: Vec<Option<u64>> = family.iter().map(|it| unread_input(it.id.pid)).collect();
        let is_read_out = unread.iter().flatten().all(|unread| *unread == 0);
        let is_over = match &mut self.phase {
            Phase::Clears { clearing, .. } => clearing.is_read_out(is_read_out),
            _ => is_read_out,
        };
        let may_be_work = is_over && self.stop.cause().is_some();
        let is_draining = !all && !may_be_work && unread.iter().any(Option::is_some);
        let ended = family.iter().zip(&unread);
        let ended = ended.filter(|(_, unread)| !(is_draining && unread.is_some()));
        let ended = ended.map(|(relative, _)| relative);
        let sent = self
            .sender
            .send(by(ended, signal), SignalReason::LeftBehind);
        if !sent.is_empty() {
            let processes = listed(sent.iter().map(|sent| (sent.pid, sent.name.as_str())));
            tell(&left_behind(&processes, signal));
            self.ended_processes.get_or_insert(processes);
        }
        if let (true, Phase::Clears { clearing, .. }) = (is_draining, &mut self.phase) {
            clearing.is_draining(now);
        }
    }

    /// Leaves the processes that survive SIGKILL to the next attempt, which waits for their end.
    fn give_up_killing(&mut self, left: &[Relative], now: Instant) {
        if !left.is_empty() {
            let names = left.iter().map(|it| (it.id.pid, it.name.as_str()));
            let processes = listed(names);
            tell(&format!(
                "the program left processes behind that can't be killed: {processes}; the next attempt \
                 waits for their end"
            ));
            let host = host();
            self.mail
                .say(Message::LeftBehind(LeftBehind { host, processes }));
            self.held.leave_to(left.iter().map(|it| it.id).collect());
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        if let Phase::Clears { end, .. } = &self.phase {
            self.door.close();
            self.phase = Phase::Drains {
                end: end.clone(),
                until: now + DRAIN_SILENCE,
                at_most_until: now + DRAIN_TIMEOUT,
            };
        }
    }

    fn wait_for_more(&mut self, now: Instant) {
        if let Phase::Drains {
            until,
            at_most_until,
            ..
        } = &mut self.phase
        {
            *until = (now + DRAIN_SILENCE).min(*at_most_until);
        }
    }

    /// Does what is due by now.
    fn due(&mut self, now: Instant) {
        self.mail.due(now);
        if let Some(renewal) = self.held.renew_if_due(now) {
            self.door.renew();
            if renewal == Renewal::Superseded {
                // A newer attempt waits for us to end: the job goes on there.
                self.wish(StopCause::Operator, now);
            }
            // The signal about an end may have been lost.
            self.child_ended(now);
        }
        match &mut self.phase {
            Phase::Runs => self.push_if_due(now),
            Phase::Clears { clearing, .. } => {
                if let Some(sweep) = clearing.due(now) {
                    self.sweep(sweep, now);
                }
            }
            Phase::Drains { end, until, .. } => {
                if *until <= now {
                    self.phase = Phase::Over(end.clone());
                }
            }
            Phase::Over(_) => {}
        }
    }

    fn push_if_due(&mut self, now: Instant) {
        let due = self.stop_at.iter().find(|(at, _)| *at <= now).copied();
        if let Some((_, cause)) = due {
            self.wish(cause, now);
            self.stop_at.retain(|(at, _)| *at > now);
        }
        if let Some(file) = &mut self.asking_file
            && file.asks(now)
        {
            self.asking_file = None;
            self.wish(StopCause::StopFile, now);
        }
        let is_past_limit = self.bound.is_some_and(|bound| bound <= now);
        if is_past_limit && self.stop.cause().is_some() {
            self.bound = None;
            self.stop.end(self.kill_wait, now);
        }
        match self.stop.due(now) {
            Some(Push::Ask) => self.ask(now),
            Some(Push::Terminate) => self.end(Signal::TERM),
            Some(Push::Kill) => self.end(Signal::KILL),
            None => {}
        }
    }

    fn ask(&mut self, now: Instant) {
        if let Err(error) = files::touch(&self.stop_file) {
            let file = self.stop_file.display();
            tell(&format!("can't create {file}: {error}"));
        }
        let made = self.spec.stop.create.as_ref();
        let made = made.filter(|file| made_file::make(file, &self.made_file));
        if let Some(file) = made {
            self.sender.made(&file.path);
        }
        let family = relatives();
        let asked = whom_to_ask(&family, self.manner).into_iter();
        // `KeyboardInterrupt` would end a program that asks by itself, or a step of a script that does.
        let needs_no_interrupt = self.listens && self.manner == Manner::Auto;
        let asked = asked.filter(|(_, signal)| !needs_no_interrupt || *signal != Signal::INT);
        let asked = asked.map(|(it, signal)| (it.id, it.name.as_str(), signal));
        let sent = self.sender.send(asked, SignalReason::Asked);
        let has_other_means = self.listens || self.manner == Manner::File || made.is_some();
        if sent.is_empty() && !has_other_means {
            self.stop.nobody_hears(now);
        }
    }

    /// Ends the program with all its descendants. Those who read what others wrote are left to read the
    /// last of it; they are looked at again once the program has ended.
    fn end(&mut self, signal: Signal) {
        let family = relatives();
        let program = self.program.pid();
        let is_ended = |relative: &&Relative| relative.id.pid == program || !reads_a_pipe(relative);
        let ended = family.iter().filter(is_ended);
        self.sender.send(by(ended, signal), SignalReason::Ended);
        if family.is_empty() {
            // They can't be seen.
            self.program.signal(signal);
        }
    }

    /// There always is one: the holder's record is renewed until the end.
    fn next_deadline(&self) -> Instant {
        let of_the_phase = match &self.phase {
            Phase::Runs => {
                let asking_file = self.asking_file.iter().map(AskingFile::next_look);
                let stop_at = self.stop_at.iter().map(|(at, _)| *at);
                let push = self.stop.next_deadline();
                let bound = self.bound.filter(|_| self.stop.cause().is_some());
                asking_file.chain(stop_at).chain(push).chain(bound).min()
            }
            Phase::Clears { clearing, .. } => clearing.next_deadline(),
            Phase::Drains { until, .. } => Some(*until),
            Phase::Over(_) => None,
        };
        [of_the_phase, self.mail.next_deadline()]
            .into_iter()
            .flatten()
            .fold(self.held.next_deadline(), Instant::min)
    }
}

fn by<'a>(
    relatives: impl Iterator<Item = &'a Relative>,
    signal: Signal,
) -> impl Iterator<Item = (process::ProcessId, &'a str, Signal)> {
    relatives.map(move |it| (it.id, it.name.as_str(), signal))
}

fn reads_a_pipe(relative: &Relative) -> bool {
    unread_input(relative.id.pid).is_some()
}

fn left_behind(processes: &str, signal: Signal) -> String {
    match signal {
        Signal::KILL => {
            format!("the program left processes behind that did not end: killed {processes}")
        }
        _ => format!(
            "the program has ended and left processes behind, which are ended by SIGTERM: {processes}; if \
             they do the work, let the program `wait` for them, or run them in the foreground"
        ),
    }
}

/// The time limit as the backend gave it, in `CU_DEADLINE`: Unix seconds.
pub(crate) fn time_limit(given: Option<&str>) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(given.and_then(parse_seconds)?)
}

/// The moments at which the policy asks the program to stop, of which some depend on the time limit.
pub(crate) fn stop_moments(
    spec: &JobSpec,
    limit: Option<SystemTime>,
    started: Instant,
) -> Vec<(Instant, StopCause)> {
    let after = spec.stop.after.and_then(|after| started.checked_add(after));
    let before_limit = spec.stop.before_limit.zip(limit);
    let before_limit = before_limit.and_then(|(before, limit)| {
        let stop = limit.checked_sub(before).unwrap_or(UNIX_EPOCH);
        // The past is now.
        let wait = stop.duration_since(SystemTime::now()).unwrap_or_default();
        started.checked_add(wait)
    });
    let after = after.map(|at| (at, StopCause::TimeBudget));
    let before_limit = before_limit.map(|at| (at, StopCause::TimeLimit));
    after.into_iter().chain(before_limit).collect()
}

/// How long after its SIGTERM the scheduler sends SIGKILL, as the backend gave it in `CU_KILL_WAIT`,
/// in seconds. If it did not, the scheduler is taken to leave as much time as the policy.
pub(crate) fn kill_wait(spec: &JobSpec, given: Option<&str>) -> Duration {
    given.and_then(parse_seconds).unwrap_or(spec.stop.grace)
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
