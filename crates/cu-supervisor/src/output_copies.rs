//! Copies what the program prints to where its user looks for it, beside the attempt's own files.
//!
//! The backend names these files in `CU_STDOUT_COPY` and `CU_STDERR_COPY`, where their names depend on the node.
//! Otherwise the job's own variables may name them so: then its first attempt begins them anew. If they are the
//! same one, both streams go to the attempt's standard output, so that their order is kept. A copy that fails
//! costs the program nothing: all of it is in the attempt's own files.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_system::files;

use crate::{RunDir, tell};

const STDOUT: &str = "CU_STDOUT_COPY";
const STDERR: &str = "CU_STDERR_COPY";

/// How often is copied what there is.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the end of an attempt waits for the last of it: a file server may not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the program must not inherit this variable: it is for one attempt.
pub(crate) fn is_for_us(variable: &str) -> bool {
    [STDOUT, STDERR].contains(&variable)
}

/// The files to which output is copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    stdout: Option<PathBuf>,
    stderr: Option<PathBuf>,
    /// Whether they are to be made, and what is in them thrown away.
    is_to_begin: Beginning,
    /// Whether the program's standard error is its standard output.
    pub in_one: bool,
}

/// What is done with a file before the first copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Beginning {
    /// The backend has seen to it.
    #[default]
    Nothing,
    /// Its directory is made.
    Make,
    /// It is emptied, too.
    Empty,
}

impl Wanted {
    /// What our environment names, or else the variables of the job.
    pub fn new(of_job: &BTreeMap<String, String>, attempt: Attempt) -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        let given = Self::of(path(STDOUT), path(STDERR));
        if given.stdout.is_some() || given.stderr.is_some() {
            return given;
        }
        let path = |name| of_job.get(name).map(PathBuf::from);
        let is_to_begin = match attempt {
            Attempt(0) => Beginning::Empty,
            _ => Beginning::Make,
        };
        Self {
            is_to_begin,
            ..Self::of(path(STDOUT), path(STDERR))
        }
    }

    fn of(stdout: Option<PathBuf>, stderr: Option<PathBuf>) -> Self {
        let in_one = stdout.is_some() && stdout == stderr;
        Self {
            stdout,
            stderr: stderr.filter(|_| !in_one),
            is_to_begin: Beginning::default(),
            in_one,
        }
    }

    /// All of them.
    pub fn files(&self) -> Vec<PathBuf> {
        self.stdout.iter().chain(&self.stderr).cloned().collect()
    }

    /// Begins to copy what is printed from now on.
    pub fn begin(&self, run: &RunDir, job: JobId, attempt: Attempt) -> Copies {
        let pairs = [
            (run.stdout(job, attempt), &self.stdout),
            (run.stderr(job, attempt), &self.stderr),
        ];
        let mut running = Vec::new();
        for (from, to) in pairs {
            let Some(named) = to else { continue };
            let to = named.clone();
            let (end, ended) = channel();
            let (done, is_done) = channel();
            let begun = self.is_to_begin.prepare(&to);
            let begun = begun
                .and_then(|()| Copy::open(&from, &to))
                .and_then(|copy| {
                    let work = move || {
                        if let Err(error) = copy.run(&ended) {
                            fail(&to, &error);
                        }
                        // Nobody waits for it any more if it took too long.
                        let _ = done.send(());
                    };
                    cu_system::threads::spawn("copy output", 256 * 1024, work)
                });
            match begun {
                Ok(()) => running.push((end, is_done)),
                Err(error) => fail(named, &error),
            }
        }
        Copies(running)
    }
}

impl Beginning {
    fn prepare(self, path: &Path) -> io::Result<()> {
        if self == Self::Nothing {
            return Ok(());
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match self {
            Self::Empty => File::create(path).map(drop),
            Self::Nothing | Self::Make => Ok(()),
        }
    }
}

fn fail(path: &Path, error: &io::Error) {
    tell(&format!(
        "what the program prints can't be copied to {}: {error}; `cu logs` has it",
        path.display()
    ));
}

/// Copies that go on.
#[derive(Debug)]
pub(crate) struct Copies(Vec<(Sender<()>, Receiver<()>)>);

impl Copies {
    /// Copies the rest, once nobody prints any more. Waits a bounded time.
    pub fn finish(self) {
        for (end, is_done) in self.0 {
            drop(end);
            // It fails if the copy has ended already.
            let _ = is_done.recv_timeout(PATIENCE);
        }
    }
}

struct Copy {
    from: File,
    to: File,
}

impl Copy {
    fn open(from: &Path, to: &Path) -> io::Result<Self> {
        let mut from = files::open(from, OpenOptions::new().read(true))?;
        from.seek(SeekFrom::End(0))?;
        // As sbatch would: it follows links, and the mode is what the umask leaves.
        let to = OpenOptions::new().append(true).create(true).open(to)?;
        Ok(Self { from, to })
    }

    /// Copies until `ended` is closed, and then what is left.
    fn run(mut self, ended: &Receiver<()>) -> io::Result<()> {
        loop {
            let is_last = match ended.recv_timeout(PAUSE) {
                Err(RecvTimeoutError::Timeout) => false,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            };
            // Not until its end: a process that was left behind may print for ever.
            let length = self.from.metadata()?.len();
            let left = length.saturating_sub(self.from.stream_position()?);
            io::copy(&mut (&mut self.from).take(left), &mut self.to)?;
            self.to.flush()?;
            if is_last {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_for_both_is_written_by_one_stream() {
        let path = |text: &str| Some(PathBuf::from(text));
        let one = Wanted::of(path("/a"), path("/a"));
        assert!(one.in_one);
        assert_eq!(one.files(), [PathBuf::from("/a")]);
        let two = Wanted::of(path("/a"), path("/b"));
        assert_eq!((two.in_one, two.files().len()), (false, 2));
        assert!(!Wanted::of(None, None).in_one);
    }

    #[test]
    fn the_first_attempt_of_a_job_begins_its_files_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("new/out");
        let of_job = [(STDOUT.to_owned(), file.display().to_string())].into();
        for (attempt, left) in [(0, ""), (1, "kept"), (0, "")] {
            let wanted = Wanted::new(&of_job, Attempt(attempt));
            assert_eq!(wanted.files(), std::slice::from_ref(&file));
            wanted.is_to_begin.prepare(&file).expect("prepared");
            let found = std::fs::read_to_string(&file).expect("it is there");
            assert_eq!(found, left, "{attempt}");
            std::fs::write(&file, "kept").expect("written");
        }
    }
}
