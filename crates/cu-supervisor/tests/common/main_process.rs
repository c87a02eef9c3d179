//! A main process that does what a test wants, over real sockets.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cu_protocol::blocking::{ServerSender, accept};
use cu_protocol::{
    Acknowledgement, Envelope, FromServer, Message, Secret, Sequence, ToServer, Wish,
};
use cu_run_dir::ServerFile;

use super::{BOUND, RUN, Run};

/// It listens until it is dropped, which is like SIGKILL: every connection ends.
pub struct MainProcess {
    received: Receiver<Envelope>,
    shared: Arc<Shared>,
    address: String,
}

struct Shared {
    acknowledges: AtomicBool,
    asks_to_stay: AtomicBool,
    is_over: AtomicBool,
    sender: Mutex<Option<ServerSender<TcpStream>>>,
    streams: Mutex<Vec<TcpStream>>,
}

impl MainProcess {
    /// Starts at a port of its own and writes the run's `server.json` and `secret`. Acknowledges
    /// every message at once, or only when told.
    pub fn start(run: &Run, acknowledges: bool) -> Self {
        let secret = Secret::from_bytes([9; 32]);
        std::fs::write(run.dir.secret(), secret.reveal()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (arrived, received) = mpsc::channel();
        let shared = Arc::new(Shared {
            acknowledges: AtomicBool::new(acknowledges),
            asks_to_stay: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            sender: Mutex::new(None),
            streams: Mutex::new(Vec::new()),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.is_over.load(Ordering::SeqCst) {
                    return;
                }
                serve(&stream.unwrap(), &secret, &of_thread, &arrived);
            }
        });
        let file = ServerFile {
            version: ServerFile::VERSION,
            run: RUN,
            addresses: vec![address.clone()],
            local: None,
            host: "localhost".to_owned(),
            process: std::process::id(),
        };
        let text = serde_json::to_vec(&file).unwrap();
        std::fs::write(run.dir.server_file(), text).unwrap();
        Self {
            received,
            shared,
            address,
        }
    }

    /// The next message that arrives.
    pub fn next(&self) -> Envelope {
        self.received
            .recv_timeout(BOUND)
            .expect("a message arrives")
    }

    /// What has arrived by now and was not looked at.
    pub fn heard(&self) -> Vec<Envelope> {
        self.received.try_iter().collect()
    }

    /// The next message that this picks.
    pub fn next_such(&self, wanted: impl Fn(&Message) -> bool) -> Envelope {
        loop {
            let envelope = self.next();
            if wanted(&envelope.message) {
                return envelope;
            }
        }
    }

    /// Says that everything up to this is recorded, and what it wishes.
    pub fn acknowledge(&self, sequence: Sequence, wish: Option<Wish>) {
        let acknowledgement = Acknowledgement { sequence, wish };
        let mut sender = self.shared.sender.lock().unwrap();
        let sender = sender.as_mut().expect("a supervisor is connected");
        sender
            .send(&FromServer::Acknowledgement(acknowledgement))
            .unwrap();
    }

    /// Asks attempts to stay from now on when they report their end.
    pub fn ask_to_stay(&self) {
        self.shared.asks_to_stay.store(true, Ordering::SeqCst);
    }

    /// From now on acknowledges at once.
    pub fn acknowledge_at_once(&self) {
        self.shared.acknowledges.store(true, Ordering::SeqCst);
    }
}

impl Drop for MainProcess {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the listener, which ends.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(stream: &TcpStream, secret: &Secret, shared: &Arc<Shared>, arrived: &Sender<Envelope>) {
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let clone = || stream.try_clone().unwrap();
    let Ok((mut sender, mut receiver, _role)) = accept(clone(), clone(), secret, RUN) else {
        return;
    };
    stream.set_read_timeout(None).unwrap();
    let welcome = Acknowledgement {
        sequence: Sequence(0),
        wish: None,
    };
    sender.send(&FromServer::Welcome(welcome)).unwrap();
    *shared.sender.lock().unwrap() = Some(sender);
    shared.streams.lock().unwrap().push(clone());
    let (shared, arrived) = (Arc::clone(shared), arrived.clone());
    std::thread::spawn(move || {
        while let Ok(ToServer::Message(envelope)) = receiver.receive() {
            let sequence = envelope.sequence;
            let is_end = matches!(envelope.message, Message::Ended(_));
            let _ = arrived.send(envelope);
            if shared.acknowledges.load(Ordering::SeqCst) {
                let acknowledgement = Acknowledgement {
                    sequence,
                    wish: None,
                };
                let answer = match is_end && shared.asks_to_stay.load(Ordering::SeqCst) {
                    true => FromServer::Stay(sequence),
                    false => FromServer::Acknowledgement(acknowledgement),
                };
                if let Some(sender) = shared.sender.lock().unwrap().as_mut() {
                    // The supervisor may have ended by now.
                    let _ = sender.send(&answer);
                }
            }
        }
    });
}
