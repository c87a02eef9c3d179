//! A directory with programs, runs of the real `cu` in it, and bounded waits for what they do.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;

/// The longest that anything here may take. It ends a test that hangs, and decides nothing else.
const BOUND: Duration = Duration::from_secs(90);

/// Ends at its N-th attempt, N being its argument, and asks for a resume until then.
pub const COUNT: &str = "#!/bin/sh
n=$(($(cat count 2>/dev/null || echo 0) + 1))
echo $n > count
echo \"attempt $n\"
[ $n -ge $1 ] && exit 0
exit 3
";

/// Says that it runs, and then waits until the file `go` is in its output directory. Asks to be
/// resumed when it is asked to stop.
pub const WAIT: &str = "#!/bin/sh
trap 'touch asked; exit 3' USR1
echo waiting
while [ ! -e go ]; do sleep 0.05; done
echo gone
";

/// A directory of a test's own. Runs that still go on are stopped at its end.
pub struct Bench {
    directory: TempDir,
}

impl Bench {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// The path of `name` in the directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect(name);
    }

    /// Writes a program in sh. In a job it works in the output directory.
    pub fn program(&self, name: &str, text: &str) {
        let text = text.replacen('\n', "\ncd \"${CU_OUTPUT_DIR:-.}\"\n", 1);
        self.write(name, text);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect(name);
    }

    /// Reads a file as text.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `cu` with `arguments`, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cu"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_remove("CU_RESULTS_DIR")
            .env_remove("CU_PROFILE")
            .env("XDG_CONFIG_DIRS", self.path("site"))
            .env("XDG_CONFIG_HOME", self.path("user"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts `cu`.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::new(&mut self.command(arguments))
    }

    /// Starts `cu` on a terminal; its standard output is still ours.
    pub fn start_on(&self, terminal: &Terminal, arguments: &[&str]) -> Running {
        Running::new(&mut self.command_on(terminal, arguments))
    }

    /// Starts `cu` with its standard output on a terminal, too.
    pub fn start_inside(&self, terminal: &Terminal, arguments: &[&str]) -> Running {
        Running::new(
            self.command_on(terminal, arguments)
                .stdout(terminal.inner()),
        )
    }

    fn command_on(&self, terminal: &Terminal, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command
            .stdin(terminal.inner())
            .stderr(terminal.inner())
            .env("TERM", "xterm");
        command
    }

    /// Runs `cu` to its end.
    pub fn cu(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// Runs `cu` to its end, which must be good, and reads its standard output as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.cu(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.json()
    }

    /// Waits until `done` says so.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < BOUND, "waited in vain until {what}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Waits until job 0 of `run` has said on its standard output that it waits, and the main process has heard of
    /// its start: no request reaches a job before.
    pub fn wait_until_waiting(&self, run: &str) {
        let attempts = self.path(format!("results/{run}/attempts/0"));
        self.wait_until("the program runs", |_| {
            let entries = fs::read_dir(&attempts).into_iter().flatten().flatten();
            let mut outputs = entries.map(|entry| fs::read(entry.path().join("stdout")));
            outputs.any(|output| output.is_ok_and(|output| output == b"waiting\n"))
        });
        self.wait_until("its start is recorded", |bench| {
            let run = bench.path(format!("results/{run}"));
            let shown = bench.json(&["show", "0", run.to_str().expect("UTF-8"), "--json"]);
            let attempts = shown["attempts"].as_array().expect("a list");
            let last = attempts.last();
            last.is_some_and(|attempt| attempt["started"].is_string())
        });
    }

    /// Lets the program of job 0 of `run` go on.
    pub fn let_go(&self, run: &str) {
        self.write(&format!("results/{run}/working_directories/0/go"), "");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let runs = fs::read_dir(self.path("results"))
            .into_iter()
            .flatten()
            .flatten();
        for run in runs {
            let path = run.path();
            // It refuses for a settled run, or for no run. Nothing may panic here.
            let stop = self.command(&["stop", &path.to_string_lossy()]).output();
            drop(stop);
        }
    }
}

/// A terminal, seen from the side of the person.
pub struct Terminal {
    person: File,
    inner: File,
    shown: mpsc::Receiver<Vec<u8>>,
}

impl Terminal {
    /// A new one.
    pub fn open() -> Self {
        let (person, inner) = Self::sides();
        let mut reader = person.try_clone().expect("another handle");
        let (sender, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            person,
            inner,
            shown,
        }
    }

    /// A program's side of a terminal that was closed.
    pub fn gone() -> Stdio {
        let (person, inner) = Self::sides();
        drop(person);
        inner.into()
    }

    /// The side of the person and that of programs.
    fn sides() -> (File, File) {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&person).expect("it is ours");
        unlockpt(&person).expect("it can be used");
        let name = ptsname(&person, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("its name is UTF-8");
        let inner = File::options()
            .read(true)
            .write(true)
            .open(name)
            .expect("its other side");
        (File::from(person), inner)
    }

    fn inner(&self) -> Stdio {
        self.inner.try_clone().expect("another handle").into()
    }

    /// Waits until `text` is shown, after all that was waited for before. Returns all that was shown
    /// since.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let Ok(bytes) = self.shown.recv_timeout(BOUND) else {
                panic!("`{text}` is not in {seen:?}");
            };
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        seen
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        writeln!(self.person, "{line}").expect("it takes a line");
    }
}

/// A `cu` that was started.
pub struct Running {
    child: Child,
    pid: Pid,
}

impl Running {
    fn new(command: &mut Command) -> Self {
        let child = command.spawn().expect("cu starts");
        Self {
            pid: Pid::from_child(&child),
            child,
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("it lives");
    }

    /// Closes our end of its standard output.
    pub fn close_stdout(&mut self) {
        drop(self.child.stdout.take());
    }

    /// Waits for its end.
    pub fn end(self) -> Ended {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(self.child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(BOUND) else {
            let _ = kill_process(self.pid, Signal::KILL);
            panic!("cu has not ended within {} s", BOUND.as_secs());
        };
        Ended::from(output.expect("it was waited for"))
    }
}

/// A `cu` that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 if a signal killed it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    /// Its standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}
