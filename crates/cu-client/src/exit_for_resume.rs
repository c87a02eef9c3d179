//! The end of an attempt that wants another one: saving is the program's, this says so and exits.

use std::io::Write;
use std::time::Duration;

use cu_protocol::{Attempt, Message, ResumeRequest};

use crate::Job;
use crate::error::with_causes;
use crate::should_exit::in_words;

/// The exit code that by itself is a resume request.
pub const RESUME_EXIT_CODE: i32 = 3;

/// How long the request waits to be noted. The exit code says the same, so that an attempt near its
/// time limit need not wait longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl<S> Job<S> {
    /// Asks to be submitted again, with the same settings and the same output directory, and ends
    /// the process with exit code 3. [Save](Job::save) before.
    ///
    /// Waits a bounded time until the supervisor has taken note. Standard output is flushed; other
    /// values are not dropped, as always with [`std::process::exit`].
    pub fn exit_for_resume(mut self) -> ! {
        self.progress.flush(&mut self.link);
        let request = Message::ResumeRequest(ResumeRequest {
            checkpoint: newest(self.checkpoints()),
        });
        if let Err(error) = self.link.say(request, PATIENCE) {
            let error = with_causes(&error);
            eprintln!("cu-client: {error}; the exit code {RESUME_EXIT_CODE} says the same");
        }
        if self.environment.socket.is_none() {
            let reason = self.exit_reason().map(in_words);
            let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
            eprintln!("cu-client: saved{reason}; start the same command again to go on");
        }
        // That the reader of the output is gone is no reason not to be resumed.
        let _ = std::io::stdout().flush();
        std::process::exit(RESUME_EXIT_CODE)
    }
}

/// The newest checkpoint, in the protocol's terms.
pub(crate) fn newest(checkpoints: &cu_checkpoint::Checkpoints) -> Option<cu_protocol::Generation> {
    // Which one it is only helps to judge progress: the request goes out without it, too.
    let newest = checkpoints.generations().ok()?.first().copied()?;
    Some(cu_protocol::Generation {
        attempt: Attempt(newest.attempt()),
        counter: newest.counter(),
    })
}
