//! The settings of the cluster, as last read. A process that submits lives for weeks, so it reads them
//! again now and then, and before it refuses a submission because of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;
use super::config::{Config, Partition};
use crate::Error;

/// Older settings are read again before the next submission.
const LASTING: Duration = Duration::from_secs(3600);

/// The settings that matter here.
#[derive(Debug)]
pub(super) struct Settings {
    pub config: Config,
    pub partitions: Vec<Partition>,
}

impl Settings {
    async fn read(client: &Client) -> Result<Self, Error> {
        let (config, partitions) =
            tokio::try_join!(client.show("config"), client.show("partition"))?;
        Ok(Self {
            config: Config::parse(&config),
            partitions: Partition::parse_all(&partitions),
        })
    }
}

/// The settings as last read, and when that was; `None` once they turned out to be wrong.
#[derive(Debug)]
pub(super) struct Current(Mutex<(Arc<Settings>, Option<Instant>)>);

impl Current {
    /// Asks the cluster.
    ///
    /// # Errors
    /// Those of [`Client::show`].
    pub async fn read(client: &Client) -> Result<Self, Error> {
        let settings = Settings::read(client).await?;
        let now = Some(Instant::now());
        Ok(Self(Mutex::new((Arc::new(settings), now))))
    }

    pub fn get(&self) -> Arc<Settings> {
        self.lock().0.clone()
    }

    /// They are read again before the next submission.
    pub fn distrust(&self) {
        self.lock().1 = None;
    }

    /// Reads them again if they are old, or if a submission is to be `refused` because of them.
    ///
    /// # Errors
    /// Those of [`Client::show`]: what was read before stays.
    pub async fn renew(
        &self,
        client: &Client,
        refused: impl FnOnce(&Settings) -> bool,
    ) -> Result<(), Error> {
        let (settings, read) = self.lock().clone();
        let lasts = read.is_some_and(|read| read.elapsed() < LASTING);
        if !lasts || refused(&settings) {
            let settings = Settings::read(client).await?;
            *self.lock() = (Arc::new(settings), Some(Instant::now()));
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Arc<Settings>, Option<Instant>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
