//! An attempt of job 0: its messages to the main process, and its files.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use cu_core::RunDir;
use cu_protocol::tokio::{Receiver, Sender, connect};
use cu_protocol::{Attempt, Envelope, JobId, Message, Metrics, Role, Secret, Sequence};
use cu_run_dir::ServerFile;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

pub const JOB: JobId = JobId(0);

pub type Connection = (Sender<OwnedWriteHalf>, Receiver<OwnedReadHalf>);

/// As the supervisor of `attempt`.
pub async fn connect_as_a_supervisor(run: &RunDir, attempt: Attempt) -> Connection {
    let server = ServerFile::read(&run.server_file()).expect("it listens");
    let text = std::fs::read_to_string(run.secret()).expect("a secret");
    let secret = Secret::parse(&text).expect("a secret");
    let stream = TcpStream::connect(&server.addresses[0]).await;
    let (read, write) = stream.expect("it accepts").into_split();
    let role = Role::Supervisor { job: JOB, attempt };
    let connection = connect(read, write, &secret, server.run, role).await;
    let (sender, receiver, _) = connection.expect("it welcomes");
    (sender, receiver)
}

pub fn put_in_outbox(run: &RunDir, attempt: Attempt, number: u64, message: Message) {
    let sequence = Sequence(number);
    let envelope = Envelope {
        job: JOB,
        attempt,
        sequence,
        message,
    };
    let file = serde_json::json!({"version": 1, "envelope": envelope}).to_string();
    std::fs::create_dir_all(run.outbox(JOB, attempt)).expect("an outbox");
    let path = run.outbox_message(JOB, attempt, sequence);
    std::fs::write(path, file).expect("a message");
}

pub fn write_exit_record(run: &RunDir, attempt: Attempt, exit_code: i32) {
    let record = serde_json::json!({
        "version": 1, "end": {"exited": exit_code}, "stop": null, "host": "n1", "started": 1000,
        "ended": 2000, "peak_memory_bytes": null, "checkpoint": null, "output_changed": true
    });
    let path = run.exit_record(JOB, attempt);
    std::fs::write(path, record.to_string()).expect("a record");
}

pub fn results() -> Message {
    Message::Results(Metrics::from([("loss".to_owned(), 0.5.into())]))
}
