//! The file by which the program is asked to stop (`stop.create`): made at the request, removed before
//! another attempt starts.

use std::fs::Permissions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cu_run_dir::{CreateFile, MadeFile, OUR_PREFIX};
use cu_system::causes::in_one_line;
use cu_system::files;

use crate::tell;

/// Makes the file, and first leaves a `note`. A file of somebody else's in its place is left as it is.
/// Returns whether the file was made.
pub(crate) fn make(file: &CreateFile, note: &Path) -> bool {
    let shown = file.path.display();
    if file.path.symlink_metadata().is_ok() {
        tell(&format!(
            "{shown} is there already: it is left as it is, and not removed"
        ));
        return false;
    }
    let made = MadeFile {
        version: MadeFile::VERSION,
        file: file.clone(),
    };
    if let Err(error) = made.write(note) {
        // Without it, nobody would remove the file.
        tell(&format!("{shown} was not made: {}", in_one_line(&error)));
        return false;
    }
    match write_new(file) {
        Ok(()) => true,
        Err(error) => {
            tell(&format!("can't create {shown}: {error}"));
            forget(note);
            false
        }
    }
}

/// Removes the file that was made, if it still is what was made.
pub(crate) fn remove(note: &Path) {
    let file = match MadeFile::read(note) {
        Ok(None) => return,
        Ok(Some(made)) => made.file,
        Err(error) => return tell(&in_one_line(&error)),
    };
    let removed = match files::read(&file.path, file.content.len() as u64) {
        Ok(found) if found == file.content.as_bytes() => std::fs::remove_file(&file.path),
        Ok(_) => Err(io::Error::other("its content has changed")),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => tell(&format!(
            "{}, which asked the program to stop, is not removed: {error}",
            file.path.display()
        )),
        _ => {}
    }
    forget(note);
}

fn forget(note: &Path) {
    if let Err(error) = MadeFile::forget(note) {
        tell(&in_one_line(&error));
    }
}

/// With its whole content from the first moment on, and never over another file.
fn write_new(file: &CreateFile) -> io::Result<()> {
    let directory = file.path.parent().unwrap_or(Path::new("/"));
    let mut temporary = tempfile::Builder::new()
        .prefix(OUR_PREFIX)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    temporary.write_all(file.content.as_bytes())?;
    temporary.persist_noclobber(&file.path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_was_made_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, note) = (scratch.path().join("STOPCAR"), scratch.path().join("note"));
        let content = "LSTOP = .TRUE.\n".to_owned();
        let file = CreateFile {
            path: path.clone(),
            content: content.clone(),
        };
        assert!(make(&file, &note));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        remove(&note);
        assert!(!path.exists() && !note.exists());
        // Somebody else's, with the same content.
        fs::write(&path, &content).unwrap();
        assert!(!make(&file, &note));
        remove(&note);
        assert!(path.exists() && !note.exists());
        // Ours, which somebody has changed.
        fs::remove_file(&path).unwrap();
        assert!(make(&file, &note));
        fs::write(&path, "mine, and much longer than what was there before").unwrap();
        remove(&note);
        assert!(path.exists() && !note.exists());
        // Ours, which the program has removed.
        fs::remove_file(&path).unwrap();
        assert!(make(&file, &note));
        fs::remove_file(&path).unwrap();
        remove(&note);
        assert!(!note.exists());
        let nowhere = CreateFile {
            path: scratch.path().join("absent/STOPCAR"),
            ..file
        };
        assert!(!make(&nowhere, &note) && !note.exists());
    }
}
