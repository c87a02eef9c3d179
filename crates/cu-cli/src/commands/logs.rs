//! `cu logs`: the output of jobs, joined over their attempts, with a line where each begins. A file or a
//! pipe gets it byte for byte; a terminal gets control characters in visible form, unless `--raw`.
//!
//! An attempt's standard output and standard error are two files, and nothing records in which order
//! their lines were written. So standard error follows standard output, below a line of its own; with
//! `--follow` both come as they grow.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cu_core::{AttemptEnd, AttemptReport, JobReport, Reader, RunDir, RunState};
use cu_protocol::{Attempt, JobId, Timestamp};
use cu_system::files;
use serde_json::json;

use super::jobs_of_run::jobs_of_run;
use crate::args::{Common, Logs};
use crate::error::{Error, ExitCode, Result};
use crate::terminal;
use crate::terminal::Written;
use crate::text::plural;
use crate::text::visible::printable;
use crate::view::summary::{attempt_end, no_main_process};

/// How often `-f` looks. A network file system does not report that a file has grown.
const INTERVAL: Duration = Duration::from_millis(200);

/// Prints it.
///
/// # Errors
/// If there is no such run, job or attempt, or a file can't be read.
pub fn logs(common: &Common, arguments: &Logs) -> Result<ExitCode> {
    let (run, reader, jobs) = jobs_of_run(common, &arguments.jobs_and_run)?;
    let has_many = jobs.len() > 1;
    let since = arguments.since.map(|since| {
        let since = SystemTime::now().checked_sub(since);
        since.map_or(Timestamp::from_millis(0), Timestamp::from)
    });
    let mut printer = Printer::new(arguments, common.json, has_many);
    let mut joined = Vec::new();
    for job in jobs {
        let files = Files {
            run: run.clone(),
            job: job.job,
        };
        let mut one = Joined::new(files, streams(arguments));
        one.only = arguments.attempt.map(Attempt);
        one.since = since;
        if let Some(number) = arguments.attempt {
            find(&job, number)?;
        }
        joined.push((job, one));
    }
    let mut flow = ControlFlow::Continue(());
    for (job, one) in &mut joined {
        if flow.is_continue() {
            flow = one.advance(job, &mut |piece| printer.print(piece))?;
        }
        if flow.is_continue() {
            flow = printer.flush()?;
        }
    }
    if arguments.follow && flow.is_continue() {
        follow(&reader, &mut joined, &mut printer)?;
    }
    printer.end()?;
    Ok(ExitCode::Done)
}

fn streams(arguments: &Logs) -> Vec<Stream> {
    match (arguments.stdout, arguments.stderr) {
        (true, false) => vec![Stream::Stdout],
        (false, true) => vec![Stream::Stderr],
        _ => vec![Stream::Stdout, Stream::Stderr],
    }
}

/// Prints until the jobs have ended, the reader has gone away, or no main process works on the run.
fn follow(
    reader: &Reader,
    joined: &mut [(JobReport, Joined)],
    printer: &mut Printer,
) -> Result<()> {
    loop {
        // The report is older than the files: an attempt that it says has ended writes no more.
        if joined.iter().all(|(job, _)| job.state.is_settled()) {
            return Ok(());
        }
        let status = reader.status()?;
        if status.state == RunState::Interrupted {
            terminal::say(&no_main_process(&status.run_dir));
            return Ok(());
        }
        std::thread::sleep(INTERVAL);
        let open = joined.iter_mut().filter(|(job, _)| !job.state.is_settled());
        for (job, one) in open {
            *job = reader.job(job.job)?;
            let flow = one.advance(job, &mut |piece| printer.print(piece))?;
            if flow.is_break() {
                return Ok(());
            }
        }
    }
}

fn find(job: &JobReport, number: u32) -> Result<&AttemptReport> {
    let mut attempts = job.attempts.iter();
    attempts
        .find(|attempt| attempt.attempt == Attempt(number))
        .ok_or_else(|| {
            Error::usage(format!(
                "job {} has no attempt {number}: it has had {}, numbered from 0",
                job.job,
                plural(job.attempts.len() as u64, "attempt")
            ))
        })
}

/// One of the two files of an attempt's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        }
    }
}

/// What is printed.
enum Piece<'a> {
    /// An attempt begins, after this one.
    Begin(JobId, &'a AttemptReport, Option<&'a AttemptReport>),
    /// The bytes that follow are of another stream.
    Switch(JobId, Attempt, Stream),
    /// A part of a stream.
    Bytes(JobId, Attempt, Stream, &'a [u8]),
    /// An attempt has ended without a word.
    Silence(Attempt, Stream, AttemptEnd),
}

/// Where the pieces go. It breaks when the reader has gone away.
type Sink<'a> = &'a mut dyn FnMut(Piece<'_>) -> Result<ControlFlow<()>>;

/// Prints pieces as text or as JSON, one object for each line.
struct Printer {
    written: Written,
    is_json: bool,
    has_many: bool,
    /// The text ends within a line.
    within_line: bool,
    /// Only this many last lines of what comes before [`flush`](Self::flush).
    most: Option<usize>,
    kept: VecDeque<Vec<u8>>,
    /// For JSON, the beginnings of lines.
    begun: Vec<(JobId, Attempt, Stream, Vec<u8>)>,
}

impl Printer {
    fn new(arguments: &Logs, is_json: bool, has_many: bool) -> Self {
        Self {
            written: Written::new(arguments.raw || is_json),
            is_json,
            has_many,
            within_line: false,
            most: arguments.lines,
            kept: VecDeque::new(),
            begun: Vec::new(),
        }
    }

    fn print(&mut self, piece: Piece<'_>) -> Result<ControlFlow<()>> {
        if self.is_json {
            return match piece {
                Piece::Bytes(job, attempt, stream, bytes) => {
                    self.lines((job, attempt, stream), bytes)
                }
                _ => Ok(ControlFlow::Continue(())),
            };
        }
        let text = match piece {
            Piece::Bytes(_, _, _, bytes) => return self.put(bytes),
            Piece::Begin(job, attempt, before) => {
                mark(self.has_many.then_some(job), attempt, before)
            }
            Piece::Switch(job, attempt, stream) => match self.has_many {
                true => format!("--- job {job}, attempt {attempt}: {} ---\n", stream.words()),
                false => format!("--- attempt {attempt}: {} ---\n", stream.words()),
            },
            Piece::Silence(attempt, stream, end) => format!(
                "--- attempt {attempt} wrote nothing to {}; it {} ---\n",
                stream.words(),
                attempt_end(end)
            ),
        };
        if self.within_line {
            let flow = self.put(b"\n")?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        // The host and the scheduler may have reported any names.
        self.put(printable(&text).as_bytes())
    }

    /// Prints each complete line as an object; the rest waits for its end.
    fn lines(
        &mut self,
        (job, attempt, stream): (JobId, Attempt, Stream),
        bytes: &[u8],
    ) -> Result<ControlFlow<()>> {
        let is_it = |other: &(JobId, Attempt, Stream, Vec<u8>)| {
            (other.0, other.1, other.2) == (job, attempt, stream)
        };
        let place = self.begun.iter().position(is_it);
        let mut line = place.map_or_else(Vec::new, |place| self.begun.swap_remove(place).3);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") {
                line.pop();
                let object = object(job, attempt, stream, &line);
                line.clear();
                let flow = self.put(object.as_bytes())?;
                if flow.is_break() {
                    return Ok(flow);
                }
            }
        }
        if !line.is_empty() {
            self.begun.push((job, attempt, stream, line));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<ControlFlow<()>> {
        let Some(last) = bytes.last() else {
            return Ok(ControlFlow::Continue(()));
        };
        let was_within = std::mem::replace(&mut self.within_line, *last != b'\n');
        let Some(most) = self.most else {
            return self.written.print(bytes);
        };
        for (number, part) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            match self.kept.back_mut() {
                Some(line) if number == 0 && was_within => line.extend_from_slice(part),
                _ => self.kept.push_back(part.to_vec()),
            }
            while self.kept.len() > most {
                self.kept.pop_front();
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A job is printed as far as it is known by now.
    fn flush(&mut self) -> Result<ControlFlow<()>> {
        for line in std::mem::take(&mut self.kept) {
            let flow = self.written.print(&line)?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn end(mut self) -> Result<()> {
        for (job, attempt, stream, line) in std::mem::take(&mut self.begun) {
            let object = object(job, attempt, stream, &line);
            let _ = self.put(object.as_bytes())?;
        }
        let _ = self.flush()?;
        self.written.end()
    }
}

fn object(job: JobId, attempt: Attempt, stream: Stream, line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let value = json!({"job": job, "attempt": attempt, "stream": stream.name(), "line": line});
    format!("{}\n", terminal::json_line(&value))
}

/// The files that a job's attempts write.
#[derive(Debug)]
struct Files {
    run: RunDir,
    job: JobId,
}

impl Files {
    fn path(&self, attempt: Attempt, stream: Stream) -> PathBuf {
        match stream {
            Stream::Stderr => self.run.stderr(self.job, attempt),
            Stream::Stdout => self.run.stdout(self.job, attempt),
        }
    }

    /// Passes on what `attempt` wrote after the first `from` bytes. Returns how many bytes there are
    /// now. A file that is not there yet is empty.
    fn copy(
        &self,
        (attempt, stream): (Attempt, Stream),
        from: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<(), u64>> {
        let path = self.path(attempt, stream);
        let read = |error| Error::read("read", &path)(error);
        let mut file = match files::open(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(ControlFlow::Continue(from));
            }
            Err(error) => return Err(read(error)),
        };
        file.seek(SeekFrom::Start(from)).map_err(read)?;
        let mut end = from;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer).map_err(read)?;
            if count == 0 {
                return Ok(ControlFlow::Continue(end));
            }
            end += count as u64;
            if sink(&buffer[..count])?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

/// The attempts of a job as one text, as far as it was printed.
#[derive(Debug)]
struct Joined {
    files: Files,
    streams: Vec<Stream>,
    /// Only this attempt.
    only: Option<Attempt>,
    /// Only attempts that had not ended at this time.
    since: Option<Timestamp>,
    /// How many attempts were begun.
    begun: usize,
    /// How much of each stream of the last of them was printed.
    printed: Vec<u64>,
    /// The stream that was printed last.
    current: Stream,
}

impl Joined {
    fn new(files: Files, streams: Vec<Stream>) -> Self {
        Self {
            files,
            only: None,
            since: None,
            begun: 0,
            printed: vec![0; streams.len()],
            current: streams[0],
            streams,
        }
    }

    /// Prints what is new since the last call, as far as `job` reaches.
    fn advance(&mut self, job: &JobReport, sink: Sink<'_>) -> Result<ControlFlow<()>> {
        let first = self.begun.saturating_sub(1);
        for (index, attempt) in job.attempts.iter().enumerate().skip(first) {
            let is_new = index >= self.begun;
            if is_new {
                self.begun = index + 1;
                self.printed.fill(0);
                self.current = self.streams[0];
            }
            if !self.is_wanted(attempt) {
                continue;
            }
            let before = index.checked_sub(1).map(|before| &job.attempts[before]);
            // With a single attempt there is nothing to join.
            if is_new
                && self.only.is_none()
                && sink(Piece::Begin(job.job, attempt, before))?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            if self.advance_one(job.job, attempt, sink)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn is_wanted(&self, attempt: &AttemptReport) -> bool {
        let is_recent = |since| attempt.ended.is_none_or(|ended| ended >= since);
        self.only.is_none_or(|only| only == attempt.attempt) && self.since.is_none_or(is_recent)
    }

    fn advance_one(
        &mut self,
        job: JobId,
        attempt: &AttemptReport,
        sink: Sink<'_>,
    ) -> Result<ControlFlow<()>> {
        let number = attempt.attempt;
        for (place, stream) in self.streams.iter().copied().enumerate() {
            let from = self.printed[place];
            let current = &mut self.current;
            let mut pass = |bytes: &[u8]| {
                if std::mem::replace(current, stream) != stream
                    && sink(Piece::Switch(job, number, stream))?.is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                sink(Piece::Bytes(job, number, stream, bytes))
            };
            let copied = self.files.copy((number, stream), from, &mut pass)?;
            let ControlFlow::Continue(end) = copied else {
                return Ok(ControlFlow::Break(()));
            };
            self.printed[place] = end;
            // A person who looks for the output of a killed program should not doubt that this is all.
            let was_started = attempt.started.is_some();
            if let Some(ended) = attempt.end.filter(|end| *end != AttemptEnd::Completed)
                && stream == Stream::Stdout
                && end == 0
                && was_started
                && sink(Piece::Silence(number, stream, ended))?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The line where an attempt begins: `--- attempt 1 (local-17 on node1); attempt 0 was stopped to be
/// resumed ---`.
fn mark(job: Option<JobId>, attempt: &AttemptReport, before: Option<&AttemptReport>) -> String {
    let mut text = match job {
        Some(job) => format!("--- job {job}, attempt {}", attempt.attempt),
        None => format!("--- attempt {}", attempt.attempt),
    };
    let place: Vec<_> = [attempt.cluster_job_id.as_deref(), attempt.host.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    if !place.is_empty() {
        text.push_str(&format!(" ({})", place.join(" on ")));
    }
    if let Some((before, end)) = before.and_then(|before| Some((before, before.end?))) {
        text.push_str(&format!(
            "; attempt {} {}",
            before.attempt,
            attempt_end(end)
        ));
    }
    text.push_str(" ---\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use cu_core::JobState;
    use std::fs;

    fn attempt(number: u32, end: Option<AttemptEnd>) -> AttemptReport {
        let mut attempt = AttemptReport::new(Attempt(number), Timestamp::from_millis(0));
        attempt.cluster_job_id = Some(format!("local-{number}"));
        attempt.end = end;
        attempt
    }

    fn job(attempts: Vec<AttemptReport>) -> JobReport {
        let mut job = JobReport::new(JobId(0), JobState::Running);
        job.attempts = attempts;
        job
    }

    #[test]
    fn attempts_are_joined_as_they_grow() {
        let directory = tempfile::tempdir().expect("a directory");
        let run = RunDir::new(directory.path());
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        let stdout = |number, text: &str| write(run.stdout(JobId(0), Attempt(number)), text);
        let files = Files {
            run: run.clone(),
            job: JobId(0),
        };
        let mut joined = Joined::new(files, vec![Stream::Stdout, Stream::Stderr]);
        let mut advance = |attempts: Vec<AttemptReport>| {
            let mut printed = String::new();
            let flow = joined.advance(&job(attempts), &mut |piece| {
                printed.push_str(&match piece {
                    Piece::Begin(_, attempt, before) => mark(None, attempt, before),
                    Piece::Switch(_, _, stream) => format!("<{}>", stream.name()),
                    Piece::Bytes(_, _, _, bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    Piece::Silence(..) => "<nothing>".to_owned(),
                });
                Ok(ControlFlow::Continue(()))
            });
            assert!(flow.expect("readable").is_continue());
            printed
        };

        assert_eq!(
            advance(vec![attempt(0, None)]),
            "--- attempt 0 (local-0) ---\n"
        );
        stdout(0, "step 1\nst");
        assert_eq!(advance(vec![attempt(0, None)]), "step 1\nst");
        assert_eq!(advance(vec![attempt(0, None)]), "");
        write(run.stderr(JobId(0), Attempt(0)), "careful\n");
        assert_eq!(advance(vec![attempt(0, None)]), "<stderr>careful\n");
        stdout(0, "step 1\nstep 2");
        stdout(1, "step 3\n");
        let ended = attempt(0, Some(AttemptEnd::ResumeRequested));
        let expected =
            "<stdout>ep 2--- attempt 1 (local-1); attempt 0 stopped to be resumed ---\nstep 3\n";
        assert_eq!(advance(vec![ended.clone(), attempt(1, None)]), expected);
        let mut lost = attempt(1, Some(AttemptEnd::Lost));
        lost.started = Some(Timestamp::from_millis(1));
        let mut silent = attempt(2, Some(AttemptEnd::Lost));
        silent.started = lost.started;
        let expected = "--- attempt 2 (local-2); attempt 1 was lost ---\n<nothing>";
        assert_eq!(advance(vec![ended, lost, silent]), expected);
    }

    #[test]
    fn a_reader_that_goes_away_ends_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = Files {
            run: RunDir::new(directory.path()),
            job: JobId(0),
        };
        let mut joined = Joined::new(files, vec![Stream::Stderr]);
        let flow = joined.advance(&job(vec![attempt(0, None)]), &mut |_| {
            Ok(ControlFlow::Break(()))
        });
        assert!(flow.expect("no error").is_break());
    }
}
