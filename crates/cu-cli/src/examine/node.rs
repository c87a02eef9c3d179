//! The probe on a node: it finds out what an attempt there could do, and says so in a file and on its
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
/// Who says more in a line is not who we look for.
const MOST_HEARD: u64 = 1024;
/// More than a question or an answer holds, in bytes.
pub const LONGEST: u64 = 1 << 20;

/// What the probe is asked: the file `probe.json` in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Where this host may be reached, to be tried in this order.
    pub addresses: Vec<SocketAddr>,
    /// What is said and heard there, so that no stranger is taken for us.
    pub token: String,
}

impl Question {
    /// The file in `folder` that holds it.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("probe.json")
    }
}

/// What the probe answers: the file `answer.json` in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The node.
    pub host: String,
    /// Its time when the probe began.
    pub time: Timestamp,
    /// Where python3 is there.
    pub python3: Option<PathBuf>,
    /// The address that was reached.
    pub reached: Option<SocketAddr>,
    /// Those that were not, and why.
    pub unreached: Vec<(SocketAddr, String)>,
}

impl Answer {
    /// The file in `folder` that holds it.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("answer.json")
    }
}

/// Answers what is asked in `folder`, by a file there and by a line on `output`.
///
/// # Errors
/// If the folder is not this user's alone, the question can't be read, or the answer not be written.
pub fn answer(folder: &Path, output: &mut dyn Write) -> io::Result<()> {
    files::own_directory(folder)?;
    let time = Timestamp::from(SystemTime::now());
    let question: Question =
        serde_json::from_slice(&files::read_own(&Question::file(folder), LONGEST)?)?;
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
    let path = Answer::file(folder);
    let temporary = path.with_extension("new");
    files::write_own(&temporary, &text)?;
    std::fs::rename(&temporary, &path)
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
