//! Previews a submission: the script, and the verdict of sbatch and of our own check.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Cluster, examine, needs};
use crate::cluster;
use crate::{Preview, Submission};

impl Cluster {
    /// Writes nothing anywhere: the script goes to sbatch through a pipe.
    pub(super) async fn preview(self: &Arc<Self>, batch: &[Submission]) -> Vec<Preview> {
        // Close to what it will be: numbers follow the clock.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0);
        let mut previews = Vec::new();
        for (number, group) in (now..).zip(cluster::groups(self, &cluster::Batch::new(batch))) {
            let members: Vec<Submission> = group.iter().map(|it| batch[*it].clone()).collect();
            previews.push(self.preview_one(&members, number).await);
        }
        previews
    }

    async fn preview_one(&self, members: &[Submission], number: u64) -> Preview {
        let call = self.plan(members, number);
        let borrowed: Vec<&Submission> = members.iter().collect();
        let (text, verdict) = match self.batch(&call, &borrowed, &[]).text() {
            Ok(text) => {
                let verdict = self.verdict(members, &text).await;
                (text, verdict)
            }
            Err(reason) => (String::new(), Err(reason)),
        };
        let names = members.iter().map(|it| it.name.clone()).collect();
        Preview::new(names, call.script, text, verdict)
    }

    async fn verdict(&self, members: &[Submission], text: &str) -> Result<String, String> {
        let settings = self.settings.get();
        let check = |it: &Submission| needs::check(it, &self.options, &settings.partitions);
        members.iter().try_for_each(check)?;
        // `--test-only` finds a start in a partition that is down.
        let chosen = needs::chosen(&self.options, &settings.partitions);
        let closed: Vec<String> = chosen.iter().filter_map(|it| examine::closed(it)).collect();
        if !closed.is_empty() && closed.len() == chosen.len() {
            return Err(closed.join("; "));
        }
        let sbatch = self.client().sbatch();
        let command = sbatch.argument("--test-only").input(text);
        let output = command.run().await.map_err(|failure| failure.to_string())?;
        let words = output.words();
        if output.code == 0 {
            Ok(words)
        } else {
            Err(words)
        }
    }
}
