//! Two ends of a session in one thread, without a stream.

use cu_protocol::handshake::{Handshake, Step, Then};
use cu_protocol::{Error, Result, Secret, Session, Versions};

/// One end: its secret and its versions.
#[derive(Clone)]
pub struct End {
    pub secret: Secret,
    pub versions: Versions,
}

impl End {
    pub fn new(secret: [u8; 32], versions: Versions) -> Self {
        Self {
            secret: Secret::from_bytes(secret),
            versions,
        }
    }
}

/// Runs the handshake of both ends until both are done. `change` sees every message on its way,
/// numbered from 1, and may change it.
pub fn meet(
    client: &End,
    server: &End,
    mut change: impl FnMut(usize, &mut Vec<u8>),
) -> (Result<Session>, Result<Session>) {
    let mut client = Handshake::client(&client.secret, client.versions);
    let mut server = Handshake::server(&server.secret, server.versions);
    let mut ends = [&mut client, &mut server];
    for number in 1.. {
        let [speaker, listener] = &mut ends;
        let mut said = std::mem::take(&mut speaker.send);
        if said.is_empty() {
            break;
        }
        change(number, &mut said);
        **listener = hear(std::mem::replace(*listener, ended()), &said);
        ends.reverse();
    }
    (outcome(client), outcome(server))
}

/// A session of two ends that know the same secret: the client's side and the server's.
pub fn established() -> (Session, Session) {
    let end = End::new([42; 32], Versions::SPOKEN);
    let (client, server) = meet(&end, &end, |_, _| {});
    (client.unwrap(), server.unwrap())
}

fn hear(step: Step, said: &[u8]) -> Step {
    match step.then {
        Then::Receive { bytes, handshake } => {
            assert_eq!(
                said.len(),
                bytes,
                "a message has the length that is waited for"
            );
            handshake.advance(said)
        }
        then => panic!("neither end receives: {then:?}"),
    }
}

fn ended() -> Step {
    Step {
        send: Vec::new(),
        then: Then::Failed(Error::Closed),
    }
}

/// An end that still waits when the other one is done sees the end of the stream.
fn outcome(step: Step) -> Result<Session> {
    match step.then {
        Then::Established(session) => Ok(session),
        Then::Failed(error) => Err(error),
        Then::Receive { .. } => Err(Error::Closed),
    }
}
