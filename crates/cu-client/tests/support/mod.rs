//! Shared by the tests of real processes: a supervisor made for the test, and the programs under
//! `tests/programs`. Every wait has a bound.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use cu_protocol::lines::{LineDecoder, to_line};
use cu_protocol::{Message, ProgramAnswer, ProgramRequest};

/// Longer than anything takes on a busy machine; only a failing test waits for it.
pub const BOUND: Duration = Duration::from_secs(60);

/// The supervisor's reaction to a request: answer it, or end the connection and itself.
pub type Answers = fn(&ProgramRequest) -> Option<ProgramAnswer>;

/// A supervisor, with the directories of its attempt.
pub struct Supervisor {
    directory: tempfile::TempDir,
    heard: Receiver<ProgramRequest>,
}

impl Supervisor {
    /// A supervisor that confirms every message and asks for nothing.
    pub fn new() -> Self {
        Self::answering(|request| {
            Some(match request {
                ProgramRequest::Say(_) => ProgramAnswer::Noted,
                ProgramRequest::ShouldExit => ProgramAnswer::ShouldExit(None),
            })
        })
    }

    /// A supervisor that reacts to requests with `answer`.
    pub fn answering(answers: Answers) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("output")).unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let (hears, heard) = mpsc::channel();
        thread::spawn(move || listen(&listener, answers, &hears));
        Self { directory, heard }
    }

    /// A path in the attempt's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path in the output directory.
    pub fn output(&self, name: &str) -> PathBuf {
        self.path("output").join(name)
    }

    /// The content of a file in the output directory.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.output(name)).unwrap()
    }

    /// Waits for a file in the output directory.
    pub fn await_output(&self, name: &str, process: &mut Process) {
        let begun = Instant::now();
        while !self.output(name).exists() {
            assert!(process.is_running(), "it ended before it wrote {name}");
            assert!(begun.elapsed() < BOUND, "it did not write {name}");
            thread::yield_now();
        }
    }

    /// The next message, without questions.
    pub fn message(&self) -> Message {
        loop {
            if let ProgramRequest::Say(message) = self.heard.recv_timeout(BOUND).unwrap() {
                return message;
            }
        }
    }

    /// The messages that the test has not taken yet.
    pub fn other_messages(&self) -> Vec<Message> {
        let requests = self.heard.try_iter();
        requests
            .filter_map(|request| match request {
                ProgramRequest::Say(message) => Some(message),
                ProgramRequest::ShouldExit => None,
            })
            .collect()
    }

    /// Sets the variables that a supervisor sets.
    pub fn supervise(&self, mut command: Command) -> Command {
        let settings = self.output("settings.json");
        if !settings.exists() {
            std::fs::write(&settings, "{}").unwrap();
        }
        command
            .env("CU_JOB_ID", "7")
            .env("CU_ATTEMPT", "3")
            .env("CU_RUN_DIR", self.directory.path())
            .env("CU_OUTPUT_DIR", self.path("output"))
            .env("CU_SETTINGS", settings)
            .env("CU_SOCKET", self.path("socket"))
            .env("CU_STOP_FILE", self.path("stop"))
            .current_dir(self.path("output"));
        command
    }

    /// Starts one of the programs under this supervisor.
    pub fn start(&self, name: &str) -> Process {
        Process::start(self.supervise(program(name)))
    }
}

fn listen(listener: &UnixListener, answers: Answers, hears: &Sender<ProgramRequest>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let hears = hears.clone();
        thread::spawn(move || serve(stream, answers, &hears));
    }
}

fn serve(mut stream: UnixStream, answers: Answers, hears: &Sender<ProgramRequest>) {
    let mut decoder = LineDecoder::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        decoder.feed(&buffer[..count]);
        while let Some(request) = decoder.next_line().unwrap() {
            let answer = answers(&request);
            // The test may be over.
            let _ = hears.send(request);
            let Some(answer) = answer else { return };
            if stream.write_all(&to_line(&answer)).is_err() {
                return;
            }
        }
    }
}

/// One of the programs under `tests/programs`, without a supervisor.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cu-client-programs"));
    command.arg(name);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("CU_") {
            command.env_remove(variable);
        }
    }
    command
}

/// A running program, killed if the test ends before it.
pub struct Process(Option<Child>);

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct End {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.0.as_ref().unwrap());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    pub fn end(mut self) -> End {
        let child = self.0.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (sends, ended) = mpsc::channel();
        let waits = thread::spawn(move || {
            let output = child.wait_with_output().unwrap();
            let _ = sends.send(());
            output
        });
        let in_time = ended.recv_timeout(BOUND).is_ok();
        if !in_time {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        let output = waits.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let end = End {
            status: output.status,
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        assert!(in_time, "killed, since it did not end by itself: {end:?}");
        end
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
