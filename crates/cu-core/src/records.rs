//! What attempts leave in files: messages in outboxes, exit records. Read when the scheduler says
//! that an attempt is over, and now and then for those that run without a connection.
//!
//! A reading sees whatever another machine had closed before it began. On a file system that is
//! coherent between opening and closing only, NFS above all, that takes one thing: a name that was
//! looked for in vain is believed to be missing for up to a minute, unless the directory is opened
//! anew, at which its attributes are asked for. So the attempt's directory is opened first. Where a
//! mount gives that up (`nocto`), the grace for a record must be longer than its attribute cache:
//! [`Policy::record_grace`](crate::Policy::record_grace).

use std::fs::File;
use std::io::ErrorKind;

use cu_protocol::{Attempt, Envelope, JobId};
use cu_supervisor::Error;

use crate::act::Actor;
use crate::inbox::Reply;
use crate::machine::Event;

/// As [`read_all`], without waiting for it.
pub(crate) fn read_later(actor: &Actor, attempts: Vec<(JobId, Attempt)>) {
    tokio::spawn(read_all(actor.clone(), attempts));
}

/// Reads the files of these attempts in a thread of their own; what they say comes as events.
pub(crate) async fn read_all(actor: Actor, attempts: Vec<(JobId, Attempt)>) {
    let reading = tokio::task::spawn_blocking(move || {
        for (job, attempt) in attempts {
            // What can't be read now is read the next time.
            if let Err(error) = read(&actor, job, attempt) {
                tracing::warn!("{error}");
            }
        }
    });
    // A panic there is a bug, and the next reading finds the files as they are.
    let _ = reading.await;
}

fn read(actor: &Actor, job: JobId, attempt: Attempt) -> Result<(), Error> {
    let begun = actor.clock.now();
    open_anew(actor, job, attempt)?;
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
    let record = match cu_supervisor::read_exit_record(&actor.run_dir.exit_record(job, attempt)) {
        // What is damaged will never be a record.
        Err(error @ Error::Content { .. }) => {
            tracing::warn!("{error}");
            None
        }
        record => record?,
    };
    let event = match record {
        Some(record) => Event::RecordFound { attempt, record },
        None => Event::RecordsRead { attempt, begun },
    };
    actor.happened(job, event, Reply::Nobody);
    Ok(())
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
