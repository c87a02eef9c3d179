//! The two traits for all file system calls of this crate. With them tests count the calls, let each
//! fail, stop the process at each, and lose what is not durable yet.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, a device, …
    Other,
}

/// The calls on paths.
pub trait FileSystem: Debug + Send + Sync {
    /// Creates a file that must not exist yet, open for reading and writing.
    fn create_file(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>>;
    /// Opens a file for reading.
    fn open_file(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading and writing, as network file systems want for a lock.
    fn open_to_lock(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates one directory, with the mode that the umask leaves.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// The kind of the entry at `path`; symbolic links are followed.
    fn kind(&self, path: &Path) -> io::Result<Kind>;
    /// The entries of a directory; symbolic links are not followed.
    fn list(&self, directory: &Path) -> io::Result<Vec<(OsString, Kind)>>;
    /// Renames a file, and replaces the entry at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file or directory, or fails with `AlreadyExists` if `to` exists.
    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// The calls on an open file.
pub trait File: Read + Write + Seek + Debug + Send {
    /// Makes the file's content durable.
    fn sync(&mut self) -> io::Result<()>;
    /// The length of the file in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Locks the file until this process closes it or dies: `false` if another process holds the
    /// lock, `Unsupported` if this file system has no locks.
    fn try_lock(&self) -> io::Result<bool>;
    /// Whether the file still has a name.
    fn is_linked(&self) -> io::Result<bool>;
}

/// The file system of this machine.
#[derive(Debug)]
pub struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn create_file(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn open_file(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::open(path)?))
    }

    fn open_to_lock(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(file))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        Ok(kind_of(fs::metadata(path)?.file_type()))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        fs::read_dir(directory)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name(), kind_of(entry.file_type()?)))
            })
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Network file systems have no such rename. Checking first leaves a gap, through which
            // only another writer of the same attempt could slip; a run never has one.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
                Err(error) => Err(error),
            },
            result => Ok(result?),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match rustix::fs::fsync(fs::File::open(path)?) {
            // Some network and user-space file systems cannot sync directories. On these the server
            // decides when a rename is durable, and we can't do more.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }
}

impl File for fs::File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn try_lock(&self) -> io::Result<bool> {
        match flock(self, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.metadata()?.nlink() > 0)
    }
}

fn kind_of(file_type: fs::FileType) -> Kind {
    if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink
    } else {
        Kind::Other
    }
}
