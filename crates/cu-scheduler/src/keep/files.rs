//! The directory that the main process and the allocations share. What happens to an attempt is the way of one
//! file through it, by renames, so that each step is taken once, by whoever comes first.
//!
//! | file | says |
//! | --- | --- |
//! | `CLASS/due/NUMBER~KEY` | the order of an attempt that waits for its turn |
//! | `taken/KEY~ALLOCATION` | the same, once an allocation has taken it |
//! | `ended/KEY` | how it ended |
//! | `cancelled/KEY` | the order of an attempt that was cancelled before an allocation took it |
//! | `cancel/KEY` | it is to end |
//! | `CLASS/wanted/ALLOCATION` | an allocation that was submitted and has not begun |
//! | `CLASS/begun/ALLOCATION` | it has begun, and takes attempts |
//! | `allocations/ALLOCATION/` | its output, its name in `name`, and the scheduler's id for it in `cluster_job` |
//!
//! A CLASS has the attempts of equal needs, a KEY is the name of an attempt.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cu_system::files::{self, PRIVATE_FILE};
use serde::{Deserialize, Serialize};

use crate::{ClusterJobId, ClusterState, Resources, Submission, SubmissionName};

/// The longest file that is read here.
const LONGEST: u64 = 16 << 20;
/// Between the parts of a file's name. No run has it in its name.
const BETWEEN: char = '~';
/// How the ids of attempts begin.
const PREFIX: &str = "kept-";

/// The name of an attempt, as a file's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(String);

impl Key {
    pub fn of(name: &SubmissionName) -> Self {
        Self(format!("{}.{}.{}", name.run(), name.job(), name.attempt()))
    }

    /// The attempt with this id; `None` if the id is not one of ours.
    pub fn of_cluster_job(id: &ClusterJobId) -> Option<Self> {
        let key = Self(id.0.strip_prefix(PREFIX)?.to_owned());
        key.name().is_some().then_some(key)
    }

    pub fn cluster_job(&self) -> ClusterJobId {
        ClusterJobId(format!("{PREFIX}{}", self.0))
    }

    pub fn name(&self) -> Option<SubmissionName> {
        self.0.replace('.', "/").parse().ok()
    }
}

/// The number of an allocation.
pub(super) type Allocation = u32;

/// An attempt to run in an allocation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_directory: PathBuf,
    /// Where its output goes.
    pub directory: PathBuf,
    pub resources: Resources,
}

impl Order {
    fn of(submission: &Submission) -> Self {
        Self {
            command: submission.command.clone(),
            environment: submission.environment.clone(),
            working_directory: submission.working_directory.clone(),
            directory: submission.directory.clone(),
            resources: submission.resources.clone(),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub allocation: Allocation,
    pub state: ClusterState,
}

/// An attempt that waits: its place in the queue, and its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub key: Key,
    pub file: PathBuf,
}

/// How an attempt is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Terminate,
    Kill,
}

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Room(PathBuf);

impl Room {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn within(&self, directory: &str, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(directory).join(name)
    }

    /// Makes it, for this user alone.
    pub fn make(&self) -> io::Result<()> {
        for directory in ["taken", "ended", "cancelled", "cancel", "allocations"] {
            files::make_dir(&self.0.join(directory))?;
        }
        files::own_directory(&self.0)
    }

    /// The classes there are.
    pub fn classes(&self) -> io::Result<Vec<Class>> {
        let names = listed(&self.0)?.into_iter();
        let names = names.filter(|name| name.starts_with(Class::PREFIX));
        Ok(names.map(|name| self.class_named(&name)).collect())
    }

    /// The class of what needs this.
    pub fn class_of(&self, needs: &Resources) -> Class {
        self.class_named(&class_name(needs))
    }

    /// The same, which is made if it is missing.
    pub fn make_class(&self, needs: &Resources) -> io::Result<Class> {
        let class = self.class_of(needs);
        for directory in ["due", "wanted", "begun"] {
            files::make_dir(&class.path.join(directory))?;
        }
        Ok(class)
    }

    pub fn class_named(&self, name: &str) -> Class {
        let path = self.0.join(name);
        let name = name.to_owned();
        Class { name, path }
    }

    /// Waits until nobody else changes what is due, and keeps others from it.
    pub fn lock(&self) -> io::Result<fs::File> {
        let file = files::open_own(&self.0.join("lock"), files::new_file().write(true))?;
        file.lock()?;
        Ok(file)
    }

    /// Which allocation has taken which attempt.
    pub fn taken(&self) -> io::Result<BTreeMap<Key, Allocation>> {
        let names = listed(&self.0.join("taken"))?.into_iter();
        let parsed = |name: String| {
            let (key, allocation) = name.split_once(BETWEEN)?;
            Some((Key(key.to_owned()), allocation.parse().ok()?))
        };
        Ok(names.filter_map(parsed).collect())
    }

    fn taken_file(&self, key: &Key, allocation: Allocation) -> PathBuf {
        self.within("taken", format!("{}{BETWEEN}{allocation}", key.0))
    }

    /// Takes an attempt for an allocation. `false` if somebody else was faster.
    pub fn take(&self, due: &Due, allocation: Allocation) -> io::Result<bool> {
        let taken = self.taken_file(&due.key, allocation);
        moved(&due.file, &taken)
    }

    /// The order of an attempt that an allocation has taken.
    pub fn order(&self, key: &Key, allocation: Allocation) -> io::Result<Order> {
        let text = files::read_own(&self.taken_file(key, allocation), LONGEST)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Notes how an attempt ended that an allocation had taken.
    pub fn end(&self, key: &Key, end: &End) -> io::Result<()> {
        let text = serde_json::to_vec(end)?;
        files::write_whole(&self.within("ended", &key.0), &text, PRIVATE_FILE)?;
        gone(&self.within("cancel", &key.0))?;
        gone(&self.taken_file(key, end.allocation))
    }

    /// Has what others have made shortly before be seen on a network file system.
    pub fn look_anew(&self) -> io::Result<()> {
        for directory in ["ended", "cancelled"] {
            fs::File::open(self.0.join(directory))?;
        }
        Ok(())
    }

    pub fn ended(&self, key: &Key) -> io::Result<Option<End>> {
        match files::read_own(&self.within("ended", &key.0), LONGEST) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it was cancelled before an allocation took it.
    pub fn was_cancelled(&self, key: &Key) -> io::Result<bool> {
        self.within("cancelled", &key.0).try_exists()
    }

    /// Cancels an attempt that waits. `false` if an allocation was faster.
    pub fn cancel_due(&self, due: &Due) -> io::Result<bool> {
        moved(&due.file, &self.within("cancelled", &due.key.0))
    }

    /// Takes back an attempt that waits. `false` if an allocation was faster.
    pub fn withdraw_due(&self, due: &Due) -> io::Result<bool> {
        removed(&due.file)
    }

    /// Asks the allocation of an attempt to end it.
    pub fn wish(&self, key: &Key, wish: Wish) -> io::Result<()> {
        let text: &[u8] = match wish {
            Wish::Terminate => b"terminate\n",
            Wish::Kill => b"kill\n",
        };
        files::write_whole(&self.within("cancel", &key.0), text, PRIVATE_FILE)
    }

    /// How an attempt is to end, if it is.
    pub fn wished(&self, key: &Key) -> io::Result<Option<Wish>> {
        // A look into the directory: on a network file system a file that was not there stays unseen.
        let directory = self.0.join("cancel");
        if !listed(&directory)?.contains(&key.0) {
            return Ok(None);
        }
        let text = text_of(&directory.join(&key.0))?;
        Ok(text.map(|text| match text.starts_with("kill") {
            true => Wish::Kill,
            false => Wish::Terminate,
        }))
    }

    /// The attempts that are to end.
    pub fn wishes(&self) -> io::Result<Vec<Key>> {
        Ok(listed(&self.0.join("cancel"))?
            .into_iter()
            .map(Key)
            .collect())
    }

    /// Makes the directory of a new allocation, with a number that none had before.
    pub fn new_allocation(&self) -> io::Result<(Allocation, PathBuf)> {
        let numbers = listed(&self.0.join("allocations"))?.into_iter();
        let newest = numbers.filter_map(|name| name.parse::<Allocation>().ok());
        let number = newest.max().map_or(1, |newest| newest + 1);
        let directory = self.allocation(number);
        fs::create_dir(&directory)?;
        Ok((number, directory))
    }

    /// The directory of an allocation.
    pub fn allocation(&self, number: Allocation) -> PathBuf {
        self.within("allocations", number.to_string())
    }

    /// Notes the name by which the scheduler knows an allocation, before it is submitted.
    pub fn set_name(&self, number: Allocation, name: &SubmissionName) -> io::Result<()> {
        let path = self.allocation(number).join("name");
        files::write_whole(&path, name.to_string().as_bytes(), PRIVATE_FILE)
    }

    /// The name of an allocation, if it was about to be submitted.
    pub fn name(&self, number: Allocation) -> io::Result<Option<SubmissionName>> {
        let text = text_of(&self.allocation(number).join("name"))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    pub fn set_cluster_job(&self, number: Allocation, id: &ClusterJobId) -> io::Result<()> {
        let path = self.allocation(number).join("cluster_job");
        files::write_whole(&path, id.0.as_bytes(), PRIVATE_FILE)
    }

    /// The scheduler's id for an allocation, if it has answered.
    pub fn cluster_job(&self, number: Allocation) -> io::Result<Option<ClusterJobId>> {
        let text = text_of(&self.allocation(number).join("cluster_job"))?;
        Ok(text.map(ClusterJobId))
    }

    /// Changes whenever an attempt or an allocation has come further.
    pub fn signature(&self) -> Vec<Option<std::time::SystemTime>> {
        let mut directories = vec![self.0.join("taken"), self.0.join("ended")];
        for class in self.classes().unwrap_or_default() {
            for name in ["due", "wanted", "begun"] {
                directories.push(class.path.join(name));
            }
        }
        let changed = |path: PathBuf| fs::File::open(path)?.metadata()?.modified();
        let changed = directories.into_iter().map(|path| changed(path).ok());
        changed.collect()
    }
}

/// The attempts of equal needs, and the allocations for them.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub name: String,
    path: PathBuf,
}

impl Class {
    const PREFIX: &str = "class-";

    /// What waits, in the order in which it is to start: jobs that have begun go on before others begin.
    pub fn due(&self) -> io::Result<Vec<Due>> {
        let directory = self.path.join("due");
        let mut names = listed_of_class(&directory)?;
        names.sort_unstable();
        let parsed = |name: String| {
            let key = Key(name.split_once(BETWEEN)?.1.to_owned());
            // Half written.
            key.name()?;
            let file = directory.join(name);
            Some(Due { key, file })
        };
        let mut due: Vec<_> = names.into_iter().filter_map(parsed).collect();
        due.sort_by_key(|due| due.key.name().is_none_or(|name| name.attempt() == 0));
        Ok(due)
    }

    /// Adds an attempt behind all others of its kind: first ones, or later ones.
    pub fn add(&self, number: u64, submission: &Submission) -> io::Result<Due> {
        let key = Key::of(&submission.name);
        let text = serde_json::to_vec(&Order::of(submission))?;
        let name = format!("{number:016}{BETWEEN}{}", key.0);
        let file = self.path.join("due").join(name);
        files::write_whole(&file, &text, PRIVATE_FILE)?;
        Ok(Due { key, file })
    }

    /// What an attempt that waits here needs.
    pub fn needs(&self, due: &Due) -> io::Result<Resources> {
        let text = files::read_own(&due.file, LONGEST)?;
        Ok(serde_json::from_slice::<Order>(&text)?.resources)
    }

    /// The number of the last in the queue; 0 if nothing waits.
    pub fn last_number(&self) -> io::Result<u64> {
        let names = listed_of_class(&self.path.join("due"))?.into_iter();
        let numbers = names.filter_map(|name| name.split_once(BETWEEN)?.0.parse().ok());
        Ok(numbers.max().unwrap_or(0))
    }

    fn wanted_file(&self, number: Allocation) -> PathBuf {
        self.path.join("wanted").join(number.to_string())
    }

    fn begun_file(&self, number: Allocation) -> PathBuf {
        self.path.join("begun").join(number.to_string())
    }

    pub fn want(&self, number: Allocation) -> io::Result<()> {
        files::touch(&self.wanted_file(number))
    }

    /// Takes back that an allocation is wanted. `false` if it has begun.
    pub fn withdraw(&self, number: Allocation) -> io::Result<bool> {
        removed(&self.wanted_file(number))
    }

    /// The allocation begins. `false` if it was withdrawn.
    pub fn begin(&self, number: Allocation) -> io::Result<bool> {
        moved(&self.wanted_file(number), &self.begun_file(number))
    }

    /// The allocation takes nothing any more.
    pub fn leave(&self, number: Allocation) -> io::Result<()> {
        gone(&self.begun_file(number))
    }

    pub fn wanted(&self) -> io::Result<Vec<Allocation>> {
        numbers(&self.path.join("wanted"))
    }

    pub fn begun(&self) -> io::Result<Vec<Allocation>> {
        numbers(&self.path.join("begun"))
    }
}

/// A class's name, from what its attempts need.
fn class_name(needs: &Resources) -> String {
    let Resources {
        cpus,
        gpus,
        memory_bytes,
        time_limit,
        warning,
    } = needs;
    let mut name = format!("{}{cpus}c-{gpus}g", Class::PREFIX);
    if let Some(bytes) = memory_bytes {
        name += &format!("-{bytes}b");
    }
    if let Some(limit) = time_limit {
        name += &format!("-{}ms", limit.as_millis());
    }
    if let Some(warning) = warning {
        let before = warning.before_limit.as_millis();
        name += &format!("-{}-{before}ms", warning.signal.name());
    }
    name
}

fn listed(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// The names in a directory of a class. One that another thread is making has none yet.
fn listed_of_class(directory: &Path) -> io::Result<Vec<String>> {
    match listed(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names,
    }
}

fn numbers(directory: &Path) -> io::Result<Vec<Allocation>> {
    let names = listed_of_class(directory)?.into_iter();
    let mut numbers: Vec<_> = names.filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The text of a file; `None` if there is none.
fn text_of(path: &Path) -> io::Result<Option<String>> {
    match files::read_own(path, LONGEST) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renames a file. `false` if it is not there any more. A network file system may answer so to the repetition of a
/// call that succeeded; then the file is where it was to be.
fn moved(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => to.try_exists(),
        Err(error) => Err(error),
    }
}

fn removed(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn gone(path: &Path) -> io::Result<()> {
    removed(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_being_made_has_nothing_yet() {
        let directory = tempfile::tempdir().expect("a directory");
        let room = Room::new(directory.path());
        room.make().expect("a room");
        fs::create_dir(directory.path().join("class-1")).expect("a directory");
        let classes = room.classes().expect("they can be listed");
        assert_eq!(classes.len(), 1);
        assert!(classes[0].due().expect("none").is_empty());
        assert!(classes[0].wanted().expect("none").is_empty());
        assert!(classes[0].begun().expect("none").is_empty());
    }

    #[test]
    fn jobs_that_have_begun_go_on_before_others_begin() {
        let directory = tempfile::tempdir().expect("a directory");
        let class = Room::new(directory.path()).make_class(&Resources::default());
        let class = class.expect("a class");
        for (number, name) in [(1, "run.1.0"), (2, "run.2.0"), (3, "run.1.1")] {
            let file = format!("{number:016}{BETWEEN}{name}");
            fs::write(class.path.join("due").join(file), "").expect("a file");
        }
        let due = class.due().expect("they can be listed");
        let due: Vec<_> = due.into_iter().map(|due| due.key.0).collect();
        assert_eq!(due, ["run.1.1", "run.1.0", "run.2.0"]);
    }
}
