//! Looks submissions up by name, also right after an sbatch whose outcome is not known.
//!
//! A call that hung may arrive after we looked: the controller reads what waits in its sockets once
//! it goes on. So a call is given up only when no sbatch of it lives, the controller has answered,
//! and has answered again some seconds later without knowing it. Then a file says so to the script:
//! if the job arrives even then, it ends without having run anything.

use std::collections::BTreeMap;
use std::time::Duration;

use super::job_id::JobId;
use super::known::{Call, Line, Place};
use super::row::Row;
use super::{Cluster, files, row, sacct, script, state};
use crate::{ClusterState, Error, Found, SubmissionName};

/// How long after a first answer of the controller a call may still arrive.
const SETTLING: Duration = Duration::from_secs(5);
/// How far clocks of this machine and of accounting may be apart.
const CLOCKS: u64 = 3600;

impl Cluster {
    pub(super) async fn find_all(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut queue = self.queue().await?;
        self.settle(names, &queue).await?;
        if self.is_unsettled(names)? {
            tokio::time::sleep(SETTLING).await;
            queue = self.queue().await?;
            self.settle(names, &queue).await?;
            self.give_up(names)?;
        }
        let lost = self.find_lost(names, &queue).await?;
        let mut found = Vec::new();
        for name in names {
            let place = self
                .journal
                .with(|journal| Ok(journal.known().place(name)))?;
            let at = match place {
                Some(Place::At(job)) => Some(job),
                _ => lost.get(name).copied(),
            };
            found.extend(at.map(|job| (name.clone(), job.to_cluster())));
        }
        let ids: Vec<_> = found.iter().map(|(_, id)| id.clone()).collect();
        let observations = self.observe_in(&queue, &ids).await?;
        let found = found.into_iter().zip(observations);
        Ok(found
            .map(|((name, _), observation)| Found { name, observation })
            .collect())
    }

    /// The calls among `names` that are still open, and the jobs that were to be put back in the queue.
    fn open_of(&self, names: &[SubmissionName]) -> Result<Open, Error> {
        self.journal.with(|journal| {
            let mut open = Open::default();
            for name in names {
                match journal.known().place(name) {
                    Some(Place::Open { call, .. }) => {
                        open.calls
                            .extend(journal.known().call(call).map(|it| (call, it.clone())));
                    }
                    Some(Place::Requeue { job, restarts }) => {
                        open.requeues.push((name.clone(), job, restarts));
                    }
                    Some(Place::At(_)) | None => {}
                }
            }
            Ok(open)
        })
    }

    fn is_unsettled(&self, names: &[SubmissionName]) -> Result<bool, Error> {
        let open = self.open_of(names)?;
        Ok(!open.calls.is_empty() || !open.requeues.is_empty())
    }

    /// Notes which open calls the cluster knows.
    async fn settle(&self, names: &[SubmissionName], queue: &[Row]) -> Result<(), Error> {
        let open = self.open_of(names)?;
        for (name, job, restarts) in open.requeues {
            let known_as = self.journal.with(|journal| {
                let call = journal.known().call_of(job);
                Ok(call.map(|call| call.job_name.clone()))
            })?;
            let row = row::Index::new(queue).row(job, known_as.as_deref());
            if row.is_some_and(|row| is_again(row, restarts)) {
                self.note(Line::Requeued {
                    name: name.to_string(),
                });
            }
        }
        if let Some(call) = open.calls.values().find(|call| files::is_at_work(call)) {
            return Err(Error::Unavailable {
                scheduler: self.to_string(),
                reason: format!("an sbatch is still at work with {}", call.script.display()),
            });
        }
        let mut unseen = Vec::new();
        for call in open.calls.into_values() {
            match id_of(&call, queue) {
                Some(id) => self.accepted(&call, id),
                None => unseen.push(call),
            }
        }
        if !unseen.is_empty() && self.settings.get().config.has_accounting() {
            let rows = self.accounts_by_name(&unseen).await?;
            for call in unseen {
                if let Some(id) = id_of(&call, &rows) {
                    self.accepted(&call, id);
                }
            }
        }
        Ok(())
    }

    fn accepted(&self, call: &Call, id: u32) {
        self.note(Line::Accepted {
            call: call.number,
            id,
        });
    }

    async fn accounts_by_name(&self, calls: &[Call]) -> Result<Vec<Row>, Error> {
        let client = self.client();
        let since = calls.iter().map(|call| call.at_unix_s).min().unwrap_or(0);
        let job_names: Vec<&str> = calls.iter().map(|call| call.job_name.as_str()).collect();
        let mut rows = Vec::new();
        for some in job_names.chunks(super::observe::IDS_AT_ONCE) {
            let command = client.command("sacct").arguments(sacct::ARGUMENTS);
            let command = command
                .argument("--starttime")
                .argument(format!("uts{}", since.saturating_sub(CLOCKS)))
                .argument("--name")
                .argument(some.join(","));
            rows.extend(sacct::parse(&client.ask(command).await?.stdout));
        }
        Ok(rows)
    }

    /// Gives up the open calls among `names`, for good.
    fn give_up(&self, names: &[SubmissionName]) -> Result<(), Error> {
        let open = self.open_of(names)?;
        for call in open.calls.into_values() {
            let mark = script::withdrawn(&call);
            cu_system::files::touch(&mark).map_err(|source| Error::State { path: mark, source })?;
            self.note(Line::Void { call: call.number });
        }
        for (name, ..) in open.requeues {
            self.note(Line::NotRequeued {
                name: name.to_string(),
            });
        }
        Ok(())
    }
}

/// Calls and requeues whose outcome is not known.
#[derive(Default)]
struct Open {
    calls: BTreeMap<u64, Call>,
    requeues: Vec<(SubmissionName, JobId, u32)>,
}

/// The id under which rows know the job of a call; not that of a job which a refusal left behind.
fn id_of(call: &Call, rows: &[Row]) -> Option<u32> {
    let row = rows
        .iter()
        .find(|row| row.name.as_ref() == Some(&call.job_name) && !state::is_refusal(row))?;
    Some(row.listed.base())
}

/// Whether a job was started anew, or waits for it, since it had been `restarts` times.
pub(super) fn is_again(row: &Row, restarts: u32) -> bool {
    let over = matches!(state::of(row), ClusterState::Ended(_));
    !over || row.restarts.is_some_and(|now| now > restarts)
}
