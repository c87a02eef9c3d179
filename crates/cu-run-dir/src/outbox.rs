//! Messages that could not be delivered: one durable file each in the attempt's directory, for the
//! main process to take.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cu_protocol::{Envelope, Sequence};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, json_file};

/// The version of the files that this crate writes.
const VERSION: u32 = 1;
const SUFFIX: &str = ".json";
/// The most bytes that are read at once. The next reading takes the rest.
const MOST_BYTES: u64 = 32 << 20;
/// The most problems of one outbox that are reported at once.
const MOST_PROBLEMS: usize = 100;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    envelope: Envelope,
}

/// The content of an outbox.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The messages, in their order, up to the first that is `unread`.
    pub messages: Vec<Envelope>,
    /// The first message that could not be read this time: too many open files, a file system that did
    /// not answer, too much before it. Later messages are left out, since an earlier message that
    /// follows a later one counts as a repeat.
    pub unread: Option<Sequence>,
    /// Why files were passed over, at most a hundred reasons: they are damaged, of a newer version, not
    /// regular files, or not ours.
    pub problems: Vec<Error>,
}

/// Reads an attempt's outbox, [`RunDir::outbox`](crate::RunDir::outbox). One that doesn't exist is
/// empty. Files are left where they are: [`remove_from_outbox`] each once it is recorded.
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// let outbox = cu_run_dir::read_outbox(&scratch.path().join("outbox"))?;
/// assert!(outbox.messages.is_empty() && outbox.problems.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the directory can't be listed. What is wrong with a single file is in
/// [`problems`](Outbox::problems).
pub fn read_outbox(outbox: &Path) -> Result<Outbox> {
    read_part(outbox, MOST_BYTES)
}

/// Reads messages until they have `most_bytes`.
fn read_part(outbox: &Path, most_bytes: u64) -> Result<Outbox> {
    let mut found = Outbox::default();
    let mut bytes = 0;
    for number in list(outbox, &mut found.problems)? {
        let path = message(outbox, number);
        // Later messages are left for the next reading.
        if bytes > most_bytes {
            found.unread = Some(number);
            break;
        }
        // Removed meanwhile, it has no length.
        bytes += path.metadata().map_or(0, |metadata| metadata.len());
        match read(&path, number) {
            Ok(Some(envelope)) => found.messages.push(envelope),
            // Removed meanwhile.
            Ok(None) => {}
            Err(error) => {
                let is_unread = matches!(error, Error::Read { .. });
                complain(&mut found.problems, error);
                if is_unread {
                    found.unread = Some(number);
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// The numbers of its messages, in their order.
fn list(outbox: &Path, problems: &mut Vec<Error>) -> Result<Vec<Sequence>> {
    let entries = match std::fs::read_dir(outbox) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        // It never will be a directory.
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            complain(problems, Error::content(outbox, error));
            return Ok(Vec::new());
        }
        entries => entries.map_err(Error::file("list", outbox))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", outbox))?;
        let name = entry.file_name();
        // Half-written files; their writer renames or removes them.
        if name
            .as_encoded_bytes()
            .starts_with(crate::OUR_PREFIX.as_bytes())
        {
            continue;
        }
        let number = name.to_str().and_then(|name| {
            let number: u64 = name.strip_suffix(SUFFIX)?.parse().ok()?;
            (file_name(Sequence(number)) == name).then_some(Sequence(number))
        });
        match number {
            Some(number) => numbers.push(number),
            None => complain(
                problems,
                Error::content(&entry.path(), "its name is not that of a message"),
            ),
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn complain(problems: &mut Vec<Error>, problem: Error) {
    if problems.len() < MOST_PROBLEMS {
        problems.push(problem);
    }
}

/// Removes a message that has been recorded. One that is not there is fine.
///
/// # Errors
/// If it is there and can't be removed.
pub fn remove_from_outbox(outbox: &Path, sequence: Sequence) -> Result<()> {
    let path = message(outbox, sequence);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::file("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a message durably.
///
/// # Errors
/// [`Error::File`].
pub fn write_to_outbox(outbox: &Path, envelope: &Envelope) -> Result<()> {
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
    fn a_damaged_or_foreign_file_hides_no_other_message() {
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
        // Nobody can follow a link to itself, not even root.
        for number in [3, 2] {
            let path = outbox.join(file_name(Sequence(number)));
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(&path, &path).unwrap();
        }
        let found = read_outbox(outbox).unwrap();
        assert_eq!(found.messages, all[..1]);
        assert_eq!(found.unread, Some(Sequence(2)));
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    }

    #[test]
    fn a_directory_or_socket_in_an_outbox_hides_no_message() {
        let scratch = tempfile::tempdir().unwrap();
        let outbox = scratch.path().join("outbox");
        let last = envelope(4, Message::Results(Metrics::default()));
        write_to_outbox(&outbox, &last).unwrap();
        let path = |number| outbox.join(file_name(Sequence(number)));
        std::fs::create_dir(path(1)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path(2)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path(3)).unwrap();
        let found = read_outbox(&outbox).unwrap();
        assert_eq!((found.messages, found.unread), (vec![last], None));
        assert_eq!(found.problems.len(), 3, "{:?}", found.problems);

        let found = read_outbox(&path(4)).unwrap();
        assert!(found.messages.is_empty() && found.unread.is_none());
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    }

    #[test]
    fn an_outbox_that_is_too_large_is_read_in_parts() {
        let scratch = tempfile::tempdir().unwrap();
        let outbox = scratch.path();
        for number in 1..=9 {
            let message = Message::Results(Metrics::default());
            write_to_outbox(outbox, &envelope(number, message)).unwrap();
        }
        let length = message(outbox, Sequence(1)).metadata().unwrap().len();
        let part = || read_part(outbox, 5 * length - 1).unwrap();
        assert_eq!(
            (part().messages.len(), part().unread),
            (5, Some(Sequence(6)))
        );
        for number in 1..=5 {
            remove_from_outbox(outbox, Sequence(number)).unwrap();
        }
        assert_eq!((part().messages.len(), part().unread), (4, None));
    }
}
