//! The probe on a node: finds out what an attempt there could do, and answers in a file and on its
//! standard output.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cu_protocol::Timestamp;
use cu_system::files;
use serde::{Deserialize, Serialize};

use crate::config::find_command;

/// How long an address may take to answer.
const CONNECT: Duration = Duration::from_secs(5);
/// A peer that says more in a line is not ours.
const MOST_HEARD: u64 = 1024;
/// The most bytes of a file that can be a question or an answer.
pub const LONGEST: u64 = 1 << 20;

/// The question to the probe: the file `probe.json` in its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Addresses of this host, to be tried in this order.
    pub addresses: Vec<SocketAddr>,
    /// Said and heard there, so that no stranger is taken for us.
    pub token: String,
}

impl Question {
    /// The file in `directory` that holds it.
    pub fn file(directory: &Path) -> PathBuf {
        directory.join("probe.json")
    }
}

/// The probe's answer: the file `answer.json` in its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The node.
    pub host: String,
    /// Its time when the probe began.
    pub time: Timestamp,
    /// The path of python3 there.
    pub python3: Option<PathBuf>,
    /// The address that it reached.
    pub reached: Option<SocketAddr>,
    /// The addresses that it did not reach, and why.
    pub unreached: Vec<(SocketAddr, String)>,
}

impl Answer {
    /// The file in `directory` that holds it.
    pub fn file(directory: &Path) -> PathBuf {
        directory.join("answer.json")
    }
}

/// Answers the question in `directory`, in a file there and in a line on `output`.
///
/// # Errors
/// If the directory is not this user's alone, or the question can't be read or the answer written.
pub fn answer(directory: &Path, output: &mut dyn Write) -> io::Result<()> {
    files::own_directory(directory)?;
    let time = Timestamp::from(SystemTime::now());
    let question: Question =
        serde_json::from_slice(&files::read_own(&Question::file(directory), LONGEST)?)?;
    let mut answer = Answer {
        host: cu_system::machine::host(),
        time,
        python3: find_command("python3", None),
        reached: None,
        unreached: Vec::new(),
    };
    for address in question.addresses {
        match greet(address, &question.token) {
            Ok(()) => {
                answer.reached = Some(address);
                break;
            }
            Err(error) => answer.unreached.push((address, error.to_string())),
        }
    }
    let text = serde_json::to_vec(&answer)?;
    output.write_all(&text)?;
    let path = Answer::file(directory);
    files::write_whole(&path, &text, files::PRIVATE_FILE)
}

/// Says the token at `address` and hears it again.
fn greet(address: SocketAddr, token: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(CONNECT))?;
    stream.set_write_timeout(Some(CONNECT))?;
    writeln!(stream, "{token}")?;
    let mut heard = String::new();
    BufReader::new(stream.take(MOST_HEARD)).read_line(&mut heard)?;
    match heard.trim_end() == token {
        true => Ok(()),
        false => Err(io::Error::other("somebody else answered")),
    }
}
