//! The other end of the Python package cluster_utils: what its client needs as arguments, and what it says.
//!
//! The client sends each message as one UDP datagram and awaits no answer. So a message may be lost, come
//! twice or late, and anybody on this machine may send one, as may any child of the program. Therefore no
//! message decides anything: the results are in a file, and the exit code of the program that we have
//! started decides what its end means. Messages bring what changes nothing if it is missing or wrong: early
//! results, progress, and the words of an exception.

mod arguments;
mod datagrams;
mod numpy;
mod pickle;
mod results;
mod said;
mod value;

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use cu_protocol::{Attempt, Failure, Fraction, JobId, Message, ProgramEnd, ResumeRequest};
use cu_run_dir::{JobSpec, Part, RefusedMessages, RunDir};
use cu_system::causes::in_one_line;

use crate::event::Happening;
use crate::mail::Mail;
use crate::{Error, Result, tell};
use datagrams::Datagrams;
use results::ResultsFile;
use said::Said;

/// The end that an attempt with such a client has of it.
#[derive(Debug)]
pub(crate) struct Client {
    arguments: Vec<String>,
    datagrams: Datagrams,
    results: ResultsFile,
    /// It has said that it exits for resume.
    exits_for_resume: bool,
    /// What it said last of an exception.
    error: Option<String>,
    refused: RefusedMessages,
    refused_file: PathBuf,
}

impl Client {
    /// Listens on the loopback of this machine, or of the container in which this runs, if the command of
    /// the job asks for it.
    ///
    /// # Errors
    /// If nothing can listen there, or the settings can't be read.
    pub fn of(
        spec: &JobSpec,
        run: &RunDir,
        (job, attempt): (JobId, Attempt),
        happening: &Happening,
    ) -> Result<Option<Self>> {
        let asks = |it: &Part| *it == Part::ClusterUtils;
        if !spec.command.iter().any(|it| it.parts().iter().any(asks)) {
            return Ok(None);
        }
        let datagrams = Datagrams::listen(job, happening)?;
        let (settings, output_dir) = (run.settings(job), run.output_dir(job));
        let beside = run.parameters(job, attempt);
        let arguments =
            arguments::arguments(job, datagrams.port(), &settings, &output_dir, &beside);
        let refused_file = run.refused_messages(job);
        Ok(Some(Self {
            arguments: arguments.map_err(Error::file("read the settings in", &settings))?,
            datagrams,
            results: ResultsFile::in_directory(&output_dir),
            exits_for_resume: false,
            error: None,
            refused: RefusedMessages::read(&refused_file).unwrap_or_default(),
            refused_file,
        }))
    }

    /// The arguments that the placeholder stands for.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Takes in what has arrived.
    pub fn listen(&mut self, mail: &mut Mail, now: Instant) {
        for arrived in self.datagrams.arrived() {
            match arrived {
                Ok(said) => self.hear(said, mail, now),
                Err(refusal) => self.refuse(&format!("it {refusal}")),
            }
        }
    }

    /// The program has ended like this, and no process of it is left: takes in the rest, its results, and
    /// the words of its failure. `was_asked` to stop, it may have been interrupted by us.
    pub fn conclude(&mut self, end: &ProgramEnd, was_asked: bool, mail: &mut Mail, now: Instant) {
        self.datagrams.close();
        self.listen(mail, now);
        match end {
            ProgramEnd::Exited(0) => match self.results.read() {
                Ok(Some(results)) => take(mail, Message::Results(results), now),
                Ok(None) if was_asked => {}
                Ok(None) => tell(
                    "the program has left no results: it did not call finalize_job, or has another \
                     working_dir than it was given",
                ),
                Err(reason) => tell(&reason),
            },
            // It says so before it exits, and then something may keep it from exiting like that.
            ProgramEnd::Exited(code) if self.exits_for_resume && *code == EXIT_FOR_RESUME => {
                take(mail, Message::ResumeRequest(ResumeRequest::default()), now);
            }
            _ => {
                if let Some(text) = self.error.take().filter(|_| !was_asked) {
                    take(mail, Message::Failed(Failure { text }), now);
                }
            }
        }
        if self.refused.count > 0 {
            self.write_refused();
        }
    }

    fn hear(&mut self, said: Said, mail: &mut Mail, now: Instant) {
        match said {
            Said::Hint | Said::Results => {}
            Said::Progress(fraction) => match Fraction::new(fraction) {
                Some(fraction) => take(mail, Message::Progress(fraction), now),
                None => self.refuse(&format!("it has {fraction} in the place of a fraction")),
            },
            Said::EarlyResults(metrics) => take(mail, Message::EarlyMetrics(metrics), now),
            Said::ExitForResume => self.exits_for_resume = true,
            Said::Error(text) => {
                // The client prints it nowhere. It may come twice.
                if self.error.as_ref() != Some(&text) {
                    let _ = std::io::stderr().write_all(text.as_bytes());
                }
                self.error = Some(text);
            }
        }
    }

    fn refuse(&mut self, reason: &str) {
        let is_first = self.refused.add(reason);
        if is_first {
            tell(&format!(
                "a message for cluster_utils was refused: {reason}"
            ));
            self.write_refused();
        }
    }

    fn write_refused(&self) {
        if let Err(error) = self.refused.write(&self.refused_file) {
            tell(&in_one_line(&error));
        }
    }
}

/// The exit code of the client's `exit_for_resume`.
const EXIT_FOR_RESUME: i32 = 3;

/// Nobody waits for the answer: a refusal is in the attempt's stderr.
fn take(mail: &mut Mail, message: Message, now: Instant) {
    let (reply, _) = mpsc::channel();
    mail.take(message, reply, now);
}
