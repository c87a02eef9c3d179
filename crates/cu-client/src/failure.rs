//! Reports why a program fails. Panics are remembered, and reported if they end the job.

use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use cu_protocol::{Failure, Message};

use crate::error::with_causes;
use crate::link::Link;

/// How long a failing program waits for the confirmation of its report.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The greatest number of panics to keep: the first of a cascade shows the cause.
const MOST_PANICS: usize = 8;

/// In bytes. A line to the supervisor has a limit, and nobody reads more.
const LONGEST_TEXT: usize = 64 * 1024;

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers each panic from now on. The hook that was set before still prints it.
///
/// The [`Job`](crate::Job) reports the panic that drops it, since a panic that is caught, or that
/// ends another thread, does not fail the program. Where panics abort, nothing is dropped, so the
/// hook reports at once.
pub(crate) fn remember_panics(socket: Option<PathBuf>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            print(info);
            let mut panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
            if panics.len() < MOST_PANICS {
                panics.push(in_words(info));
            }
            drop(panics);
            if cfg!(panic = "abort") {
                report(&mut Link::to(socket.clone()), panics_so_far());
            }
        }));
    });
}

/// The messages of this process's panics, one a line.
pub(crate) fn panics_so_far() -> String {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    panics.join("\n")
}

/// Reports why the program fails. If it can't, it prints that and nothing else changes.
pub(crate) fn report(link: &mut Link, mut text: String) {
    if text.len() > LONGEST_TEXT {
        let cut = (0..=LONGEST_TEXT).rfind(|end| text.is_char_boundary(*end));
        text.truncate(cut.unwrap_or(0));
    }
    if let Err(error) = link.say(Message::Failed(Failure { text }), PATIENCE) {
        eprintln!("cu-client: {}", with_causes(&error));
    }
}

fn in_words(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    match info.location() {
        Some(place) => format!("thread {name} panicked at {place}: {text}"),
        None => format!("thread {name} panicked: {text}"),
    }
}
