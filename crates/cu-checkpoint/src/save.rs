//! Saves a checkpoint: temporary file, fsync, rename, fsync of the directory. Only then removes
//! older ones.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::checkpoints::Checkpoints;
use crate::codec::{self, EncodeFailure};
use crate::container::{ContainerWriter, write_failed};
use crate::error::{Error, Result};
use crate::fs::FileSystem;
use crate::generation::Generation;
use crate::header::Form;
use crate::layout::{self, Candidate};
use crate::temporary::{self, Temporary};

impl Checkpoints {
    /// Saves a value. When this returns `Ok`, the checkpoint survives a power failure, and only the
    /// last [few](Self::keep_last) are left. (If an older one can't be removed, the save still
    /// succeeds, and the next save tries again.)
    ///
    /// The value is encoded straight into the file, without a second copy in memory.
    ///
    /// # Errors
    /// If the checkpoint can't be saved. The earlier checkpoints are intact then. If only the final
    /// sync of the directory failed, the new checkpoint may or may not be there.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// # let directory = scratch.path();
    /// use cu_checkpoint::{Checkpoints, Generation};
    ///
    /// let mut checkpoints = Checkpoints::open(directory)?.for_attempt(3);
    /// assert_eq!(checkpoints.save(&(17, "weights"))?, Generation::new(3, 0));
    /// assert_eq!(checkpoints.save(&(18, "weights"))?, Generation::new(3, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<Generation> {
        let (temporary, mut container) = self.start_container()?;
        codec::encode(value, &mut container).map_err(|failure| match failure {
            EncodeFailure::Write(error) => write_failed(&self.directory)(error),
            EncodeFailure::Value(source) => Error::Encode {
                directory: self.directory.clone(),
                source,
            },
        })?;
        self.publish(Form::Value, container, temporary)
    }

    /// As [`save`](Self::save), for a value that is already encoded.
    pub(crate) fn save_encoded(&mut self, payload: &[u8]) -> Result<Generation> {
        let (temporary, mut container) = self.start_container()?;
        container
            .write_all(payload)
            .map_err(write_failed(&self.directory))?;
        self.publish(Form::Value, container, temporary)
    }

    /// Creates the file of a checkpoint that is not a directory.
    pub(crate) fn start_container(&mut self) -> Result<(Temporary, ContainerWriter)> {
        self.prepare()?;
        let (temporary, file) =
            Temporary::file(&self.fs, &self.directory, Some(self.attempt), 0o666)
                .map_err(write_failed(&self.directory))?;
        Ok((temporary, ContainerWriter::new(file)))
    }

    /// Prepares the first save of a handle: makes the directory durable, and removes the
    /// temporaries of dead writers, since these may fill a quota.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        if self.is_prepared {
            return Ok(());
        }
        create_directories(self.fs.as_ref(), &self.directory)?;
        // A temporary that can't be removed costs disk space, not correctness.
        let _ = temporary::sweep(self.fs.as_ref(), &self.directory, Some(self.attempt));
        self.is_prepared = true;
        Ok(())
    }

    /// Gives a finished checkpoint its generation and its name. `temporary` is the file of
    /// `container`, or the directory whose manifest it is.
    pub(crate) fn publish(
        &mut self,
        form: Form,
        mut container: ContainerWriter,
        mut temporary: Temporary,
    ) -> Result<Generation> {
        loop {
            let present = layout::candidates(self.fs.as_ref(), &self.directory)?;
            let generation = self.next_generation(&present)?;
            container
                .seal(form, generation)
                .map_err(write_failed(&self.directory))?;
            self.last_counter = Some(generation.counter());
            let path = layout::checkpoint_path(&self.directory, generation);
            match self.fs.rename_to_new(temporary.path(), &path) {
                // Another writer of this attempt has taken the number since we looked.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                renamed => renamed.map_err(|error| Error::io("create", &path, error))?,
            }
            temporary.renamed();
            self.fs
                .sync_directory(&self.directory)
                .map_err(|error| Error::io("make durable", &path, error))?;
            self.remove_old(&present, generation);
            return Ok(generation);
        }
    }

    /// The number after the highest that this attempt has used, here or in an earlier process.
    fn next_generation(&self, present: &[Candidate]) -> Result<Generation> {
        let on_disk = present
            .iter()
            .map(|candidate| candidate.generation)
            .find(|generation| generation.attempt() == self.attempt)
            .map(Generation::counter);
        let counter = match on_disk.max(self.last_counter) {
            None => Some(0),
            Some(last) => last.checked_add(1),
        };
        counter
            .map(|counter| Generation::new(self.attempt, counter))
            .ok_or_else(|| Error::NoNumberLeft {
                directory: self.directory.clone(),
                attempt: self.attempt,
            })
    }

    /// Removes all but the newest few checkpoints up to `saved`, which is durable now.
    fn remove_old(&self, present: &[Candidate], saved: Generation) {
        let older = present
            .iter()
            .filter(|candidate| candidate.generation < saved);
        for candidate in older.skip(self.keep.get() - 1) {
            let Candidate { path, kind, .. } = candidate;
            // The checkpoint is saved. The next save finds the rest, and tries again.
            let fs = self.fs.as_ref();
            let _ = temporary::discard(fs, &self.directory, self.attempt, path, *kind);
        }
    }
}

/// Creates the missing directories of a path, and makes each durable: a power failure that removes
/// a directory would remove its checkpoints, too.
fn create_directories(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    let parent = layout::parent(path);
    let created = match fs.create_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directories(fs, parent)?;
            fs.create_directory(path)
        }
        created => created,
    };
    match created {
        Ok(()) => {}
        // Another process may have created it and died before the sync.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // It exists and may not be created, such as a mount point. If it does not exist, the next
        // call that needs it fails.
        Err(_) if fs.kind(path).is_ok() => {}
        Err(error) => return Err(Error::io("create", path, error)),
    }
    match fs.sync_directory(parent) {
        // We may pass through this directory but not read it. We have created nothing in it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(|error| Error::io("make durable", parent, error)),
    }
}
