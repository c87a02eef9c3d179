//! What to know of this machine as a scheduler.

use async_trait::async_trait;

use super::Local;
use crate::{Examine, Finding, Level, Subject};

#[async_trait]
impl Examine for Local {
    async fn examine(&self) -> Vec<Finding> {
        let text = format!("commands run on {self}, as long as it is not restarted");
        vec![Finding::new(Subject::Scheduler, Level::Good, text)]
    }
}
