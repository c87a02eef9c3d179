//! Opens and reads files that others could have put in the way: other users, or the very programs we
//! run.
//!
//! | function | refuses | for |
//! | --- | --- | --- |
//! | [`open`], [`read`] | whatever is not a regular file | files that programs of ours may have made |
//! | [`examine`] | the same, by what the file system says of it | files that others open for us |
//! | [`open_own`], [`read_own`], [`write_own`] | also links, files of other users, files that others may write to | files that we act on |
//! | [`write_whole`] | the same, of what an interrupted writer left | files that others read meanwhile |
//! | [`own_directory`] | links, directories of other users, directories that others may write to | directories in which we act |
//!
//! What [`make_dir`], [`new_file`] and [`touch`] make is for this user alone, whatever the umask.
//!
//! No call blocks on a FIFO, and none empties a file before it was looked at: truncate with
//! [`File::set_len`] what these return.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW, utimensat};

use crate::users;

/// The mode of a file that only its owner reads and writes.
pub const PRIVATE_FILE: u32 = 0o600;
/// The mode of a file that only its owner reads, writes and executes.
pub const PRIVATE_PROGRAM: u32 = 0o700;
/// Only its owner enters it.
const PRIVATE_DIRECTORY: u32 = 0o700;

/// Why a file was refused. Returned within an [`io::Error`]; [`refusal`] finds it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not a regular file.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It is not a directory.
    #[error("it is {0}, not a directory")]
    NotDirectory(&'static str),
    /// It is a symbolic link.
    #[error("it is a symbolic link, which is not followed here")]
    Link,
    /// It belongs to another user.
    #[error("it belongs to {}", users::describe(*.0))]
    Foreign(u32),
    /// Users other than its owner may write to it.
    #[error("others may write to it (mode {0:o})")]
    OpenToOthers(u32),
    /// It is longer than it may be.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::NotRegular(_) => io::ErrorKind::InvalidInput,
            Refusal::NotDirectory(_) => io::ErrorKind::NotADirectory,
            Refusal::Link | Refusal::Foreign(_) | Refusal::OpenToOthers(_) => {
                io::ErrorKind::PermissionDenied
            }
            Refusal::TooLong(_) => io::ErrorKind::FileTooLarge,
        };
        Self::new(kind, refusal)
    }
}

/// The refusal in an error of this module; `None` if the system refused.
#[must_use]
pub fn refusal(error: &io::Error) -> Option<Refusal> {
    error.get_ref()?.downcast_ref().copied()
}

/// Opens a regular file as `options` say. A FIFO, a device, a socket or a directory in its place is
/// an error and never waited for. Sets the custom flags of `options`; truncates nothing, so leave
/// [`OpenOptions::truncate`] alone.
///
/// # Errors
/// If it can't be opened; [`Refusal::NotRegular`].
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open_with(path, options, OFlags::empty()).map(|(file, _)| file)
}

/// What the file system says of a regular file, without opening it. Links are followed.
///
/// # Errors
/// If there is none, or it can't be looked at; [`Refusal::NotRegular`].
pub fn examine(path: &Path) -> io::Result<Metadata> {
    let found = path.metadata()?;
    if !found.is_file() {
        return Err(Refusal::NotRegular(kind(&found)).into());
    }
    Ok(found)
}

/// Opens a regular file of ours as `options` say: not through a link, owned by this process's user,
/// and writable by nobody else. As [`open`] otherwise.
///
/// # Errors
/// If it can't be opened; a [`Refusal`].
pub fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = open_with(path, options, OFlags::NOFOLLOW);
    let (file, found) = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => Refusal::Link.into(),
        _ => error,
    })?;
    check_own(&found)?;
    Ok(file)
}

/// Whether a file or directory is ours alone: owned by this process's user, and writable by nobody
/// else. Not for links.
///
/// # Errors
/// [`Refusal::Foreign`], [`Refusal::OpenToOthers`].
pub fn check_own(found: &Metadata) -> io::Result<()> {
    if found.uid() != users::own() {
        return Err(Refusal::Foreign(found.uid()).into());
    }
    if found.mode() & 0o022 != 0 {
        return Err(Refusal::OpenToOthers(found.mode() & 0o7777).into());
    }
    Ok(())
}

/// Whether what lies at `path` itself, and not behind a link, is a regular file of ours alone, as
/// [`open_own`] asks. For files that others open for us.
///
/// # Errors
/// If it can't be examined; a [`Refusal`].
pub fn own_file(path: &Path) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    match found.file_type() {
        it if it.is_symlink() => Err(Refusal::Link.into()),
        it if it.is_file() => check_own(&found),
        _ => Err(Refusal::NotRegular(kind(&found)).into()),
    }
}

/// Whether what lies at `path` itself, and not behind a link, is a directory of ours alone: owned by
/// this process's user, and writable by nobody else.
///
/// # Errors
/// If it can't be examined; a [`Refusal`].
pub fn own_directory(path: &Path) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    match found.file_type() {
        it if it.is_symlink() => Err(Refusal::Link.into()),
        it if it.is_dir() => check_own(&found),
        _ => Err(Refusal::NotDirectory(kind(&found)).into()),
    }
}

/// Makes a directory for this user alone (mode 0700), with those above it. One that is there stays as
/// it is.
///
/// # Errors
/// If it can't be made.
pub fn make_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(PRIVATE_DIRECTORY).create(path)
}

/// Options that make a file for this user alone (mode 0600). Say what else they are for.
#[must_use]
pub fn new_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(PRIVATE_FILE);
    options
}

/// Writes a file of ours alone in the place of what is in it. One that is made is for this user alone.
///
/// # Errors
/// If it can't be written; a [`Refusal`], and then nothing was changed.
pub fn write_own(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = open_own(path, new_file().write(true))?;
    file.set_len(0)?;
    file.write_all(content)
}

/// Replaces a file as a whole: a reader finds the old content or the new, and a process that starts it
/// never finds it open for writing. `mode` is [`PRIVATE_FILE`] or [`PRIVATE_PROGRAM`].
///
/// The content is written to a file of the same name with `.part` appended, which is then renamed. It
/// survives the death of any process, but not a power failure. Only one process may write a path at
/// a time.
///
/// # Errors
/// If it can't be written; a [`Refusal`] of what lies at the path with `.part`. The old content is
/// there then.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut file = open_own(&part, new_file().write(true).mode(mode))?;
    file.set_len(0)?;
    file.write_all(content)?;
    std::fs::rename(part, path)
}

/// Makes a file for this user alone whose being there says all; one that is there stays as it is.
///
/// # Errors
/// If it can't be made; [`Refusal::NotRegular`].
pub fn touch(path: &Path) -> io::Result<()> {
    open(path, new_file().write(true)).map(drop)
}

/// Both times of a file, as the clock of its file system has them now.
pub(crate) const NOW: Timestamps = {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
};

/// Lets whatever is at `path`, a socket for example, count as used and changed now.
///
/// # Errors
/// If there is nothing, or its times can't be set.
pub fn refresh(path: &Path) -> io::Result<()> {
    Ok(utimensat(CWD, path, &NOW, AtFlags::empty())?)
}

/// The content of a regular file of at most `limit` bytes.
///
/// # Errors
/// If it can't be read; [`Refusal::NotRegular`], [`Refusal::TooLong`].
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_up_to(open(path, OpenOptions::new().read(true))?, limit)
}

/// The content of a regular file of ours of at most `limit` bytes.
///
/// # Errors
/// If it can't be read; a [`Refusal`].
pub fn read_own(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_up_to(open_own(path, OpenOptions::new().read(true))?, limit)
}

fn open_with(
    path: &Path,
    options: &mut OpenOptions,
    flags: OFlags,
) -> io::Result<(File, Metadata)> {
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let opened = options.custom_flags(flags).open(path);
    // A FIFO without a reader, or a socket.
    let not_there = rustix::io::Errno::NXIO.raw_os_error();
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == not_there => Refusal::NotRegular("a FIFO or a socket").into(),
        _ => error,
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Refusal::NotRegular(kind(&found)).into());
    }
    Ok((file, found))
}

fn kind(found: &Metadata) -> &'static str {
    match found.file_type() {
        it if it.is_dir() => "a directory",
        it if it.is_file() => "a file",
        it if it.is_fifo() => "a FIFO",
        it if it.is_socket() => "a socket",
        it if it.is_block_device() || it.is_char_device() => "a device",
        _ => "something else",
    }
}

fn read_up_to(file: File, limit: u64) -> io::Result<Vec<u8>> {
    // Room for a small file and its end: else it would be read in ever larger pieces, of which the first has
    // 32 bytes.
    let mut content = Vec::with_capacity(4096);
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(Refusal::TooLong(limit).into());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn refused<T: std::fmt::Debug>(outcome: io::Result<T>) -> Refusal {
        refusal(&outcome.unwrap_err()).unwrap()
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let scratch = tempfile::tempdir().unwrap();
        let fifo = scratch.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(refused(read(&fifo, 10)), Refusal::NotRegular("a FIFO"));
        let writing = open(&fifo, OpenOptions::new().write(true));
        assert!(matches!(refused(writing), Refusal::NotRegular(_)));
        let socket = scratch.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(matches!(refused(read(&socket, 10)), Refusal::NotRegular(_)));
        let device = Path::new("/dev/zero");
        assert_eq!(refused(read(device, 10)), Refusal::NotRegular("a device"));
        let directory = refused(read(scratch.path(), 10));
        assert_eq!(directory, Refusal::NotRegular("a directory"));
        for path in [&fifo, &socket, device, scratch.path()] {
            assert!(matches!(refused(examine(path)), Refusal::NotRegular(_)));
        }
    }

    #[test]
    fn a_directory_is_ours_unless_it_is_a_link_or_open() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("a/b");
        make_dir(&directory).unwrap();
        for made in [&directory, directory.parent().unwrap()] {
            assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700);
        }
        own_directory(&directory).unwrap();
        let link = scratch.path().join("link");
        symlink(&directory, &link).unwrap();
        assert_eq!(refused(own_directory(&link)), Refusal::Link);
        fs::set_permissions(&directory, Permissions::from_mode(0o770)).unwrap();
        let open = refused(own_directory(&directory));
        assert_eq!(open, Refusal::OpenToOthers(0o770));
        assert_eq!(
            refused(own_file(&directory)),
            Refusal::NotRegular("a directory")
        );
        let file = directory.join("file");
        new_file().write(true).open(&file).unwrap();
        own_file(&file).unwrap();
        assert_eq!(
            refused(own_directory(&file)),
            Refusal::NotDirectory("a file")
        );
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"0123456789");
        assert_eq!(refused(read(&path, 9)), Refusal::TooLong(9));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, part) = (
            scratch.path().join("file"),
            scratch.path().join("file.part"),
        );
        // An interrupted writer left more than what follows.
        fs::write(&part, "0123456789").unwrap();
        fs::set_permissions(&part, Permissions::from_mode(0o600)).unwrap();
        write_whole(&path, b"new", PRIVATE_FILE).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(!part.exists());
        let mut reader = File::open(&path).unwrap();
        write_whole(&path, b"newer", PRIVATE_PROGRAM).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "new");
        // What another could have put in the way is not written to.
        symlink(&path, &part).unwrap();
        assert_eq!(
            refused(write_whole(&path, b"x", PRIVATE_FILE)),
            Refusal::Link
        );
        assert_eq!(fs::read(&path).unwrap(), b"newer");
    }

    #[test]
    fn a_link_and_a_file_open_to_others_are_not_ours() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, link) = (scratch.path().join("file"), scratch.path().join("link"));
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        symlink(&path, &link).unwrap();
        assert_eq!(read_own(&path, 1).unwrap(), b"x");
        assert_eq!(read(&link, 1).unwrap(), b"x");
        assert_eq!(refused(read_own(&link, 1)), Refusal::Link);
        let create = open_own(&link, OpenOptions::new().write(true).create(true));
        assert_eq!(refused(create), Refusal::Link);
        for mode in [0o660, 0o602] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(
                refused(read_own(&path, 1)),
                Refusal::OpenToOthers(_)
            ));
        }
    }
}
