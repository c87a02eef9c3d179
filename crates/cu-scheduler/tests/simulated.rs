//! The conformance suite on the simulated cluster, and tests that only a simulated cluster allows.
#![cfg(all(feature = "simulated", feature = "conformance"))]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cu_scheduler::conformance::{Program, Step, Testbed};
use cu_scheduler::simulated::{Run, Simulated, SimulatedOptions};
use cu_scheduler::{ClusterJobId, EndCause, Faults, Faulty, Scheduler, Signal};
use tempfile::TempDir;

struct InMemory {
    directory: TempDir,
    cluster: Simulated,
    programs: Arc<Mutex<Vec<Program>>>,
}

#[async_trait]
impl Testbed for InMemory {
    async fn fresh() -> Self {
        let programs: Arc<Mutex<Vec<Program>>> = Arc::default();
        let options = SimulatedOptions {
            cpus: 3,
            queue_delay: Duration::from_secs(7),
            ..SimulatedOptions::default()
        };
        let known = programs.clone();
        let cluster = Simulated::new(options, move |run| {
            let number: Option<usize> =
                run.submission.command.get(1).and_then(|it| it.parse().ok());
            let program = number.map(|number| known.lock().unwrap()[number].clone());
            async move {
                let is_there = run.submission.working_directory.is_dir();
                match program.filter(|_| is_there) {
                    Some(program) => follow(program, run).await,
                    None => EndCause::NotStarted,
                }
            }
        });
        Self {
            directory: TempDir::new().unwrap(),
            cluster,
            programs,
        }
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        Arc::new(self.cluster.reopened())
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, program: &Program, arguments: &[String]) -> Vec<String> {
        let mut programs = self.programs.lock().unwrap();
        programs.push(program.clone());
        let mut command = vec!["/simulated".to_owned(), (programs.len() - 1).to_string()];
        command.extend_from_slice(arguments);
        command
    }

    async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
        None // Its ids are its own.
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(7200)
    }

    fn slots(&self) -> u32 {
        3
    }

    fn shortest_time_limit(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    }
}

/// The same behind a wrapper that loses, repeats and delays answers.
struct BehindABadLine(InMemory);

#[async_trait]
impl Testbed for BehindABadLine {
    async fn fresh() -> Self {
        Self(InMemory::fresh().await)
    }

    async fn open(&self) -> Arc<dyn Scheduler> {
        Arc::new(Faulty::new(self.0.open().await, Faults::all(0.3), 7))
    }

    fn directory(&self) -> &Path {
        self.0.directory()
    }

    fn command(&self, program: &Program, arguments: &[String]) -> Vec<String> {
        self.0.command(program, arguments)
    }

    async fn stranger(&self, _command: &[String]) -> Option<ClusterJobId> {
        None // Its ids are its own.
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }

    fn slots(&self) -> u32 {
        self.0.slots()
    }

    fn shortest_time_limit(&self) -> Duration {
        self.0.shortest_time_limit()
    }

    fn runtime() -> tokio::runtime::Runtime {
        InMemory::runtime()
    }
}

mod plain {
    cu_scheduler::conformance_tests!(super::InMemory);
}

mod faulty {
    cu_scheduler::conformance_tests!(super::BehindABadLine);
}

/// Runs the program as a shell would.
async fn follow(program: Program, mut run: Run) -> EndCause {
    let mut noted: Vec<(Signal, PathBuf)> = Vec::new();
    let mut ignores_terminate = false;
    let mut children: Vec<File> = Vec::new();
    let submission = run.submission.clone();
    let append = |path: PathBuf, line: &str| {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{line}").unwrap();
    };
    for step in program.steps {
        match step {
            Step::Mark(path) => append(path, "started"),
            Step::Arguments(path) => {
                let each = submission.command[2..].iter();
                let text: String = each.map(|argument| format!("{argument}\0")).collect();
                fs::write(path, text).unwrap();
            }
            Step::Variable(name, path) => {
                fs::write(path, &submission.environment[&name]).unwrap();
            }
            Step::WorkingDirectory(path) => {
                let directory = submission.working_directory.canonicalize().unwrap();
                fs::write(path, directory.to_str().unwrap()).unwrap();
            }
            Step::Print(text) => append(submission.directory.join("stdout"), &text),
            Step::PrintError(text) => append(submission.directory.join("stderr"), &text),
            Step::Await(path) => {
                while !path.exists() {
                    let nap = Duration::from_millis(50);
                    if noted.is_empty() && !ignores_terminate {
                        tokio::time::sleep(nap).await;
                        continue;
                    }
                    let Ok(signal) = tokio::time::timeout(nap, run.signal()).await else {
                        continue;
                    };
                    match noted.iter().find(|(noted, _)| *noted == signal) {
                        Some((_, note)) => fs::write(note, "").unwrap(),
                        None if ignores_terminate && signal == Signal::Term => {}
                        None => return EndCause::Signaled(15),
                    }
                }
            }
            Step::Note(signal, path) => {
                run.listen();
                noted.push((signal, path));
            }
            Step::IgnoreTerminate => {
                run.listen();
                ignores_terminate = true;
            }
            Step::Child(fifo) => {
                children.push(OpenOptions::new().write(true).open(fifo).unwrap());
            }
            Step::Exit(code) => return EndCause::Exited(code.into()),
            Step::KillItself => return EndCause::Signaled(9),
            other => panic!("this cluster does not know the step {other:?}"),
        }
    }
    EndCause::Exited(0)
}
