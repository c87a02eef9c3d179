//! Users and groups: this process's own, others by name, and who is at the other end of a socket.
//!
//! Names come from `/etc/passwd` and `/etc/group`. A user or group that only a directory service knows
//! has none here: to ask it could take long, and names are for people.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::files;

/// More than any table of users holds, in bytes.
const LIMIT: u64 = 16 << 20;

/// The user on whose behalf this process acts: the effective one.
#[must_use]
pub fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether it is this process's user, or root, who may do anything anyhow.
#[must_use]
pub fn is_own_or_root(user: u32) -> bool {
    user == own() || user == 0
}

/// Whether a file's owner may be root, as seen by [`is_own_or_root`] or from within a container: where
/// root has no number of its own, it has the one that stands for all users without.
pub(crate) fn may_be_root(owner: u32) -> bool {
    owner == 0 || Some(owner) == number_without_a_number() && !root_has_a_number()
}

fn number_without_a_number() -> Option<u32> {
    let text = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
    text.trim().parse().ok()
}

/// Each line of the map says: numbers here, numbers outside, how many.
fn root_has_a_number() -> bool {
    match fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => map
            .lines()
            .any(|line| line.split_ascii_whitespace().nth(1) == Some("0")),
        Err(_) => true,
    }
}

/// A user for people: `ada (id 1000)`, or `user 1000` without a name here.
#[must_use]
pub fn describe(user: u32) -> String {
    named(login_name(user), "user", user)
}

/// A group for people: `lab (id 100)`, or `group 100` without a name here.
#[must_use]
pub fn describe_group(group: u32) -> String {
    let line = lines("/etc/group").into_iter();
    let mut line = line.filter(|line| number(line, 2) == Some(group));
    let name = line.next().and_then(|line| field(&line, 0));
    named(name, "group", group)
}

/// The user's name, if there is one here.
#[must_use]
pub fn login_name(user: u32) -> Option<String> {
    let line = lines("/etc/passwd").into_iter();
    let mut line = line.filter(|line| number(line, 2) == Some(user));
    line.next().and_then(|line| field(&line, 0))
}

fn named(name: Option<String>, kind: &str, id: u32) -> String {
    match name {
        Some(name) => format!("{name} (id {id})"),
        None => format!("{kind} {id}"),
    }
}

/// Whether nobody but this process's user is known to be a member of the group, as where each user has
/// a group of the same number.
#[must_use]
pub fn is_own_group(group: u32) -> bool {
    let own_name = login_name(own());
    let groups = lines("/etc/group");
    let Some(line) = groups.iter().find(|line| number(line, 2) == Some(group)) else {
        return group == own();
    };
    let members = field(line, 3).unwrap_or_default();
    let mut members = members.split(',').filter(|name| !name.is_empty());
    let users = lines("/etc/passwd");
    let mut primary = users.iter().filter(|line| number(line, 3) == Some(group));
    let is_named_so = field(line, 0) == own_name || group == own();
    is_named_so
        && members.all(|name| Some(name) == own_name.as_deref())
        && primary.all(|line| number(line, 2) == Some(own()))
}

fn lines(table: &str) -> Vec<String> {
    // A name that is not UTF-8 is of no use to people either.
    let content = files::read(Path::new(table), LIMIT).unwrap_or_default();
    let text = String::from_utf8_lossy(&content).into_owned();
    text.lines().map(str::to_owned).collect()
}

fn field(line: &str, index: usize) -> Option<String> {
    line.split(':').nth(index).map(str::to_owned)
}

fn number(line: &str, index: usize) -> Option<u32> {
    line.split(':').nth(index)?.parse().ok()
}

/// The user of the process at the other end of a Unix socket, if that is neither this process's user
/// nor root. Works for both ends: the one that listens and the one that has connected.
///
/// # Errors
/// If the kernel withholds it.
pub fn foreign_peer(socket: &impl AsFd) -> io::Result<Option<u32>> {
    let user = peer(socket)?;
    Ok(Some(user).filter(|user| *user != 0 && Some(*user) != own_as_peer()))
}

/// This process's user as the other end of a socket sees it: programs that play root (fakeroot, PRoot) are told
/// a user of their own that does not exist. Asked for once, since it costs more than to accept a connection.
fn own_as_peer() -> Option<u32> {
    static KNOWN: OnceLock<u32> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Some(*known);
    }
    let (one, _other_end) = UnixStream::pair().ok()?;
    let own = peer(&one).ok()?;
    Some(*KNOWN.get_or_init(|| own))
}

fn peer(socket: &impl AsFd) -> nix::Result<u32> {
    let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
    Ok(credentials.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_ours() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer(&one).unwrap(), own());
        assert_eq!(foreign_peer(&one).unwrap(), None);
        let other_kind = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_ne!(foreign_peer(&other_kind).ok(), Some(None));
    }

    #[test]
    fn users_and_groups_have_their_names() {
        assert_eq!(describe(0), "root (id 0)");
        assert_eq!(describe_group(0), "root (id 0)");
        assert_eq!(describe(4_000_000_000), "user 4000000000");
        assert_eq!(describe_group(4_000_000_000), "group 4000000000");
    }

    #[test]
    fn a_group_of_others_is_not_ours_alone() {
        // `nogroup` or `nobody`, and a number that no user has here.
        assert!(!is_own_group(65_534) || own() == 65_534);
        assert!(!is_own_group(4_000_000_000));
    }
}
