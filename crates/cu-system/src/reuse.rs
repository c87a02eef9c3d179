//! Small files that are replaced again and again, without a new file each time.
//!
//! To make and delete files is what costs most at a hundred attempts a second. ext4 writes it to its journal; without
//! one, as on many virtual machines, it does not use the inode of a deleted file for minutes, and looks at each such
//! inode whenever a file is made. So these keep what they replace beside them, under the name with `.part` appended,
//! for the next time.
//!
//! What is written survives the death of any process, but not a power failure. Only one process may write a path
//! at a time. All are files of ours alone, as [`files::open_own`] asks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, futimens, renameat_with};

use crate::files;

/// A content of at most this length, in bytes, is written by one copy within the kernel, which no signal
/// interrupts.
const IN_ONE: usize = 4096;

fn part(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Replaces a file as a whole: a reader finds the old content or the new.
///
/// # Errors
/// If it can't be written. The old content is there then.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let part = part(path);
    let open = || files::open_own(&part, files::new_file().write(true));
    let mut file = match open() {
        // Somebody had put a link in the place of the file, say.
        Err(error) if files::refusal(&error).is_some() => {
            std::fs::remove_file(&part)?;
            open()?
        }
        file => file?,
    };
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    drop(file);
    // The old one takes the other's place, where the file system can do that, and if there is an old one.
    let exchanged = renameat_with(CWD, &part, CWD, path, RenameFlags::EXCHANGE);
    exchanged.or_else(|_| std::fs::rename(&part, path))
}

/// Writes over the content of a file that has as many bytes. No process is killed in the middle of that, but a reader
/// may find some of the old bytes among the new.
///
/// # Errors
/// If there is no such file, or it has another length, or more than a page.
pub fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = files::open_own(path, OpenOptions::new().write(true))?;
    if content.len() > IN_ONE || file.metadata()?.len() != content.len() as u64 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file.write_all(content)
}

/// Takes a file away, and keeps it for the next [`replace`].
///
/// # Errors
/// If there is none, or it can't be taken away.
pub fn remove(path: &Path) -> io::Result<()> {
    std::fs::rename(path, part(path))
}

/// Lets a file count as changed now, by the clock of its file system, if this is its content. Returns whether it is.
///
/// # Errors
/// If it can't be read or changed; a [`Refusal`](files::Refusal).
pub fn renew(path: &Path, content: &[u8]) -> io::Result<bool> {
    let mut file = files::open_own(path, OpenOptions::new().read(true).write(true))?;
    if !holds(&mut file, content)? {
        return Ok(false);
    }
    futimens(&file, &files::NOW)?;
    Ok(true)
}

fn holds(file: &mut File, content: &[u8]) -> io::Result<bool> {
    if file.metadata()?.len() != content.len() as u64 {
        return Ok(false);
    }
    let mut found = Vec::with_capacity(content.len());
    file.take(content.len() as u64 + 1)
        .read_to_end(&mut found)?;
    Ok(found == content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn inodes(path: &Path) -> Vec<u64> {
        let both = [path.to_owned(), part(path)];
        let found = both.iter().filter_map(|path| path.metadata().ok());
        let mut inodes: Vec<_> = found.map(|found| found.ino()).collect();
        inodes.sort_unstable();
        inodes
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn often_replaced_a_file_takes_two_inodes_for_good() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        for content in ["first", "2"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(read(&path), content);
        }
        let two = inodes(&path);
        assert_eq!(two.len(), 2);
        for content in ["a longer third", "4"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(read(&path), content);
            assert_eq!(inodes(&path), two);
        }
        // A writer that was killed has left anything there.
        std::fs::write(part(&path), "half of a long content").unwrap();
        replace(&path, b"5").unwrap();
        assert_eq!((read(&path), inodes(&path)), ("5".to_owned(), two));
        std::fs::remove_file(part(&path)).unwrap();
        std::os::unix::fs::symlink("/dev/null", part(&path)).unwrap();
        replace(&path, b"6").unwrap();
        assert_eq!(read(&path), "6");
    }

    #[test]
    fn a_file_that_was_taken_away_is_used_again() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        replace(&path, b"once").unwrap();
        let one = inodes(&path);
        remove(&path).unwrap();
        assert!(!path.exists());
        remove(&path).unwrap_err();
        replace(&path, b"again").unwrap();
        assert_eq!((read(&path), inodes(&path)), ("again".to_owned(), one));
    }

    #[test]
    fn only_as_many_bytes_are_written_over() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        overwrite(&path, b"new").unwrap_err();
        assert!(!path.exists());
        replace(&path, b"old").unwrap();
        overwrite(&path, b"longer").unwrap_err();
        assert_eq!(read(&path), "old");
        overwrite(&path, b"new").unwrap();
        assert_eq!(read(&path), "new");
    }

    #[test]
    fn only_the_same_content_counts_as_changed() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        renew(&path, b"{}").unwrap_err();
        replace(&path, b"{}").unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        assert!(!renew(&path, b"[]").unwrap());
        assert_eq!(path.metadata().unwrap().mtime(), 0);
        assert!(renew(&path, b"{}").unwrap());
        assert!(path.metadata().unwrap().mtime() > 0);
    }
}
