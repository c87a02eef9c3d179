//! The file by which people ask an attempt to stop: `stop.file`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cu_run_dir::FoundFile;

use crate::tell;

/// How often it is looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file. One that was there at the start has asked an earlier attempt, and does not ask this one.
#[derive(Debug)]
pub(crate) struct AskingFile {
    path: PathBuf,
    before: Option<FoundFile>,
    next_look: Instant,
}

impl AskingFile {
    /// The file at `path`, as the attempt finds it at its start.
    pub fn new(path: PathBuf, now: Instant) -> Self {
        let mut file = Self {
            path,
            before: None,
            next_look: now,
        };
        file.before = file.found();
        if file.before.is_some() {
            tell(&format!(
                "the stop file {} was there before this attempt and does not stop it; `touch` it to ask \
                 again",
                file.path.display()
            ));
        }
        file
    }

    /// Whether it asks now. Looks at most once in a second.
    pub fn asks(&mut self, now: Instant) -> bool {
        if now < self.next_look {
            return false;
        }
        self.next_look = now + INTERVAL;
        let found = self.found();
        let asks = found.is_some() && found != self.before;
        if asks {
            tell(&format!(
                "the stop file {} asks the program to stop",
                self.path.display()
            ));
        }
        asks
    }

    /// When it is looked for next.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    fn found(&self) -> Option<FoundFile> {
        let found = self.path.metadata().ok()?;
        Some(FoundFile::new(&self.path, &found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_stays_asks_only_once() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("please_stop");
        let now = Instant::now();
        let new = || AskingFile::new(path.clone(), now);
        let mut first = new();
        assert!(!first.asks(now));
        std::fs::write(&path, "").unwrap();
        // Only one look in a second.
        assert!(!first.asks(now + INTERVAL / 2));
        assert!(first.asks(now + INTERVAL));
        let mut next = new();
        assert!(!next.asks(now));
        std::fs::remove_file(&path).unwrap();
        assert!(!next.asks(now + INTERVAL));
        std::fs::write(&path, "").unwrap();
        assert!(next.asks(now + 2 * INTERVAL));
    }
}
