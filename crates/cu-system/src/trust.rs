//! Finds the other users who may replace the file at a path.
//!
//! A user who may rename in a directory above a file may put another file in its place, whatever the
//! file's own mode. These are the directory's owner, and all who may write to it unless it has the
//! sticky bit. This process's user and root are not a danger.

use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::users;

/// As many links as the kernel follows on one way.
const MOST_LINKS: usize = 40;
const STICKY: u32 = 0o1000;

/// Other users may replace the files in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    /// The directory, without links.
    pub directory: PathBuf,
    /// These users.
    pub by: Others,
}

/// Users who may replace a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// All users of the machine.
    Everybody,
    /// This user.
    User(u32),
    /// The members of this group, which is not ours alone.
    Group(u32),
}

impl fmt::Display for Risk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        match self.by {
            Others::Everybody => write!(
                out,
                "every user may replace files in {directory}: all may write to it, and it has no \
                 sticky bit"
            ),
            Others::User(user) => {
                let user = users::describe(user);
                write!(out, "{user} may replace files in {directory}")
            }
            Others::Group(group) => {
                let group = users::describe_group(group);
                write!(
                    out,
                    "members of the group {group} may replace files in {directory}"
                )
            }
        }
    }
}

/// Finds every danger on the way to `path`: the directories in which a name is looked up, links followed. A
/// directory that does not exist yet is not a danger.
///
/// # Errors
/// If something on the way can't be examined.
pub fn risks(path: &Path) -> io::Result<Vec<Risk>> {
    let mut risks = Vec::new();
    walk(path, |directory, found, entry| {
        let risk = others(found, entry).map(|by| Risk {
            directory: directory.to_owned(),
            by,
        });
        risks.extend(risk.filter(|risk| !risks.contains(risk)));
    })?;
    Ok(risks)
}

/// The first link on the way to `path` that another user has made, and that user.
///
/// # Errors
/// If something on the way can't be examined.
pub fn foreign_link(path: &Path) -> io::Result<Option<(PathBuf, u32)>> {
    let mut foreign = None;
    walk(path, |_, _, entry| {
        if let Some((path, found)) = entry
            && found.is_symlink()
            && !is_harmless(found.uid())
        {
            foreign.get_or_insert((path.to_owned(), found.uid()));
        }
    })?;
    Ok(foreign)
}

fn is_harmless(user: u32) -> bool {
    users::is_own_or_root(user) || users::may_be_root(user)
}

fn others(directory: &Metadata, entry: Option<(&Path, &Metadata)>) -> Option<Others> {
    if !is_harmless(directory.uid()) {
        return Some(Others::User(directory.uid()));
    }
    let mode = directory.mode();
    if mode & STICKY != 0 {
        let owner = entry.map(|(_, found)| found.uid());
        let is_open = mode & 0o022 != 0;
        return owner
            .filter(|owner| is_open && !is_harmless(*owner))
            .map(Others::User);
    }
    if mode & 0o002 != 0 {
        return Some(Others::Everybody);
    }
    let group = directory.gid();
    (mode & 0o020 != 0 && !users::is_own_group(group)).then_some(Others::Group(group))
}

/// Goes the way that the kernel goes, and shows each directory with what was looked up there, as far
/// as there is something.
fn walk(
    path: &Path,
    mut look: impl FnMut(&Path, &Metadata, Option<(&Path, &Metadata)>),
) -> io::Result<()> {
    let mut here = PathBuf::from("/");
    let mut ahead = names(&std::path::absolute(path)?);
    let mut links = 0;
    // The directory `here`, if it was looked up on the way.
    let mut known: Option<Metadata> = None;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.pop();
            known = None;
            continue;
        }
        let directory = match known.take() {
            Some(known) => known,
            None => here.symlink_metadata()?,
        };
        let entry = here.join(name);
        let found = match entry.symlink_metadata() {
            Err(error) if is_nothing_there(&error) => None,
            found => Some(found?),
        };
        let found_there = found.as_ref().map(|found| (entry.as_path(), found));
        look(&here, &directory, found_there);
        match found {
            None => return Ok(()),
            Some(found) if found.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let target = entry.read_link()?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                ahead.extend(names(&target));
            }
            Some(found) => {
                here = entry;
                known = Some(found);
            }
        }
    }
    Ok(())
}

fn is_nothing_there(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    const STRANGER: u32 = 65_534;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn make(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.0.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    /// Only root can give something away.
    fn is_root() -> bool {
        if users::own() != 0 {
            cu_test_privileges::leave_out("other users", "only root can act for them");
        }
        users::own() == 0
    }

    fn by(path: &Path) -> Vec<Others> {
        risks(path).unwrap().iter().map(|risk| risk.by).collect()
    }

    #[test]
    fn a_directory_of_our_own_is_not_a_risk() {
        let place = Place::new();
        assert_eq!(by(&place.make("own", 0o755).join("run")), []);
        assert_eq!(by(&place.make("sticky", 0o1777).join("run")), []);
    }

    #[test]
    fn everybody_may_rename_where_all_may_write() {
        let place = Place::new();
        let open = place.make("open", 0o777);
        let below = open.join("below");
        fs::create_dir(&below).unwrap();
        let found = risks(&below.join("run")).unwrap();
        let directory = open.canonicalize().unwrap();
        let by = Others::Everybody;
        assert_eq!(found, [Risk { directory, by }]);
        // Also where the way leads by a link.
        let link = place.0.path().join("link");
        symlink("open/below", &link).unwrap();
        assert_eq!(risks(&link.join("run")).unwrap(), found);
        let up = place.0.path().join("up");
        symlink("open/below/..", &up).unwrap();
        assert_eq!(risks(&up.join("run")).unwrap(), found);
    }

    #[test]
    fn a_stranger_is_a_risk_where_he_owns_a_directory() {
        if !is_root() {
            return;
        }
        let place = Place::new();
        let his = place.make("his", 0o755);
        chown(&his, Some(STRANGER), None).unwrap();
        assert_eq!(by(&his.join("run")), [Others::User(STRANGER)]);
        let lab = place.make("lab", 0o2770);
        chown(&lab, None, Some(STRANGER)).unwrap();
        assert_eq!(by(&lab.join("run")), [Others::Group(STRANGER)]);
        let shared = place.make("shared", 0o1777);
        let in_shared = shared.join("his");
        fs::create_dir(&in_shared).unwrap();
        chown(&in_shared, Some(STRANGER), None).unwrap();
        assert_eq!(by(&in_shared), [Others::User(STRANGER)]);
    }

    #[test]
    fn a_link_is_foreign_by_its_owner() {
        let place = Place::new();
        let own = place.make("own", 0o755);
        let link = place.0.path().join("link");
        symlink(&own, &link).unwrap();
        assert_eq!(foreign_link(&link.join("run")).unwrap(), None);
        if !is_root() {
            return;
        }
        lchown(&link, Some(STRANGER), None).unwrap();
        let found = foreign_link(&link.join("run")).unwrap();
        let path = place.0.path().canonicalize().unwrap().join("link");
        assert_eq!(found, Some((path, STRANGER)));
    }

    #[test]
    fn a_missing_directory_is_not_a_risk() {
        let place = Place::new();
        let file = place.0.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(by(&file.join("results/run")), []);
        assert_eq!(by(&place.0.path().join("no/results/run")), []);
    }

    #[test]
    fn a_loop_of_links_ends() {
        let place = Place::new();
        let link = place.0.path().join("link");
        symlink(&link, &link).unwrap();
        risks(&link).unwrap_err();
    }
}
