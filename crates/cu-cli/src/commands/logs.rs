//! `cu logs`: the output of a job, joined over its attempts, with a line where each begins. A file or a
//! pipe gets it byte for byte; a terminal gets control characters in visible form, unless `--raw`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use cu_core::{AttemptReport, JobReport, Reader, RunDir, RunState};
use cu_protocol::{Attempt, JobId};
use cu_system::files;
use serde_json::json;

use crate::args::{Common, Logs};
use crate::error::{Error, ExitCode, Result};
use crate::terminal::Written;
use crate::text::plural;
use crate::text::visible::printable;
use crate::view::summary::{attempt_end, no_main_process};
use crate::{runs, terminal};

/// How often `-f` looks. A network file system does not report that a file has grown.
const INTERVAL: Duration = Duration::from_millis(200);

/// Prints it.
///
/// # Errors
/// If there is no such run, job or attempt, or a file can't be read.
pub fn logs(common: &Common, arguments: &Logs) -> Result<ExitCode> {
    let run = runs::find(arguments.job.run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let job = reader.job(JobId(arguments.job.job));
    let job = job.map_err(|error| arguments.job.explain(error, common))?;
    let files = Files {
        run,
        job: job.job,
        stderr: arguments.stderr,
    };
    if common.json {
        return json(&files, &job, arguments.attempt);
    }
    let mut written = Written::new(arguments.raw);
    let mut print = |bytes: &[u8]| written.print(bytes);
    if let Some(number) = arguments.attempt {
        let attempt = find(&job, number)?.attempt;
        // Whether the reader is still there makes no difference: this is all there is.
        let _ = files.copy(attempt, 0, &mut print)?;
    } else if arguments.follow {
        follow(&reader, job, &mut Joined::new(files), &mut print)?;
    } else {
        let _ = Joined::new(files).advance(&job, &mut print)?;
    }
    written.end()?;
    Ok(ExitCode::Done)
}

/// Prints until the job has ended, the reader has gone away, or no main process works on the run.
fn follow(reader: &Reader, mut job: JobReport, joined: &mut Joined, print: Sink<'_>) -> Result<()> {
    loop {
        // The report is older than the files: an attempt that it says has ended writes no more.
        if joined.advance(&job, print)?.is_break() || job.state.is_settled() {
            return Ok(());
        }
        let status = reader.status()?;
        if status.state == RunState::Interrupted {
            terminal::say(&no_main_process(&status.run_dir));
            return Ok(());
        }
        std::thread::sleep(INTERVAL);
        job = reader.job(job.job)?;
    }
}

fn json(files: &Files, job: &JobReport, only: Option<u32>) -> Result<ExitCode> {
    let wanted = match only {
        Some(number) => std::slice::from_ref(find(job, number)?),
        None => &job.attempts,
    };
    let mut attempts = Vec::new();
    for attempt in wanted {
        let mut text = Vec::new();
        let _ = files.copy(attempt.attempt, 0, &mut |bytes: &[u8]| {
            text.extend_from_slice(bytes);
            Ok(ControlFlow::Continue(()))
        })?;
        attempts.push(json!({
            "attempt": attempt.attempt,
            "cluster_job_id": attempt.cluster_job_id,
            "end": attempt.end,
            "text": String::from_utf8_lossy(&text),
        }));
    }
    terminal::json(&json!({"version": 1, "job": job.job, "attempts": attempts}))?;
    Ok(ExitCode::Done)
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

/// Where printed bytes go. It breaks when the reader has gone away.
type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>>;

/// The files that a job's attempts write.
#[derive(Debug)]
struct Files {
    run: RunDir,
    job: JobId,
    stderr: bool,
}

impl Files {
    fn path(&self, attempt: Attempt) -> PathBuf {
        match self.stderr {
            true => self.run.stderr(self.job, attempt),
            false => self.run.stdout(self.job, attempt),
        }
    }

    /// Prints what `attempt` wrote after the first `from` bytes. Returns how many bytes there are
    /// now and the last one printed. A file that is not there yet is empty.
    fn copy(&self, attempt: Attempt, from: u64, sink: Sink<'_>) -> Result<ControlFlow<(), Copied>> {
        let path = self.path(attempt);
        let read = |error| Error::read("read", &path)(error);
        let mut file = match files::open(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(ControlFlow::Continue(Copied {
                    end: from,
                    last: None,
                }));
            }
            Err(error) => return Err(read(error)),
        };
        file.seek(SeekFrom::Start(from)).map_err(read)?;
        let mut copied = Copied {
            end: from,
            last: None,
        };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer).map_err(read)?;
            let Some(last) = buffer[..count].last() else {
                return Ok(ControlFlow::Continue(copied));
            };
            copied.end += count as u64;
            copied.last = Some(*last);
            if sink(&buffer[..count])?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

/// How far a file was printed.
#[derive(Clone, Copy, Debug)]
struct Copied {
    end: u64,
    last: Option<u8>,
}

/// The attempts of a job as one text, as far as it was printed.
#[derive(Debug)]
struct Joined {
    files: Files,
    /// How many attempts were begun.
    begun: usize,
    /// How much of the last of them was printed.
    printed: u64,
    /// Whether the text ends within a line.
    within_line: bool,
}

impl Joined {
    fn new(files: Files) -> Self {
        Self {
            files,
            begun: 0,
            printed: 0,
            within_line: false,
        }
    }

    /// Prints what is new since the last call, as far as `job` reaches.
    fn advance(&mut self, job: &JobReport, sink: Sink<'_>) -> Result<ControlFlow<()>> {
        let first = self.begun.saturating_sub(1);
        for (index, attempt) in job.attempts.iter().enumerate().skip(first) {
            if index >= self.begun {
                let before = index.checked_sub(1).map(|before| &job.attempts[before]);
                let mark = mark(attempt, before, self.within_line);
                // The host and the scheduler may have reported any names.
                if sink(printable(&mark).as_bytes())?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.begun = index + 1;
                self.printed = 0;
                self.within_line = false;
            }
            let ControlFlow::Continue(copied) =
                self.files.copy(attempt.attempt, self.printed, sink)?
            else {
                return Ok(ControlFlow::Break(()));
            };
            self.printed = copied.end;
            self.within_line = copied.last.map_or(self.within_line, |last| last != b'\n');
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The line where an attempt begins: `--- attempt 1 (local-17 on node1); attempt 0 stopped to be
/// resumed ---`.
fn mark(attempt: &AttemptReport, before: Option<&AttemptReport>, within_line: bool) -> String {
    let mut text = String::from(if within_line { "\n" } else { "" });
    text.push_str(&format!("--- attempt {}", attempt.attempt));
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
    use cu_core::{AttemptEnd, JobState};
    use cu_protocol::Timestamp;
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
        let write = |number: u32, text: &str| {
            let path = run.stdout(JobId(0), Attempt(number));
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        let mut joined = Joined::new(Files {
            run: run.clone(),
            job: JobId(0),
            stderr: false,
        });
        let mut advance = |attempts: Vec<AttemptReport>| {
            let mut printed = Vec::new();
            let flow = joined.advance(&job(attempts), &mut |bytes: &[u8]| {
                printed.extend_from_slice(bytes);
                Ok(ControlFlow::Continue(()))
            });
            assert!(flow.expect("readable").is_continue());
            String::from_utf8(printed).expect("UTF-8")
        };

        assert_eq!(
            advance(vec![attempt(0, None)]),
            "--- attempt 0 (local-0) ---\n"
        );
        write(0, "step 1\nst");
        assert_eq!(advance(vec![attempt(0, None)]), "step 1\nst");
        assert_eq!(advance(vec![attempt(0, None)]), "");
        write(0, "step 1\nstep 2");
        write(1, "step 3\n");
        let ended = attempt(0, Some(AttemptEnd::ResumeRequested));
        let expected =
            "ep 2\n--- attempt 1 (local-1); attempt 0 stopped to be resumed ---\nstep 3\n";
        assert_eq!(advance(vec![ended.clone(), attempt(1, None)]), expected);
        write(2, "step 4\n");
        let lost = attempt(1, Some(AttemptEnd::Lost));
        let expected = "--- attempt 2 (local-2); attempt 1 was lost ---\nstep 4\n";
        assert_eq!(advance(vec![ended, lost, attempt(2, None)]), expected);
    }

    #[test]
    fn a_reader_that_goes_away_ends_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = Files {
            run: RunDir::new(directory.path()),
            job: JobId(0),
            stderr: true,
        };
        let flow = Joined::new(files).advance(&job(vec![attempt(0, None)]), &mut |_: &[u8]| {
            Ok(ControlFlow::Break(()))
        });
        assert!(flow.expect("no error").is_break());
    }
}
