//! The cost of a start: `cu exec` around a program that does nothing, and the commands `cu job …`,
//! compared with the bare program; and the memory of `cu exec`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use cu_benches::{Contest, acknowledging_server, cu, note_everything, scratch, timed};
use cu_protocol::{JobId, RunId, Secret};
use cu_run_dir::{Activation, JobSpec, RunDir, ServerFile, StopPolicy};

const ROUNDS: usize = 31;
/// The number of processes in one turn.
const STARTS: u32 = 20;

const NOTHING: &str = "/bin/true";
const RUN: RunId = RunId([7; 16]);
const JOB: JobId = JobId(0);

fn main() -> Result<()> {
    let cu = cu()?;
    supervisor(&cu)?;
    shell_door(&cu)?;
    memory(&cu)
}

fn supervisor(cu: &Path) -> Result<()> {
    let scratch = scratch()?;
    let secret = Secret::generate()?;
    let listening = acknowledging_server(RUN, secret.clone())?;
    // Bound and dropped, so that nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let nothing = [NOTHING];
    let mut heard = Attempts::new(&scratch.path().join("heard"), &secret, listening, &nothing)?;
    let mut unheard = Attempts::new(&scratch.path().join("unheard"), &secret, gone, &nothing)?;
    Contest::new()
        .with("`true`", || {
            timed(STARTS, || run(&mut Command::new(NOTHING)))
        })
        .with("`cu exec` of it", || timed(STARTS, || heard.run_next(cu)))
        .with("`cu exec` of it, no main process", || {
            timed(STARTS, || unheard.run_next(cu))
        })
        .run("an attempt", ROUNDS)
}

/// A run with one job.
struct Attempts {
    run: RunDir,
    next: u32,
}

impl Attempts {
    fn new(
        directory: &Path,
        secret: &Secret,
        server: SocketAddr,
        program: &[&str],
    ) -> Result<Self> {
        let run = RunDir::new(directory);
        fs::create_dir_all(run.output_dir(JOB))?;
        fs::create_dir_all(run.attempts(JOB))?;
        fs::write(run.settings(JOB), "{}")?;
        fs::write(run.secret(), secret.reveal())?;
        let spec = JobSpec {
            version: JobSpec::VERSION,
            run: RUN,
            job: JOB,
            command: program.iter().map(|word| (*word).into()).collect(),
            working_directory: None,
            stdin: None,
            environment: BTreeMap::new(),
            activation: Activation::default(),
            stop: StopPolicy::default(),
            done_when: None,
        };
        fs::write(run.job_spec(JOB), serde_json::to_vec(&spec)?)?;
        let server = ServerFile {
            version: ServerFile::VERSION,
            run: RUN,
            addresses: vec![server.to_string()],
            local: None,
            host: "localhost".to_owned(),
            process: std::process::id(),
        };
        fs::write(run.server_file(), serde_json::to_vec(&server)?)?;
        Ok(Self { run, next: 0 })
    }

    fn run_next(&mut self, cu: &Path) -> Result<()> {
        let attempt = self.next.to_string();
        self.next += 1;
        fs::write(self.run.newest_attempt(JOB), &attempt)?;
        let mut command = Command::new(cu);
        command
            .arg("exec")
            .arg(self.run.path())
            .args(["0", &attempt]);
        run(&mut command)
    }
}

/// Prints the resident memory of a supervisor while its program runs. The program reads it from its parent: what the
/// kernel says of a child that has ended is at least the memory of the process that started it.
fn memory(cu: &Path) -> Result<()> {
    const LOOK: &str = "sleep 0.2; grep -E '^(VmHWM|RssAnon|RssFile):' /proc/$PPID/status > memory";
    let scratch = scratch()?;
    let secret = Secret::generate()?;
    let listening = acknowledging_server(RUN, secret.clone())?;
    let directory = scratch.path().join("run");
    let mut attempts = Attempts::new(&directory, &secret, listening, &["sh", "-c", LOOK])?;
    attempts.run_next(cu)?;
    println!("\n| memory of `cu exec` | kB |\n| --- | --- |");
    for line in fs::read_to_string(attempts.run.output_dir(JOB).join("memory"))?.lines() {
        let (name, size) = line.split_once(':').context("a name and a size")?;
        let size = size.trim().trim_end_matches(" kB");
        println!("| {name} | {size} |");
    }
    Ok(())
}

fn shell_door(cu: &Path) -> Result<()> {
    let scratch = scratch()?;
    let socket = scratch.path().join("socket");
    note_everything(UnixListener::bind(&socket)?);
    let job = |words: &[&str]| {
        let mut command = Command::new(cu);
        command
            .arg("job")
            .args(words)
            .env("CU_OUTPUT_DIR", scratch.path());
        command
    };
    Contest::new()
        .with("`true`", || {
            timed(STARTS, || run(&mut Command::new(NOTHING)))
        })
        .with("`cu job progress 0.5`", || {
            timed(STARTS, || {
                run(job(&["progress", "0.5"]).env("CU_SOCKET", &socket))
            })
        })
        .with("`cu job progress 0.5`, no supervisor", || {
            timed(STARTS, || run(&mut job(&["progress", "0.5"])))
        })
        .run("a command `cu job`", ROUNDS)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
