//! Atomic checkpoints in an output directory: the old state or the new, never a mixture.
//!
//! ```
//! # let scratch = tempfile::tempdir()?;
//! # let output_directory = scratch.path();
//! use cu_checkpoint::Checkpoints;
//!
//! let mut checkpoints = Checkpoints::open(output_directory.join("checkpoints"))?;
//! let mut step = match checkpoints.load::<u64>()? {
//!     Some(found) => found.value,
//!     None => 0,
//! };
//! while step < 3 {
//!     step += 1;
//!     checkpoints.save(&step)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The promise
//! - A checkpoint is there whole or not at all, at whichever system call the process dies, and also
//!   after a power failure.
//! - `Ok` from a save or a commit means durable.
//! - No checkpoint is removed before a newer one is durable. A full disk, a quota or a directory
//!   that became read-only harms no earlier checkpoint.
//! - Loading takes the newest checkpoint that verifies, and reports which ones it passed over and
//!   why. It falls back only for damage. A checkpoint that can't be read for another reason is an
//!   error, because falling back would lose steps.
//! - Newest is by [`Generation`]: attempt first, then a counter. A process of an older attempt that
//!   is still alive may save as it likes: it neither hides nor removes the checkpoints of its
//!   successor.
//!
//! # Three forms
//! | what is saved | save | load |
//! | --- | --- | --- |
//! | a serde value | [`save`](Checkpoints::save), [`in_background`](Checkpoints::in_background) | [`load`](Checkpoints::load) |
//! | a stream of bytes | [`writer`](Checkpoints::writer) | [`reader`](Checkpoints::reader), [`load_bytes`](Checkpoints::load_bytes) |
//! | many files | [`directory`](Checkpoints::directory) | [`load_directory`](Checkpoints::load_directory) |
//!
//! One directory may hold checkpoints of all forms; each generation has one form. If the newest
//! intact checkpoint is of another form than asked for, that is [`Error::OtherForm`], never a reason
//! to load an older one.
//!
//! For files that are not checkpoints there is [`atomic_write`], and [`AtomicFile`].
//!
//! # What it needs of the file system
//! Atomic renames, and an fsync that really syncs. On network file systems a rename may become
//! visible to other machines with a delay. On those without locks the temporaries of dead writers
//! can't be distinguished from those of living ones.
//!
//! # The format
//! All numbers are little-endian. Checksums are the CRC-32 of zlib and PNG.
//!
//! `ATTEMPT.COUNTER.checkpoint` is a checkpoint: a file for a value or a stream, else a directory.
//! A `.cu-tmp-*` is being written or removed. A file has a header of 64 bytes, then the payload,
//! and nothing after it:
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 8 | `89 43 55 43 4B 50 0D 0A` |
//! | 8 | 2 | version of the format: 1 |
//! | 10 | 1 | form: 1 value, 2 stream, 3 directory |
//! | 11 | 1 | 0 |
//! | 12 | 4 | attempt |
//! | 16 | 8 | counter |
//! | 24 | 8 | length of the payload |
//! | 32 | 4 | checksum of the payload |
//! | 36 | 24 | 0 |
//! | 60 | 4 | checksum of the 60 bytes before |
//!
//! In Python: `struct.Struct("<8sHBxIQQI24xI")` and `zlib.crc32`. The length of the header, the place
//! of the version and that of the header's checksum will be the same in every version.
//!
//! The payload of a value is its bincode 2 encoding with integers of fixed width. The payload of a
//! stream is its bytes. A directory contains such a file named `.cu-manifest`, whose payload has,
//! for each file and directory below, in no particular order:
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | 0 directory, 1 file |
//! | 8 | length of the file, 0 for a directory |
//! | 4 | checksum of the file, 0 for a directory |
//! | 4 | length of the path |
//! | … | path relative to the directory, with `/` |
#![forbid(unsafe_code)]

mod atomic;
mod background;
mod checkpoints;
mod codec;
mod container;
mod directory;
mod error;
#[doc(hidden)]
pub mod fs;
mod generation;
mod header;
mod layout;
mod load;
mod manifest;
mod save;
mod stream;
mod temporary;

pub use atomic::{AtomicFile, AtomicOptions, Durability, atomic_write};
pub use background::Background;
pub use checkpoints::Checkpoints;
pub use directory::Directory;
pub use error::{Damage, Error, Result, Skipped};
pub use generation::{Generation, ParseGenerationError};
pub use header::Form;
pub use load::Found;
pub use stream::{Reader, Writer};
pub use temporary::remove_stale_temporaries;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
