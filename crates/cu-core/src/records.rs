//! What attempts leave in files: messages in outboxes, exit records. Read when the scheduler says
//! that an attempt is over, and now and then for those that run without a connection.

use cu_protocol::{Attempt, Envelope, JobId};

use crate::act::Actor;
use crate::inbox::Reply;
use crate::machine::Event;

/// Reads the files of these attempts in a thread of their own; what they say comes as events.
pub(crate) fn read_later(actor: &Actor, attempts: Vec<(JobId, Attempt)>) {
    let actor = actor.clone();
    tokio::task::spawn_blocking(move || {
        for (job, attempt) in attempts {
            read(&actor, job, attempt);
        }
    });
}

fn read(actor: &Actor, job: JobId, attempt: Attempt) {
    match cu_supervisor::read_outbox(&actor.run_dir.outbox(job, attempt)) {
        Ok(outbox) => {
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
        }
        Err(error) => tracing::warn!("{error}"),
    }
    // After the messages: the record is the last word.
    match cu_supervisor::read_exit_record(&actor.run_dir.exit_record(job, attempt)) {
        Ok(Some(record)) => {
            actor.happened(job, Event::RecordFound { attempt, record }, Reply::Nobody);
        }
        Ok(None) => {}
        Err(error) => tracing::warn!("{error}"),
    }
}
