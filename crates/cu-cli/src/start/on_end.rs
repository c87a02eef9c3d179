//! `on_end`: a command of the user's that gets the state of a run once it has ended.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use cu_core::{Reader, RunDir, Status};
use cu_system::causes::in_one_line;
use cu_system::threads;
use rustix::process::{Pid, Signal, kill_process_group};

use super::logging;
use crate::config::Source;
use crate::terminal;
use crate::text::moment::rounded;
use crate::view::json::StatusJson;

/// How long the command may take. The main process waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command of a run that has not ended yet.
pub struct OnEnd {
    run: RunDir,
    command: String,
}

impl OnEnd {
    /// That of `run`. A run that has ended already gets none: it had its turn.
    pub fn of(run: &RunDir) -> Option<Self> {
        // What can't be read is reported when the run is opened.
        let status = Reader::open(run).and_then(|reader| reader.status()).ok()?;
        let config = Source::read_own(&run.config())
            .and_then(Source::parse)
            .ok()?;
        let command = config.file.on_end?;
        status.ended.is_none().then(|| Self {
            run: run.clone(),
            command,
        })
    }

    /// Runs it. A failure is a warning: the run has ended as it has.
    pub fn tell(&self, status: &Status) {
        let failure = match self.start(status) {
            Ok(ended) if ended.success() => return,
            Ok(ended) => ended.to_string(),
            Err(error) => in_one_line(&error),
        };
        let text = format!(
            "on_end = `{}`: {failure}; its output is in {}",
            self.command,
            self.run.log().display()
        );
        tracing::warn!("{text}");
        terminal::warn(&text);
    }

    fn start(&self, status: &Status) -> std::io::Result<ExitStatus> {
        let log = logging::open(&self.run).map_err(std::io::Error::other)?;
        let status =
            serde_json::to_vec(&StatusJson::of(&self.run, status).map_err(std::io::Error::other)?)?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.command])
            .current_dir(self.run.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&child);
        let stdin = child.stdin.take();
        let ended = threads::within("on_end", PATIENCE, move || {
            if let Some(mut stdin) = stdin {
                // A command that does not read it ends as it likes.
                let _ = stdin.write_all(&status);
            }
            child.wait()
        });
        ended.unwrap_or_else(|| {
            // It may have ended at this moment.
            let _ = kill_process_group(group, Signal::KILL);
            let text = format!("cu ended it after {}", rounded(PATIENCE));
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
        })
    }
}
