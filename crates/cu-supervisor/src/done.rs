//! Whether the program has done what the user calls "done": a file is there, or a text was printed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cu_protocol::Condition;
use cu_run_dir::{DoneWhen, FoundBefore, FoundFile};
use cu_system::causes::in_one_line;
use memchr::memmem;

use crate::output_dir::Places;
use crate::tell;

/// How much of a file is held in memory at once.
const CHUNK: usize = 1 << 20;

/// The condition of a job, as an attempt found things at its start.
#[derive(Debug)]
pub(crate) struct Watched {
    what: What,
}

#[derive(Debug)]
enum What {
    File {
        paths: Vec<PathBuf>,
        contains: Option<String>,
        before: Vec<FoundFile>,
    },
    Output {
        text: String,
        streams: Vec<Stream>,
    },
}

/// One of the streams that the program inherits from us.
#[derive(Debug)]
struct Stream {
    name: &'static str,
    /// A name of the open file, under which it can be opened once more for reading.
    path: &'static str,
    /// Where the program's output begins, if the stream leads to a file.
    begins: io::Result<u64>,
}

impl Watched {
    /// Takes note of what there is, before the program starts. `found_before` is where the first attempt
    /// of the job leaves that for all others.
    pub fn begin(condition: &DoneWhen, places: Places<'_>, found_before: &Path) -> Self {
        let what = match condition {
            DoneWhen::File { path, contains } => {
                let directories = places.working_directory.into_iter();
                let directories = directories.chain([places.output_dir]);
                let mut paths: Vec<_> = directories.map(|it| it.join(path)).collect();
                // An absolute one is the same in both.
                paths.dedup();
                What::File {
                    before: found_by_the_first(&paths, found_before),
                    paths,
                    contains: contains.clone(),
                }
            }
            DoneWhen::Output(text) => What::Output {
                text: text.clone(),
                streams: streams(),
            },
        };
        Self { what }
    }

    /// Whether the condition holds now. Takes at most the time `patience`.
    pub fn look(self, patience: Duration) -> Condition {
        let until = Instant::now() + patience;
        let (told, found) = mpsc::channel();
        // In a thread of its own, which a file system that does not answer may hold for ever.
        let started = crate::spawn_thread("done", move || {
            // If nobody waits any longer, nobody needs it.
            let _ = told.send(self.judge(until));
        });
        if let Err(error) = started {
            return Condition::Unknown(in_one_line(&error));
        }
        // The search itself ends in time, unless the file system does not answer.
        let found = found.recv_timeout(patience + patience / 10);
        found.unwrap_or_else(|_| Condition::Unknown(TOO_LONG.to_owned()))
    }

    fn judge(&self, until: Instant) -> Condition {
        match &self.what {
            What::File {
                paths,
                contains,
                before,
            } => best(
                paths
                    .iter()
                    .map(|path| judge_file(path, before, contains.as_deref(), until)),
            ),
            What::Output { text, streams } => {
                best(streams.iter().map(|it| it.judge(text.as_bytes(), until)))
            }
        }
    }
}

const TOO_LONG: &str = "the search took too long";

/// One place suffices, and what is unknown in one of them is unknown.
fn best(conditions: impl Iterator<Item = Condition>) -> Condition {
    let mut best = None;
    for condition in conditions {
        best = match (best, condition) {
            (_, Condition::Met) => return Condition::Met,
            (Some(Condition::Unknown(reason)), _) => Some(Condition::Unknown(reason)),
            (None, condition) | (_, condition @ Condition::Unknown(_)) => Some(condition),
            (best, _) => best,
        };
    }
    best.unwrap_or_else(|| Condition::Unknown("there is no place to look at".to_owned()))
}

/// What the job's first attempt found. If this is the first, takes note for the others.
fn found_by_the_first(paths: &[PathBuf], record: &Path) -> Vec<FoundFile> {
    let now = || {
        let found = paths.iter().filter_map(|path| {
            let found = path.metadata().ok()?;
            Some(FoundFile::new(path, &found))
        });
        found.collect()
    };
    match FoundBefore::read(record) {
        Ok(Some(before)) => before.found,
        Ok(None) => {
            let before = FoundBefore {
                version: FoundBefore::VERSION,
                found: now(),
            };
            if let Err(error) = before.write(record) {
                tell(&in_one_line(&error));
            }
            before.found
        }
        Err(error) => {
            tell(&in_one_line(&error));
            now()
        }
    }
}

fn judge_file(
    path: &Path,
    before: &[FoundFile],
    contains: Option<&str>,
    until: Instant,
) -> Condition {
    let shown = path.display();
    let found = match path.metadata() {
        Err(error) if is_missing(&error) => {
            return Condition::NotMet(format!("there is no file {shown}"));
        }
        Err(error) => return Condition::Unknown(format!("can't examine {shown}: {error}")),
        Ok(found) => found,
    };
    if before.contains(&FoundFile::new(path, &found)) {
        return Condition::NotMet(format!(
            "{shown} was there before the job began and has not changed"
        ));
    }
    let Some(text) = contains else {
        return Condition::Met;
    };
    if !found.is_file() {
        return Condition::Unknown(format!("{shown} is not a regular file"));
    }
    let holds = File::open(path).and_then(|file| holds(&file, 0, text.as_bytes(), until));
    match holds {
        Ok(true) => Condition::Met,
        Ok(false) => Condition::NotMet(format!("{shown} does not contain {text:?}")),
        Err(error) => Condition::Unknown(format!("can't search {shown}: {error}")),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Standard output and standard error, or one of them if both lead to the same file.
fn streams() -> Vec<Stream> {
    let mut seen = Vec::new();
    let all = [
        ("standard output", "/proc/self/fd/1"),
        ("standard error", "/proc/self/fd/2"),
    ];
    let streams = all.into_iter().filter_map(|(name, path)| {
        let found = Path::new(path).metadata();
        if let Ok(found) = &found {
            let file = (found.dev(), found.ino());
            if seen.contains(&file) {
                return None;
            }
            seen.push(file);
        }
        let begins = found.and_then(|found| begins(&found));
        Some(Stream { name, path, begins })
    });
    streams.collect()
}

fn begins(found: &Metadata) -> io::Result<u64> {
    match found.is_file() {
        true => Ok(found.len()),
        false => Err(io::Error::other("it does not lead to a file")),
    }
}

impl Stream {
    fn judge(&self, text: &[u8], until: Instant) -> Condition {
        let unknown = |error: &io::Error| {
            Condition::Unknown(format!("can't search its {}: {error}", self.name))
        };
        let begins = match &self.begins {
            Ok(begins) => *begins,
            Err(error) => return unknown(error),
        };
        match File::open(self.path).and_then(|file| holds(&file, begins, text, until)) {
            Ok(true) => Condition::Met,
            Ok(false) => Condition::NotMet(format!(
                "its output does not contain {:?}",
                String::from_utf8_lossy(text)
            )),
            Err(error) => unknown(&error),
        }
    }
}

/// Whether the file contains the text after its first `begins` bytes. Searches from the end: what a program
/// prints when it is done stands there.
fn holds(file: &File, begins: u64, text: &[u8], until: Instant) -> io::Result<bool> {
    let length = file.metadata()?.len();
    // A program may have shortened its own output.
    let begins = if begins > length { 0 } else { begins };
    let overlap = text.len().saturating_sub(1);
    let mut chunk = vec![0; CHUNK + overlap];
    let mut end = length;
    while end > begins {
        if until <= Instant::now() {
            return Err(io::Error::other(TOO_LONG));
        }
        let start = end.saturating_sub(CHUNK as u64).max(begins);
        let wanted = length.min(end + overlap as u64) - start;
        let wanted = usize::try_from(wanted)
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        let read = read_at(file, &mut chunk[..wanted], start)?;
        if memmem::find(&chunk[..read], text).is_some() {
            return Ok(true);
        }
        end = start;
    }
    Ok(false)
}

/// Reads as much as there is.
fn read_at(file: &File, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], from + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn file(path: &str, contains: Option<&str>) -> DoneWhen {
        DoneWhen::File {
            path: path.into(),
            contains: contains.map(str::to_owned),
        }
    }

    #[test]
    fn a_file_of_an_earlier_run_does_not_count() {
        let scratch = tempfile::tempdir().unwrap();
        let output = scratch.path();
        let places = Places {
            output_dir: output,
            working_directory: None,
        };
        let (finished, record) = (output.join("FINISHED"), output.join("record"));
        fs::write(&finished, "").unwrap();
        let begin = || Watched::begin(&file("FINISHED", None), places, &record);
        assert!(matches!(begin().look(PATIENCE), Condition::NotMet(_)));
        let watched = begin();
        fs::remove_file(&finished).unwrap();
        fs::write(&finished, "done").unwrap();
        assert_eq!(watched.look(PATIENCE), Condition::Met);
        // What an earlier attempt of the job made counts, although this one changes nothing.
        assert_eq!(begin().look(PATIENCE), Condition::Met);
    }

    #[test]
    fn a_file_is_found_in_either_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let [output, work] = ["output", "work"].map(|name| scratch.path().join(name));
        for directory in [&output, &work] {
            fs::create_dir(directory).unwrap();
        }
        for directory in [&output, &work] {
            let places = Places {
                output_dir: &output,
                working_directory: Some(&work),
            };
            let record = scratch.path().join("record");
            let watched = Watched::begin(&file("log", Some("Total wall time")), places, &record);
            let log = directory.join("log");
            fs::write(&log, "Total wall ").unwrap();
            let missing = watched.judge(Instant::now() + PATIENCE);
            assert!(matches!(missing, Condition::NotMet(_)), "{missing:?}");
            fs::write(&log, "x\nTotal wall time: 0:00:01\n").unwrap();
            assert_eq!(watched.look(PATIENCE), Condition::Met);
            fs::remove_file(&log).unwrap();
        }
    }

    #[test]
    fn a_text_is_found_anywhere_but_not_before_the_attempt() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdout");
        let text = b"Total wall time";
        let until = Instant::now() + PATIENCE;
        for at in [0, 1, CHUNK - 7, CHUNK, 2 * CHUNK - 1, 3 * CHUNK] {
            let mut content = vec![b'T'; at];
            content.extend(text);
            content.extend(vec![b'l'; CHUNK + 5]);
            fs::write(&path, &content).unwrap();
            let open = File::open(&path).unwrap();
            assert!(holds(&open, 0, text, until).unwrap(), "{at}");
            assert!(holds(&open, at as u64, text, until).unwrap(), "{at}");
            assert!(!holds(&open, at as u64 + 1, text, until).unwrap(), "{at}");
            // Its own output was shortened meanwhile.
            assert!(holds(&open, 1 << 40, text, until).unwrap(), "{at}");
        }
    }

    #[test]
    fn output_that_cannot_be_searched_is_unknown() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stdout");
        fs::write(&path, "x").unwrap();
        let open = File::open(&path).unwrap();
        assert!(holds(&open, 0, b"text", Instant::now()).is_err());
        let pipe = Stream {
            name: "standard output",
            path: "/dev/null",
            begins: begins(&Path::new("/dev/null").metadata().unwrap()),
        };
        let judged = pipe.judge(b"text", Instant::now() + PATIENCE);
        let expected = "can't search its standard output: it does not lead to a file";
        assert_eq!(judged, Condition::Unknown(expected.to_owned()));
    }
}
