//! Where the paths of a config of cluster_utils lead: to the current directory, or into a clone.

use std::path::{Path, PathBuf};

use super::given::Given;
use crate::error::Result;

/// The files that a clone must have, each with the place where it is named.
pub type Needed = Vec<(PathBuf, String)>;

/// Where paths of a config lead.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The current directory.
    pub here: &'a Path,
    /// Where the programs start: the same, or a clone that is still to be made.
    pub project: &'a Path,
}

impl Places<'_> {
    /// The file `path` of the project, which `key` names. That of a clone is noted as `needed`.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn file(
        &self,
        given: &Given,
        key: &str,
        path: &str,
        needed: &mut Needed,
    ) -> Result<PathBuf> {
        let found = self.project.join(path);
        if found.starts_with(self.project) && self.here != self.project {
            needed.push((found.clone(), format!("{}: `{key}`", given.place(key))));
        } else if !found.is_file() {
            return Err(given.wrong(key, format!("there is no file {}", found.display())));
        }
        Ok(found)
    }
}
