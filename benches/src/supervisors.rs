//! The supervisors of a main process that is measured, all in this process: each has a connection of its own,
//! and says what a benchmark wants.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cu_core::RunDir;
use cu_protocol::tokio::{Receiver, Sender, connect};
use cu_protocol::{
    Attempt, Envelope, Fraction, FromServer, JobId, Message, Role, Secret, Sequence, Started,
    Timestamp, ToServer,
};
use cu_run_dir::{ServerFile, read_secret};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

/// The supervisor of the first attempt of a job.
#[derive(Debug)]
pub struct Supervisor {
    job: JobId,
    said: u64,
    sender: Sender<OwnedWriteHalf>,
    receiver: Receiver<OwnedReadHalf>,
}

impl Supervisor {
    async fn start(server: ServerFile, secret: Secret, job: JobId) -> Result<Self> {
        let address = server.addresses.first().context("it has an address")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let attempt = Attempt(0);
        let role = Role::Supervisor { job, attempt };
        let (sender, receiver, _) = connect(read, write, &secret, server.run, role).await?;
        let mut supervisor = Self {
            job,
            said: 0,
            sender,
            receiver,
        };
        let started = Started {
            host: "n1".to_owned(),
            supervisor: 1,
            program: 2,
            at: Timestamp::from_millis(0),
            checkpoint: None,
        };
        supervisor.say(Message::Started(started)).await?;
        Ok(supervisor)
    }

    /// Says something, and waits until it is acknowledged.
    async fn say(&mut self, message: Message) -> Result<()> {
        self.said += 1;
        let sequence = Sequence(self.said);
        let envelope = Envelope {
            job: self.job,
            attempt: Attempt(0),
            sequence,
            message,
        };
        self.sender.send(&ToServer::Message(envelope)).await?;
        loop {
            match self.receiver.receive().await? {
                FromServer::Acknowledgement(it) if it.sequence >= sequence => return Ok(()),
                FromServer::Acknowledgement(_) => {}
                other => bail!("the main process answered {other:?}"),
            }
        }
    }
}

/// Starts the supervisors of so many jobs.
///
/// # Errors
/// If one is not welcomed.
pub async fn start(run: &RunDir, jobs: u32) -> Result<Vec<Supervisor>> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let server = ServerFile::read(&run.server_file())?;
    let secret = read_secret(run)?;
    let mut starts = JoinSet::new();
    let mut supervisors = Vec::new();
    for job in 0..jobs {
        // A main process ends the oldest of more than 128 handshakes.
        while starts.len() >= 64 {
            let started = starts.join_next().await.context("there are some")?;
            supervisors.push(started??);
        }
        starts.spawn(Supervisor::start(
            server.clone(),
            secret.clone(),
            JobId(job),
        ));
    }
    while let Some(started) = starts.join_next().await {
        supervisors.push(started??);
    }
    Ok(supervisors)
}

/// Each says one message after the other, for this long. Returns how many were acknowledged, and in which
/// time.
///
/// # Errors
/// If a message is not acknowledged.
pub async fn talk(supervisors: &mut Vec<Supervisor>, time: Duration) -> Result<(u64, Duration)> {
    let begun = Instant::now();
    let half = Fraction::new(0.5).context("it is between 0 and 1")?;
    let mut talks = JoinSet::new();
    for mut supervisor in supervisors.drain(..) {
        talks.spawn(async move {
            let before = supervisor.said;
            while begun.elapsed() < time {
                supervisor.say(Message::Progress(half)).await?;
            }
            let count = supervisor.said - before;
            anyhow::Ok((supervisor, count))
        });
    }
    let mut all = 0;
    while let Some(talked) = talks.join_next().await {
        let (supervisor, count) = talked??;
        all += count;
        supervisors.push(supervisor);
    }
    Ok((all, begun.elapsed()))
}
