//! The path of this program, by which it starts itself.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the kernel adds to the path of a program whose file was removed or replaced.
const GONE: &[u8] = b" (deleted)";

/// The path. If an update has replaced the program since this process started, the new one is there.
///
/// # Errors
/// If the system does not know it.
pub fn path() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(replaced(&path).unwrap_or(path))
}

/// The program that is now in the place of the one at `path`, which is gone.
fn replaced(path: &Path) -> Option<PathBuf> {
    let before = path.as_os_str().as_bytes().strip_suffix(GONE)?;
    let before = Path::new(OsStr::from_bytes(before));
    (!path.exists() && before.is_file()).then(|| before.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_updated_program_is_found_in_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let (new, gone) = (
            directory.path().join("cu"),
            directory.path().join("cu (deleted)"),
        );
        assert_eq!(replaced(&gone), None, "there is none");
        std::fs::write(&new, "").expect("a file");
        assert_eq!(replaced(&gone), Some(new.clone()));
        assert_eq!(replaced(&new), None, "it is not gone");
        std::fs::write(&gone, "").expect("a file");
        assert_eq!(replaced(&gone), None, "it is called so");
    }
}
