//! Checkpoints of many files: a directory that appears whole or not at all.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::checkpoints::Checkpoints;
use crate::container::{ContainerReader, ContainerWriter, Examined, checksum_of, write_failed};
use crate::error::{Damage, Error, Result};
use crate::fs::{FileSystem, Kind};
use crate::generation::Generation;
use crate::header::Form;
use crate::layout::{MANIFEST, parent};
use crate::manifest::{self, Content, Entry};
use crate::temporary::Temporary;

/// A directory to be filled with the files of one checkpoint. It is a checkpoint from
/// [`commit`](Self::commit) on; dropped before that, it leaves no trace.
#[derive(Debug)]
#[must_use = "a checkpoint that is not committed is removed"]
pub struct Directory<'checkpoints> {
    checkpoints: &'checkpoints mut Checkpoints,
    manifest: ContainerWriter,
    temporary: Temporary,
}

impl Checkpoints {
    /// Starts a checkpoint of many files.
    ///
    /// # Errors
    /// If no directory can be created there.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// # let directory = scratch.path();
    /// use cu_checkpoint::Checkpoints;
    ///
    /// let mut checkpoints = Checkpoints::open(directory)?;
    /// let files = checkpoints.directory()?;
    /// std::fs::write(files.path().join("weights"), [1, 2, 3])?;
    /// std::fs::write(files.path().join("optimizer"), [4, 5])?;
    /// files.commit()?;
    ///
    /// let found = checkpoints.load_directory()?.expect("just saved");
    /// assert_eq!(std::fs::read(found.value.join("optimizer"))?, [4, 5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn directory(&mut self) -> Result<Directory<'_>> {
        self.prepare()?;
        let (temporary, manifest) = Temporary::directory(&self.fs, &self.directory, self.attempt)
            .map_err(write_failed(&self.directory))?;
        let manifest = ContainerWriter::new(manifest);
        Ok(Directory {
            checkpoints: self,
            manifest,
            temporary,
        })
    }
}

impl Directory<'_> {
    /// The directory for the files. Its name changes with [`commit`](Self::commit).
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Makes the files that are there now the newest checkpoint of its attempt. Close them first:
    /// the buffer of an open writer is not in its file. When this returns `Ok`, all files survive a
    /// power failure.
    ///
    /// Each file is read once, for its checksum.
    ///
    /// # Errors
    /// Those of [`Checkpoints::save`]; [`Error::NotCommittable`] if there is anything but files and
    /// directories, such as a symbolic link; [`Error::ManifestRemoved`] if a library has cleared the
    /// directory or made it anew, and the file `.cu-manifest` is gone.
    pub fn commit(mut self) -> Result<Generation> {
        let fs = self.checkpoints.fs.as_ref();
        let root = self.temporary.path();
        let manifest = root.join(MANIFEST);
        let is_linked = self.manifest.is_linked();
        let contents = match contents(fs, root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            contents => contents.map_err(|error| Error::io("list", root, error))?,
        };
        // One that was moved away still has a name, and a new one there is not ours.
        let is_there = is_linked.map_err(|error| Error::io("examine", &manifest, error))?
            && contents.contains_key(Path::new(MANIFEST));
        if !is_there {
            return Err(Error::ManifestRemoved { manifest });
        }
        let entries = collect_and_sync(fs, root, contents)?;
        self.manifest
            .write_all(&manifest::encode(&entries))
            .map_err(write_failed(&self.checkpoints.directory))?;
        self.checkpoints
            .publish(Form::Directory, self.manifest, self.temporary)
    }
}

/// Makes the contents of `root` durable except for the manifest, and returns the entries.
fn collect_and_sync(
    fs: &dyn FileSystem,
    root: &Path,
    contents: BTreeMap<PathBuf, Kind>,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (path, kind) in contents {
        let full_path = root.join(&path);
        let content = match kind {
            _ if path == Path::new(MANIFEST) => continue,
            Kind::Directory => {
                sync_directory(fs, &full_path)?;
                Content::Directory
            }
            Kind::File => {
                let (length, checksum) = measure_and_sync(fs, &full_path)
                    .map_err(|error| Error::io("make durable", &full_path, error))?;
                Content::File { length, checksum }
            }
            Kind::Symlink | Kind::Other => {
                let why = "it is neither a file nor a directory";
                return Err(Error::NotCommittable {
                    path: full_path,
                    why,
                });
            }
        };
        entries.push(Entry { path, content });
    }
    sync_directory(fs, root)?;
    Ok(entries)
}

fn sync_directory(fs: &dyn FileSystem, path: &Path) -> Result<()> {
    fs.sync_directory(path)
        .map_err(|error| Error::io("make durable", path, error))
}

fn measure_and_sync(fs: &dyn FileSystem, path: &Path) -> io::Result<(u64, u32)> {
    let mut file = fs.open_file(path)?;
    let measured = checksum_of(file.as_mut())?;
    file.sync()?;
    Ok(measured)
}

/// Lists everything below `root`, by path relative to it.
fn contents(fs: &dyn FileSystem, root: &Path) -> io::Result<BTreeMap<PathBuf, Kind>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for (name, kind) in fs.list(&root.join(&directory))? {
            let path = directory.join(name);
            if kind == Kind::Directory {
                pending.push(path.clone());
            }
            found.insert(path, kind);
        }
    }
    Ok(found)
}

/// Compares a directory with its manifest. Ignores files that the manifest does not name.
pub(crate) fn verify(fs: &dyn FileSystem, container: &mut ContainerReader) -> Examined<()> {
    let root = parent(&container.path).to_owned();
    let payload = container.read_payload()?;
    let entries = manifest::decode(&payload).ok_or(Damage::MalformedManifest)?;
    let present = match contents(fs, &root) {
        // It is being removed; the caller notices that.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Damage::Missing)?,
        present => present.map_err(|error| Error::io("list", &root, error))?,
    };
    for Entry { path, content } in entries {
        let damage = match (content, present.get(&path)) {
            (Content::Directory, Some(Kind::Directory)) => None,
            (Content::File { length, checksum }, Some(Kind::File)) => {
                compare(fs, &root.join(&path), length, checksum)?
            }
            (_, None) => Some(Damage::Missing),
            (_, Some(_)) => Some(Damage::WrongKind),
        };
        if let Some(damage) = damage.map(Box::new) {
            return Err(Damage::Inside { path, damage }.into());
        }
    }
    Ok(())
}

fn compare(
    fs: &dyn FileSystem,
    path: &Path,
    expected: u64,
    expected_checksum: u32,
) -> Examined<Option<Damage>> {
    let read_failed = |error| Error::io("read", path, error);
    let mut file = match fs.open_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(Damage::Missing));
        }
        file => file.map_err(read_failed)?,
    };
    let found = file.length().map_err(read_failed)?;
    if found != expected {
        return Ok(Some(Damage::Length { expected, found }));
    }
    let (_, checksum) = checksum_of(file.as_mut()).map_err(read_failed)?;
    Ok((checksum != expected_checksum).then_some(Damage::Checksum))
}
