//! What a record of who runs a job's program means here, and how a program whose supervisor is dead is
//! stopped.

use std::time::Instant;

use cu_protocol::{Attempt, JobId, StopCause};
use cu_run_dir::{CreateFile, Holder, SignalReason, StopPolicy};
use cu_system::files;
use cu_system::process::{ProcessId, lock_holders, ticks_since_boot};
use rustix::process::Signal;

use crate::asking::{Manner, relatives_among, whom_to_ask};
use crate::members::{Members, Traces, descendants, left_behind};
use crate::sent::Sender;
use crate::stop::{Push, Stop};
use crate::{RunDir, made_file};

/// How many descendants a record names.
const MOST_SEEN: usize = 1024;

/// Notes in the record who descends from this process now.
pub(super) fn look_around(holder: &mut Holder) {
    let Some(program) = holder.program else {
        return;
    };
    // Until this process has waited for it, no other process gets its number.
    if ProcessId::of(program.pid) == Some(program) {
        holder.seen_at = ticks_since_boot();
    }
    holder.seen = descendants();
    holder.seen.truncate(MOST_SEEN);
}

/// What is left of the attempt, its supervisor being dead. Only valid where process numbers are
/// shared.
pub(super) fn left_by(holder: &Holder, run: &RunDir, job: JobId) -> Members {
    let traces = Traces {
        supervisor: holder.supervisor,
        program: holder.program,
        seen: &holder.seen,
        seen_at: holder.seen_at,
    };
    left_behind(run, job, Some(&traces))
}

/// For people. `follows` is what is known of it besides.
pub(super) fn describe(holder: &Holder, job: JobId, follows: &str) -> String {
    format!(
        "attempt {} of job {job} may still be running on {} (supervisor process {}){follows}",
        holder.attempt, holder.place.host, holder.supervisor.pid
    )
}

/// Stops a program that outlived its supervisor.
#[derive(Debug)]
pub(super) struct Orphans {
    stop: Stop,
    manner: Manner,
    create: Option<CreateFile>,
    sender: Option<Sender>,
    /// The last push was SIGKILL, which whoever was started meanwhile gets, too.
    is_killing: bool,
}

impl Orphans {
    pub fn new(policy: &StopPolicy) -> Self {
        Self {
            stop: Stop::new(policy.grace),
            manner: policy.signal.into(),
            create: policy.create.clone(),
            sender: None,
            is_killing: false,
        }
    }

    /// Does the push that is due to all `members` that belong for certain, and to those who hold the
    /// job's lock. Only valid where process numbers are shared.
    pub fn stop(
        &mut self,
        run: &RunDir,
        (job, attempt): (JobId, Attempt),
        members: &Members,
        now: Instant,
    ) {
        self.stop.wish(StopCause::Operator, now);
        let again = self.is_killing.then_some(Push::Kill);
        let Some(push) = self.stop.due(now).or(again) else {
            return;
        };
        self.is_killing = push == Push::Kill;
        let mut survivors = lock_holders(&run.attempt_lock(job));
        survivors.extend(&members.certain);
        survivors.retain(|pid| *pid != std::process::id());
        let family = relatives_among(&survivors);
        let sender = self
            .sender
            .get_or_insert_with(|| Sender::of(run, job, attempt));
        let all = |signal| {
            family
                .iter()
                .map(move |it| (it.id, it.name.as_str(), signal))
        };
        match push {
            Push::Ask => {
                // For a program that looks for nothing else.
                let _ = files::touch(&run.stop_file(job, attempt));
                let made = self.create.as_ref();
                let made = made.filter(|file| made_file::make(file, &run.made_file(job)));
                if let Some(file) = made {
                    sender.made(&file.path);
                }
                let asked = whom_to_ask(&family, self.manner).into_iter();
                let asked = asked.map(|(it, signal)| (it.id, it.name.as_str(), signal));
                let sent = sender.send(asked, SignalReason::Asked);
                if sent.is_empty() && self.manner != Manner::File && made.is_none() {
                    self.stop.nobody_hears(now);
                }
            }
            Push::Terminate => drop(sender.send(all(Signal::TERM), SignalReason::LeftBehind)),
            Push::Kill => drop(sender.send(all(Signal::KILL), SignalReason::LeftBehind)),
        }
    }
}
