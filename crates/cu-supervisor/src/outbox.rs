//! Messages that could not be delivered: one durable file each in the attempt's directory, for the
//! main process to take.

use std::path::{Path, PathBuf};

use cu_protocol::{Envelope, Sequence};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, json_file};

/// The version of the files that this crate writes.
const VERSION: u32 = 1;
const SUFFIX: &str = ".json";

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    envelope: Envelope,
}

/// What lies in an outbox.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The messages, in their order, up to the first that is `unread`.
    pub messages: Vec<Envelope>,
    /// The first message that lies there and could not be read this time: too many open files, a
    /// file system that did not answer. Those after it are left out, since a message that comes after
    /// a later one counts as a repeat.
    pub unread: Option<Sequence>,
    /// Why some files were left alone. What is damaged, of a newer version, or not ours keeps no
    /// other message from being read.
    pub problems: Vec<Error>,
}

/// Reads an attempt's outbox, [`RunDir::outbox`](crate::RunDir::outbox). One that doesn't exist is
/// empty. Files are left where they are: [`remove_from_outbox`] each once it is recorded.
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// let outbox = cu_supervisor::read_outbox(&scratch.path().join("outbox"))?;
/// assert!(outbox.messages.is_empty() && outbox.problems.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the directory can't be listed. What is wrong with a single file is in
/// [`problems`](Outbox::problems).
pub fn read_outbox(outbox: &Path) -> Result<Outbox> {
    let mut found = Outbox::default();
    let entries = match std::fs::read_dir(outbox) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(Error::file("list", outbox))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("list", outbox))?;
        let name = entry.file_name();
        // Half-written files; their writer renames or removes them.
        if name
            .as_encoded_bytes()
            .starts_with(crate::output_dir::OUR_PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        let number = name.to_str().and_then(|name| {
            let number: u64 = name.strip_suffix(SUFFIX)?.parse().ok()?;
            (file_name(Sequence(number)) == name).then_some(Sequence(number))
        });
        let Some(number) = number else {
            let reason = "its name is that of no message";
            found.problems.push(Error::content(&path, reason));
            continue;
        };
        match read(&path, number) {
            Ok(Some(envelope)) => found.messages.push(envelope),
            // Removed meanwhile.
            Ok(None) => {}
            Err(error) => {
                if matches!(error, Error::File { .. }) {
                    found.unread = Some(found.unread.map_or(number, |first| first.min(number)));
                }
                found.problems.push(error);
            }
        }
    }
    if let Some(unread) = found.unread {
        found.messages.retain(|envelope| envelope.sequence < unread);
    }
    found.messages.sort_by_key(|envelope| envelope.sequence);
    Ok(found)
}

/// Removes a message that has been recorded. One that is not there is fine.
///
/// # Errors
/// If it is there and can't be removed.
pub fn remove_from_outbox(outbox: &Path, sequence: Sequence) -> Result<()> {
    let path = message(outbox, sequence);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a message durably.
pub(crate) fn write_to_outbox(outbox: &Path, envelope: &Envelope) -> Result<()> {
    cu_system::files::make_dir(outbox).map_err(Error::file("create", outbox))?;
    let file = File {
        version: VERSION,
        envelope: envelope.clone(),
    };
    json_file::write_durably(&message(outbox, envelope.sequence), &file)
}

fn read(path: &Path, number: Sequence) -> Result<Option<Envelope>> {
    let Some(file) = json_file::read::<File>(path, VERSION)? else {
        return Ok(None);
    };
    if file.envelope.sequence != number {
        let reason = format!("it holds message {}", file.envelope.sequence);
        return Err(Error::content(path, reason));
    }
    Ok(Some(file.envelope))
}

fn message(outbox: &Path, sequence: Sequence) -> PathBuf {
    outbox.join(file_name(sequence))
}

/// Names sort by sequence.
pub(crate) fn file_name(sequence: Sequence) -> String {
    format!("{:020}{SUFFIX}", sequence.0)
}

#[cfg(test)]
mod tests {
    use cu_protocol::{Attempt, Failure, JobId, Message, Metrics};

    use super::*;

    fn envelope(sequence: u64, message: Message) -> Envelope {
        Envelope {
            job: JobId(7),
            attempt: Attempt(2),
            sequence: Sequence(sequence),
            message,
        }
    }

    #[test]
    fn messages_come_back_in_their_order_until_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let outbox = scratch.path().join("outbox");
        let failure = envelope(
            10,
            Message::Failed(Failure {
                text: "no\nspace".to_owned(),
            }),
        );
        let results = envelope(9, Message::Results(Metrics::default()));
        write_to_outbox(&outbox, &failure).unwrap();
        write_to_outbox(&outbox, &results).unwrap();
        let found = read_outbox(&outbox).unwrap();
        assert_eq!(found.messages, [results, failure.clone()]);
        assert!(found.problems.is_empty());

        remove_from_outbox(&outbox, Sequence(9)).unwrap();
        remove_from_outbox(&outbox, Sequence(9)).unwrap();
        assert_eq!(read_outbox(&outbox).unwrap().messages, [failure]);
    }

    #[test]
    fn a_damaged_or_foreign_file_is_reported_and_keeps_no_other_from_being_read() {
        let scratch = tempfile::tempdir().unwrap();
        let outbox = scratch.path();
        let good = envelope(2, Message::Results(Metrics::default()));
        write_to_outbox(outbox, &good).unwrap();
        let of_another = std::fs::read(outbox.join(file_name(Sequence(2)))).unwrap();
        std::fs::write(outbox.join(file_name(Sequence(1))), "{\"version\":1,\"enve").unwrap();
        std::fs::write(outbox.join(file_name(Sequence(3))), of_another).unwrap();
        std::fs::write(outbox.join("notes.txt"), "mine").unwrap();
        std::fs::write(outbox.join("4.json"), "{}").unwrap();
        std::fs::write(outbox.join(".cu-tmp-x"), "half").unwrap();

        let found = read_outbox(outbox).unwrap();
        assert_eq!(found.messages, [good]);
        assert_eq!(found.unread, None);
        assert_eq!(found.problems.len(), 4, "{:?}", found.problems);
    }

    #[test]
    fn no_message_comes_before_one_that_could_not_be_read() {
        let scratch = tempfile::tempdir().unwrap();
        let outbox = scratch.path();
        let all: Vec<_> = (1..=4)
            .map(|number| envelope(number, Message::Results(Metrics::default())))
            .collect();
        for message in &all {
            write_to_outbox(outbox, message).unwrap();
        }
        // A directory can't be read as a file, whoever asks.
        for number in [3, 2] {
            let path = outbox.join(file_name(Sequence(number)));
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
        }
        let found = read_outbox(outbox).unwrap();
        assert_eq!(found.messages, all[..1]);
        assert_eq!(found.unread, Some(Sequence(2)));
        assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
    }
}
