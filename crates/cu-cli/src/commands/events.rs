//! `cu events`: what happened in a run, in order, for people or as JSON Lines.

use std::ops::ControlFlow;
use std::time::Instant;

use cu_core::{Happened, History, Reader, Status, What};
use serde_json::{Value, json};

use crate::args::{Common, Events};
use crate::error::{Error, ExitCode, Result};
use crate::start::background;
use crate::start::follow::{End, follow};
use crate::text::moment::{iso, local};
use crate::text::visible::printable;
use crate::view::View;
use crate::view::summary::{job_state, run_state};
use crate::{runs, terminal};

/// Prints them.
///
/// # Errors
/// If there is no such run, or it can't be read.
pub fn events(common: &Common, arguments: &Events) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let mut printer = Printer {
        history: History::of(&reader)?,
        reader,
        is_json: common.json,
        outcome: Ok(ControlFlow::Continue(())),
    };
    printer.print();
    if arguments.follow && matches!(printer.outcome, Ok(ControlFlow::Continue(()))) {
        let end = background::runtime()?.block_on(follow(&run, None, &mut printer))?;
        printer.print();
        if let (End::Abandoned(_), false) = (&end, common.quiet) {
            terminal::say(&crate::view::summary::no_main_process(run.path()));
        }
        let _ = printer.outcome?;
        return Ok(match end {
            End::Settled(_) => ExitCode::Done,
            _ => ExitCode::Interrupted,
        });
    }
    printer.outcome.map(|_| ExitCode::Done)
}

/// Prints what is new, until the reader of the output has gone away.
struct Printer {
    reader: Reader,
    history: History,
    is_json: bool,
    outcome: Result<ControlFlow<()>>,
}

impl Printer {
    fn print(&mut self) {
        if matches!(self.outcome, Ok(ControlFlow::Continue(()))) {
            self.outcome = self.print_news();
        }
    }

    fn print_news(&mut self) -> Result<ControlFlow<()>> {
        while let Some(news) = self.history.news(&self.reader)? {
            let mut text = String::new();
            for happened in news {
                match self.is_json {
                    true => text.push_str(&terminal::json_line(&in_json(&happened)?)),
                    false => text.push_str(&printable(&in_words(&happened)).replace('\n', " ")),
                }
                text.push('\n');
            }
            if terminal::bytes(text.as_bytes())?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl View for Printer {
    fn status(&mut self, _: &Status, _: Instant) {
        self.print();
    }

    fn tick(&mut self, _: Instant) {}

    fn notice(&mut self, _: &str) {}

    fn pause(&mut self) {}

    fn go_on(&mut self) {}

    fn is_over(&self) -> bool {
        !matches!(self.outcome, Ok(ControlFlow::Continue(())))
    }
}

fn in_json(happened: &Happened) -> Result<Value> {
    let mut value = json!({
        "at": iso(happened.at),
        "event": null,
        "job": happened.job,
        "attempt": happened.attempt,
    });
    let what = serde_json::to_value(&happened.what).map_err(Error::internal("write JSON"))?;
    if let (Value::Object(all), Value::Object(what)) = (&mut value, what) {
        all.extend(what);
    }
    Ok(value)
}

fn in_words(happened: &Happened) -> String {
    let what = match &happened.what {
        What::Submitted { cluster_job_id } => format!("submitted as {cluster_job_id}"),
        What::NotSubmitted { reason } => format!("not submitted: {reason}"),
        What::Started { host: Some(host) } => format!("started on {host}"),
        What::Started { host: None } => "started".to_owned(),
        What::Stopped { sent, .. } if sent.is_empty() => "was asked to stop".to_owned(),
        What::Stopped { sent, .. } => {
            let sent: Vec<_> = sent.iter().map(ToString::to_string).collect();
            format!("was asked to stop: {}", sent.join(", "))
        }
        What::Ended {
            detail: Some(detail),
            ..
        } => detail.clone(),
        What::Ended { .. } => "ended".to_owned(),
        What::Ordered { order } => format!("cu {order}"),
        What::JobEnded { state, why } => format!("{}: {why}", job_state(*state)),
        What::RunEnded { state } => run_state(*state).to_owned(),
        _ => "something happened".to_owned(),
    };
    let at = local(happened.at);
    match (happened.job, happened.attempt) {
        (Some(job), Some(attempt)) => format!("{at}  job {job}, attempt {attempt}: {what}"),
        (Some(job), None) => format!("{at}  job {job}: {what}"),
        (None, _) => format!("{at}  run: {what}"),
    }
}
