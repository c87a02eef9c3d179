//! A run directory with one job, supervisors as real processes, and bounded waits.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part of it, and a test ends where it cannot go on"
)]

pub mod main_process;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cu_protocol::lines::to_line;
use cu_protocol::{
    Attempt, Envelope, ExitRecord, JobId, ProgramAnswer, ProgramRequest, RunId, Sequence,
};
use cu_run_dir::{JobSpec, RunDir, StopPolicy, Template, read_exit_record, read_outbox};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// No wait of a test is longer.
const BOUND: Duration = Duration::from_secs(60);

pub const RUN: RunId = RunId([7; 16]);
pub const JOB: JobId = JobId(4);

/// A run with one job.
pub struct Run {
    _scratch: tempfile::TempDir,
    pub dir: RunDir,
    pub spec: JobSpec,
}

impl Run {
    /// A run whose job is this command.
    pub fn of<S: Into<Template>>(command: impl IntoIterator<Item = S>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let dir = RunDir::new(scratch.path());
        cu_system::files::make_dir(&dir.output_dir(JOB)).unwrap();
        cu_system::files::make_dir(&dir.attempts(JOB)).unwrap();
        std::fs::write(dir.settings(JOB), "{}").unwrap();
        let spec = JobSpec {
            version: JobSpec::VERSION,
            run: RUN,
            job: JOB,
            command: command.into_iter().map(Into::into).collect(),
            working_directory: None,
            stdin: None,
            environment: BTreeMap::new(),
            activation: cu_run_dir::Activation::default(),
            stop: StopPolicy::default(),
            done_when: None,
        };
        let run = Self {
            _scratch: scratch,
            dir,
            spec,
        };
        run.write_spec();
        run
    }

    /// A run whose job is this shell script, with this policy.
    pub fn script_with(script: &str, stop: StopPolicy) -> Self {
        let mut run = Self::of(["sh", "-c", script]);
        run.spec.stop = stop;
        run.write_spec();
        run
    }

    /// A run whose job is this shell script.
    pub fn script(script: &str) -> Self {
        Self::script_with(script, StopPolicy::default())
    }

    pub fn write_spec(&self) {
        let text = serde_json::to_vec(&self.spec).unwrap();
        std::fs::write(self.dir.job_spec(JOB), text).unwrap();
    }

    /// A file in the output directory, where the program's working directory is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.output_dir(JOB).join(name)
    }

    /// What the program wrote into a file there.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Starts a supervisor of this attempt, as the main process and a scheduler would.
    pub fn start(&self, attempt: u32) -> Supervisor {
        self.start_with(attempt, &[])
    }

    /// The same with more in its environment.
    pub fn start_with(&self, attempt: u32, environment: &[(&str, &str)]) -> Supervisor {
        let newest = self.dir.newest_attempt(JOB);
        cu_run_dir::replace(&newest, attempt.to_string().as_bytes()).unwrap();
        self.start_behind_the_back(attempt, environment)
    }

    /// Starts one without the main process's knowing.
    pub fn start_behind_the_back(&self, attempt: u32, variables: &[(&str, &str)]) -> Supervisor {
        let mut command = Command::new(EXEC);
        command
            .arg(self.dir.path())
            .args([JOB.to_string(), attempt.to_string()])
            .envs(variables.iter().copied());
        Supervisor::of(command)
    }

    /// The same with nothing else in its environment.
    pub fn start_bare(&self, attempt: u32, variables: &[(&str, &str)]) -> Supervisor {
        let newest = self.dir.newest_attempt(JOB);
        cu_run_dir::replace(&newest, attempt.to_string().as_bytes()).unwrap();
        let mut command = Command::new(EXEC);
        command
            .arg(self.dir.path())
            .args([JOB.to_string(), attempt.to_string()])
            .env_clear()
            .envs(variables.iter().copied());
        Supervisor::of(command)
    }

    /// Runs one attempt to its end.
    pub fn run(&self, attempt: u32) -> ExitRecord {
        self.start(attempt).wait();
        self.record(attempt)
    }

    pub fn record(&self, attempt: u32) -> ExitRecord {
        self.try_record(attempt)
            .expect("an exit record was written")
    }

    pub fn try_record(&self, attempt: u32) -> Option<ExitRecord> {
        read_exit_record(&self.dir.exit_record(JOB, Attempt(attempt))).unwrap()
    }

    pub fn outbox(&self, attempt: u32) -> Vec<Envelope> {
        let outbox = read_outbox(&self.dir.outbox(JOB, Attempt(attempt))).unwrap();
        assert!(outbox.problems.is_empty(), "{:?}", outbox.problems);
        outbox.messages
    }

    /// Waits for a line to appear in a file of the output directory.
    pub fn await_line(&self, name: &str, line: &str) {
        eventually(&format!("`{line}` in {name}"), || {
            self.text(name).lines().any(|found| found == line)
        });
    }

    /// The number that the program wrote into this file.
    pub fn await_pid(&self, name: &str) -> Pid {
        eventually(&format!("a process id in {name}"), || {
            self.text(name).ends_with('\n')
        });
        Pid::from_raw(self.text(name).trim().parse().unwrap()).unwrap()
    }

    /// Connects to the program's socket as the program would. The program must have written its
    /// path into the file `socket`.
    pub fn await_door(&self) -> Caller {
        eventually("the socket's path", || self.text("socket").ends_with('\n'));
        Caller::at(Path::new(self.text("socket").trim()))
    }
}

/// A program's end of its socket.
pub struct Caller {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Caller {
    pub fn at(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        Self {
            answers: BufReader::new(stream.try_clone().unwrap()),
            stream,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn answer(&mut self) -> ProgramAnswer {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub fn ask(&mut self, request: &ProgramRequest) -> ProgramAnswer {
        self.send(&to_line(request));
        self.answer()
    }
}

/// A supervisor's process. Killed if a test ends without waiting for it.
pub struct Supervisor {
    child: Child,
}

impl Supervisor {
    /// That this command starts.
    pub fn of(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        Self::with_streams(command)
    }

    /// The same with the command's own output streams.
    pub fn with_streams(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self { child }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn wait(&mut self) -> ExitStatus {
        eventually("the end of a supervisor", || self.is_over());
        self.child.wait().unwrap()
    }

    /// What it exited with; minus the signal if one killed it.
    pub fn code(&mut self) -> i32 {
        let status = self.wait();
        status
            .code()
            .unwrap_or_else(|| -status.signal().expect("a code or a signal"))
    }

    /// The next line that it says on its standard error.
    pub fn next_line(&mut self) -> String {
        let mut line = Vec::new();
        let stderr = self.child.stderr.as_mut().unwrap();
        // Byte by byte, so that nothing is taken from what comes after it.
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            stderr.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        String::from_utf8(line).unwrap()
    }

    /// What it said on its standard error. All who have inherited that must have ended.
    pub fn said(&mut self) -> String {
        let stderr = self.child.stderr.take().unwrap();
        std::io::read_to_string(stderr).unwrap()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The program first: once its supervisor is dead, nobody knows it.
        for child in children_of(self.pid()) {
            let _ = kill_process_group(child, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn children_of(parent: u32) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.unwrap_or_default();
    let numbers = children.split_ascii_whitespace();
    numbers
        .filter_map(|number| Pid::from_raw(number.parse().ok()?))
        .collect()
}

/// Polls, since most of what is awaited here are other processes' doings.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < BOUND, "in vain waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process runs: exists and is not a zombie. Its name may hold any bytes.
pub fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let name_ends = stat.iter().rposition(|byte| *byte == b')');
    name_ends.is_some_and(|end| !stat[end + 1..].starts_with(b" Z"))
}

pub fn sequences(messages: &[Envelope]) -> Vec<u64> {
    let number = |envelope: &Envelope| {
        let Sequence(number) = envelope.sequence;
        number
    };
    messages.iter().map(number).collect()
}

/// The supervisor's program.
pub const EXEC: &str = env!("CARGO_BIN_EXE_cu-supervisor-exec");
