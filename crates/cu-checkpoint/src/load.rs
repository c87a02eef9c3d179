//! Loads the newest checkpoint that verifies, and reports those that it passed over.

use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::checkpoints::Checkpoints;
use crate::codec;
use crate::container::{ContainerReader, Examined, Unusable};
use crate::directory;
use crate::error::{Damage, Error, Result, Skipped};
use crate::fs::Kind;
use crate::generation::Generation;
use crate::header::Form;
use crate::layout::{self, Candidate, MANIFEST};
use crate::stream::Reader;

/// How often to start over if a checkpoint disappears while it is read. Each time, another process
/// must have removed it, and saved a newer one before.
const ATTEMPTS_TO_READ: usize = 100;

/// The newest intact checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found<T> {
    /// Its content.
    pub value: T,
    /// Its generation.
    pub generation: Generation,
    /// The newer checkpoints that are damaged, newest first, each with the reason. Show them to the
    /// user.
    pub skipped: Vec<Skipped>,
}

impl Checkpoints {
    /// Loads the newest intact checkpoint, a value of type `T`. `None` if there is none at all.
    ///
    /// Damaged ones are passed over, and reported in [`Found::skipped`]. Only damage makes this
    /// fall back to an older checkpoint, since falling back loses steps. A checkpoint that can't be
    /// read now, is of another type or form, or was written by a newer version is an error.
    ///
    /// # Errors
    /// [`Error::AllDamaged`] if there are checkpoints but no intact one; [`Error::Decode`] if the
    /// newest is not a `T`; [`Error::OtherForm`] if it is not a value; [`Error::NewerFormat`] if a
    /// newer version wrote it; [`Error::Io`] and [`Error::NotPermitted`] if reading fails.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// # let directory = scratch.path();
    /// use cu_checkpoint::Checkpoints;
    ///
    /// let mut checkpoints = Checkpoints::open(directory)?;
    /// assert!(checkpoints.load::<u64>()?.is_none());
    /// checkpoints.save(&17_u64)?;
    ///
    /// if let Some(found) = checkpoints.load::<u64>()? {
    ///     for skipped in &found.skipped {
    ///         eprintln!("passed over {skipped}");
    ///     }
    ///     assert_eq!(found.value, 17);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<Found<T>>> {
        self.newest(|candidate| {
            let mut container = self.open_container(candidate)?;
            if container.header.form != Form::Value {
                return Err(self.verify(container)?.other_form(Form::Value));
            }
            let payload = container.read_payload()?;
            codec::decode(&payload).map_err(|source| {
                Error::Decode {
                    path: candidate.path.clone(),
                    source,
                }
                .into()
            })
        })
    }

    /// The newest intact checkpoint that was written as a stream. `None` if there is none at all.
    ///
    /// It is read twice: first to verify it, so that no part of a damaged one reaches the program,
    /// then by the program, mostly from the page cache.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn reader(&self) -> Result<Option<Found<Reader>>> {
        self.newest(|candidate| {
            let verified = self.verify(self.open_container(candidate)?)?;
            match verified.0.header.form {
                Form::Stream => Ok(Reader::new(verified.0)),
                _ => Err(verified.other_form(Form::Stream)),
            }
        })
    }

    /// Loads the newest intact checkpoint that was written as a stream, all of it into memory. `None` if there is
    /// none at all.
    ///
    /// It is read once and verified on the way, so this is faster than a [`reader`](Self::reader), for state that
    /// fits in memory.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// # let directory = scratch.path();
    /// use std::io::Write;
    /// use cu_checkpoint::Checkpoints;
    ///
    /// let mut checkpoints = Checkpoints::open(directory)?;
    /// let mut writer = checkpoints.writer()?;
    /// writer.write_all(b"weights in a format of their own")?;
    /// writer.commit()?;
    ///
    /// let found = checkpoints.load_bytes()?.expect("just saved");
    /// assert!(found.value.starts_with(b"weights"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load_bytes(&self) -> Result<Option<Found<Vec<u8>>>> {
        self.newest(|candidate| {
            let mut container = self.open_container(candidate)?;
            match container.header.form {
                Form::Stream => container.read_payload(),
                _ => Err(self.verify(container)?.other_form(Form::Stream)),
            }
        })
    }

    /// The path of the newest intact checkpoint that was committed as a directory. `None` if there is
    /// none at all. Every file in it was compared with the manifest.
    ///
    /// Only read there: any change damages the checkpoint. It is removed when as many newer ones
    /// are saved as are [kept](Self::keep_last).
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_directory(&self) -> Result<Option<Found<PathBuf>>> {
        self.newest(|candidate| {
            let verified = self.verify(self.open_container(candidate)?)?;
            match verified.0.header.form {
                Form::Directory => Ok(candidate.path.clone()),
                _ => Err(verified.other_form(Form::Directory)),
            }
        })
    }

    /// Examines candidates, newest first, until one is intact.
    fn newest<T>(
        &self,
        mut examine: impl FnMut(&Candidate) -> Examined<T>,
    ) -> Result<Option<Found<T>>> {
        'list: for _ in 0..ATTEMPTS_TO_READ {
            let candidates = layout::candidates(self.fs.as_ref(), &self.directory)?;
            if candidates.is_empty() {
                return Ok(None);
            }
            let mut skipped = Vec::new();
            for candidate in candidates {
                let Candidate {
                    generation,
                    ref path,
                    ..
                } = candidate;
                match examine(&candidate) {
                    Ok(value) => {
                        return Ok(Some(Found {
                            value,
                            generation,
                            skipped,
                        }));
                    }
                    Err(Unusable::Failed(error)) => return Err(error),
                    Err(Unusable::Damaged(damage)) => {
                        if self.is_gone(&candidate)? {
                            continue 'list;
                        }
                        skipped.push(Skipped {
                            generation,
                            path: path.clone(),
                            damage,
                        });
                    }
                }
            }
            return Err(Error::AllDamaged {
                directory: self.directory.clone(),
                skipped,
            });
        }
        let busy = io::Error::other("they are removed faster than they can be read");
        Err(Error::io("read the checkpoints in", &self.directory, busy))
    }

    /// Returns whether a candidate only looks damaged because it was removed while it was read.
    fn is_gone(&self, candidate: &Candidate) -> Result<bool> {
        let present = layout::candidates(self.fs.as_ref(), &self.directory)?;
        Ok(present
            .iter()
            .all(|other| other.generation != candidate.generation))
    }

    /// Opens the file of a candidate, or the manifest of its directory.
    fn open_container(&self, candidate: &Candidate) -> Examined<ContainerReader> {
        let fs = self.fs.as_ref();
        let path = &candidate.path;
        let kind = match candidate.kind {
            Kind::Symlink => match fs.kind(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Damage::Missing)?,
                kind => kind.map_err(|error| Error::io("read", path, error))?,
            },
            kind => kind,
        };
        let container = match kind {
            Kind::File => ContainerReader::open(fs, path, Damage::Missing)?,
            Kind::Directory => ContainerReader::open(fs, &path.join(MANIFEST), Damage::NoManifest)?,
            // Opening a named pipe would block for ever.
            Kind::Symlink | Kind::Other => return Err(Damage::WrongKind.into()),
        };
        let header = container.header;
        if (header.form == Form::Directory) != (kind == Kind::Directory) {
            return Err(Damage::Misplaced(header.form).into());
        }
        if header.generation != candidate.generation {
            return Err(Damage::OtherGeneration(header.generation).into());
        }
        Ok(container)
    }

    /// Verifies all files of a checkpoint.
    fn verify(&self, mut container: ContainerReader) -> Examined<Verified> {
        if container.header.form == Form::Directory {
            directory::verify(self.fs.as_ref(), &mut container)?;
        } else {
            container.verify_payload()?;
        }
        Ok(Verified(container))
    }
}

/// A container whose every byte was verified.
struct Verified(ContainerReader);

impl Verified {
    /// Checks the form. Only call this for an intact checkpoint.
    fn other_form(self, wanted: Form) -> Unusable {
        let found = self.0.header.form;
        Unusable::Failed(Error::OtherForm {
            path: self.0.path,
            found,
            wanted,
        })
    }
}
