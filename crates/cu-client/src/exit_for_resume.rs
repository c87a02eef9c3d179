//! Sends the resume request and ends the process. The program saves its state before.

use std::io::Write;
use std::time::Duration;

use cu_protocol::{Attempt, Message, ResumeExitCode, ResumeRequest};

use crate::Job;
use crate::error::with_causes;

/// The exit code that by itself is a resume request.
pub const RESUME_EXIT_CODE: i32 = ResumeExitCode::DEFAULT.code();

/// How long the request waits for its confirmation. The exit code means the same, so an attempt
/// near its time limit need not wait longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl<S> Job<S> {
    /// Asks to be submitted again, with the same settings and the same output directory, and ends
    /// the process with exit code 3. [Save](Job::save) before.
    ///
    /// Waits at most 10 seconds for the supervisor's confirmation. Flushes standard output. Other
    /// values are not dropped, as always with [`std::process::exit`].
    pub fn exit_for_resume(mut self) -> ! {
        self.progress.flush(&mut self.link);
        let request = Message::ResumeRequest(ResumeRequest {
            checkpoint: newest(self.checkpoints()),
        });
        if let Err(error) = self.link.say(request, PATIENCE) {
            eprintln!(
                "cu-client: {}; the exit code {RESUME_EXIT_CODE} still asks for the resume",
                with_causes(&error)
            );
        }
        if self.environment.socket.is_none() {
            let reason = self.exit_reason();
            let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
            eprintln!("cu-client: saved{reason}; start the same command again to continue");
        }
        // The job is to be resumed even if nobody reads its output any more.
        let _ = std::io::stdout().flush();
        std::process::exit(RESUME_EXIT_CODE)
    }
}

/// The newest checkpoint, in the protocol's terms.
pub(crate) fn newest(
    checkpoints: &cu_checkpoint::Checkpoints,
) -> Option<cu_protocol::CheckpointId> {
    // It only helps to judge progress, so the request is sent without it, too.
    let newest = checkpoints.generations().ok()?.first().copied()?;
    Some(cu_protocol::CheckpointId {
        attempt: Attempt(newest.attempt()),
        counter: newest.counter(),
    })
}
