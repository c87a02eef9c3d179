//! Finding submissions by name: in the log and the tickets, in the queue, in the history.

use std::collections::BTreeSet;

use super::ad::Ad;
use super::event::Id;
use super::queue::Commands;
use super::watch::Watch;
use crate::{ClusterEnd, ClusterJobId, ClusterState, EndCause, Error, Found, SubmissionName};

impl Watch {
    /// Looks submissions up by name: in the log and the tickets, in the queue, in the history.
    pub async fn find(
        &self,
        commands: &Commands,
        names: &[SubmissionName],
    ) -> Result<Vec<Found>, Error> {
        let missing = self.missing(commands, names)?;
        if !missing.is_empty() {
            // An attempt may have gone on in the cluster job of another of its job.
            let mut asked: BTreeSet<SubmissionName> = missing.iter().cloned().collect();
            for name in &missing {
                asked.extend(self.tickets.firsts(name.run(), name.job()));
            }
            let asked: Vec<SubmissionName> = asked.into_iter().collect();
            self.note(commands, commands.ask_queue_for(&asked).await?)?;
            if !self.missing(commands, names)?.is_empty() {
                self.note(commands, commands.ask_history_for(&asked).await?)?;
            }
        }
        let missing: BTreeSet<SubmissionName> =
            self.missing(commands, names)?.into_iter().collect();
        let known = names.iter().filter(|name| !missing.contains(*name));
        let known: Vec<SubmissionName> = known.cloned().collect();
        self.forget_unhonoured(commands, &known).await?;
        let mut named = Vec::new();
        self.up_to_date(commands, |table| {
            for name in &known {
                if let Some(id) = table.id_of(name) {
                    let current = table.job(id).and_then(|job| job.name.clone());
                    named.push((name.clone(), id, current.as_ref() == Some(name)));
                }
            }
        })?;
        let ids: Vec<ClusterJobId> = named.iter().map(|(_, id, _)| id.to_cluster()).collect();
        let observations = self.observe(commands, &ids).await?;
        let found = named.into_iter().zip(observations);
        Ok(found
            .map(|((name, _, is_current), mut observation)| {
                if !is_current {
                    observation.state = ClusterState::Ended(ClusterEnd {
                        cause: EndCause::Unknown,
                        at: None,
                        text: "another attempt went on in its cluster job".into(),
                    });
                }
                Found { name, observation }
            })
            .collect())
    }

    fn missing(
        &self,
        commands: &Commands,
        names: &[SubmissionName],
    ) -> Result<Vec<SubmissionName>, Error> {
        self.up_to_date(commands, |table| {
            let is_missing = |name: &&SubmissionName| table.id_of(name).is_none();
            names.iter().filter(is_missing).cloned().collect()
        })
    }

    fn note(&self, commands: &Commands, ads: Vec<Ad>) -> Result<(), Error> {
        self.up_to_date(commands, |table| {
            for ad in ads {
                if let Some(name) = ad.name {
                    table.note(ad.id, name);
                }
            }
        })
    }

    /// Forgets tickets of `names` that were written by a process that did not live to open the
    /// gate: their attempts are not on the cluster.
    async fn forget_unhonoured(
        &self,
        commands: &Commands,
        names: &[SubmissionName],
    ) -> Result<(), Error> {
        let suspects = self.up_to_date(commands, |table| {
            let suspect = |name: &SubmissionName| {
                let id = table.id_of(name)?;
                let job = table.job(id)?;
                let first = job.first.clone()?;
                let ticket = self.tickets.read(&first, job.tickets)?;
                let silent = job.tickets > 1 && job.events <= ticket.events;
                (silent && ticket.name == *name).then_some((id, first, job.tickets, ticket))
            };
            names.iter().filter_map(suspect).collect::<Vec<_>>()
        })?;
        if suspects.is_empty() {
            return Ok(());
        }
        let ids: Vec<Id> = suspects.iter().map(|(id, ..)| *id).collect();
        let queue = commands.ask_queue(&ids, &BTreeSet::new()).await?;
        self.up_to_date(commands, |table| {
            for (id, first, number, ticket) in suspects {
                let ad = queue
                    .iter()
                    .find(|ad| ad.id == id && ad.is_of(Some(&first)));
                let honoured = ad.is_some_and(|ad| {
                    let still_waits = ticket.in_slot && self.tickets.is_waiting(&first);
                    ad.starts.is_some_and(|starts| starts >= ticket.starts) && !still_waits
                });
                if !honoured {
                    self.tickets.remove(&first, number);
                    table.take_back(id, &ticket.name);
                }
            }
        })
    }
}
