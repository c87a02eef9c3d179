//! Runs a scheduler's command: arguments in, exit code and output out, bounded in time and size.
//!
//! Each command is a process group of its own, so that a Ctrl-C does not reach it, and so that a
//! command that takes too long, or whose caller no longer waits, is killed with all it started.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

/// Enough for the answer about a hundred thousand jobs. A command that prints more has gone wrong.
const MOST_OUTPUT: usize = 64 << 20;
/// How long a command may take unless told otherwise: some take 20 s to report that their daemon is
/// away.
const LIMIT: Duration = Duration::from_secs(45);

/// One command, not yet started.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    inner: tokio::process::Command,
    input: Vec<u8>,
    limit: Duration,
    most_output: usize,
    gives_up_at: Option<&'static str>,
}

/// The exit code and the output of a command that ran to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code: 0 if all went well.
    pub code: i32,
    /// Its standard output. Bytes that are not UTF-8 are replaced by U+FFFD.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

/// Why a command did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It was never started: nothing happened.
    #[error("{} can't be started: {error}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What the system reported.
        error: io::Error,
    },
    /// It was killed for taking too long. What it did until then is not known.
    #[error("{} did not answer within {} s", program.display(), limit.as_secs())]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// How long it was given.
        limit: Duration,
    },
    /// It was killed because it wrote the words of [`Command::give_up_at`].
    #[error("{} was ended while it waited: {said}", program.display())]
    GaveUp {
        /// The program.
        program: PathBuf,
        /// Its standard error until then.
        said: String,
    },
    /// It was killed by a signal that is not ours, printed too much, or its output could not be read.
    /// What it did until then is not known.
    #[error("{} did not run to its end: {reason}", program.display())]
    Broken {
        /// The program.
        program: PathBuf,
        /// What happened.
        reason: String,
    },
}

impl Command {
    /// The command `name` in the directory `commands`, or in `PATH`.
    ///
    /// It starts in the directory of the caller, in the C locale, with nothing on standard input.
    #[must_use]
    pub fn new(commands: Option<&Path>, name: &str) -> Self {
        let program = commands.map_or_else(|| PathBuf::from(name), |them| them.join(name));
        let mut inner = tokio::process::Command::new(&program);
        inner
            .env("LC_ALL", "C")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            program,
            inner,
            input: Vec::new(),
            limit: LIMIT,
            most_output: MOST_OUTPUT,
            gives_up_at: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.inner.args(arguments);
        self
    }

    /// Sets a variable of its environment, which is ours otherwise.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Takes those variables out of its environment for whose names `is_unwanted` holds.
    #[must_use]
    pub fn without_variables(mut self, is_unwanted: impl Fn(&str) -> bool) -> Self {
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(&is_unwanted) {
                self.inner.env_remove(name);
            }
        }
        self
    }

    /// Leaves the locale as it is: for a command that hands its environment on.
    #[must_use]
    pub fn with_our_locale(mut self) -> Self {
        match std::env::var_os("LC_ALL") {
            Some(locale) => self.inner.env("LC_ALL", locale),
            None => self.inner.env_remove("LC_ALL"),
        };
        self
    }

    /// The directory in which it starts.
    #[must_use]
    pub fn start_in(mut self, directory: &Path) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// The text on its standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self.inner.stdin(Stdio::piped());
        self
    }

    /// Holds `file` open as its standard input: a lock on it lasts as long as the command lives, even
    /// if this process is killed.
    #[must_use]
    pub fn holding(mut self, file: File) -> Self {
        self.inner.stdin(Stdio::from(file));
        self
    }

    /// How long it may take: 45 s unless set.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Ends it as soon as these words are on its standard error: for a command that says that it waits.
    #[must_use]
    pub fn give_up_at(mut self, words: &'static str) -> Self {
        self.gives_up_at = Some(words);
        self
    }

    /// Runs it to its end, whatever its exit code. A caller that stops waiting kills it.
    ///
    /// # Errors
    /// See [`Failure`]: only [`Failure::NotStarted`] says that nothing happened.
    pub async fn run(mut self) -> Result<Output, Failure> {
        let child = self.inner.spawn().map_err(|error| Failure::NotStarted {
            program: self.program.clone(),
            error,
        })?;
        let mut group = Group(child);
        let talk = converse(
            &mut group.0,
            &self.input,
            self.most_output,
            self.gives_up_at,
        );
        match tokio::time::timeout(self.limit, talk).await {
            Err(_) => Err(Failure::TimedOut {
                program: self.program,
                limit: self.limit,
            }),
            Ok(Err(Interruption::Waits(said))) => Err(Failure::GaveUp {
                program: self.program,
                said: into_text(said).trim().to_owned(),
            }),
            Ok(Err(Interruption::Unreadable(error))) => Err(Failure::Broken {
                program: self.program,
                reason: error.to_string(),
            }),
            Ok(Ok((status, stdout, stderr))) => match status.code() {
                Some(code) => Ok(Output {
                    code,
                    stdout: into_text(stdout),
                    stderr: into_text(stderr),
                }),
                None => Err(Failure::Broken {
                    program: self.program,
                    reason: status.to_string(),
                }),
            },
        }
    }
}

impl Output {
    /// What it printed, for people: its standard error, else its standard output, else its exit code.
    #[must_use]
    pub fn words(&self) -> String {
        let said = [&self.stderr, &self.stdout].map(|text| text.trim());
        match said.into_iter().find(|text| !text.is_empty()) {
            Some(text) => text.to_owned(),
            None => format!("exit code {}, and no output", self.code),
        }
    }
}

/// The process group of a command, killed when it is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // `id` is there until the command was waited for, and so long no other group has its number.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// Why a command is not heard to its end.
enum Interruption {
    Unreadable(io::Error),
    /// It wrote the words at which it is given up, after all that it wrote before.
    Waits(Vec<u8>),
}

impl From<io::Error> for Interruption {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

async fn converse(
    child: &mut Child,
    input: &[u8],
    most: usize,
    gives_up_at: Option<&str>,
) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), Interruption> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command that ends without having read it all says why by itself.
            stdin.write_all(input).await.ok();
        }
        Ok(())
    };
    let (stdout, stderr) = (read(stdout, most, None), read(stderr, most, gives_up_at));
    let ((), stdout, stderr) = tokio::try_join!(write, stdout, stderr)?;
    Ok((child.wait().await?, stdout, stderr))
}

async fn read(
    from: Option<impl AsyncRead + Unpin>,
    most: usize,
    until: Option<&str>,
) -> Result<Vec<u8>, Interruption> {
    let mut bytes = Vec::new();
    let Some(mut from) = from else {
        return Ok(bytes);
    };
    while from.read_buf(&mut bytes).await? > 0 {
        if bytes.len() > most {
            let reason = format!("it wrote more than {most} bytes");
            return Err(io::Error::other(reason).into());
        }
        if until.is_some_and(|words| String::from_utf8_lossy(&bytes).contains(words)) {
            return Err(Interruption::Waits(bytes));
        }
    }
    Ok(bytes)
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command::new(Some(Path::new("/bin")), "sh").arguments(["-c", script])
    }

    #[tokio::test]
    async fn an_end_is_told_with_all_that_was_said() {
        let script = "cat; echo $LC_ALL >&2; printf '\\377' >&2; exit 7";
        let output = shell(script).input("question").run().await.unwrap();
        let expected = Output {
            code: 7,
            stdout: "question".into(),
            stderr: "C\n\u{fffd}".into(),
        };
        assert_eq!(output, expected);
        assert_eq!(output.words(), "C\n\u{fffd}");
    }

    #[tokio::test]
    async fn a_missing_command_did_nothing() {
        let failure = Command::new(None, "no-such-command-anywhere").run().await;
        assert!(matches!(failure, Err(Failure::NotStarted { .. })));
    }

    #[tokio::test]
    async fn a_death_by_a_signal_is_no_answer() {
        let failure = shell("kill -KILL $$").run().await.unwrap_err();
        assert!(failure.to_string().contains("signal: 9"), "{failure}");
    }

    #[tokio::test]
    async fn a_command_that_prints_too_much_is_stopped() {
        let mut command = shell("exec yes");
        command.most_output = 1000;
        let failure = command.run().await.unwrap_err();
        assert!(failure.to_string().contains("1000 bytes"), "{failure}");
    }

    #[tokio::test]
    async fn a_command_that_says_it_waits_is_given_up() {
        let command = shell("echo 'full, sleeping' >&2; exec sleep 1000");
        let failure = command.give_up_at("sleeping").run().await.unwrap_err();
        assert!(failure.to_string().contains("full, sleeping"), "{failure}");
    }

    #[tokio::test]
    async fn more_input_than_is_read_is_no_error() {
        let output = shell("exit 0").input(vec![b'x'; 1 << 20]).run().await;
        assert_eq!(output.unwrap().code, 0);
    }

    /// A script whose child holds the returned pipe open until it is killed.
    fn with_a_child() -> (Command, tokio::net::unix::pipe::Receiver, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        let reader = tokio::net::unix::pipe::OpenOptions::new()
            .open_receiver(&pipe)
            .unwrap();
        let script = "(exec 9>\"$0\"; echo ready >&9; while :; do sleep 100; done) & wait";
        (shell(script).argument(&pipe), reader, directory)
    }

    /// Awaits the death of the last process that has the other end open.
    async fn all_dead(mut reader: tokio::net::unix::pipe::Receiver) {
        let mut rest = String::new();
        let end = reader.read_to_string(&mut rest);
        tokio::time::timeout(Duration::from_secs(60), end)
            .await
            .expect("the child was killed too")
            .unwrap();
    }

    #[tokio::test]
    async fn a_time_limit_kills_children_too() {
        let (command, reader, _folder) = with_a_child();
        let failure = command.limit(Duration::from_secs(1)).run().await;
        assert!(matches!(failure, Err(Failure::TimedOut { .. })));
        all_dead(reader).await;
    }

    #[tokio::test]
    async fn a_caller_that_stops_waiting_kills_children_too() {
        let (command, mut reader, _folder) = with_a_child();
        let ready = async {
            let mut word = [0; 6];
            reader.read_exact(&mut word).await.unwrap();
        };
        tokio::select! {
            _ = command.run() => panic!("it never ends by itself"),
            () = ready => {}
        }
        all_dead(reader).await;
    }

    #[tokio::test]
    async fn a_lock_lasts_as_long_as_the_command() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = file.reopen().unwrap();
        held.lock().unwrap();
        let path = file.path().to_path_buf();
        let script = "read -r go <\"$0\"";
        let pipe = tempfile::tempdir().unwrap();
        let fifo = pipe.path().join("go");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
        let command = shell(script).argument(&fifo).holding(held);
        let running = tokio::spawn(command.run());
        // Opening for writing succeeds once the command has opened the pipe, so it has begun.
        let go = tokio::task::spawn_blocking(move || File::options().write(true).open(fifo));
        let go = go.await.unwrap().unwrap();
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err(), "the command holds the lock");
        drop(go);
        running.await.unwrap().unwrap();
        // A child of another test, between fork and exec, may hold our copy for a moment.
        let free = tokio::task::spawn_blocking(move || other.lock());
        let free = tokio::time::timeout(Duration::from_secs(60), free).await;
        free.expect("nobody holds it any more").unwrap().unwrap();
    }
}
