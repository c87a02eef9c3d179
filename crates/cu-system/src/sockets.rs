//! Options of sockets.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{getpeername, sockopt};

/// A silent connection is tested this often, and given up after three tests without an answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Whether both ends are on this machine, whose system ends a connection by itself.
fn is_on_this_machine(stream: impl AsFd) -> bool {
    let peer = getpeername(stream).ok().flatten();
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    peer.is_some_and(|peer| peer.ip().is_loopback())
}

/// Has the system end a silent TCP connection within about two minutes once the other end is gone
/// without a word: its machine, or the network between.
///
/// # Errors
/// If the system can't.
pub fn keep_alive(stream: impl AsFd) -> std::io::Result<()> {
    if is_on_this_machine(&stream) {
        return Ok(());
    }
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    Ok(())
}
