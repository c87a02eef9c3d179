//! Encoding and decoding messages, compared with JSON; a connection with its handshake, compared
//! with one without.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use cu_benches::{Contest, acknowledging_server, serve, timed};
use cu_protocol::frame::{self, Decoder};
use cu_protocol::{
    Attempt, CheckpointId, Envelope, ExitRecord, Fraction, JobId, Message, MetricValue,
    OutputChange, ProgramEnd, ResumeRequest, Role, RunId, Secret, Sequence, StopCause, Timestamp,
    ToServer, blocking,
};

const ROUNDS: usize = 31;
/// The number of messages in one turn.
const MESSAGES: u32 = 20_000;
/// The number of connections in one turn.
const CONNECTIONS: u32 = 100;

const RUN: RunId = RunId([7; 16]);
const JOB: JobId = JobId(123);
const ATTEMPT: Attempt = Attempt(4);

fn main() -> Result<()> {
    for (name, message) in messages() {
        codec(name, message)?;
    }
    connections()
}

/// The frequent messages of an attempt, and the largest one.
fn messages() -> Vec<(&'static str, Message)> {
    let checkpoint = Some(CheckpointId {
        attempt: ATTEMPT,
        counter: 17,
    });
    let metrics = (0..10)
        .map(|number| {
            (
                format!("metric_{number}"),
                MetricValue::Float(f64::from(number) / 3.0),
            )
        })
        .collect();
    let record = ExitRecord {
        end: ProgramEnd::Exited(3),
        stop: Some(StopCause::TimeBudget),
        host: "node017.cluster.example.org".to_owned(),
        started: Some(Timestamp::from_millis(1_790_000_000_000)),
        ended: Timestamp::from_millis(1_790_000_003_600),
        peak_memory_bytes: Some(3 << 30),
        checkpoint,
        output_changed: OutputChange::Changed,
        condition: None,
        noticed: cu_protocol::Noticed::default(),
    };
    vec![
        (
            "progress",
            Message::Progress(Fraction::new(0.3).expect("0.3 is a fraction")),
        ),
        (
            "resume request",
            Message::ResumeRequest(ResumeRequest { checkpoint }),
        ),
        ("10 metrics", Message::EarlyMetrics(metrics)),
        ("ended", Message::Ended(record)),
    ]
}

fn envelope(message: Message) -> Envelope {
    Envelope {
        job: JOB,
        attempt: ATTEMPT,
        sequence: Sequence(1),
        message,
    }
}

fn codec(name: &str, message: Message) -> Result<()> {
    let envelope = envelope(message);
    let json = serde_json::to_vec(&envelope)?;
    let frame = frame::encode(&envelope)?;
    Contest::new()
        .with(format!("serde_json, {} bytes", json.len()), || {
            timed(MESSAGES, || {
                black_box(serde_json::to_vec(black_box(&envelope))?);
                Ok(())
            })
        })
        .with(format!("frame, {} bytes", frame.len()), || {
            timed(MESSAGES, || {
                black_box(frame::encode(black_box(&envelope))?);
                Ok(())
            })
        })
        .run(&format!("encode {name}"), ROUNDS)?;

    let mut decoder = Decoder::new();
    Contest::new()
        .with("serde_json", || {
            timed(MESSAGES, || {
                black_box(serde_json::from_slice::<Envelope>(black_box(&json))?);
                Ok(())
            })
        })
        .with("frame", || {
            timed(MESSAGES, || {
                decoder.feed(black_box(&frame));
                black_box(
                    decoder
                        .next_message::<Envelope>()?
                        .context("a whole frame was fed")?,
                );
                Ok(())
            })
        })
        .run(&format!("decode {name}"), ROUNDS)
}

/// Connect, one message, its acknowledgement, close: with and without a handshake.
fn connections() -> Result<()> {
    let message = ToServer::Message(envelope(Message::ResumeRequest(ResumeRequest::default())));
    let secret = Secret::generate()?;
    let plain = serve(|stream| {
        // If this fails, the client misses its answer and reports that.
        let _ = echo(stream);
    })?;
    let noise = acknowledging_server(RUN, secret.clone())?;
    let frame = frame::encode(&message)?;
    Contest::new()
        .with("plain TCP", || {
            timed(CONNECTIONS, || {
                let mut stream = connect(plain)?;
                stream.write_all(&frame)?;
                let mut echoed = vec![0; frame.len()];
                Ok(stream.read_exact(&mut echoed)?)
            })
        })
        .with("with the handshake", || {
            timed(CONNECTIONS, || {
                let stream = connect(noise)?;
                let role = Role::Supervisor {
                    job: JOB,
                    attempt: ATTEMPT,
                };
                let (mut sender, mut receiver, _) =
                    blocking::connect(&stream, &stream, &secret, RUN, role)?;
                sender.send(&message)?;
                receiver.receive()?;
                Ok(())
            })
        })
        .run("connect, one message and its answer", ROUNDS)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn echo(mut stream: &TcpStream) -> Result<()> {
    let mut bytes = [0; 1024];
    let count = stream.read(&mut bytes)?;
    Ok(stream.write_all(&bytes[..count])?)
}
