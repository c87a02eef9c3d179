//! Both ends, blocking and asynchronous, against each other over Unix socket pairs.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cu_protocol::handshake::{Handshake, Then};
use cu_protocol::{
    Acknowledgement, Attempt, Envelope, Error, Failure, FromServer, JobId, Message, OperatorAnswer,
    OperatorRequest, Result, Role, RunId, Secret, Sequence, ToServer, Versions, blocking,
};

const RUN: RunId = RunId([7; 16]);
const ROLE: Role = Role::Supervisor {
    job: JobId(3),
    attempt: Attempt(1),
};

fn secret() -> Secret {
    Secret::from_bytes([42; 32])
}

fn acknowledgement(sequence: u64) -> Acknowledgement {
    Acknowledgement {
        sequence: Sequence(sequence),
        wish: None,
    }
}

fn message(sequence: u64, text: &str) -> ToServer {
    ToServer::Message(Envelope {
        job: JobId(3),
        attempt: Attempt(1),
        sequence: Sequence(sequence),
        message: Message::Failed(Failure { text: text.into() }),
    })
}

/// How long a test waits before it fails. No test waits at all if the code is right.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two connected streams and a second handle of each.
fn pipe() -> [UnixStream; 4] {
    let (client, server) = UnixStream::pair().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    [client, client_too, server, server_too]
}

type Client = (
    blocking::Sender<UnixStream>,
    blocking::Receiver<UnixStream>,
    Acknowledgement,
);
type Server = (
    blocking::ServerSender<UnixStream>,
    blocking::ServerReceiver<UnixStream>,
    Role,
);

/// The results of both ends for a connection with these secrets and runs.
fn meet(client: (Secret, RunId), server: (Secret, RunId)) -> (Result<Client>, Result<Server>) {
    let [client_read, client_write, server_read, server_write] = pipe();
    let serving = thread::spawn(move || {
        let mut accepted = blocking::accept(server_read, server_write, &server.0, server.1)?;
        accepted.0.send(&FromServer::Welcome(acknowledgement(5)))?;
        Ok(accepted)
    });
    let connected = blocking::connect(client_read, client_write, &client.0, client.1, ROLE);
    (connected, serving.join().unwrap())
}

fn connected() -> (Client, Server) {
    let (client, server) = meet((secret(), RUN), (secret(), RUN));
    (client.unwrap(), server.unwrap())
}

#[test]
fn messages_pass_both_ways_and_the_end_is_clean() {
    let ((mut sender, mut receiver, welcome), (mut answers, mut requests, role)) = connected();
    assert_eq!(welcome, acknowledgement(5));
    assert_eq!(role, ROLE);
    for sequence in 1..=3 {
        sender.send(&message(sequence, "a")).unwrap();
        assert_eq!(requests.receive().unwrap(), message(sequence, "a"));
        let answer = FromServer::Acknowledgement(acknowledgement(sequence));
        answers.send(&answer).unwrap();
        assert_eq!(receiver.receive().unwrap(), answer);
    }
    drop((answers, requests));
    assert!(matches!(receiver.receive(), Err(Error::Closed)));
}

#[test]
fn a_message_longer_than_a_record_arrives_whole() {
    let ((mut sender, _receiver, _), (_answers, mut requests, _)) = connected();
    let long = message(1, &"x".repeat(900_000));
    let expected = long.clone();
    let sending = thread::spawn(move || sender.send(&long).map(|()| sender));
    assert_eq!(requests.receive().unwrap(), expected);
    let mut sender = sending.join().unwrap().unwrap();

    let too_long = message(2, &"x".repeat(cu_protocol::MESSAGE_LIMIT));
    assert!(matches!(sender.send(&too_long), Err(Error::TooLong { .. })));
    sender.send(&message(2, "short")).unwrap();
    assert_eq!(requests.receive().unwrap(), message(2, "short"));
}

#[test]
fn another_secret_fails_at_both_ends() {
    let (client, server) = meet((Secret::from_bytes([1; 32]), RUN), (secret(), RUN));
    assert!(matches!(client, Err(Error::WrongSecret)), "{client:?}");
    assert!(matches!(server, Err(Error::WrongSecret)), "{server:?}");
}

#[test]
fn another_run_is_refused_by_name() {
    let other = RunId([8; 16]);
    let (client, server) = meet((secret(), other), (secret(), RUN));
    for error in [client.map(drop).unwrap_err(), server.map(drop).unwrap_err()] {
        assert!(matches!(&error, Error::Refused(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&RUN.to_string()), "{text}");
        assert!(text.contains(&other.to_string()), "{text}");
    }
}

/// Once `slow` is set, every other read times out and the rest return one byte.
struct Stuttering {
    stream: UnixStream,
    slow: AtomicBool,
    times_out: bool,
}

impl Read for Stuttering {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.slow.load(Ordering::Relaxed) {
            return self.stream.read(into);
        }
        self.times_out = !self.times_out;
        if self.times_out {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // A time-out of the stream itself fails the test.
        self.stream.read(&mut into[..1]).map_err(io::Error::other)
    }
}

#[test]
fn a_read_that_times_out_loses_nothing() {
    let [client_read, client_write, server_read, server_write] = pipe();
    let serving = thread::spawn(move || {
        let (mut sender, receiver, _) =
            blocking::accept(server_read, server_write, &secret(), RUN).unwrap();
        sender
            .send(&FromServer::Welcome(acknowledgement(0)))
            .unwrap();
        (sender, receiver)
    });
    let stuttering = Stuttering {
        stream: client_read,
        slow: AtomicBool::new(false),
        times_out: false,
    };
    let (_sender, mut receiver, _) =
        blocking::connect(stuttering, client_write, &secret(), RUN, ROLE).unwrap();
    let (mut sender, _receiver) = serving.join().unwrap();

    receiver.get_ref().slow.store(true, Ordering::Relaxed);
    let answer = FromServer::Answer(OperatorAnswer::Done { jobs: 3 });
    sender.send(&answer).unwrap();
    let mut timeouts = 0;
    let received = loop {
        match receiver.receive() {
            Err(error) if error.is_timeout() => timeouts += 1,
            other => break other.unwrap(),
        }
    };
    assert_eq!(received, answer);
    assert!(timeouts > 20, "a time-out before each byte: {timeouts}");
}

#[test]
fn an_end_within_a_message_is_not_a_clean_end() {
    let [client_read, client_write, server_read, server_write] = pipe();
    let mut raw = server_write.try_clone().unwrap();
    let serving = thread::spawn(move || {
        let (mut sender, ..) = blocking::accept(server_read, server_write, &secret(), RUN).unwrap();
        sender
            .send(&FromServer::Welcome(acknowledgement(0)))
            .unwrap();
    });
    let (_sender, mut receiver, _) =
        blocking::connect(client_read, client_write, &secret(), RUN, ROLE).unwrap();
    serving.join().unwrap();
    raw.write_all(&[100, 0, 1, 2, 3]).unwrap();
    drop(raw);
    match receiver.receive() {
        Err(Error::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sending_after_a_cut_off_message_is_refused() {
    let ((mut sender, receiver, _), server) = connected();
    drop((server, receiver));
    assert!(matches!(sender.send(&message(1, "a")), Err(Error::Io(_))));
    assert!(matches!(sender.send(&message(1, "a")), Err(Error::Closed)));
}

#[test]
fn a_first_message_other_than_a_greeting_is_refused() {
    let [mut client_read, mut client_write, server_read, server_write] = pipe();
    let serving =
        thread::spawn(move || blocking::accept(server_read, server_write, &secret(), RUN));
    let mut step = Handshake::client(&secret(), Versions::SPOKEN);
    let session = loop {
        client_write.write_all(&step.send).unwrap();
        step = match step.then {
            Then::Receive { bytes, handshake } => {
                let mut received = vec![0; bytes];
                client_read.read_exact(&mut received).unwrap();
                handshake.advance(&received)
            }
            Then::Established(session) => break session,
            Then::Failed(error) => panic!("{error}"),
        };
    };
    let (mut sealer, mut opener) = session.split();
    let records = sealer.seal(&ToServer::Request(OperatorRequest::Ping));
    client_write.write_all(&records.unwrap()).unwrap();
    assert!(matches!(serving.join().unwrap(), Err(Error::Refused(_))));
    let mut answer = Vec::new();
    client_read.read_to_end(&mut answer).unwrap();
    opener.feed(&answer);
    assert!(matches!(
        opener.next_message(),
        Ok(Some(FromServer::Refused(_)))
    ));
}

/// The asynchronous ends. Also drops `receive` at every byte.
mod asynchronous {
    use super::*;
    use ::tokio::io::{AsyncWriteExt, duplex, split};
    use cu_protocol::tokio::{accept, connect};

    async fn soon<T>(work: impl Future<Output = T>) -> T {
        ::tokio::time::timeout(PATIENCE, work)
            .await
            .expect("both ends do their part")
    }

    #[::tokio::test]
    async fn messages_pass_both_ways_and_the_end_is_clean() {
        let (client, server) = duplex(64);
        let (client_read, client_write) = split(client);
        let (server_read, server_write) = split(server);
        let secret = secret();
        let serve = async {
            let (mut answers, mut requests, role) =
                accept(server_read, server_write, &secret, RUN).await?;
            answers
                .send(&FromServer::Welcome(acknowledgement(9)))
                .await?;
            let request = requests.receive().await?;
            answers
                .send(&FromServer::Acknowledgement(acknowledgement(10)))
                .await?;
            Ok::<_, Error>((role, request, requests.receive().await))
        };
        let ask = async {
            let (mut sender, mut receiver, welcome) =
                connect(client_read, client_write, &secret, RUN, Role::Operator).await?;
            sender.send(&message(10, &"long ".repeat(30_000))).await?;
            Ok::<_, Error>((welcome, receiver.receive().await?))
        };
        let (served, asked) = soon(async { ::tokio::join!(serve, ask) }).await;
        assert_eq!(
            asked.unwrap(),
            (
                acknowledgement(9),
                FromServer::Acknowledgement(acknowledgement(10))
            )
        );
        let (role, request, end) = served.unwrap();
        assert_eq!(role, Role::Operator);
        assert_eq!(request, message(10, &"long ".repeat(30_000)));
        assert!(matches!(end, Err(Error::Closed)), "{end:?}");
    }

    #[::tokio::test]
    async fn another_run_or_secret_fails_at_both_ends() {
        for (run, key, expected) in [
            (RunId([8; 16]), [42; 32], "refused"),
            (RUN, [1; 32], "secrets"),
        ] {
            let (client, server) = duplex(64);
            let (client_read, client_write) = split(client);
            let (server_read, server_write) = split(server);
            let (ours, theirs) = (secret(), Secret::from_bytes(key));
            let ends = async {
                ::tokio::join!(
                    accept(server_read, server_write, &ours, RUN),
                    connect(client_read, client_write, &theirs, run, ROLE),
                )
            };
            let (accepted, connected) = soon(ends).await;
            let errors = [accepted.map(drop), connected.map(drop)].map(Result::unwrap_err);
            for error in errors {
                assert!(error.to_string().contains(expected), "{error}");
            }
        }
    }

    #[::tokio::test]
    async fn a_receive_that_is_dropped_loses_nothing() {
        // The test relays the client's bytes one by one.
        let (client, mut from_client) = duplex(1024);
        let (mut to_server, server) = duplex(1024);
        let secret = secret();
        let (client_read, client_write) = split(client);
        let (server_read, server_write) = split(server);
        let relay = async {
            // The sizes of the handshake's four messages.
            for (from_the_client, bytes) in [(true, 12), (false, 14), (true, 48), (false, 48)] {
                let (from, to) = if from_the_client {
                    (&mut from_client, &mut to_server)
                } else {
                    (&mut to_server, &mut from_client)
                };
                let mut passed = vec![0; bytes];
                ::tokio::io::AsyncReadExt::read_exact(from, &mut passed)
                    .await
                    .unwrap();
                to.write_all(&passed).await.unwrap();
            }
            // From now on both ways until both ends are connected.
            let _ = ::tokio::io::copy_bidirectional(&mut from_client, &mut to_server).await;
        };
        let ends = async {
            ::tokio::join!(
                async {
                    let mut accepted = accept(server_read, server_write, &secret, RUN).await?;
                    let welcome = FromServer::Welcome(acknowledgement(0));
                    accepted.0.send(&welcome).await?;
                    Ok::<_, Error>(accepted)
                },
                connect(client_read, client_write, &secret, RUN, ROLE),
            )
        };
        let (accepted, connected) = ::tokio::select! {
            () = relay => panic!("the ends are still connecting"),
            ends = soon(ends) => ends,
        };
        let ((_answers, mut requests, _), (mut sender, ..)) =
            (accepted.unwrap(), connected.unwrap());

        for sequence in 1..=2 {
            sender.send(&message(sequence, "slow")).await.unwrap();
        }
        drop(sender);
        let mut received = Vec::new();
        let mut byte = [0];
        while ::tokio::io::AsyncReadExt::read(&mut from_client, &mut byte)
            .await
            .unwrap()
            > 0
        {
            to_server.write_all(&byte).await.unwrap();
            // Polled once with the new byte, then dropped.
            ::tokio::select! {
                biased;
                request = requests.receive() => received.push(request.unwrap()),
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(received, [message(1, "slow"), message(2, "slow")]);
    }
}
