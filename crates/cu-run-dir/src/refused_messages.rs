//! `refused_messages.json`: how many messages for cluster_utils the supervisors of a job have refused.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Result, json_file};

/// `attempts/{id}/refused_messages.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedMessages {
    /// The version of this file: [`RefusedMessages::VERSION`].
    version: u32,
    /// How many.
    pub count: u64,
    /// The first reasons, at most [`RefusedMessages::MOST_REASONS`]: sentences without an end.
    pub reasons: Vec<String>,
}

impl RefusedMessages {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;
    /// At most this many different reasons are recorded.
    pub const MOST_REASONS: usize = 5;

    /// Counts a message. Returns whether its reason was added.
    pub fn add(&mut self, reason: &str) -> bool {
        self.version = Self::VERSION;
        self.count = self.count.saturating_add(1);
        let is_known = self.reasons.iter().any(|known| known == reason);
        let is_added = !is_known && self.reasons.len() < Self::MOST_REASONS;
        if is_added {
            self.reasons.push(reason.to_owned());
        }
        is_added
    }

    /// Reads the file; nothing was refused if there is none.
    ///
    /// # Errors
    /// If it can't be read, or is damaged or of another version.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(json_file::read(path, Self::VERSION)?.unwrap_or_default())
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File).
    pub fn write(&self, path: &Path) -> Result<()> {
        json_file::write_quickly(path, self)
    }
}
