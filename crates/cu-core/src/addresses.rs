//! The addresses at which other machines may reach this one.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};

/// The addresses of this host that may be known outside, the likeliest first. None if it has only
/// loopback.
#[must_use]
pub fn host_addresses() -> Vec<IpAddr> {
    // The source address of packets to the outside; nothing is sent.
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    let named = (cu_system::machine::host(), 0_u16).to_socket_addrs();
    let all = routed.into_iter().chain(named.into_iter().flatten());
    let mut addresses = Vec::new();
    for address in all.map(|address| address.ip()) {
        let outside = !address.is_loopback() && !address.is_unspecified();
        if outside && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}
