//! Listens for supervisors and operators. The handshake keeps strangers out, and a limit on simultaneous
//! handshakes keeps them from using everything up.
//!
//! Where all attempts run on this machine, there is a Unix socket besides TCP. The kernel says who is at its other
//! end, so that nothing needs to be encrypted there, which is most of what a short connection costs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener as StdUnixListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cu_protocol::tokio::{accept, accept_local};
use cu_protocol::{RunId, Secret};
use cu_run_dir::ServerFile;
use cu_system::users;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
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
/// From this limit on open files on, one more makes no difference.
const MANY_FILES: u64 = 256;
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
        let most_files = allow_many_files();
        let path = run_dir.server_file();
        let listener = TcpListener::bind(SocketAddr::new(listen, 0))
            .await
            .map_err(Error::file("listen, to be named in", &path))?;
        let port = listener
            .local_addr()
            .map_err(Error::file("listen, to be named in", &path))?
            .port();
        // Without it there is TCP. Where few files may be open, an attempt needs the descriptor more.
        let is_wanted = listen.is_loopback() && most_files >= MANY_FILES;
        let local = is_wanted.then(|| format!("cu-{run}-{port}"));
        let local = local.and_then(|name| Some((listen_locally(&name).ok()?, name)));
        let (local, name) = local.unzip();
        let listeners = Listeners {
            tcp: listener,
            local,
        };
        let file = ServerFile {
            version: ServerFile::VERSION,
            run,
            addresses: addresses(listen, port),
            local: name,
            host: cu_system::machine::host(),
            process: std::process::id(),
        };
        file.write(&path)?;
        tasks.spawn(listen_on(listeners, secret, run, sender, connections));
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

/// Where peers come from.
#[derive(Debug)]
struct Listeners {
    tcp: TcpListener,
    local: Option<UnixListener>,
}

/// A peer before its handshake.
#[derive(Debug)]
enum Peer {
    Tcp(TcpStream),
    /// It may be of any user.
    Local(UnixStream),
}

impl Listeners {
    async fn accept(&self) -> std::io::Result<Peer> {
        let local = async {
            match &self.local {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.tcp.accept() => accepted.map(|(stream, _)| Peer::Tcp(stream)),
            accepted = local => accepted.map(|(stream, _)| Peer::Local(stream)),
        }
    }
}

/// Listens at an abstract name: it has no file, and is gone with this process.
fn listen_locally(name: &str) -> std::io::Result<UnixListener> {
    let listener = StdUnixListener::bind_addr(&UnixAddress::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn listen_on(
    listeners: Listeners,
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
            accepted = listeners.accept() => accepted,
            Some(_) = conversations.join_next() => continue,
        };
        let Ok(peer) = accepted else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let (secret, sender) = (secret.clone(), sender.clone());
        let (connections, pending) = (connections.clone(), handshakes.clone());
        handshakes.begin(number, &mut conversations, async move {
            let greeting = timeout(HANDSHAKE, shake_hands(peer, &secret, run)).await;
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
    peer: Peer,
    secret: &Secret,
    run: RunId,
) -> Option<(conversation::Write, conversation::Read, cu_protocol::Role)> {
    match peer {
        Peer::Tcp(stream) => {
            // The peer waits for small messages: never delay one.
            stream.set_nodelay(true).ok()?;
            cu_system::sockets::keep_alive(&stream).ok()?;
            let (read, write) = stream.into_split();
            let (read, write) = (Box::new(read), Box::new(write));
            accept::<conversation::Input, conversation::Output>(read, write, secret, run).await
        }
        Peer::Local(stream) => {
            // Anybody on this machine may have connected. Root may read all of it anyway.
            users::foreign_peer(&stream).ok()?.is_none().then_some(())?;
            let (read, write) = stream.into_split();
            let (read, write) = (Box::new(read), Box::new(write));
            accept_local::<conversation::Input, conversation::Output>(read, write, secret, run)
                .await
        }
    }
    .ok()
}

/// Each running attempt needs a file descriptor for its connection; the usual soft limit is 1024. Returns how many
/// files may be open.
fn allow_many_files() -> u64 {
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
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
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
