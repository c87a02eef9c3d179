//! A file system in memory that knows which changes are durable, and can lose the others as a power
//! failure may.
//!
//! The model is no kinder than POSIX: the content of a file is durable once the file is synced, an
//! entry of a directory (created, renamed, removed) once the directory is synced. A power failure
//! may lose any part of the rest: any set of the entries' changes, each whole or not at all; and of
//! a file's new content nothing, half, all, or all bytes replaced by zeros.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use cu_checkpoint::fs::{File, FileSystem, Kind};

use super::choices::Choices;

type Index = usize;
type Entries = BTreeMap<OsString, Index>;

const ROOT: Index = 0;

#[derive(Debug, Clone)]
struct FileNode {
    content: Vec<u8>,
    durable: Vec<u8>,
    links: usize,
    is_locked: bool,
}

#[derive(Debug, Clone)]
enum Node {
    File(FileNode),
    Directory {
        entries: Entries,
        durable: Entries,
        /// What happened since the last sync; each change is atomic.
        pending: Vec<Vec<(OsString, Option<Index>)>>,
    },
}

/// The file system; `/` exists.
#[derive(Debug, Clone)]
pub struct Simulated {
    nodes: Arc<Mutex<Vec<Node>>>,
}

impl Simulated {
    pub fn new() -> Self {
        Self::of(vec![directory(Entries::new())])
    }

    fn of(nodes: Vec<Node>) -> Self {
        Self {
            nodes: Arc::new(Mutex::new(nodes)),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes
            .lock()
            .expect("no test panics while it holds the lock")
    }

    /// Makes everything durable, as time does.
    pub fn settle(&self) {
        for node in self.nodes().iter_mut() {
            match node {
                Node::File(file) => file.durable.clone_from(&file.content),
                Node::Directory {
                    entries,
                    durable,
                    pending,
                } => {
                    durable.clone_from(entries);
                    pending.clear();
                }
            }
        }
    }

    /// A copy, independent of this one, in which every process has died.
    pub fn after_process_death(&self) -> Self {
        let mut nodes = self.nodes().clone();
        for node in &mut nodes {
            if let Node::File(file) = node {
                file.is_locked = false;
            }
        }
        Self::of(nodes)
    }

    /// The file system after the power failure of this choice.
    pub fn after_power_failure(&self, choices: &mut Choices) -> Self {
        let before = self.nodes();
        let mut nodes = vec![directory(Entries::new())];
        survive(&before, ROOT, &mut nodes, ROOT, choices);
        Self::of(nodes)
    }
}

/// Copies the surviving entries of the directory `from` to the directory `to`.
fn survive(before: &[Node], from: Index, nodes: &mut Vec<Node>, to: Index, choices: &mut Choices) {
    let Node::Directory {
        durable, pending, ..
    } = &before[from]
    else {
        unreachable!("only directories are walked through");
    };
    let mut survivors = durable.clone();
    for change in pending {
        if choices.choose(2) == 0 {
            apply(&mut survivors, change);
        }
    }
    let mut entries = Entries::new();
    for (name, old) in survivors {
        let new = nodes.len();
        entries.insert(name, new);
        match &before[old] {
            Node::File(old) => {
                let content = surviving_content(&old.content, &old.durable, choices);
                nodes.push(file(content));
            }
            Node::Directory { .. } => {
                nodes.push(directory(Entries::new()));
                survive(before, old, nodes, new, choices);
            }
        }
    }
    nodes[to] = directory(entries);
}

fn surviving_content(content: &[u8], durable: &[u8], choices: &mut Choices) -> Vec<u8> {
    if content == durable {
        return content.to_vec();
    }
    match choices.choose(4) {
        0 => content.to_vec(),
        1 => durable.to_vec(),
        2 => content[..content.len() / 2].to_vec(),
        _ => vec![0; content.len()],
    }
}

fn directory(entries: Entries) -> Node {
    Node::Directory {
        durable: entries.clone(),
        entries,
        pending: Vec::new(),
    }
}

fn file(content: Vec<u8>) -> Node {
    Node::File(FileNode {
        durable: content.clone(),
        content,
        links: 1,
        is_locked: false,
    })
}

fn apply(entries: &mut Entries, change: &[(OsString, Option<Index>)]) {
    for (name, target) in change {
        match target {
            Some(index) => entries.insert(name.clone(), *index),
            None => entries.remove(name),
        };
    }
}

fn find(nodes: &[Node], path: &Path) -> io::Result<Index> {
    path.components()
        .try_fold(ROOT, |index, component| match component {
            Component::RootDir => Ok(ROOT),
            Component::Normal(name) => match &nodes[index] {
                Node::Directory { entries, .. } => entries
                    .get(name)
                    .copied()
                    .ok_or_else(|| ErrorKind::NotFound.into()),
                Node::File(_) => Err(ErrorKind::NotADirectory.into()),
            },
            _ => panic!("{} is not a plain absolute path", path.display()),
        })
}

fn split(path: &Path) -> (&Path, &OsStr) {
    (
        path.parent().expect("not the root"),
        path.file_name().expect("a name"),
    )
}

/// Changes the entries of a directory, in memory only until the next sync.
fn change(
    nodes: &mut [Node],
    parent: &Path,
    changes: Vec<(OsString, Option<Index>)>,
) -> io::Result<()> {
    let index = find(nodes, parent)?;
    let Node::Directory {
        entries, pending, ..
    } = &mut nodes[index]
    else {
        return Err(ErrorKind::NotADirectory.into());
    };
    apply(entries, &changes);
    pending.push(changes);
    Ok(())
}

fn create(nodes: &mut Vec<Node>, path: &Path, node: Node) -> io::Result<Index> {
    let (parent, name) = split(path);
    find(nodes, parent)?;
    if find(nodes, path).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let index = nodes.len();
    nodes.push(node);
    change(nodes, parent, vec![(name.to_owned(), Some(index))])?;
    Ok(index)
}

fn unlink(nodes: &mut [Node], path: &Path) -> io::Result<()> {
    let index = find(nodes, path)?;
    if let Node::File(file) = &mut nodes[index] {
        file.links -= 1;
    }
    let (parent, name) = split(path);
    change(nodes, parent, vec![(name.to_owned(), None)])
}

fn move_entry(nodes: &mut [Node], from: &Path, to: &Path) -> io::Result<()> {
    let ((parent, old), (new_parent, new)) = (split(from), split(to));
    assert_eq!(
        parent, new_parent,
        "renames between directories are not modelled"
    );
    let index = find(nodes, from)?;
    change(
        nodes,
        parent,
        vec![(old.to_owned(), None), (new.to_owned(), Some(index))],
    )
}

impl Simulated {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let node = find(&self.nodes(), path)?;
        Ok(Box::new(SimulatedFile {
            fs: self.clone(),
            node,
            position: 0,
            holds_lock: false.into(),
        }))
    }
}

impl FileSystem for Simulated {
    fn create_file(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn File>> {
        create(&mut self.nodes(), path, file(Vec::new()))?;
        self.open(path)
    }

    fn open_file(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn open_to_lock(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.open(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        create(&mut self.nodes(), path, directory(Entries::new())).map(drop)
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let nodes = self.nodes();
        Ok(kind_of(&nodes[find(&nodes, path)?]))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Kind)>> {
        let nodes = self.nodes();
        match &nodes[find(&nodes, path)?] {
            Node::Directory { entries, .. } => Ok(entries
                .iter()
                .map(|(name, index)| (name.clone(), kind_of(&nodes[*index])))
                .collect()),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let nodes = &mut self.nodes();
        if let Ok(replaced) = find(nodes, to) {
            let Node::File(file) = &mut nodes[replaced] else {
                return Err(ErrorKind::IsADirectory.into());
            };
            file.links -= 1;
        }
        move_entry(nodes, from, to)
    }

    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let nodes = &mut self.nodes();
        match find(nodes, to) {
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
            Err(_) => move_entry(nodes, from, to),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        unlink(&mut self.nodes(), path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        unlink(&mut self.nodes(), path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let nodes = &mut self.nodes();
        let index = find(nodes, path)?;
        if let Node::Directory {
            entries,
            durable,
            pending,
        } = &mut nodes[index]
        {
            durable.clone_from(entries);
            pending.clear();
        }
        Ok(())
    }
}

fn kind_of(node: &Node) -> Kind {
    match node {
        Node::File(_) => Kind::File,
        Node::Directory { .. } => Kind::Directory,
    }
}

#[derive(Debug)]
struct SimulatedFile {
    fs: Simulated,
    node: Index,
    position: usize,
    holds_lock: AtomicBool,
}

impl SimulatedFile {
    fn with<T>(&self, act: impl FnOnce(&mut FileNode) -> T) -> T {
        match &mut self.fs.nodes()[self.node] {
            Node::File(file) => act(file),
            Node::Directory { .. } => panic!("a directory was opened as a file"),
        }
    }
}

impl Read for SimulatedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.position;
        let count = self.with(|file| {
            file.content
                .get(position..)
                .unwrap_or_default()
                .read(buffer)
        })?;
        self.position += count;
        Ok(count)
    }
}

impl Write for SimulatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (start, end) = (self.position, self.position + bytes.len());
        self.with(|file| {
            file.content.resize(file.content.len().max(end), 0);
            file.content[start..end].copy_from_slice(bytes);
        });
        self.position = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for SimulatedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let base = match to {
            SeekFrom::Start(_) => 0,
            SeekFrom::End(_) => self.length()?,
            SeekFrom::Current(_) => self.position as u64,
        };
        let position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::End(offset) | SeekFrom::Current(offset) => base
                .checked_add_signed(offset)
                .ok_or(ErrorKind::InvalidInput)?,
        };
        self.position = usize::try_from(position).expect("small files");
        Ok(position)
    }
}

impl File for SimulatedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.with(|file| file.durable.clone_from(&file.content));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.content.len() as u64))
    }

    fn try_lock(&self) -> io::Result<bool> {
        let was_free = self.with(|file| !std::mem::replace(&mut file.is_locked, true));
        self.holds_lock.fetch_or(was_free, Ordering::Relaxed);
        Ok(was_free)
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.with(|file| file.links > 0))
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if *self.holds_lock.get_mut() {
            self.with(|file| file.is_locked = false);
        }
    }
}
