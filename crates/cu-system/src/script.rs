//! Why a script can't be executed, as its first line shows.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::files;

/// The kernel reads no more of a first line.
const FIRST_LINE: u64 = 256;

/// What is wrong with the first line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends with a carriage return, which becomes a part of the interpreter's name.
    WindowsLineEndings(PathBuf),
    /// It names an interpreter that does not exist on this machine.
    NoInterpreter(PathBuf, String),
    /// It is text, and names no interpreter.
    NotNamed(PathBuf),
}

impl Fault {
    /// The fault of the executable file at `path`, if it is a script and has one.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// use cu_system::script::Fault;
    ///
    /// let path = scratch.path().join("x.sh");
    /// std::fs::write(&path, "#!/bin/sh\r\n")?;
    /// assert_eq!(Fault::of(&path), Some(Fault::WindowsLineEndings(path)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let file = files::open(path, OpenOptions::new().read(true)).ok()?;
        let mut start = Vec::new();
        file.take(FIRST_LINE).read_to_end(&mut start).ok()?;
        let line = start.split(|byte| *byte == b'\n').next()?;
        let Some(named) = line.strip_prefix(b"#!") else {
            let is_text = !start.is_empty() && std::str::from_utf8(&start).is_ok();
            let is_text = is_text && !start.contains(&0);
            return is_text.then(|| Self::NotNamed(path.to_owned()));
        };
        if named.ends_with(b"\r") {
            return Some(Self::WindowsLineEndings(path.to_owned()));
        }
        let named = String::from_utf8_lossy(named);
        let interpreter = named.split_whitespace().next()?;
        let is_there = !interpreter.starts_with('/') || Path::new(interpreter).exists();
        (!is_there).then(|| Self::NoInterpreter(path.to_owned(), interpreter.to_owned()))
    }

    /// Whether it is the same on every machine.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        !matches!(self, Self::NoInterpreter(..))
    }
}

/// A sentence, with what to do.
impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WindowsLineEndings(path) => {
                let path = path.display();
                write!(
                    out,
                    "{path} has Windows line endings, so that its first line asks for an interpreter whose \
                     name ends with a carriage return; run `sed -i 's/\\r$//' {path}`"
                )
            }
            Self::NoInterpreter(path, interpreter) => write!(
                out,
                "the first line of {} asks for {interpreter}, which does not exist on this machine",
                path.display()
            ),
            Self::NotNamed(path) => write!(
                out,
                "{} does not say which program interprets it; begin it with a line such as `#!/bin/sh`, or \
                 name the interpreter first",
                path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_and_good_scripts_have_no_fault() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        let fault = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            Fault::of(&path)
        };
        for good in [
            &b""[..],
            b"#!/bin/sh -e\n",
            b"#! /usr/bin/env x\n",
            b"\x7fELF\x02\0\xff",
        ] {
            assert_eq!(fault(good), None);
        }
        assert_eq!(fault(b"echo\n"), Some(Fault::NotNamed(path.clone())));
        let missing = Fault::NoInterpreter(path.clone(), "/no/sh".to_owned());
        assert_eq!(fault(b"#!/no/sh -e\n"), Some(missing));
    }
}
