//! What a shell does before the program starts, so that the program finds its environment.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a shell does on the machine of an attempt before the program starts. The program gets the variables
/// that the shell has then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Activation {
    /// The modules that it loads, in this order, as a login shell.
    pub modules: Vec<String>,
    /// The script that it sources then, such as `venv/bin/activate`; an absolute path.
    pub script: Option<PathBuf>,
}

impl Activation {
    /// Whether no shell is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty() && self.script.is_none()
    }
}
