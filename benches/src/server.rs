//! The parts of a main process and of a supervisor that a benchmark needs: they acknowledge every message.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use anyhow::Result;
use cu_protocol::lines::to_line;
use cu_protocol::{
    Acknowledgement, FromServer, ProgramAnswer, Result as ProtocolResult, RunId, Secret, Sequence,
    ToServer, blocking,
};

/// Acknowledges every message for `run`, until this process ends.
///
/// # Errors
/// If it can't listen.
pub fn acknowledging_server(run: RunId, secret: Secret) -> Result<SocketAddr> {
    serve(move |stream| {
        // Every connection ends with an error, at the latest when it is closed.
        let _ = acknowledge_all(stream, &secret, run);
    })
}

/// Listens on loopback and answers one connection after the other, until this process ends.
///
/// # Errors
/// If it can't listen.
pub fn serve(answer: impl Fn(&TcpStream) + Send + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // If this fails, answers come late, which the benchmark shows.
            let _ = stream.set_nodelay(true);
            answer(&stream);
        }
    });
    Ok(address)
}

fn acknowledge_all(stream: &TcpStream, secret: &Secret, run: RunId) -> ProtocolResult<()> {
    let acknowledge = |sequence| Acknowledgement {
        sequence,
        wish: None,
    };
    let (mut sender, mut receiver, _) = blocking::accept(stream, stream, secret, run)?;
    sender.send(&FromServer::Welcome(acknowledge(Sequence(0))))?;
    loop {
        if let ToServer::Message(envelope) = receiver.receive()? {
            sender.send(&FromServer::Acknowledgement(acknowledge(envelope.sequence)))?;
        }
    }
}

/// The supervisor's end of a program's socket, until this process ends.
pub fn note_everything(listener: UnixListener) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client misses its answer and reports that.
            let _ = note_all_of(stream);
        }
    });
}

fn note_all_of(mut stream: UnixStream) -> anyhow::Result<()> {
    let requests = BufReader::new(stream.try_clone()?).lines();
    for request in requests {
        request?;
        stream.write_all(&to_line(&ProgramAnswer::Noted))?;
    }
    Ok(())
}
