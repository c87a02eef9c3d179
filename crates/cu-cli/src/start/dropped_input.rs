//! Notices a standard input that was meant for the program: attempts run elsewhere and later, and can't
//! read it from `cu run`.
//!
//! | standard input of `cu run` | what follows |
//! | --- | --- |
//! | a file of which nothing was read, as of `cu run -- lmp < in.lj` | an error that names `--stdin` |
//! | a file of which something was read: a script or a loop reads from it | nothing |
//! | a pipe in which something waits, as of `cat in.lj \| cu run -- lmp` | a warning, since a loop may read from it |
//! | anything else: a terminal, `/dev/null`, a pipe that was only inherited | nothing |

use std::fs::{File, read_link};
use std::io::Seek;
use std::os::fd::AsFd;

use cu_system::process::unread_input;

use crate::error::{Error, Result};
use crate::shell_word::shell_word;

/// Looks at standard input. Returns a warning, if one is due.
///
/// # Errors
/// If it is a file of which nothing was read.
pub fn check() -> Result<Option<String>> {
    let hint =
        |file: &str| format!("give the program a file as its standard input: --stdin {file}");
    if let Some(size_left) = untouched_file()
        && size_left > 0
    {
        let path = read_link("/proc/self/fd/0").unwrap_or_default();
        let here = std::env::current_dir().unwrap_or_default();
        let shown = path.strip_prefix(&here).unwrap_or(&path);
        let file = match path.is_file() {
            true => shell_word(shown),
            // A document in a script: the shell has removed its file.
            false => "FILE".to_owned(),
        };
        return Err(Error::usage_hint(
            "the standard input of `cu run` is a file, which the program would not get: its attempts run \
             elsewhere and later",
            format!("{}; or write `</dev/null`", hint(&file)),
        ));
    }
    let waiting = unread_input(std::process::id()).filter(|unread| *unread > 0);
    Ok(waiting.map(|_| {
        format!(
            "the program does not get the standard input of `cu run`, in which something waits to be read; {}",
            hint("FILE")
        )
    }))
}

/// The bytes of the file that is standard input, if nothing of it was read.
fn untouched_file() -> Option<u64> {
    let mut file = File::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    let found = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let position = file.stream_position().ok()?;
    (position == 0).then_some(found.len())
}
