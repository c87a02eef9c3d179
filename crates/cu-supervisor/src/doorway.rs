//! Where the door of a program stands: a directory that only this user may enter, and a socket in it.
//!
//! A process that supervises one attempt after another keeps them, since an attempt makes only five other files and
//! directories, and deletes none. The socket has another name for each attempt: nothing that an earlier one has left
//! behind finds it under its old path.

use std::cell::Cell;
use std::fs::{Permissions, rename};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use cu_system::{files, trust};
use tempfile::TempDir;

use crate::{Error, Result, tell};

/// The longest path that a socket can have, its end included.
const SOCKET_PATH_LIMIT: usize = 108;
/// The beginning of the name of a socket's directory.
const DIRECTORY_PREFIX: &str = "cu-";
/// Only this user may enter.
const DIRECTORY_MODE: u32 = 0o700;
/// More doors than a process ever opens.
const LAST_DOOR: u32 = 9999;
/// The name of the socket while no door is open. No program gets it.
const CLOSED: &str = "closed";

/// The doorway that this process keeps for its next attempt.
#[derive(Debug, Default)]
pub(crate) struct Kept(Option<Rc<Doorway>>);

impl Kept {
    /// Makes one before an attempt waits for it, if there is a place that needs no warning.
    pub fn prepared() -> Self {
        let doorway = Doorway::new(parents(), None);
        let good = doorway.ok().filter(Doorway::may_be_kept);
        Self(good.map(Rc::new))
    }

    /// Returns a doorway for the next door. It is in `last_resort` if no directory for temporary files will do.
    pub fn take(&mut self, last_resort: &Path) -> Result<Rc<Doorway>> {
        let parents = parents();
        // The environment of this attempt may name other places, or somebody has cleared up there.
        let kept = self.0.take();
        let kept = kept.filter(|it| it.parents == parents && it.socket(CLOSED).exists());
        let doorway = match kept {
            Some(doorway) => doorway,
            None => {
                let doorway = Doorway::new(parents, Some(last_resort))?;
                doorway.complaints.iter().for_each(|it| tell(it));
                Rc::new(doorway)
            }
        };
        self.0 = doorway.may_be_kept().then(|| doorway.clone());
        Ok(doorway)
    }
}

/// A directory with a socket, for one door at a time. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Doorway {
    directory: TempDir,
    listener: UnixListener,
    /// Where it could be: see [`parents`].
    parents: Vec<PathBuf>,
    /// Warnings about the place, for the user.
    complaints: Vec<String>,
    /// How many doors were opened.
    doors: Cell<u32>,
}

impl Doorway {
    fn new(parents: Vec<PathBuf>, last_resort: Option<&Path>) -> Result<Self> {
        let last_resort = last_resort.map(Path::to_owned);
        let all: Vec<_> = parents.iter().cloned().chain(last_resort).collect();
        let (directory, complaints) = fresh_directory(&all)?;
        let socket = directory.path().join(CLOSED);
        let listener = UnixListener::bind(&socket).map_err(Error::file("listen on", &socket))?;
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.map_err(Error::file("listen on", &socket))?;
        Ok(Self {
            directory,
            listener,
            parents,
            complaints,
            doors: Cell::new(0),
        })
    }

    /// Returns whether later attempts may use it: not if each of them is to read a warning about its place, or if it is
    /// in the directory of one attempt.
    fn may_be_kept(&self) -> bool {
        let parent = self.directory.path().parent();
        self.complaints.is_empty() && self.parents.iter().any(|it| Some(it.as_path()) == parent)
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory that is there for the socket alone.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Those who come to the door are accepted here.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Makes the socket known by a name that it never had before. Returns its path.
    pub fn open(&self) -> Result<PathBuf> {
        // A process that comes too late for the last door has nothing to say at this one.
        while self.listener.accept().is_ok() {}
        let socket = self.socket(&name(self.doors.get()));
        rename(self.socket(CLOSED), &socket).map_err(Error::file("listen on", &socket))?;
        self.doors.set(self.doors.get() + 1);
        Ok(socket)
    }

    /// Keeps `socket`, which is open, from looking old: programs that clear up directories for temporary files spare
    /// a socket by the name that it was made with.
    pub fn renew(&self, socket: &Path) {
        let _ = files::refresh(socket);
    }

    /// From now on nobody finds `socket`, which was open.
    pub fn close(&self, socket: &Path) {
        // If it is gone, nobody finds it either, and the next door stands elsewhere.
        let _ = rename(socket, self.socket(CLOSED));
    }
}

/// The name of the socket of this door.
fn name(door: u32) -> String {
    format!("socket.{door}")
}

/// Removes the directory that the door of a dead supervisor has left behind. It must be this user's alone,
/// with nothing in it but a socket on which nobody listens: the record that names it may be wrong.
pub(crate) fn clear_away(directory: &Path) {
    if let Ok(Some(socket)) = left_behind(directory) {
        // What was put there meanwhile keeps the directory.
        let _ = std::fs::remove_file(&socket).and_then(|()| std::fs::remove_dir(directory));
    }
}

/// The socket in such a directory.
fn left_behind(directory: &Path) -> std::io::Result<Option<PathBuf>> {
    let name = directory.file_name().unwrap_or_default();
    let us = rustix::process::geteuid().as_raw();
    // A link itself is examined, not its target.
    let found = directory.symlink_metadata()?;
    let is_ours = found.is_dir() && found.uid() == us && found.mode() & 0o777 == DIRECTORY_MODE;
    let is_called_so = name
        .as_encoded_bytes()
        .starts_with(DIRECTORY_PREFIX.as_bytes());
    if !is_ours || !is_called_so {
        return Ok(None);
    }
    let entries = std::fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()?;
    let [socket] = &entries[..] else {
        return Ok(None);
    };
    let is_socket = socket.file_type()?.is_socket();
    let refuses = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    let is_dead = is_socket && UnixStream::connect(socket.path()).is_err_and(refuses);
    Ok(is_dead.then(|| socket.path()))
}

/// Where the socket may be, the likeliest place first.
fn parents() -> Vec<PathBuf> {
    let mut parents = vec![std::env::temp_dir(), "/tmp".into(), "/dev/shm".into()];
    // For this user alone, but gone as soon as he logs out, which attempts outlive.
    parents.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    parents.retain(|parent| parent.is_absolute());
    parents
}

/// In the first of `parents` that is writable, whose path is short enough, and where no other user can
/// put a directory of his own in the place of ours. Where there is none such, in the first that will
/// do: programs ask who listens, so that a stranger there can keep messages from us, but not take
/// them. Returns also what there is to complain of.
fn fresh_directory(parents: &[PathBuf]) -> Result<(TempDir, Vec<String>)> {
    let mut builder = tempfile::Builder::new();
    // Whatever the umask lets others do: who gets in here can say the program's results.
    let builder = builder
        .prefix(DIRECTORY_PREFIX)
        .permissions(Permissions::from_mode(DIRECTORY_MODE));
    let longest = name(LAST_DOOR);
    let fits = |directory: &Path| directory.join(&longest).as_os_str().len() < SOCKET_PATH_LIMIT;
    let mut failure = None;
    let mut second_best = None;
    let mut complaints = Vec::new();
    for parent in parents {
        match builder.tempdir_in(parent) {
            Ok(directory) if fits(directory.path()) => {
                let Some(risk) = risk(parent) else {
                    return Ok((directory, complaints));
                };
                let parent = parent.display();
                complaints.push(format!("the socket can't be in {parent}: {risk}"));
                second_best.get_or_insert(directory);
            }
            Ok(_) => {}
            Err(error) => failure = Some(Error::file("create a directory in", parent)(error)),
        }
    }
    if let Some(directory) = second_best {
        let path = directory.path().display();
        complaints.push(format!(
            "the socket is in {path} all the same: there is no better place"
        ));
        return Ok((directory, complaints));
    }
    Err(failure.unwrap_or_else(|| {
        let parent = parents.first().map_or(Path::new("/tmp"), PathBuf::as_path);
        let kind = std::io::ErrorKind::InvalidFilename;
        Error::file("create a socket in", parent)(kind.into())
    }))
}

/// Why somebody else could replace what is in `parent`, if so.
fn risk(parent: &Path) -> Option<String> {
    // Asked for something in it.
    match trust::risks(&parent.join(CLOSED)) {
        Ok(risks) => risks.first().map(ToString::to_string),
        Err(error) => Some(format!("can't find out who may write there: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn socket_in(directory: &Path) -> PathBuf {
        directory.join(name(0))
    }

    fn directory_in(parent: &Path, name: &str, mode: u32) -> PathBuf {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        directory
    }

    #[test]
    fn only_this_user_may_enter() {
        let doorway = Doorway::new(parents(), None).unwrap();
        let metadata = doorway.directory().metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
        UnixStream::connect(doorway.open().unwrap()).unwrap();
    }

    #[test]
    fn a_kept_one_has_another_door_for_each_attempt() {
        let mut kept = Kept::prepared();
        let scratch = tempfile::tempdir().unwrap();
        let first = kept.take(scratch.path()).unwrap();
        let socket = first.open().unwrap();
        let _guest = UnixStream::connect(&socket).unwrap();
        let inode = socket.metadata().unwrap().ino();
        first.listener().accept().unwrap();
        first.close(&socket);
        let missing = UnixStream::connect(&socket).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);

        // Somebody finds the socket between two attempts all the same.
        let mut late = UnixStream::connect(first.socket(CLOSED)).unwrap();
        late.set_nonblocking(true).unwrap();
        let second = kept.take(scratch.path()).unwrap();
        assert!(Rc::ptr_eq(&first, &second));
        let next = second.open().unwrap();
        assert_ne!(socket, next);
        let changed = || next.metadata().unwrap().modified().unwrap();
        let before = changed();
        while changed() == before {
            second.renew(&next);
        }
        assert_eq!(next.metadata().unwrap().ino(), inode);
        assert_eq!(late.read(&mut [0]).ok(), Some(0), "nobody hears it");
        let error = second.listener().accept().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        UnixStream::connect(&next).unwrap();
        second.listener().accept().unwrap();
    }

    #[test]
    fn one_that_was_cleared_away_is_made_anew() {
        let mut kept = Kept::prepared();
        let scratch = tempfile::tempdir().unwrap();
        let first = kept.take(scratch.path()).unwrap();
        std::fs::remove_dir_all(first.directory()).unwrap();
        let second = kept.take(scratch.path()).unwrap();
        UnixStream::connect(second.open().unwrap()).unwrap();
    }

    #[test]
    fn one_in_the_last_resort_is_not_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let resort = Some(scratch.path());
        let doorway = Doorway::new(Vec::new(), resort).unwrap();
        assert_eq!(doorway.directory().parent(), resort);
        assert!(!doorway.may_be_kept());
        let elsewhere = Doorway::new(vec![scratch.path().to_owned()], None).unwrap();
        assert!(elsewhere.may_be_kept());
    }

    #[test]
    fn a_place_where_others_may_rename_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name, mode| directory_in(scratch.path(), name, mode);
        let open = make("open", 0o777);
        let below = make("open/below", 0o700);
        let own = make("own", 0o755);
        let parent = |parents: &[PathBuf]| {
            let (made, complaints) = fresh_directory(parents).unwrap();
            let parent = made.path().parent().map(Path::to_owned);
            (parent.unwrap(), complaints.len())
        };
        let all = [open.clone(), below.clone(), own.clone()];
        assert_eq!(parent(&all), (own.clone(), 2));
        assert_eq!(parent(&all[..2]), (open, 3), "for want of a better place");
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 0, "all is tidy");
        make("own", 0o1777);
        assert_eq!(parent(&all), (own, 2));
    }

    #[test]
    fn only_what_is_a_dead_door_beyond_doubt_is_cleared_away() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name, mode| {
            let directory = directory_in(scratch.path(), name, mode);
            // Closed again at once; the socket stays.
            drop(UnixListener::bind(socket_in(&directory)).unwrap());
            directory
        };
        let survives = |directory: &Path| {
            clear_away(directory);
            directory.exists()
        };
        assert!(survives(&make("xy-abc", 0o700)), "called otherwise");
        assert!(survives(&make("cu-open", 0o755)), "others can enter");
        let shared = make("cu-shared", 0o700);
        std::fs::write(shared.join("file"), "").unwrap();
        assert!(survives(&shared), "something else is there");
        let other = make("cu-other", 0o700);
        std::fs::remove_file(socket_in(&other)).unwrap();
        std::fs::write(socket_in(&other), "").unwrap();
        assert!(survives(&other), "it is not a socket");
        let link = scratch.path().join("cu-link");
        std::os::unix::fs::symlink(make("cu-target", 0o700), &link).unwrap();
        assert!(survives(&link), "a link");
        let doorway = Doorway::new(parents(), None).unwrap();
        let socket = doorway.open().unwrap();
        assert!(survives(doorway.directory()), "it lives");
        doorway.close(&socket);
        assert!(survives(doorway.directory()), "it waits for an attempt");

        assert!(!survives(&make("cu-dead", 0o700)));
    }
}
