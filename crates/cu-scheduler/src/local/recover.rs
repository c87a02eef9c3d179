//! Opens a state directory: adopts running attempts, keeps waiting ones in the queue, and records
//! the ends of the others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use cu_system::files;
use cu_system::machine::{boot_id, host, unique_token};
use rustix::event::epoll;
use tokio::sync::watch;

use super::LocalOptions;
use super::journal::{Folded, Journal, Known, Started};
use super::keeper::{Keeper, Request};
use super::lock::Lock;
use super::proc_fs::{self, Process};
use super::process::{self, Leader};
use super::record::{Cause, Header, VERSION, from_unix_ms};
use super::slots::{self, Slots};
use super::table::{Job, Phase, Running, Table};
use super::warm::Warm;
use crate::{ClusterJobId, Error, Resources, SubmissionName};

const REBOOTED: &str = "the machine was restarted meanwhile";
const NEVER_SEEN: &str = "it may have been started, and does not run any more";

/// An attempt that still runs, or has processes left.
struct Adopted {
    number: u64,
    id: ClusterJobId,
    name: SubmissionName,
    running: Running,
    limits: Resources,
}

impl Keeper {
    /// Locks the state directory, and restores its jobs.
    pub(super) fn open(
        options: &LocalOptions,
        cpus: u32,
        wake: Arc<OwnedFd>,
        requests: Receiver<Request>,
        changes: watch::Sender<u64>,
    ) -> Result<Self, Error> {
        let state_dir = &options.state_dir;
        let failed = |source| Error::State {
            path: state_dir.clone(),
            source,
        };
        process::supported().map_err(|error| Error::Refused {
            scheduler: "this machine".into(),
            reason: format!("its kernel has no pidfd (Linux 5.4 or later is needed): {error}"),
        })?;
        files::make_dir(state_dir).map_err(failed)?;
        files::own_directory(state_dir).map_err(failed)?;
        let lock = Lock::take(state_dir)?;
        let mut folded = Journal::read(state_dir).map_err(failed)?;
        let header = header(&folded, state_dir)?;
        let rebooted = folded
            .header
            .as_ref()
            .is_some_and(|old| old.boot != header.boot);
        let gpus = slots::names(options.gpus, options.visible_gpus.as_deref());
        let gpus = gpus.map_err(|shown| Error::Refused {
            scheduler: "this machine".into(),
            reason: format!(
                "{} GPUs are to be handed out, and CUDA_VISIBLE_DEVICES shows {shown} of them",
                options.gpus
            ),
        })?;
        let mut slots = Slots::new(cpus, gpus, options.max_running);
        let adopted = settle(&mut folded, &header.token, rebooted, &mut slots).map_err(failed)?;
        let journal = Journal::rewrite(state_dir, &folded, header.clone()).map_err(failed)?;
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let mut keeper = Self {
            table: table(folded),
            slots,
            journal,
            token: header.token,
            opening: unique_token().chars().take(8).collect(),
            grace: options.grace,
            epoll,
            wake,
            requests,
            trouble: None,
            timers: BinaryHeap::<Reverse<_>>::new(),
            changes,
            changed: false,
            warm: Warm::new(options.preloaded.clone()),
            copies: Default::default(),
            stirred: Default::default(),
            _lock: lock,
        };
        for adopted in adopted {
            let job = Job {
                id: adopted.id,
                name: adopted.name,
                phase: Phase::Running(Box::new(adopted.running)),
            };
            keeper.table.insert(adopted.number, job);
            keeper.keep(adopted.number, &adopted.limits);
        }
        Ok(keeper)
    }
}

/// The header of the journal from now on.
fn header(folded: &Folded, state_dir: &Path) -> Result<Header, Error> {
    let (boot, host) = (boot_id(), host());
    let Some(old) = &folded.header else {
        return Ok(Header {
            version: VERSION,
            token: unique_token(),
            boot,
            host,
        });
    };
    let refused = |reason| Error::Refused {
        scheduler: "this machine".into(),
        reason,
    };
    if old.version > VERSION {
        return Err(refused(format!(
            "{} was written by a later version of this program (format {}, we know {VERSION})",
            state_dir.display(),
            old.version
        )));
    }
    let mut jobs = folded.jobs.values();
    let alive = jobs.any(|known| !matches!(known, Known::Ended(_)));
    if old.boot != boot && old.host != host && alive {
        return Err(refused(format!(
            "attempts of {} may still run on {}: go on there, or remove the directory if that \
             machine was switched off",
            state_dir.display(),
            old.host
        )));
    }
    Ok(Header {
        version: VERSION,
        token: old.token.clone(),
        boot,
        host,
    })
}

/// Decides for all jobs that had not ended whether they have ended meanwhile. Returns those that
/// run.
fn settle(
    folded: &mut Folded,
    token: &str,
    rebooted: bool,
    slots: &mut Slots,
) -> io::Result<Vec<Adopted>> {
    let started = |known: &Known| matches!(known, Known::Started(_));
    let processes = if folded.jobs.values().any(started) && !rebooted {
        by_job(proc_fs::survey(token)?)
    } else {
        BTreeMap::new()
    };
    let mut adopted = Vec::new();
    for (number, known) in &mut folded.jobs {
        let end = match known {
            Known::Ended(_) => continue,
            // A start that was not synced may have happened before the power failed.
            Known::Queued(queued) if rebooted => queued.ended(Cause::Unknown, REBOOTED.to_owned()),
            Known::Queued(queued) => {
                let submission = (**queued).clone().into_submission();
                match submission.map(|submission| slots.refusal(&submission.resources)) {
                    Some(None) => continue,
                    Some(Some(reason)) => queued.ended(Cause::NotStarted, reason),
                    None => queued.ended(Cause::NotStarted, "its record is damaged".into()),
                }
            }
            Known::Started(started) if rebooted => {
                started.queued.ended(Cause::Unknown, REBOOTED.to_owned())
            }
            Known::Started(started) => match adopt(started, processes.get(&started.queued.id())) {
                Some(it) => {
                    slots.occupy(it.running.cpus, &it.running.gpus);
                    started.process = started
                        .process
                        .take()
                        .or_else(|| it.running.record(*number));
                    adopted.push(it);
                    continue;
                }
                None => {
                    let text = match started.process {
                        Some(_) => "it ended while nobody watched it",
                        None => NEVER_SEEN,
                    };
                    let cause = started.ending.unwrap_or(Cause::Unknown);
                    started.queued.ended(cause, text.to_owned())
                }
            },
        };
        *known = Known::Ended(end);
    }
    Ok(adopted)
}

/// Lists the processes that carry our mark, by job, the oldest of each first.
fn by_job(mut processes: Vec<Process>) -> BTreeMap<ClusterJobId, Vec<Process>> {
    processes.sort_by_key(|process| (process.start_ticks, process.pid));
    let mut by_job: BTreeMap<_, Vec<Process>> = BTreeMap::new();
    for process in processes {
        if let Some(id) = process.job.clone() {
            by_job.entry(id).or_default().push(process);
        }
    }
    by_job
}

/// Returns the attempt if its leader lives, or another process with its mark.
fn adopt(started: &Started, marked: Option<&Vec<Process>>) -> Option<Adopted> {
    let recorded = started.process.as_ref();
    let known = recorded.and_then(|process| Leader::inherit(process.pid, process.start_ticks));
    let (leader, group) = match known {
        Some(leader) => {
            let group = leader.pid();
            (leader, group)
        }
        // We were killed between the start and its record, or the leader is dead and others remain.
        None => {
            let processes = marked?;
            let mut leaders = processes.iter().filter(|it| it.pid == it.group);
            let first = leaders.next().or(processes.first())?;
            (Leader::adopt(first.pid, first.start_ticks)?, first.group)
        }
    };
    let remains = recorded.is_some_and(|process| process.pid != leader.pid());
    let submission = started.queued.clone().into_submission()?;
    let limits = submission.resources;
    let gpus = recorded.map_or_else(Vec::new, |process| process.gpus.clone());
    let since = from_unix_ms(started.at_unix_ms);
    let mut running = Running::new(leader, limits.cpus, gpus, since, false);
    running.group = group;
    running.ending = started.ending;
    if remains {
        // The remaining processes are ended, as they would have been before.
        running.leader = None;
        running.end = Some(Cause::Unknown);
        running.search = true;
    }
    Some(Adopted {
        number: started.queued.number,
        id: started.queued.id(),
        name: submission.name,
        running,
        limits,
    })
}

fn table(folded: Folded) -> Table {
    let mut table = Table::new(host());
    for (number, known) in folded.jobs {
        let job = match known {
            Known::Ended(ended) => ended.name().map(|name| Job {
                id: ended.id(),
                name,
                phase: Phase::Ended(ended),
            }),
            Known::Queued(queued) => {
                let id = queued.id();
                queued.into_submission().map(|submission| Job {
                    id,
                    name: submission.name.clone(),
                    phase: Phase::Queued(Box::new(submission)),
                })
            }
            // Each is adopted on its own.
            Known::Started(_) => None,
        };
        if let Some(job) = job {
            table.insert(number, job);
        }
    }
    table
}
