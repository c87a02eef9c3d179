//! Options of sockets.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// A silent connection is tested this often, and given up after three tests without an answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Has the system end a silent TCP connection within about two minutes once the other end is gone
/// without a word: its machine, or the network between.
///
/// # Errors
/// If the system can't.
pub fn keep_alive(stream: impl AsFd) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEP_ALIVE)?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    Ok(())
}
