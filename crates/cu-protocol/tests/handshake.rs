//! The handshake: which ends get in, which don't, and the error at either end.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

#[path = "support/session.rs"]
mod session;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use cu_protocol::handshake::{Handshake, Then};
use cu_protocol::{
    Acknowledgement, Error, FromServer, OperatorRequest, Role, RunId, Secret, Sequence, Session,
    ToServer, Versions, blocking,
};
use session::{End, established, meet};

const RUN: RunId = RunId([7; 16]);

fn speaking(lowest: u16, highest: u16) -> End {
    End::new([42; 32], Versions { lowest, highest })
}

/// Checks that each end opens the messages that the other one seals.
fn understand_each_other(client: Session, server: Session) {
    let (mut client_sealer, mut client_opener) = client.split();
    let (mut server_sealer, mut server_opener) = server.split();
    let request = ToServer::Request(OperatorRequest::Ping);
    server_opener.feed(&client_sealer.seal(&request).unwrap());
    assert_eq!(server_opener.next_message().unwrap(), Some(request));
    let answer = FromServer::Refused("no".into());
    client_opener.feed(&server_sealer.seal(&answer).unwrap());
    assert_eq!(client_opener.next_message().unwrap(), Some(answer));
}

#[test]
fn ends_of_one_release_understand_each_other() {
    let (client, server) = established();
    understand_each_other(client, server);
}

#[test]
fn ends_of_different_age_agree_on_the_newest_version_of_both() {
    for (client, server, version) in [
        (speaking(1, 3), speaking(2, 9), 3),
        (speaking(2, 9), speaking(1, 3), 3),
        (speaking(1, 1), speaking(1, 2), 1),
    ] {
        let (client, server) = meet(&client, &server, |_, _| {});
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!((client.version(), server.version()), (version, version));
        understand_each_other(client, server);
    }
}

#[test]
fn ends_without_a_common_version_both_name_both_ranges() {
    for (client, server) in [
        (speaking(1, 2), speaking(3, 3)),
        (speaking(3, 3), speaking(1, 2)),
    ] {
        let (at_client, at_server) = meet(&client, &server, |_, _| {});
        for (error, own, other) in [
            (at_client.unwrap_err(), &client, &server),
            (at_server.unwrap_err(), &server, &client),
        ] {
            match error {
                Error::Version { ours, theirs } => {
                    assert_eq!((ours, theirs), (own.versions, other.versions));
                }
                other => panic!("{other:?}"),
            }
            let text = error.to_string();
            assert!(
                text.contains(&format!("version {}", own.versions)),
                "{text}"
            );
            assert!(
                text.contains(&format!("version {}", other.versions)),
                "{text}"
            );
        }
    }
}

#[test]
fn a_server_that_chooses_what_was_not_offered_is_refused() {
    let (client, _) = meet(&speaking(1, 2), &speaking(1, 2), |number, said| {
        if number == 2 {
            said[8] = 7;
        }
    });
    assert!(matches!(client, Err(Error::Version { .. })), "{client:?}");
}

#[test]
fn another_secret_fails_at_both_ends_at_once() {
    let mut messages = 0;
    let other = End::new([1; 32], Versions::SPOKEN);
    let (client, server) = meet(&other, &speaking(1, 1), |number, _| messages = number);
    assert!(matches!(client, Err(Error::WrongSecret)), "{client:?}");
    assert!(matches!(server, Err(Error::WrongSecret)), "{server:?}");
    assert_eq!(messages, 4);
}

#[test]
fn a_server_without_the_secret_is_found_out() {
    let (client, _) = meet(&speaking(1, 1), &speaking(1, 1), |number, said| {
        if number == 4 {
            *said = vec![9; 48];
        }
    });
    assert!(matches!(client, Err(Error::WrongSecret)), "{client:?}");
}

#[test]
fn a_bit_changed_on_the_way_fails_the_handshake() {
    let end = speaking(1, 2);
    for (number, length) in [(1, 12), (2, 14), (3, 48), (4, 48)] {
        for byte in 0..length {
            let bit = 1 << (byte % 8);
            let (client, server) = meet(&end, &end, |at, said| {
                if at == number {
                    said[byte] ^= bit;
                }
            });
            // Only the client can notice a change in the last message.
            assert!(client.is_err(), "message {number}, byte {byte}");
            assert!(
                server.is_err() || number == 4,
                "message {number}, byte {byte}"
            );
        }
    }
}

#[test]
fn another_protocol_is_reported_as_a_stranger() {
    let end = speaking(1, 1);
    for (step, received) in [
        (
            Handshake::server(&end.secret, end.versions),
            &b"GET / HTTP/1"[..],
        ),
        (
            Handshake::client(&end.secret, end.versions),
            b"SSH-2.0-OpenSS",
        ),
        (Handshake::server(&end.secret, end.versions), b"cu-proto"),
    ] {
        let Then::Receive { handshake, .. } = step.then else {
            panic!("a fresh handshake waits");
        };
        let step = handshake.advance(received);
        assert!(step.send.is_empty(), "a stranger gets no answer");
        assert!(matches!(step.then, Then::Failed(Error::Stranger)));
    }
}

#[test]
fn unencrypted_messages_never_change() {
    let mut words = Vec::new();
    let _ = meet(&speaking(1, 0x0203), &speaking(2, 3), |number, said| {
        if number <= 2 {
            words.push(said.clone());
        }
    });
    assert_eq!(words[0], b"cu-proto\x01\x00\x03\x02");
    assert_eq!(words[1], b"cu-proto\x03\x00\x02\x00\x03\x00");
}

/// Writes to a stream and remembers all of it.
struct Recording {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Write for &mut Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.bytes.extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[test]
fn a_recorded_session_means_nothing_to_another_server() {
    let secret = Secret::from_bytes([42; 32]);
    let (client, server) = UnixStream::pair().unwrap();
    // The wait is never this long if the code is right.
    for stream in [&client, &server] {
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
    }
    let server_write = server.try_clone().unwrap();
    let serving = thread::spawn({
        let secret = secret.clone();
        move || {
            let (mut sender, mut receiver, _) =
                blocking::accept(server, server_write, &secret, RUN).unwrap();
            let welcome = Acknowledgement {
                sequence: Sequence(0),
                wish: None,
            };
            sender.send(&FromServer::Welcome(welcome)).unwrap();
            receiver.receive().unwrap()
        }
    });
    let mut recording = Recording {
        stream: client.try_clone().unwrap(),
        bytes: Vec::new(),
    };
    let detach = ToServer::Request(OperatorRequest::Detach);
    let (mut sender, ..) =
        blocking::connect(client, &mut recording, &secret, RUN, Role::Operator).unwrap();
    sender.send(&detach).unwrap();
    assert_eq!(serving.join().unwrap(), detach);

    let replayed = blocking::accept(&recording.bytes[..], io::sink(), &secret, RUN);
    assert!(matches!(replayed, Err(Error::Tampered)), "{replayed:?}");
}

#[test]
fn debug_output_holds_no_key() {
    let bytes = [0xab; 32];
    let end = End::new(bytes, Versions::SPOKEN);
    let step = Handshake::client(&end.secret, end.versions);
    let (client, server) = meet(&end, &end, |_, _| {});
    let shown = format!("{:?} {step:?} {client:?} {server:?}", end.secret);
    for form in ["171", "ab, ab", "abab", "0xab"] {
        assert!(!shown.to_lowercase().contains(form), "{shown}");
    }
}

#[test]
fn secrets_differ_and_survive_their_file() {
    let secret = Secret::generate().unwrap();
    let text = secret.reveal();
    assert_ne!(text, Secret::generate().unwrap().reveal());
    assert_eq!(Secret::parse(&format!(" {text}\n")).unwrap().reveal(), text);
    for wrong in [
        "",
        "12",
        &text[1..],
        &text.replace(&text[..1], "g"),
        &"é".repeat(32),
    ] {
        let error = Secret::parse(wrong).unwrap_err();
        assert!(matches!(error, Error::InvalidSecret));
        assert!(wrong.len() < 5 || !error.to_string().contains(wrong));
    }
}
