//! The loop: wait, decide, record, act.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cu_run_dir::{Change, Update};
use cu_scheduler::{Reach, Scheduler};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::act::Actor;
use crate::answers::Answers;
use crate::attempt_files::Readers;
use crate::clock::Clock;
use crate::connections::Connections;
use crate::context::Context;
use crate::decide::decide;
use crate::gathering::Company;
use crate::growth::Growth;
use crate::inbox::{Batch, Inbox, Patience};
use crate::lock::{self, HeldUp, Note};
use crate::machine::{Machine, moment};
use crate::operator::{self, Operator};
use crate::recovery;
use crate::server::Server;
use crate::silence::{News, Silence};
use crate::store::{Abandoned, Changes, Reader, Store};
use crate::submitter::Submitter;
use crate::succession::Succession;
use crate::threads::{Answer, Lane, Recorder};
use crate::{
    Error, JobSource, Level, Names, Notice, Result, RunDir, RunState, Status, check_run, error,
    log_changes, results, secret, store, watcher,
};

/// How long the last actions may take. Each call to a scheduler returns within about a minute.
const LAST_ACTIONS: Duration = Duration::from_secs(60);
/// How long to wait for the last answers to operators to be sent.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// How long a cluster may take to clear away the last attempts, which are over. What it keeps, such as a
/// job that it holds, is freed.
const LAST_LOOKS: Duration = Duration::from_secs(10);
/// How many threads write into the run directory when each is held up.
const MOST_WRITERS: usize = 16;

/// People read of a commit that takes longer.
const SLOW_COMMIT: Duration = Duration::from_secs(10);
/// How long a commit may take once an operator wants the main process to end.
const LAST_COMMIT: Duration = Duration::from_secs(2);

/// How the loop reaches its attempts, and they it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoopOptions {
    /// The command of the supervisor, an absolute path and arguments: the run directory, the job
    /// and the attempt are appended.
    pub supervisor: Vec<String>,
    /// Where to listen: loopback if attempts run on this machine.
    pub listen: IpAddr,
    /// The names of settings in `main.log`.
    pub names: Names,
}

impl LoopOptions {
    /// Attempts start `supervisor`, and reach the loop at the address `listen`.
    #[must_use]
    pub fn new(supervisor: Vec<String>, listen: IpAddr) -> Self {
        Self {
            supervisor,
            listen,
            names: Names::default(),
        }
    }
}

/// How the loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Every job is completed, failed or cancelled.
    Settled(Status),
    /// An operator detached the main process; attempts go on.
    Detached(Status),
}

/// The main process of a run, from its opening to the end of its last job.
#[derive(Debug)]
pub struct ResumeLoop {
    inbox: Inbox,
    machine: Machine,
    silence: Silence,
    growth: Growth,
    actor: Actor,
    operator: Operator,
    status: watch::Sender<Status>,
    notices: Option<mpsc::UnboundedReceiver<Notice>>,
    run_dir: RunDir,
    /// Actions in progress. Like everything here, they end when the loop is dropped.
    tasks: JoinSet<()>,
    /// Tasks that last as long as the loop: they listen, watch the scheduler, read files.
    background: JoinSet<()>,
    server: Server,
    /// Gives up a commit that still waits when the loop is dropped.
    unwanted: Unwanted,
    note: Note,
    recorder: Recorder,
    /// Keeps other main processes out. Dropped last, when nothing of ours is at work.
    store: Arc<Mutex<Store>>,
}

impl ResumeLoop {
    /// Opens the run in `run_dir`: a new one, or one left by a main process that ended or was
    /// killed. To be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of [`check_run`]; [`Error::InUse`], [`Error::NewerVersion`], [`Error::Damaged`],
    /// [`Error::System`].
    pub async fn open(
        run_dir: RunDir,
        scheduler: Arc<dyn Scheduler>,
        options: LoopOptions,
    ) -> Result<Self> {
        check_run(&run_dir)?;
        let before = Reader::open(&run_dir)?; // Without a run, there is nothing to lock.
        let taken = lock::take(&run_dir)?;
        // It may hold the run although we have the lock. It is believed to be there if it accepts
        // connections, even without an answer: it may be stopped, and go on.
        if taken.was_held_elsewhere() && operator::is_there(&run_dir).await {
            return Err(taken.in_use());
        }
        let mut lock = taken.name()?;
        let predecessor = lock.predecessor.take();
        // Threads come first, before anything else can use up their number.
        let recorder = Recorder::start()?;
        let writers = Arc::new(Lane::start("write", 1, MOST_WRITERS)?);
        let mut store = Store::open(&run_dir, lock)?;
        store.set_opener(&run_dir, &scheduler.to_string())?;
        let updates = record_updates(&run_dir, &mut store)?;
        let loaded = store.load()?;
        let status = Status {
            state: RunState::Running,
            ..before.status()?
        };
        let clock = Clock::start(loaded.last_recorded);
        let (sender, inbox) = Inbox::new(clock);
        let mut machine = Machine::new(loaded.jobs, loaded.policy);
        machine.set_to_come(loaded.to_come);

        let mut background = JoinSet::new();
        let readers = Readers::start(run_dir.clone(), clock, sender.clone(), &mut background)?;
        let run = loaded.run;
        let watched = watcher::start(run, scheduler.clone(), sender.clone(), &mut background);
        let connections = Arc::new(Connections::new(watched.clone()));
        let secret = secret::keep(&run_dir)?;
        let server = Server::start(
            &run_dir,
            run,
            secret.secret,
            options.listen,
            sender.clone(),
            connections.clone(),
            &mut background,
        )
        .await?;
        let (notify, notices) = mpsc::unbounded_channel();
        let context = Context {
            run_dir: run_dir.clone(),
            run,
            scheduler,
            clock,
            sender: sender.clone(),
            notices: notify,
            names: options.names,
        };
        let starts = context.scheduler.capabilities().starts;
        let actor = Actor {
            submitter: Submitter::new(
                context.clone(),
                loaded.plans,
                options.supervisor,
                writers.clone(),
                Succession::new(connections.clone(), starts),
            ),
            context,
            readers: readers.into(),
            unread: Arc::default(),
            connections,
            answers: Answers::new(),
            watched,
            writers,
        };
        if let Some(killed) = predecessor {
            let text = format!(
                "{killed} had the run before and was killed, or it crashed; nothing that was \
                 recorded is lost"
            );
            actor.context.notify(Level::Info, &text);
        }
        if let Some(lost) = secret.lost {
            let text = format!(
                "{} {lost}, and a new one is made; running attempts switch to it",
                run_dir.secret().display()
            );
            actor.context.notify(Level::Warning, &text);
        }
        for text in updates {
            actor.context.notify(Level::Info, &text);
        }
        background.spawn(recovery::look_now_and_then(actor.clone()));
        Ok(Self {
            inbox,
            machine,
            silence: Silence::default(),
            growth: Growth::default(),
            actor,
            operator: Operator::new(sender),
            status: watch::Sender::new(status),
            notices: Some(notices),
            run_dir,
            tasks: JoinSet::new(),
            background,
            server,
            unwanted: Unwanted(store.abandoned()),
            note: store.note(),
            recorder,
            store: Arc::new(Mutex::new(store)),
        })
    }

    /// Has `source` decide which jobs come next. It hears what was recorded by now.
    ///
    /// # Errors
    /// [`Error::Plan`] if it can't take up a job that the run has; [`Error::Damaged`], [`Error::Read`].
    pub fn with_source(mut self, source: Box<dyn JobSource>) -> Result<Self> {
        self.growth = Growth::resumed(source, &Reader::open(&self.run_dir)?)?;
        Ok(self)
    }

    /// The status of the run, renewed after each commit.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// What people should read. Call it once: a second call returns an empty channel.
    pub fn notices(&mut self) -> mpsc::UnboundedReceiver<Notice> {
        let taken = self.notices.take();
        taken.unwrap_or_else(|| mpsc::unbounded_channel().1)
    }

    /// A handle to ask the loop for something while it runs.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator.clone()
    }

    /// Runs until every job is settled, or an operator detaches the main process.
    ///
    /// # Errors
    /// [`Error::Record`] if something could not be recorded, [`Error::SchedulerUnreachable`],
    /// [`Error::BackendEnded`], [`Error::Died`]; [`Error::Plan`] if jobs are to come and no [source](Self::with_source)
    /// knows which. The run is as it was recorded last, and can be opened again.
    pub async fn run(mut self) -> Result<Finish> {
        recovery::adopt_survivors(&self.machine, &self.actor, &mut self.tasks);
        self.growth.check(&self.machine)?;
        // What was ordered before the run began counts before anything is added.
        let mut first = match self.growth.is_due(&self.machine) {
            true => Some(self.inbox.rest()),
            false => None,
        };
        while !self.machine.is_settled() || self.inbox.has_news() {
            // Nothing is left that the rest of the news could wait for.
            let deadline = match self.machine.is_settled() {
                true => Some(self.actor.context.clock.now()),
                false => self.silence.bounds(self.machine.next_deadline()),
            };
            let patience = self.patience();
            let batch = tokio::select! {
                biased;
                dead = death(&mut self.tasks, &mut self.background) => return Err(dead),
                batch = self.inbox.begin_with(&mut first, deadline, patience) => batch,
            };
            match self.turn(batch).await? {
                Turn::Done => {}
                Turn::Detached => return self.finish(Finish::Detached).await,
                Turn::Abandoned => return Ok(Finish::Detached(self.as_recorded())),
            }
            self.silence.check(self.machine.policy())?;
        }
        recovery::look_at_the_given_up(&self.machine, &self.actor, &mut self.tasks);
        if self.actor.context.scheduler.capabilities().reach == Reach::OtherMachines {
            let _ = timeout(LAST_LOOKS, self.actor.watched.nothing_is_left()).await;
        }
        self.finish(Finish::Settled).await
    }

    /// Decides what follows from `batch`, records it, and only then replies and acts.
    async fn turn(&mut self, batch: Batch) -> Result<Turn> {
        let stay = self.actor.submitter.stay();
        let decision = decide(
            &mut self.machine,
            &mut self.silence,
            &mut self.growth,
            batch,
            stay,
        );
        self.show_silence();
        // If this fails, memory is ahead of the disk: stop.
        let Some(recorded) = self.commit(decision.changes).await? else {
            return Ok(Turn::Abandoned);
        };
        // Nothing was promised to anyone before this line.
        self.actor.send_replies(decision.promises, &mut self.tasks);
        let added = recorded.added.iter();
        self.actor
            .submitter
            .add(added.map(|(_, plan)| plan.clone()));
        self.actor.watch(&recorded.jobs);
        self.actor.watched.await_room(self.machine.awaits_room());
        let company = match self.machine.can_more_become_due() {
            true => Company::MayCome,
            false => Company::AllHere,
        };
        self.actor.act(decision.actions, company, &mut self.tasks);
        Ok(match decision.detach {
            true => Turn::Detached,
            false => Turn::Done,
        })
    }

    /// How long ends of attempts may wait for each other.
    fn patience(&self) -> Patience {
        let running = self.actor.connections.count();
        let submitted = self.machine.submitted() as usize;
        Patience::of(running, submitted.saturating_sub(running))
    }

    /// Has people read, here and in other shells, that the scheduler does not answer, or answers again.
    fn show_silence(&mut self) {
        let Some(news) = self.silence.news(self.machine.policy()) else {
            return;
        };
        let (level, text, held_up) = match news {
            News::Begins(text) => (Level::Warning, text.clone(), Some(text)),
            News::Ends(text) => (Level::Info, text, None),
        };
        self.note.set(HeldUp::ByTheScheduler, held_up.as_deref());
        self.status.send_modify(|status| status.held_up = held_up);
        self.actor.context.notify(level, &text);
    }

    /// Records `changes`, however long others are in the way. Returns them, or `None` if that lasts and
    /// somebody wants the main process to end.
    async fn commit(&mut self, changes: Changes) -> Result<Option<Changes>> {
        if changes.is_empty() {
            return Ok(Some(changes));
        }
        let store = self.store.clone();
        let path = self.run_dir.store();
        let mut commit = self.recorder.ask(move || {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.commit(&changes).map(|()| changes)
        });
        let last = async {
            self.inbox.detach().await;
            sleep(LAST_COMMIT).await;
        };
        let recorded = tokio::select! {
            biased;
            recorded = reported_if_slow(&self.actor.context, &self.note, &mut commit) => recorded,
            () = last => {
                self.unwanted.0.set();
                // It holds the run's lock. If it hangs in the file system, it is not awaited.
                let _ = timeout(LAST_COMMIT, commit).await;
                return Ok(None);
            }
        };
        let recorded = recorded.map_err(|panic| Error::Record {
            path,
            source: std::io::Error::other(error::words(panic)),
        })??;
        log_changes::log(&recorded, &self.actor.context.names);
        self.status
            .send_modify(|status| self.machine.show_in(status));
        Ok(Some(recorded))
    }

    /// The status of the run after our end, as far as it is recorded.
    fn as_recorded(&self) -> Status {
        let status = self.status.borrow().clone();
        Status {
            state: crate::store::state_without_us(status.jobs),
            ..status
        }
    }

    /// Completes what was begun, submissions and cancellations above all, and records the outcome. What
    /// takes too long stays as it was recorded: a submission as an intent, which the next main process
    /// looks up.
    async fn conclude(&mut self) -> Result<Turn> {
        self.machine.close();
        let end = Instant::now() + LAST_ACTIONS;
        loop {
            let _ = timeout_at(end, async {
                while self.tasks.join_next().await.is_some() {}
            })
            .await;
            let rest = self.inbox.rest();
            if self.turn(rest).await? == Turn::Abandoned {
                return Ok(Turn::Abandoned);
            }
            if self.tasks.is_empty() || Instant::now() >= end {
                return Ok(Turn::Done);
            }
        }
    }

    /// Leaves the run so that anyone can read it, here or in a copy.
    async fn finish(mut self, finish: impl FnOnce(Status) -> Finish) -> Result<Finish> {
        if self.conclude().await? == Turn::Abandoned {
            return Ok(Finish::Detached(self.as_recorded()));
        }
        let reader = Reader::open(&self.run_dir)?;
        let mut status = reader.status()?;
        results::write_all_data(&self.run_dir, reader)?;
        // The reader saw our own lock, which is about to be released.
        status.state = crate::store::state_without_us(status.jobs);
        // A request that settles the last job, or the end of the last attempt, ends the main process, too.
        let _ = timeout(LAST_ANSWERS, self.actor.answers.are_sent()).await;
        drop(self.server); // Before another main process may open the run.
        if let Some(store) = Arc::into_inner(self.store) {
            let store = store.into_inner().unwrap_or_else(PoisonError::into_inner);
            store.close()?;
        }
        Ok(finish(status))
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Everything is recorded.
    Done,
    /// Everything is recorded, and an operator wants the main process to end.
    Detached,
    /// Recording took too long for an operator who wants the main process to end. Memory is ahead of the
    /// disk, as if we had been killed.
    Abandoned,
}

#[derive(Debug)]
struct Unwanted(Abandoned);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// Waits for a commit. Has people read that it takes long, and that it is over.
async fn reported_if_slow<T>(
    context: &Context,
    note: &Note,
    commit: &mut Answer<T>,
) -> std::thread::Result<T> {
    let (begun, since) = (Instant::now(), context.clock.now());
    if let Ok(done) = timeout(SLOW_COMMIT, &mut *commit).await {
        return done;
    }
    let store = context.run_dir.store();
    let text = format!(
        "nothing can be recorded since {}: {} is held by {}; attempts go on, and their messages are \
         recorded as soon as that is possible",
        moment(since),
        store.display(),
        store::holders(&store)
    );
    note.set(HeldUp::ByTheStore, Some(&text));
    context.notify(Level::Warning, &text);
    let done = commit.await;
    let text = format!(
        "everything is recorded again, after {} s",
        begun.elapsed().as_secs()
    );
    note.set(HeldUp::ByTheStore, None);
    context.notify(Level::Info, &text);
    done
}

/// Waits for a task to panic: its outcome would be awaited for ever.
async fn death(tasks: &mut JoinSet<()>, background: &mut JoinSet<()>) -> Error {
    loop {
        let ended = tokio::select! {
            Some(ended) = tasks.join_next() => ended,
            Some(ended) = background.join_next() => ended,
            else => std::future::pending().await,
        };
        if let Err(dead) = ended {
            return Error::died(dead);
        }
    }
}

/// Records the updates that are pending. Returns what each changes, in words.
fn record_updates(run_dir: &RunDir, store: &mut Store) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for (id, update) in Update::pending(run_dir)? {
        if store.record_update(SystemTime::now().into(), &id, &update)? {
            let changes = update.changes.iter();
            let changes = changes.map(|Change { key, old, new }| format!("{key}: {old} → {new}"));
            let changes = changes.collect::<Vec<_>>().join(", ");
            said.push(format!("the run is updated: {changes}"));
        }
        // Were we killed before this, the store would know it.
        Update::remove(run_dir, &id)?;
    }
    Ok(said)
}
