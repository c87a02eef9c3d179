//! Reads what attempts leave in files: messages in outboxes, and exit records. It reads them when the
//! scheduler reports that an attempt is over, and periodically for attempts that run without a connection
//! or were given up without a record.
//!
//! A reading must see whatever another machine had closed before it began. File systems that are only
//! coherent between closing and opening, NFS above all, cache for up to a minute that a name is missing,
//! unless the directory is opened again, which fetches its attributes. So the attempt's directory is
//! opened first. Where a mount gives this up (`nocto`), the grace for a record must be longer than its
//! attribute cache: [`Policy::record_grace`](crate::Policy::record_grace).
//!
//! A file that never opens or never reads occupies one thread for good. Its attempt is not read again as
//! long as that lasts; the others are.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cu_protocol::{Attempt, Envelope, JobId};
use cu_run_dir::Error;
use cu_system::causes::in_one_line;
use cu_system::tail::last_lines;
use rustix::fs::OFlags;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::inbox::{Item, Reply, Sender};
use crate::machine::{Event, Job};
use crate::threads::Lane;
use crate::{Result, RunDir};

/// At most this many attempts are read at a time, if each blocks its thread.
const MOST_THREADS: usize = 64;
/// At most this many warnings are remembered, so that each is logged once.
const MOST_SAID: usize = 10_000;

/// How long the files of one attempt may delay those of the next.
pub(crate) const TURN: Duration = Duration::from_secs(1);

type Key = (JobId, Attempt);

/// How much of its standard error is shown if an attempt's program was not started.
const LAST_LINES: usize = 5;
const LAST_BYTES: u64 = 2000;

/// The attempts whose files are read periodically, as long as they have no connection.
#[derive(Debug, Default)]
pub(crate) struct Unread(Mutex<HashMap<JobId, Vec<Attempt>>>);

impl Unread {
    /// Sets which of this job's attempts are to be read from now on.
    pub fn set(&self, job: &Job) {
        let attempts: Vec<_> = job.to_be_read().collect();
        let mut all = self.lock();
        match attempts.is_empty() {
            true => all.remove(&job.id),
            false => all.insert(job.id, attempts),
        };
    }

    pub fn attempts(&self) -> Vec<Key> {
        let all = self.lock();
        let each = all
            .iter()
            .flat_map(|(job, attempts)| attempts.iter().map(|attempt| (*job, *attempt)));
        each.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Vec<Attempt>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads that read.
#[derive(Debug)]
pub(crate) struct Readers {
    desk: Arc<Desk>,
    lane: Lane,
}

/// Everything that a reading thread needs. As little as possible, since a thread may never return it.
#[derive(Debug)]
struct Desk {
    run_dir: RunDir,
    clock: Clock,
    sender: Sender,
    in_hand: Mutex<HashMap<Key, Hand>>,
    said: Mutex<HashSet<String>>,
    panics: mpsc::UnboundedSender<Box<dyn Any + Send>>,
}

/// A reading that goes on, or is about to.
#[derive(Debug, Default)]
struct Hand {
    has_begun: bool,
    /// Dropped when this reading is over.
    waiting: Vec<oneshot::Sender<()>>,
    /// Callers that came after it had begun, for whom another reading follows.
    again: Vec<oneshot::Sender<()>>,
}

impl Readers {
    /// Whatever they read arrives at `sender` as events. If one panics, so does a task of `background`.
    ///
    /// # Errors
    /// If the system refuses the first thread.
    pub fn start(
        run_dir: RunDir,
        clock: Clock,
        sender: Sender,
        background: &mut JoinSet<()>,
    ) -> Result<Self> {
        let (panics, mut died) = mpsc::unbounded_channel();
        background.spawn(async move {
            match died.recv().await {
                Some(panic) => resume_unwind(panic),
                None => std::future::pending().await,
            }
        });
        let desk = Desk {
            run_dir,
            clock,
            sender,
            in_hand: Mutex::default(),
            said: Mutex::default(),
            panics,
        };
        Ok(Self {
            desk: desk.into(),
            lane: Lane::start("read", 1, MOST_THREADS)?,
        })
    }

    /// Has the attempt's files read; their content arrives as events. Completes when a reading that began
    /// after this call is over.
    pub fn read(&self, job: JobId, attempt: Attempt) -> impl Future<Output = ()> + Send + use<> {
        let key = (job, attempt);
        let (done, is_done) = oneshot::channel();
        let mut in_hand = self.desk.in_hand();
        match in_hand.get_mut(&key) {
            Some(hand) if hand.has_begun => hand.again.push(done),
            Some(hand) => hand.waiting.push(done),
            None => {
                let waiting = vec![done];
                in_hand.insert(
                    key,
                    Hand {
                        waiting,
                        ..Hand::default()
                    },
                );
                let desk = self.desk.clone();
                drop(self.lane.ask(move || desk.read(key)));
            }
        }
        drop(in_hand);
        async {
            // Nothing is ever sent.
            let _ = is_done.await;
        }
    }

    /// Reads the files of one attempt after the other. A file that can't be read now keeps only its own
    /// thread; its attempt is passed over as long as that lasts.
    pub async fn read_in_turn(&self, attempts: Vec<(JobId, Attempt)>) {
        for (job, attempt) in attempts {
            if !self.are_at(job, attempt) {
                let _ = timeout(TURN, self.read(job, attempt)).await;
            }
        }
    }

    /// Whether the attempt's files are being read.
    fn are_at(&self, job: JobId, attempt: Attempt) -> bool {
        self.desk.in_hand().contains_key(&(job, attempt))
    }
}

impl Desk {
    fn in_hand(&self) -> MutexGuard<'_, HashMap<Key, Hand>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the attempt's files, and again if that was asked for meanwhile.
    fn read(&self, key: Key) {
        while self.begin(key) {
            // After an error, the next reading tries again.
            match catch_unwind(AssertUnwindSafe(|| self.read_one(key))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.warn(&error),
                Err(panic) => drop(self.panics.send(panic)),
            }
        }
    }

    /// Begins a reading if one is wanted, and returns whether it is. Completes the reading before it.
    fn begin(&self, key: Key) -> bool {
        let mut in_hand = self.in_hand();
        let Some(hand) = in_hand.get_mut(&key) else {
            return false;
        };
        if !std::mem::replace(&mut hand.has_begun, true) {
            return true;
        }
        hand.waiting = std::mem::take(&mut hand.again);
        if hand.waiting.is_empty() {
            in_hand.remove(&key);
            return false;
        }
        true
    }

    /// Logs a problem once, however often it is found.
    fn warn(&self, problem: &Error) {
        let problem = in_one_line(problem);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MOST_SAID {
            said.clear();
        }
        if !said.contains(&problem) {
            tracing::warn!("{problem}");
            said.insert(problem);
        }
    }

    fn happened(&self, job: JobId, event: Event, reply: Reply) {
        // Without a loop the event is lost, and the next main process finds out by itself.
        let _ = self.sender.send(Item::Happened { job, event, reply });
    }

    fn read_one(&self, (job, attempt): Key) -> Result<(), Error> {
        let begun = self.clock.now();
        self.open_anew(job, attempt)?;
        // Before the outbox: a message that was promised to the program is there before the record is.
        let record = cu_run_dir::read_exit_record(&self.run_dir.exit_record(job, attempt));
        let outbox = cu_run_dir::read_outbox(&self.run_dir.outbox(job, attempt))?;
        outbox
            .problems
            .iter()
            .for_each(|problem| self.warn(problem));
        for envelope in outbox.messages {
            let Envelope {
                sequence, message, ..
            } = envelope;
            let event = Event::Said {
                attempt,
                sequence,
                message,
            };
            self.happened(job, event, Reply::Outbox);
        }
        if outbox.unread.is_some() {
            return Ok(()); // The record must come after all messages.
        }
        let record = match record {
            // A damaged file never becomes a record.
            Err(error @ Error::Content { .. }) => {
                self.warn(&error);
                None
            }
            record => record?,
        };
        let event = match record {
            Some(record) => Event::RecordFound { attempt, record },
            None => {
                let started = self.run_dir.started(job, attempt).exists();
                let stderr = self.run_dir.stderr(job, attempt);
                Event::RecordsRead {
                    attempt,
                    begun,
                    started,
                    last_words: if started { None } else { last_words(&stderr) },
                }
            }
        };
        self.happened(job, event, Reply::Nobody);
        Ok(())
    }

    /// Has a network file system fetch the present content of the attempt's directory.
    fn open_anew(&self, job: JobId, attempt: Attempt) -> Result<(), Error> {
        let path = self.run_dir.attempt(job, attempt);
        let only_directories = (OFlags::DIRECTORY | OFlags::NONBLOCK).bits();
        let opened = File::options()
            .read(true)
            .custom_flags(i32::try_from(only_directories).unwrap_or_default())
            .open(&path);
        match opened {
            // The attempt has left nothing.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(())
            }
            Err(source) => Err(Error::File {
                what: "open",
                path,
                source,
            }),
            Ok(_) => Ok(()),
        }
    }
}

/// The last lines of a text file; `None` if there are none.
fn last_words(path: &Path) -> Option<String> {
    let lines = last_lines(path, LAST_LINES, LAST_BYTES).ok()?;
    (!lines.is_empty()).then(|| lines.join("\n"))
}
