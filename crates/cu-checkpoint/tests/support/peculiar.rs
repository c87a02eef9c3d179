//! The real file system with a peculiarity that tests can't cause otherwise: no locks, or a sweeper
//! that always comes at the worst moment.

use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use cu_checkpoint::fs::{File, FileSystem, Kind, RealFileSystem};
use cu_checkpoint::remove_stale_temporaries;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peculiarity {
    /// It has no locks, as many Lustre file systems are mounted.
    NoLocks,
    /// Every file is swept before its creator can lock it.
    SweptAtOnce,
}

#[derive(Debug)]
pub struct Peculiar {
    peculiarity: Peculiarity,
    /// How often it occurs; after that the file system behaves normally.
    remaining: AtomicUsize,
}

impl Peculiar {
    pub fn always(peculiarity: Peculiarity) -> Self {
        Self::times(peculiarity, usize::MAX)
    }

    pub fn times(peculiarity: Peculiarity, times: usize) -> Self {
        Self {
            peculiarity,
            remaining: AtomicUsize::new(times),
        }
    }

    fn sweep(&self, directory: &Path) {
        let left = self.remaining.load(Ordering::Relaxed);
        if self.peculiarity == Peculiarity::SweptAtOnce && left > 0 {
            self.remaining.store(left - 1, Ordering::Relaxed);
            assert_eq!(remove_stale_temporaries(directory).expect("sweeps"), 1);
        }
    }

    fn wrap(&self, file: Box<dyn File>) -> Box<dyn File> {
        match self.peculiarity {
            Peculiarity::NoLocks => Box::new(Unlockable(file)),
            Peculiarity::SweptAtOnce => file,
        }
    }
}

impl FileSystem for Peculiar {
    fn create_file(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        let file = RealFileSystem.create_file(path, mode)?;
        let parent = path.parent().expect("in a directory");
        // The manifest of a directory lies one level deeper.
        let is_manifest = path.ends_with(".cu-manifest");
        self.sweep(if is_manifest {
            parent.parent().expect("in a directory")
        } else {
            parent
        });
        Ok(self.wrap(file))
    }
    fn open_file(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(RealFileSystem.open_file(path)?))
    }
    fn open_to_lock(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(RealFileSystem.open_to_lock(path)?))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.create_directory(path)?;
        if path.to_string_lossy().contains(".cu-tmp-") {
            self.sweep(path.parent().expect("in a directory"));
        }
        Ok(())
    }
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        RealFileSystem.kind(path)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        RealFileSystem.list(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFileSystem.rename(from, to)
    }
    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFileSystem.rename_to_new(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.remove_file(path)
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.remove_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.sync_directory(path)
    }
}

#[derive(Debug)]
struct Unlockable(Box<dyn File>);

impl Read for Unlockable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Unlockable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Unlockable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl File for Unlockable {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn try_lock(&self) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn is_linked(&self) -> io::Result<bool> {
        self.0.is_linked()
    }
}
