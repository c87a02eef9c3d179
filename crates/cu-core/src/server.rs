//! Listens for supervisors and operators. The handshake keeps strangers out, and a limit on simultaneous
//! handshakes keeps them from using everything up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cu_protocol::tokio::accept;
use cu_protocol::{RunId, Secret};
use cu_run_dir::ServerFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::addresses::host_addresses;
use crate::connections::Connections;
use crate::inbox::Sender;
use crate::{Error, Result, RunDir, conversation};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// At most this many handshakes go on at a time. One more ends the oldest: an honest handshake takes
/// milliseconds, an idle stranger's as long as allowed.
const HANDSHAKES: usize = 128;
/// The wait after a connection could not be accepted, mostly because file descriptors are scarce.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// The server of a main process.
#[derive(Debug)]
pub(crate) struct Server {
    run_dir: RunDir,
}

impl Server {
    /// Starts to listen, as one of `tasks`.
    pub async fn start(
        run_dir: &RunDir,
        run: RunId,
        secret: Secret,
        listen: IpAddr,
        sender: Sender,
        connections: Arc<Connections>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self> {
        allow_many_files();
        let path = run_dir.server_file();
        let listener = TcpListener::bind(SocketAddr::new(listen, 0))
            .await
            .map_err(Error::file("listen, to be named in", &path))?;
        let port = listener
            .local_addr()
            .map_err(Error::file("listen, to be named in", &path))?
            .port();
        let file = ServerFile {
            version: ServerFile::VERSION,
            run,
            addresses: addresses(listen, port),
            host: cu_system::machine::host(),
            process: std::process::id(),
        };
        file.write(&path)?;
        tasks.spawn(listen_on(listener, secret, run, sender, connections));
        Ok(Self {
            run_dir: run_dir.clone(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // So that later clients don't try a dead address.
        let _ = std::fs::remove_file(self.run_dir.server_file());
    }
}

async fn listen_on(
    listener: TcpListener,
    secret: Secret,
    run: RunId,
    sender: Sender,
    connections: Arc<Connections>,
) {
    let handshakes = Arc::new(Handshakes::default());
    // All of them end with this one.
    let mut conversations = JoinSet::new();
    for number in 0.. {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = conversations.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let (secret, sender) = (secret.clone(), sender.clone());
        let (connections, pending) = (connections.clone(), handshakes.clone());
        handshakes.begin(number, &mut conversations, async move {
            let greeting = timeout(HANDSHAKE, shake_hands(stream, &secret, run)).await;
            pending.end(number);
            if let Ok(Some((write, read, role))) = greeting {
                conversation::hold(write, read, role, sender, connections).await;
            }
        });
    }
}

/// The handshakes that go on, oldest first.
#[derive(Debug, Default)]
struct Handshakes(Mutex<BTreeMap<u64, AbortHandle>>);

impl Handshakes {
    /// Begins one, and ends the oldest if that makes too many.
    fn begin(
        &self,
        number: u64,
        tasks: &mut JoinSet<()>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the task can't end before it is entered.
        pending.insert(number, tasks.spawn(task));
        if pending.len() > HANDSHAKES
            && let Some((_, oldest)) = pending.pop_first()
        {
            oldest.abort();
        }
    }

    fn end(&self, number: u64) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.remove(&number);
    }
}

async fn shake_hands(
    stream: TcpStream,
    secret: &Secret,
    run: RunId,
) -> Option<(conversation::Write, conversation::Read, cu_protocol::Role)> {
    // The peer waits for small messages: never delay one.
    stream.set_nodelay(true).ok()?;
    cu_system::sockets::keep_alive(&stream).ok()?;
    let (read, write) = stream.into_split();
    accept(read, write, secret, run).await.ok()
}

/// Each running attempt needs a file descriptor for its connection; the usual soft limit is 1024.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum.map(|most| most.min(65_536)).or(Some(65_536)),
        maximum: limit.maximum,
    };
    if limit.current < raised.current {
        // If this fails, fewer attempts can be connected.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// The addresses at which others reach us, the likeliest first.
fn addresses(listen: IpAddr, port: u16) -> Vec<String> {
    let hosts = match listen.is_unspecified() {
        true => host_addresses().into_iter(),
        false => vec![listen].into_iter(),
    };
    let here = listen
        .is_unspecified()
        .then_some(Ipv4Addr::LOCALHOST.into());
    let all = hosts.chain(here);
    all.map(|host| SocketAddr::new(host, port).to_string())
        .collect()
}
