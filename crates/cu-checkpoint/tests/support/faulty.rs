//! A file system that counts the calls made to another one, and at one of them fails or stops.

use std::ffi::OsString;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cu_checkpoint::fs::{File, FileSystem, Kind};

/// The fault at the chosen call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    None,
    /// This call and all after it do nothing: the process is dead, though its code still runs.
    Stop {
        at: usize,
    },
    /// This call alone fails, with this error number.
    Fail {
        at: usize,
        errno: i32,
    },
}

#[derive(Debug)]
struct Count {
    calls: AtomicUsize,
    fault: Fault,
}

impl Count {
    fn call(&self) -> io::Result<()> {
        let index = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Stop { at } if index >= at => Err(io::Error::other("the world has stopped")),
            Fault::Fail { at, errno } if index == at => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }
}

/// The wrapper.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn FileSystem>,
    count: Arc<Count>,
}

impl Faulty {
    pub fn new(inner: &Arc<dyn FileSystem>, fault: Fault) -> Arc<Self> {
        let count = Arc::new(Count {
            calls: AtomicUsize::new(0),
            fault,
        });
        Arc::new(Self {
            inner: Arc::clone(inner),
            count,
        })
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> usize {
        self.count.calls.load(Ordering::Relaxed)
    }

    fn wrap(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultyFile {
            inner: file,
            count: Arc::clone(&self.count),
        })
    }
}

impl FileSystem for Faulty {
    fn create_file(&self, path: &Path, mode: u32) -> io::Result<Box<dyn File>> {
        self.count.call()?;
        Ok(self.wrap(self.inner.create_file(path, mode)?))
    }
    fn open_file(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.count.call()?;
        Ok(self.wrap(self.inner.open_file(path)?))
    }
    fn open_to_lock(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.count.call()?;
        Ok(self.wrap(self.inner.open_to_lock(path)?))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.count.call()?;
        self.inner.create_directory(path)
    }
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        self.count.call()?;
        self.inner.kind(path)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        self.count.call()?;
        self.inner.list(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count.call()?;
        self.inner.rename(from, to)
    }
    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count.call()?;
        self.inner.rename_to_new(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.count.call()?;
        self.inner.remove_file(path)
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.count.call()?;
        self.inner.remove_directory(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.count.call()?;
        self.inner.sync_directory(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn File>,
    count: Arc<Count>,
}

impl Read for FaultyFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.count.call()?;
        self.inner.read(buffer)
    }
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let was_alive = match self.count.fault {
            Fault::Stop { at } => self.count.calls.load(Ordering::Relaxed) <= at,
            _ => true,
        };
        if let Err(error) = self.count.call() {
            if was_alive {
                // The fault may cut a write short.
                self.inner.write_all(&bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for FaultyFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.count.call()?;
        self.inner.seek(to)
    }
}

impl File for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.count.call()?;
        self.inner.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.count.call()?;
        self.inner.length()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.count.call()?;
        self.inner.try_lock()
    }
    fn is_linked(&self) -> io::Result<bool> {
        self.count.call()?;
        self.inner.is_linked()
    }
}
