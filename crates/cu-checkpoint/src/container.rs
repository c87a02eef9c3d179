//! One file with a header and a payload: computes the checksum while it writes, and verifies it
//! when it reads.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Damage, Error};
use crate::fs::{File, FileSystem};
use crate::generation::Generation;
use crate::header::{Form, HEADER_LENGTH, Header, HeaderFailure};

/// Pieces larger than this skip the buffer.
const BUFFER_LENGTH: usize = 64 * 1024;
/// How much is read at a time of what is kept in memory: few calls, and within a processor's cache.
const PIECE_LENGTH: usize = 256 * 1024;

/// A container being written.
#[derive(Debug)]
pub(crate) struct ContainerWriter {
    file: Box<dyn File>,
    /// The next bytes of the file. At first they begin with room for the header, so that a small
    /// container is written by a single call.
    buffer: Vec<u8>,
    /// Where the payload begins in the buffer: behind the header as long as that is there.
    payload_begins: usize,
    /// Length and checksum of the payload before what is buffered.
    counted_length: u64,
    payload_checksum: crc32fast::Hasher,
    /// Whether a write failed. The content of the file is unknown then, so it must never be
    /// published.
    broken: bool,
}

impl ContainerWriter {
    pub(crate) fn new(file: Box<dyn File>) -> Self {
        Self {
            file,
            buffer: vec![0; HEADER_LENGTH],
            payload_begins: HEADER_LENGTH,
            counted_length: 0,
            payload_checksum: crc32fast::Hasher::new(),
            broken: false,
        }
    }

    /// Length of the payload so far, in bytes.
    pub(crate) fn payload_length(&self) -> u64 {
        self.counted_length + (self.buffer.len() - self.payload_begins) as u64
    }

    /// Whether the file still has a name, as far as the file system knows.
    pub(crate) fn is_linked(&self) -> io::Result<bool> {
        self.file.is_linked()
    }

    /// Writes the header and makes the file's content durable. May be called again, for the same
    /// payload under another generation.
    pub(crate) fn seal(&mut self, form: Form, generation: Generation) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write to it failed"));
        }
        // A failure from here on leaves an unknown part of the file on the disk. A failed fsync may
        // even succeed when repeated, without the data.
        self.broken = true;
        self.count_buffer();
        let header = Header {
            form,
            generation,
            payload_length: self.counted_length,
            payload_checksum: self.payload_checksum.clone().finalize(),
        }
        .encode();
        if self.payload_begins == HEADER_LENGTH {
            self.buffer[..HEADER_LENGTH].copy_from_slice(&header);
            self.write_buffer()?;
        } else {
            self.write_buffer()?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&header)?;
        }
        self.file.sync()?;
        self.broken = false;
        Ok(())
    }

    /// Adds the buffered payload to the length and the checksum.
    fn count_buffer(&mut self) {
        let payload = &self.buffer[self.payload_begins..];
        self.payload_checksum.update(payload);
        self.counted_length += payload.len() as u64;
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.payload_begins = 0;
        Ok(())
    }

    fn write_payload(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_LENGTH {
            self.count_buffer();
            self.write_buffer()?;
        }
        if bytes.len() < BUFFER_LENGTH {
            self.buffer.extend_from_slice(bytes);
        } else {
            self.payload_checksum.update(bytes);
            self.file.write_all(bytes)?;
            self.counted_length += bytes.len() as u64;
        }
        Ok(())
    }
}

impl Write for ContainerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write_payload(bytes);
        self.broken |= written.is_err();
        written.map(|()| bytes.len())
    }

    /// The codec calls this for every number of a value, so the usual case must be inlined.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() <= BUFFER_LENGTH {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.write(bytes).map(drop)
    }

    /// Does nothing, since nobody reads the file before it is sealed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a file that looks like a checkpoint cannot be used.
pub(crate) enum Unusable {
    /// It is damaged: an older one may be loaded.
    Damaged(Damage),
    /// It is not known to be damaged, so no older one may be loaded.
    Failed(Error),
}

impl From<Damage> for Unusable {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(crate) type Examined<T> = std::result::Result<T, Unusable>;

/// A container whose header and length are right.
#[derive(Debug)]
pub(crate) struct ContainerReader {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    file: Box<dyn File>,
}

impl ContainerReader {
    /// Opens the container at `path`. `absent` is the damage to report if there is none.
    pub(crate) fn open(fs: &dyn FileSystem, path: &Path, absent: Damage) -> Examined<Self> {
        let read_failed = |error| Error::io("read", path, error);
        let mut file = match fs.open_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent.into()),
            file => file.map_err(read_failed)?,
        };
        let mut header = [0; HEADER_LENGTH];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Damage::HeaderCut.into());
            }
            read => read.map_err(read_failed)?,
        }
        let header = Header::decode(&header).map_err(|failure| match failure {
            HeaderFailure::Damaged(damage) => Unusable::from(damage),
            HeaderFailure::Newer { version } => Error::NewerFormat {
                path: path.to_owned(),
                version,
            }
            .into(),
        })?;
        let expected = header.payload_length.saturating_add(HEADER_LENGTH as u64);
        let found = file.length().map_err(read_failed)?;
        if found != expected {
            return Err(Damage::Length { expected, found }.into());
        }
        Ok(Self {
            header,
            path: path.to_owned(),
            file,
        })
    }

    /// Reads the payload and verifies it. Its length is the file's, so a wrong length in the header costs
    /// no memory. Each piece goes into the checksum while the processor still has it at hand.
    pub(crate) fn read_payload(&mut self) -> Examined<Vec<u8>> {
        let read_failed = |error| Error::io("read", &self.path, error);
        let mut payload = Vec::new();
        let length = usize::try_from(self.header.payload_length)
            .ok()
            .filter(|length| payload.try_reserve_exact(*length).is_ok())
            .ok_or_else(|| read_failed(io::ErrorKind::OutOfMemory.into()))?;
        let mut checksum = crc32fast::Hasher::new();
        while payload.len() < length {
            let (begin, end) = (payload.len(), length.min(payload.len() + PIECE_LENGTH));
            payload.resize(end, 0);
            match self.file.read_exact(&mut payload[begin..]) {
                // It was cut since its length was compared.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Damage::Checksum.into());
                }
                read => read.map_err(read_failed)?,
            }
            checksum.update(&payload[begin..]);
        }
        if checksum.finalize() != self.header.payload_checksum {
            return Err(Damage::Checksum.into());
        }
        Ok(payload)
    }

    /// Reads the whole payload once to verify it, then returns to its start.
    pub(crate) fn verify_payload(&mut self) -> Examined<()> {
        let read_failed = |error| Error::io("read", &self.path, error);
        let (length, checksum) = checksum_of(self.file.as_mut()).map_err(read_failed)?;
        if length != self.header.payload_length || checksum != self.header.payload_checksum {
            return Err(Damage::Checksum.into());
        }
        self.file
            .seek(SeekFrom::Start(HEADER_LENGTH as u64))
            .map_err(read_failed)?;
        Ok(())
    }

    pub(crate) fn into_file(self) -> Box<dyn File> {
        self.file
    }
}

/// Returns the length in bytes and the CRC-32 of the rest of `file`.
pub(crate) fn checksum_of(file: &mut dyn File) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; BUFFER_LENGTH];
    let mut length = 0;
    let mut checksum = crc32fast::Hasher::new();
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok((length, checksum.finalize())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        checksum.update(&buffer[..count]);
        length += count as u64;
    }
}

/// Names the file in an error of a container being written.
pub(crate) fn write_failed(directory: &Path) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::io("write a checkpoint in", directory, error)
}

/// As [`write_failed`], for callers that need an [`io::Error`].
pub(crate) fn write_failed_io(directory: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::from(write_failed(directory)(error))
}
