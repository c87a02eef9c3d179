//! What attempts leave in files: messages in outboxes, exit records. Read when the scheduler says
//! that an attempt is over, and now and then for those that run without a connection or were given up
//! without a record.
//!
//! A reading sees whatever another machine had closed before it began. On a file system that is
//! coherent between opening and closing only, NFS above all, that takes one thing: a name that was
//! looked for in vain is believed to be missing for up to a minute, unless the directory is opened
//! anew, at which its attributes are asked for. So the attempt's directory is opened first. Where a
//! mount gives that up (`nocto`), the grace for a record must be longer than its attribute cache:
//! [`Policy::record_grace`](crate::Policy::record_grace).

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cu_protocol::{Attempt, Envelope, JobId};
use cu_supervisor::Error;
use cu_system::files;
use tokio::task::JoinHandle;

use crate::act::Actor;
use crate::inbox::Reply;
use crate::machine::{Event, Job};

/// How much of an attempt's standard error is told of one whose program was not started.
const LAST_LINES: usize = 5;
const LAST_BYTES: u64 = 2000;

/// The attempts whose files are read now and then, as long as they have no connection.
#[derive(Debug, Default)]
pub(crate) struct Unread(Mutex<HashMap<JobId, Vec<Attempt>>>);

impl Unread {
    /// Takes down which of this job's attempts are to be read from now on.
    pub fn set(&self, job: &Job) {
        let attempts: Vec<_> = job.to_be_read().collect();
        let mut all = self.lock();
        match attempts.is_empty() {
            true => all.remove(&job.id),
            false => all.insert(job.id, attempts),
        };
    }

    pub fn attempts(&self) -> Vec<(JobId, Attempt)> {
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

/// Reads the files of these attempts in a thread of their own; what they say comes as events.
pub(crate) fn read(actor: &Actor, attempts: Vec<(JobId, Attempt)>) -> JoinHandle<()> {
    let actor = actor.clone();
    tokio::task::spawn_blocking(move || {
        for (job, attempt) in attempts {
            // What can't be read now is read the next time.
            if let Err(error) = read_one(&actor, job, attempt) {
                tracing::warn!("{error}");
            }
        }
    })
}

fn read_one(actor: &Actor, job: JobId, attempt: Attempt) -> Result<(), Error> {
    let begun = actor.clock.now();
    open_anew(actor, job, attempt)?;
    // Before the outbox: whatever the program was told is noted lies there before the record does.
    let record = cu_supervisor::read_exit_record(&actor.run_dir.exit_record(job, attempt));
    let outbox = cu_supervisor::read_outbox(&actor.run_dir.outbox(job, attempt))?;
    for problem in outbox.problems {
        tracing::warn!("{problem}");
    }
    for envelope in outbox.messages {
        let Envelope {
            sequence, message, ..
        } = envelope;
        let event = Event::Said {
            attempt,
            sequence,
            message,
        };
        actor.happened(job, event, Reply::Outbox);
    }
    if outbox.unread.is_some() {
        return Ok(()); // The record is the last word, not to be heard before the others.
    }
    let record = match record {
        // What is damaged will never be a record.
        Err(error @ Error::Content { .. }) => {
            tracing::warn!("{error}");
            None
        }
        record => record?,
    };
    let event = match record {
        Some(record) => Event::RecordFound { attempt, record },
        None => {
            let started = actor.run_dir.started(job, attempt).exists();
            let stderr = actor.run_dir.stderr(job, attempt);
            Event::RecordsRead {
                attempt,
                begun,
                started,
                last_words: if started { None } else { last_words(&stderr) },
            }
        }
    };
    actor.happened(job, event, Reply::Nobody);
    Ok(())
}

/// The last lines of a text file that may be long; `None` if there are none.
fn last_words(path: &Path) -> Option<String> {
    let mut file = files::open(path, OpenOptions::new().read(true)).ok()?;
    let length = file.metadata().ok()?.len();
    let start = length.saturating_sub(LAST_BYTES);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().skip(usize::from(start > 0));
    let lines: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    (!last.is_empty()).then(|| last.join("\n"))
}

/// Has a network file system ask what there is in the attempt's directory now.
fn open_anew(actor: &Actor, job: JobId, attempt: Attempt) -> Result<(), Error> {
    let path = actor.run_dir.attempt(job, attempt);
    match File::open(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::File {
            what: "open",
            path,
            source,
        }),
        _ => Ok(()),
    }
}
