//! Checkpoints as streams of bytes, for state that does not fit in memory twice or has a format of
//! its own.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use crate::checkpoints::Checkpoints;
use crate::container::{ContainerReader, ContainerWriter, write_failed_io};
use crate::error::Result;
use crate::fs::File;
use crate::generation::Generation;
use crate::header::{Form, HEADER_LENGTH};
use crate::temporary::Temporary;

/// A checkpoint that is written piece by piece. It exists from [`commit`](Self::commit) on; dropped
/// before that, it leaves no trace.
///
/// It is buffered.
#[derive(Debug)]
#[must_use = "a checkpoint that is not committed is removed"]
pub struct Writer<'checkpoints> {
    checkpoints: &'checkpoints mut Checkpoints,
    container: ContainerWriter,
    temporary: Temporary,
}

impl Checkpoints {
    /// Starts a checkpoint that is written as a stream of bytes.
    ///
    /// # Errors
    /// If no file can be created in the directory.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// # let directory = scratch.path();
    /// use std::io::{Read, Write};
    /// use cu_checkpoint::Checkpoints;
    ///
    /// let mut checkpoints = Checkpoints::open(directory)?;
    /// let mut writer = checkpoints.writer()?;
    /// for weight in [0.5_f32, 0.25] {
    ///     writer.write_all(&weight.to_le_bytes())?;
    /// }
    /// writer.commit()?;
    ///
    /// let mut found = checkpoints.reader()?.expect("just saved");
    /// let mut bytes = Vec::new();
    /// found.value.read_to_end(&mut bytes)?;
    /// assert_eq!(bytes.len(), 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer(&mut self) -> Result<Writer<'_>> {
        let (temporary, container) = self.start_container()?;
        Ok(Writer {
            checkpoints: self,
            container,
            temporary,
        })
    }
}

impl Writer<'_> {
    /// Makes the written bytes the newest checkpoint of its attempt. When this returns `Ok`, it
    /// survives a power failure.
    ///
    /// # Errors
    /// Those of [`Checkpoints::save`]. Also fails if an earlier write has failed.
    pub fn commit(self) -> Result<Generation> {
        self.checkpoints
            .publish(Form::Stream, self.container, self.temporary)
    }

    /// How many bytes were written so far.
    pub fn length(&self) -> u64 {
        self.container.payload_length()
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.container
            .write(bytes)
            .map_err(write_failed_io(&self.checkpoints.directory))
    }

    /// Does nothing, since nobody reads the checkpoint before [`commit`](Writer::commit).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A checkpoint that was written as a stream, already verified. It is buffered.
///
/// It stays readable even if the checkpoint is removed meanwhile.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<Box<dyn File>>,
    length: u64,
}

impl Reader {
    pub(crate) fn new(container: ContainerReader) -> Self {
        let length = container.header.payload_length;
        Self {
            file: BufReader::new(container.into_file()),
            length,
        }
    }

    /// Its whole length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.file.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.file.consume(amount);
    }
}

impl Seek for Reader {
    /// Position 0 is the first byte that was written.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        const START: u64 = HEADER_LENGTH as u64;
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => {
                (self.file.stream_position()? - START).checked_add_signed(offset)
            }
        };
        let in_file = position
            .and_then(|position| position.checked_add(START))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "can't seek to before the start of a checkpoint",
                )
            })?;
        Ok(self.file.seek(SeekFrom::Start(in_file))? - START)
    }
}
