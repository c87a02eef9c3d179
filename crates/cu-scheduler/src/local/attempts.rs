//! The life of an attempt: it is started once, signalled as by Slurm, and ends with all its
//! processes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use cu_system::fork_server::Word;
use rustix::process::Signal;

use super::gpus;
use super::keeper::{Keeper, unwatch, watch};
use super::proc_fs;
use super::process::{Leader, Leftover, NotStarted};
use super::record::{self, Cause, Ended, Line, unix_ms};
use super::signals;
use super::table::{Job, Phase, Running, Signals, Turn};
use crate::{Cancel, ClusterJobId, Resources, Submission};

/// The wait before trying again to write the journal or to watch a process.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// The wait before looking again at processes that are about to end.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long to retry a start for which this machine lacks something, before giving up the attempt.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Trouble that is over within this time is not reported.
const SHORT_TROUBLE: Duration = Duration::from_secs(5);
/// The longest wait between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// The same for graphics processors, which another run gives back without a word.
const LONGEST_WAIT_FOR_GPUS: Duration = Duration::from_secs(5);

/// The reason why this machine can't start any attempt now.
#[derive(Debug)]
pub(super) struct Trouble {
    /// When the first start failed.
    since: Instant,
    /// The system's error.
    reason: String,
    /// The wait after the next try, if that fails, too.
    wait: Duration,
    /// The next try.
    pub until: Instant,
    /// Another run has what it needs, which is nobody's fault.
    awaits_gpus: bool,
}

impl Trouble {
    /// The text for people, once the trouble lasts.
    pub fn reported(&self) -> Option<&str> {
        (self.since.elapsed() >= SHORT_TROUBLE).then_some(&*self.reason)
    }
}

impl Keeper {
    /// Starts jobs of the queue, each on the given graphics processors. Returns `false` if this
    /// machine is in trouble and some are in the queue again.
    pub(super) fn start(&mut self, starts: Vec<(u64, Vec<u32>)>) -> bool {
        let at = SystemTime::now();
        let mut lines = Vec::new();
        let mut copies = BTreeMap::new();
        for (number, gpus) in &starts {
            let number = *number;
            lines.push(Line::Starting {
                number,
                at_unix_ms: unix_ms(at),
            });
            let standby = match self.table.jobs.get(&number).map(|job| &job.phase) {
                Some(Phase::Queued(submission)) => self.warm.take(submission),
                _ => None,
            };
            // Its number is known before it begins, and so is written first.
            if let Some(ready) = standby {
                lines.push(record::Running::line(number, &ready.leader, gpus));
                copies.insert(number, ready);
            }
        }
        if let Err(error) = self.journal.append(&lines) {
            for ready in copies.into_values() {
                self.warm.put_back(ready);
            }
            self.put_back(starts);
            self.in_trouble(format!("the journal can't be written: {error}"));
            return false;
        }
        let mut lines = Vec::new();
        let mut failed = Vec::new();
        let mut trouble = None;
        let mut put_back = Vec::new();
        for (number, gpus) in starts {
            if trouble.is_some() {
                put_back.push((number, gpus));
                continue;
            }
            let Some(Job {
                id,
                phase: Phase::Queued(submission),
                ..
            }) = self.table.jobs.get(&number)
            else {
                continue;
            };
            let cpus = submission.resources.cpus;
            let added = self.variables(id, &gpus, at, submission);
            let limits = submission.resources.clone();
            let started = match copies.remove(&number) {
                Some(ready) => {
                    let begun = self.warm.begin(ready, submission, added);
                    begun.map(|begun| begun.map(|(leader, busy)| (leader, Some(busy))))
                }
                None => Leader::start(submission, &added).map(|leader| {
                    lines.push(record::Running::line(number, &leader, &gpus));
                    Some((leader, None))
                }),
            };
            match started {
                // The copy was killed as it stood by: the next one, or an ordinary start, at once.
                Ok(None) => {
                    put_back.push((number, gpus));
                    self.timers.push(Reverse((Instant::now(), 0)));
                }
                Ok(Some((leader, busy))) => {
                    if leader.is_copy() {
                        self.copies.insert(leader.pid(), number);
                    }
                    let mut running = Running::new(leader, cpus, gpus, at, true);
                    // Without a watch, its end says it, too.
                    running.busy = busy.filter(|busy| watch(&self.epoll, number, busy));
                    if let Some(job) = self.table.jobs.get_mut(&number) {
                        job.phase = Phase::Running(Box::new(running));
                    }
                    self.keep(number, &limits);
                }
                Err(NotStarted::Trouble(reason)) if !self.is_patience_over() => {
                    trouble = Some(reason);
                    put_back.push((number, gpus));
                }
                Err(NotStarted::Trouble(reason) | NotStarted::Refused(reason)) => {
                    self.trouble = None;
                    self.slots.release(cpus, &gpus);
                    failed.push((number, Cause::NotStarted, reason));
                }
            }
        }
        lines.extend(self.put_back(put_back));
        let is_in_trouble = trouble.is_some();
        match trouble {
            Some(reason) => self.in_trouble(reason),
            None => self.trouble = None,
        }
        self.journal.append_later(lines);
        self.record_ends(failed);
        self.changed = true;
        !is_in_trouble
    }

    /// Puts jobs that were about to start back into the queue, and returns the journal lines about it.
    fn put_back(&mut self, starts: Vec<(u64, Vec<u32>)>) -> Vec<Line> {
        let mut lines = Vec::new();
        for (number, gpus) in starts {
            if let Some(job) = self.table.jobs.get(&number)
                && let Phase::Queued(submission) = &job.phase
            {
                self.slots.release(submission.resources.cpus, &gpus);
                self.table.queue.insert(Turn::of(number, &job.name));
                let queued = record::Queued::new(number, job.id.clone(), submission);
                lines.push(Line::Queued(Box::new(queued)));
            }
        }
        lines
    }

    /// Pauses all starts for a while, since this machine lacks something.
    pub(super) fn in_trouble(&mut self, reason: String) {
        self.pause(reason, false);
    }

    /// The same, or because other runs have the graphics processors.
    pub(super) fn pause(&mut self, reason: String, awaits_gpus: bool) {
        let now = Instant::now();
        let before = self.trouble.take();
        let before = before.filter(|trouble| trouble.awaits_gpus == awaits_gpus);
        let mut trouble = before.unwrap_or_else(|| Trouble {
            since: now,
            reason: format!("this machine can't start it now: {reason}"),
            wait: RETRY,
            until: now,
            awaits_gpus,
        });
        let longest = match awaits_gpus {
            true => LONGEST_WAIT_FOR_GPUS,
            false => LONGEST_RETRY,
        };
        trouble.until = now + trouble.wait;
        trouble.wait = (trouble.wait * 2).min(longest);
        self.timers.push(Reverse((trouble.until, 0)));
        self.changed |= trouble.reported().is_some();
        self.trouble = Some(trouble);
    }

    fn is_patience_over(&self) -> bool {
        let trouble = self.trouble.as_ref();
        trouble.is_some_and(|it| !it.awaits_gpus && it.since.elapsed() > PATIENCE)
    }

    /// The variables that an attempt gets in addition to those of its submission.
    fn variables(
        &self,
        id: &ClusterJobId,
        gpus: &[u32],
        since: SystemTime,
        submission: &Submission,
    ) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("CU_SUBMISSION", submission.name.to_string()),
            (proc_fs::MARK, format!("{}/{id}", self.token)),
            ("CU_KILL_WAIT", self.grace.as_secs_f64().to_string()),
        ];
        if let Some(limit) = submission.resources.time_limit {
            // Ignore a limit that no clock can reach.
            let deadline = since.checked_add(limit).map(|at| unix_ms(at) / 1000);
            variables.extend(deadline.map(|at| ("CU_DEADLINE", at.to_string())));
        }
        let visible = self.slots.visible(gpus);
        // Without any, too: this process may be part of an attempt that has some.
        variables.push((gpus::GIVEN, visible.clone().unwrap_or_default()));
        variables.extend(visible.map(|gpus| ("CUDA_VISIBLE_DEVICES", gpus)));
        variables
    }

    /// Watches the running job `number` from now on, and schedules its signals.
    pub(super) fn keep(&mut self, number: u64, limits: &Resources) {
        let Some(running) = self.table.running(number) else {
            return;
        };
        running.signals = signals::of(limits, running.since, Instant::now(), SystemTime::now());
        if running.ending.is_some() {
            // We were killed while we were ending it. Start over, with the full grace time.
            running.signals = Signals {
                limit: Some(Instant::now()),
                ..Signals::default()
            };
        }
        match &running.leader {
            Some(_) => self.watch_leader(number),
            None => {
                self.stirred.insert(number);
            }
        }
        self.set_timer(number);
    }

    /// Watches the leader of the running job `number`, or polls it if that fails.
    fn watch_leader(&mut self, number: u64) {
        let running = self.table.running(number);
        let leader = running.and_then(|running| running.leader.as_mut());
        let watched = |leader: &mut Leader| {
            // The fork server's socket is watched.
            if leader.is_copy() {
                return true;
            }
            let pidfd = leader.watchable();
            pidfd.is_some_and(|pidfd| watch(&self.epoll, number, pidfd))
        };
        if leader.is_some_and(|leader| !watched(leader)) {
            self.stirred.insert(number);
            self.timers.push(Reverse((Instant::now() + RETRY, 0)));
        }
    }

    /// Sends every signal that is due at `now`.
    pub(super) fn send_due_signals(&mut self, now: Instant) {
        while let Some(Reverse((at, number))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let Some(running) = self.table.running(number) else {
                continue;
            };
            let signals = &mut running.signals;
            if let Some((_, signal)) = signals.warn.take_if(|(at, _)| *at <= now)
                && let Some(leader) = &running.leader
            {
                leader.signal(signal);
            }
            let limit = signals.limit.take_if(|at| *at <= now).is_some();
            let kill = signals.kill.take_if(|at| *at <= now).is_some();
            if kill {
                self.send_end(number, Cancel::Kill);
            } else if limit {
                if running.ending.is_none() {
                    running.ending = Some(Cause::TimeLimit);
                    let cause = Cause::TimeLimit;
                    self.journal
                        .append_later(vec![Line::Ending { number, cause }]);
                }
                self.send_end(number, Cancel::Terminate);
            }
            self.set_timer(number);
        }
    }

    fn set_timer(&mut self, number: u64) {
        let next = self
            .table
            .running(number)
            .and_then(|running| running.signals.next());
        self.timers.extend(next.map(|next| Reverse((next, number))));
    }

    /// Ends a running job. Only SIGKILL is still to come.
    pub(super) fn send_end(&mut self, number: u64, how: Cancel) {
        let grace = self.grace;
        let Some(running) = self.table.running(number) else {
            return;
        };
        let kill = running.signals.kill.take();
        running.signals = Signals::default();
        let Some(leader) = &running.leader else {
            return; // The processes that outlived it are being killed already.
        };
        match how {
            Cancel::Kill => leader.signal_group(Signal::KILL),
            Cancel::Terminate => {
                // A stopped process acts on SIGTERM only once it goes on.
                leader.signal_group(Signal::TERM);
                leader.signal_group(Signal::CONT);
                let at = Instant::now().checked_add(grace);
                // A repeated cancel does not prolong the grace time.
                running.signals.kill = kill.into_iter().chain(at).min();
                self.set_timer(number);
            }
        }
    }

    /// Takes note of what the fork server reports.
    pub(super) fn hear_the_fork_server(&mut self) {
        let happened = self.warm.look();
        for ended in happened.ends {
            // One that stood by has no attempt.
            let Some(number) = self.copies.remove(&ended.pid) else {
                continue;
            };
            let running = self.table.running(number);
            if let Some(leader) = running.and_then(|running| running.leader.as_mut()) {
                leader.has_ended(ended.cause, ended.group_lives);
                self.stirred.insert(number);
            }
        }
        if happened.server_is_gone {
            // What it had started lives on, as the child of nobody who would tell us.
            for number in std::mem::take(&mut self.copies).into_values() {
                if let Some(running) = self.table.running(number)
                    && let Some(leader) = &mut running.leader
                {
                    leader.orphan();
                    running.ours = leader.is_copy();
                    self.stirred.insert(number);
                }
            }
        }
    }

    /// Takes note of what the copy says that has the attempt `number`.
    fn hear_the_copy(&mut self, number: u64) {
        while let Some(running) = self.table.running(number)
            && let Some(busy) = &running.busy
            && let Some(word) = busy.word()
        {
            if word == Word::Done {
                if !std::mem::replace(&mut running.is_done, true) {
                    self.slots.release_early(running.cpus, &running.gpus);
                }
                continue;
            }
            unwatch(&self.epoll, busy);
            let Some(busy) = running.busy.take() else {
                return;
            };
            if let Word::Over(code) = word
                && let Some(leader) = running.leader.take()
            {
                // Nothing is left of the attempt, or the copy had ended. The process goes on without it.
                running.end = Some(Cause::Exited(code.into()));
                running.signals = Signals::default();
                if let Some(pidfd) = leader.pidfd() {
                    unwatch(&self.epoll, pidfd);
                }
                self.copies.remove(&leader.pid());
                self.warm.take_back(busy, leader, self.slots.running());
            }
        }
    }

    /// Ends the attempts whose processes have ended. An attempt has ended when no process is left.
    pub(super) fn see_out_the_dead(&mut self) {
        let stirred = std::mem::take(&mut self.stirred);
        let mut searched = BTreeSet::new();
        let mut ended = Vec::new();
        for number in stirred {
            self.hear_the_copy(number);
            let Some(running) = self.table.running(number) else {
                continue;
            };
            if let Some(leader) = running.leader.take() {
                let Some((cause, group_lives)) = leader.see_out(running.ours) else {
                    if let Some(running) = self.table.running(number) {
                        running.leader = Some(leader);
                    }
                    self.watch_leader(number);
                    continue;
                };
                if let Some(pidfd) = leader.pidfd() {
                    unwatch(&self.epoll, pidfd);
                }
                let Some(running) = self.table.running(number) else {
                    continue;
                };
                running.end = Some(cause);
                running.signals = Signals::default();
                // A killed leader had no chance to end process groups that it had made.
                running.search = group_lives || !matches!(cause, Cause::Exited(_));
            }
            if self.table.running(number).is_some_and(|it| it.search) {
                searched.insert(number);
            } else {
                ended.push(number);
            }
        }
        ended.extend(self.end_leftovers(&searched));
        let ends = ended.into_iter().filter_map(|number| {
            let running = self.table.running(number)?;
            let (cause, text) = running.verdict();
            match running.is_done {
                true => self.slots.has_ended(),
                false => self.slots.release(running.cpus, &running.gpus),
            }
            Some((number, cause, text))
        });
        let ends = ends.collect();
        self.record_ends(ends);
    }

    /// Kills the processes that outlived the leaders of `numbers`. Returns the numbers without
    /// processes.
    fn end_leftovers(&mut self, numbers: &BTreeSet<u64>) -> Vec<u64> {
        if numbers.is_empty() {
            return Vec::new();
        }
        let mut alive: BTreeMap<u64, Vec<Leftover>> = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for number in numbers {
            if let Some(running) = self.table.running(*number) {
                groups.insert(running.group, *number);
                let gone = std::mem::take(&mut running.leftovers);
                gone.iter()
                    .for_each(|leftover| unwatch(&self.epoll, leftover));
            }
        }
        let Ok(processes) = proc_fs::survey(&self.token) else {
            // A process that can't be looked for may live.
            self.stirred.extend(numbers);
            self.timers.push(Reverse((Instant::now() + RETRY, 0)));
            return Vec::new();
        };
        for process in processes {
            let by_mark = process.job.as_ref().and_then(|id| self.table.number(id));
            let by_mark = by_mark.filter(|number| numbers.contains(number));
            let by_group = || groups.get(&process.group).copied();
            // The mark of another job counts more than the group: that process was moved into it.
            let unmarked = process.job.is_none();
            let Some(number) = by_mark.or_else(|| by_group().filter(|_| unmarked)) else {
                continue;
            };
            alive
                .entry(number)
                .or_default()
                .extend(Leftover::kill(&process));
        }
        for (number, leftovers) in &mut alive {
            leftovers.retain(|leftover| watch(&self.epoll, *number, leftover));
        }
        let mut ended = Vec::new();
        for number in numbers {
            match alive.remove(number) {
                Some(leftovers) => {
                    if leftovers.is_empty() {
                        // They ended while we looked, or no descriptor is free, so look again.
                        self.stirred.insert(*number);
                        self.timers.push(Reverse((Instant::now() + LOOK_AGAIN, 0)));
                    }
                    if let Some(running) = self.table.running(*number) {
                        running.leftovers = leftovers;
                    }
                }
                None => ended.push(*number),
            }
        }
        ended
    }

    /// Records ends and makes them known.
    pub(super) fn record_ends(&mut self, ends: Vec<(u64, Cause, String)>) {
        let ends = self.ends(ends);
        self.journal
            .append_later(ends.iter().cloned().map(Line::Ended).collect());
        self.make_known(ends);
    }

    /// Ends that happened now, neither recorded nor known.
    pub(super) fn ends(&self, ends: Vec<(u64, Cause, String)>) -> Vec<Ended> {
        let at = SystemTime::now();
        let ended = |(number, cause, text)| {
            let job = self.table.jobs.get(&number)?;
            Some(Ended::new(number, job, cause, Some(at), text))
        };
        ends.into_iter().filter_map(ended).collect()
    }

    /// Makes recorded ends known.
    pub(super) fn make_known(&mut self, ends: Vec<Ended>) {
        for ended in ends {
            self.table.end(ended.number, ended);
            self.changed = true;
            // The end may have freed what was missing.
            if let Some(trouble) = &mut self.trouble {
                trouble.until = Instant::now();
            }
        }
    }
}

impl Running {
    pub fn new(leader: Leader, cpus: u32, gpus: Vec<u32>, since: SystemTime, ours: bool) -> Self {
        let group = leader.pid();
        Self {
            leader: Some(leader),
            group,
            ours,
            cpus,
            gpus,
            busy: None,
            is_done: false,
            since,
            ending: None,
            end: None,
            search: false,
            leftovers: Vec::new(),
            signals: Signals::default(),
        }
    }

    /// The data that identify it after a crash.
    pub fn record(&self, number: u64) -> Option<record::Running> {
        let leader = self.leader.as_ref()?;
        Some(record::Running::new(number, leader, &self.gpus))
    }

    /// Returns why it ended, as a cause and as a sentence. Our own action counts more than the
    /// command's reaction, as with Slurm: a command that exits with 0 on SIGTERM still ran into its
    /// limit.
    fn verdict(&self) -> (Cause, String) {
        let end = self.end.unwrap_or(Cause::Unknown);
        let how = match end {
            Cause::Exited(code) => format!("exit code {code}"),
            Cause::Signaled(signal) => format!("killed by signal {signal}"),
            _ => "it ended while nobody watched it".into(),
        };
        match self.ending {
            Some(Cause::TimeLimit) => (Cause::TimeLimit, format!("time limit reached; {how}")),
            Some(Cause::Cancelled) => (Cause::Cancelled, format!("cancelled; {how}")),
            _ => (end, how),
        }
    }
}
