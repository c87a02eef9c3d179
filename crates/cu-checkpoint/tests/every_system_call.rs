//! Counts the system calls of a save, stops the process at each of them, and loads: the old state or
//! the new, never a mixture, after the death of the process and after each outcome of a power failure.
//! Then lets each call fail: the old state is intact, and the error names the file.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use cu_checkpoint::fs::{FileSystem, RealFileSystem};
use cu_checkpoint::{AtomicOptions, Checkpoints};
use support::choices::Choices;
use support::faulty::{Fault, Faulty};
use support::names;
use support::simulated::Simulated;

type Anything = Result<(), Box<dyn Error>>;
type SharedFileSystem = Arc<dyn FileSystem>;

/// The form that is saved and loaded. A state is a number, and its content repeats that number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Subject {
    Value,
    Stream,
    Directory,
    AtomicFile,
}

/// The directory before the save.
#[derive(Debug, Clone, Copy, PartialEq)]
enum History {
    /// The directory does not exist.
    Nothing,
    /// As many checkpoints as are kept, so that a save removes one.
    Full,
    /// One checkpoint, and the leftovers of two dead writers: a file and a directory.
    Littered,
}

const OLD: u8 = 7;
const NEW: u8 = 8;

impl Subject {
    const ALL: [Self; 4] = [Self::Value, Self::Stream, Self::Directory, Self::AtomicFile];

    fn histories(self) -> &'static [History] {
        match self {
            // It has neither temporaries to sweep nor older versions to remove.
            Self::AtomicFile => &[History::Full],
            _ => &[History::Nothing, History::Full, History::Littered],
        }
    }

    fn save(self, fs: &SharedFileSystem, root: &Path, state: u8) -> Anything {
        let mut checkpoints = Checkpoints::open_on(Arc::clone(fs), root.join("a/checkpoints"))?;
        match self {
            Self::Value => checkpoints.save(&vec![state; 500]).map(drop)?,
            Self::Stream => {
                let mut writer = checkpoints.writer()?;
                // More than the buffer holds: the header is written last.
                writer.write_all(&[state; 40_000])?;
                writer.write_all(&[state; 30_000])?;
                writer.commit()?;
            }
            Self::Directory => {
                let files = checkpoints.directory()?;
                fs.create_directory(&files.path().join("sub"))?;
                for name in ["one", "sub/two"] {
                    fs.create_file(&files.path().join(name), 0o666)?
                        .write_all(&[state; 50])?;
                }
                files.commit()?;
            }
            Self::AtomicFile => {
                AtomicOptions::new_on(Arc::clone(fs)).write(root.join("file"), [state; 50])?;
            }
        }
        Ok(())
    }

    /// Loads the state, if there is one. Panics at a mixture, and if a newer checkpoint is damaged.
    fn load(self, fs: &SharedFileSystem, root: &Path) -> Result<Option<u8>, Box<dyn Error>> {
        let checkpoints = Checkpoints::open_on(Arc::clone(fs), root.join("a/checkpoints"))?;
        let (content, skipped) = match self {
            Self::Value => match checkpoints.load::<Vec<u8>>()? {
                None => return Ok(None),
                Some(found) => (found.value, found.skipped),
            },
            Self::Stream => match checkpoints.reader()? {
                None => return Ok(None),
                Some(mut found) => {
                    let mut content = Vec::new();
                    found.value.read_to_end(&mut content)?;
                    (content, found.skipped)
                }
            },
            Self::Directory => match checkpoints.load_directory()? {
                None => return Ok(None),
                Some(found) => {
                    let mut content = Vec::new();
                    for name in ["one", "sub/two"] {
                        fs.open_file(&found.value.join(name))?
                            .read_to_end(&mut content)?;
                    }
                    (content, found.skipped)
                }
            },
            Self::AtomicFile => {
                let mut content = Vec::new();
                fs.open_file(&root.join("file"))?
                    .read_to_end(&mut content)?;
                (content, Vec::new())
            }
        };
        assert!(
            skipped.is_empty(),
            "a save that died damaged something: {skipped:?}"
        );
        let length = match self {
            Self::Value => 500,
            Self::Stream => 70_000,
            Self::Directory => 100,
            Self::AtomicFile => 50,
        };
        assert_eq!(content.len(), length, "{self:?} loaded with another length");
        assert!(
            content.iter().all(|byte| *byte == content[0]),
            "{self:?} loaded as a mixture"
        );
        Ok(Some(content[0]))
    }

    fn prepare(self, history: History, fs: &SharedFileSystem, root: &Path) -> Option<u8> {
        let directory = root.join("a/checkpoints");
        match history {
            History::Nothing => return None,
            History::Full => {
                self.save(fs, root, OLD - 1).unwrap();
                self.save(fs, root, OLD).unwrap();
            }
            History::Littered => {
                self.save(fs, root, OLD).unwrap();
                fs.create_file(&directory.join(".cu-tmp-0-file"), 0o666)
                    .unwrap();
                let litter = directory.join(".cu-tmp-0-directory");
                fs.create_directory(&litter).unwrap();
                fs.create_file(&litter.join(".cu-manifest"), 0o666).unwrap();
            }
        }
        Some(OLD)
    }
}

/// Calls `check` for each subject, each history, and each call of the save of `NEW`.
fn for_each_call(
    fresh: impl Fn() -> (SharedFileSystem, std::path::PathBuf),
    mut check: impl FnMut(Case),
) -> usize {
    let mut cases = 0;
    for subject in Subject::ALL {
        for &history in subject.histories() {
            let (fs, root) = fresh();
            subject.prepare(history, &fs, &root);
            let counting: Arc<Faulty> = Faulty::new(&fs, Fault::None);
            subject
                .save(&(counting.clone() as SharedFileSystem), &root, NEW)
                .unwrap();
            let calls = counting.calls();
            assert!(
                calls >= 5,
                "{subject:?} was saved with {calls} calls: the seam leaks"
            );
            for at in 0..=calls {
                let (fs, root) = fresh();
                let old = subject.prepare(history, &fs, &root);
                check(Case {
                    subject,
                    history,
                    at,
                    calls,
                    fs,
                    root,
                    old,
                });
                cases += 1;
            }
        }
    }
    cases
}

struct Case {
    subject: Subject,
    history: History,
    /// The call at which the process stops; in the last case it does not stop.
    at: usize,
    calls: usize,
    fs: SharedFileSystem,
    root: std::path::PathBuf,
    old: Option<u8>,
}

impl Case {
    fn save_with(&self, fault: Fault) -> Anything {
        self.subject.save(
            &(Faulty::new(&self.fs, fault) as SharedFileSystem),
            &self.root,
            NEW,
        )
    }

    /// Checks that the old or the new state loads, and the new one if the save was acknowledged.
    fn check(&self, fs: &SharedFileSystem, acknowledged: bool, after: &str) {
        let what = format!(
            "{:?} with history {:?}, call {} of {}, after {after}",
            self.subject, self.history, self.at, self.calls
        );
        let loaded = self
            .subject
            .load(fs, &self.root)
            .unwrap_or_else(|error| panic!("{what}: nothing loads: {error}"));
        if acknowledged {
            assert_eq!(loaded, Some(NEW), "{what}: an acknowledged save is lost");
        } else {
            assert!(
                loaded == self.old || loaded == Some(NEW),
                "{what}: {loaded:?} loads"
            );
        }
    }

    /// Checks that no checkpoint is half there, not even an older one that is not loaded.
    fn check_older(&self, fs: &SharedFileSystem) {
        let directory = self.root.join("a/checkpoints");
        while fs.list(&directory).is_ok() {
            let newest = Checkpoints::open_on(Arc::clone(fs), &directory)
                .and_then(|checkpoints| checkpoints.generations())
                .unwrap()
                .first()
                .map(|generation| directory.join(format!("{generation}.checkpoint")));
            let Some(newest) = newest else { break };
            self.subject.load(fs, &self.root).unwrap();
            fs.rename(&newest, &newest.with_extension("moved")).unwrap();
        }
    }

    /// The next process saves, loads its save, and removes the leftovers of dead writers.
    fn check_successor(&self, fs: &SharedFileSystem) {
        if self.subject == Subject::AtomicFile {
            return;
        }
        self.subject.save(fs, &self.root, NEW + 1).unwrap();
        assert_eq!(self.subject.load(fs, &self.root).unwrap(), Some(NEW + 1));
        let left = names(fs.as_ref(), &self.root.join("a/checkpoints"));
        assert!(
            left.len() <= 2,
            "more than two checkpoints, or litter: {left:?}"
        );
        assert!(
            left.iter().all(|name| name.ends_with(".checkpoint")),
            "litter: {left:?}"
        );
    }
}

/// Whether a save that died at this call may have been acknowledged.
fn acknowledged(saved: &Anything) -> bool {
    saved.is_ok()
}

#[test]
fn stopped_at_each_call_the_old_or_the_new_loads() {
    let outcomes = std::cell::Cell::new(0);
    let simulated = std::cell::RefCell::new(Simulated::new());
    let fresh = || {
        *simulated.borrow_mut() = Simulated::new();
        (
            Arc::new(simulated.borrow().clone()) as SharedFileSystem,
            "/".into(),
        )
    };
    let cases = for_each_call(fresh, |case| {
        let simulated = simulated.borrow();
        simulated.settle();
        let acknowledged = acknowledged(&case.save_with(Fault::Stop { at: case.at }));
        assert!(acknowledged || case.at < case.calls);

        let survivor: SharedFileSystem = Arc::new(simulated.after_process_death());
        case.check(&survivor, acknowledged, "the death of the process");
        case.check_successor(&survivor);
        case.check_older(&(Arc::new(simulated.after_process_death()) as SharedFileSystem));

        let runs = Choices::for_all(|choices| {
            let survivor: SharedFileSystem = Arc::new(simulated.after_power_failure(choices));
            case.check(&survivor, acknowledged, "a power failure");
        });
        outcomes.set(outcomes.get() + runs);
    });
    println!("{cases} stops, {} power failures", outcomes.get());
    assert!(
        outcomes.get() > 2 * cases,
        "the power failures lose nothing"
    );
}

#[test]
fn on_a_real_file_system_too() {
    let scratch = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    let fresh = || {
        next.set(next.get() + 1);
        let root = scratch.path().join(next.get().to_string());
        std::fs::create_dir(&root).unwrap();
        (Arc::new(RealFileSystem) as SharedFileSystem, root)
    };
    for_each_call(fresh, |case| {
        let acknowledged = acknowledged(&case.save_with(Fault::Stop { at: case.at }));
        case.check(&case.fs, acknowledged, "the death of the process");
        case.check_successor(&case.fs);
        std::fs::remove_dir_all(&case.root).unwrap();
    });
}

#[test]
fn a_failing_call_keeps_the_old_state_and_names_the_file() {
    const EIO: i32 = 5;
    const EACCES: i32 = 13;
    const ENOSPC: i32 = 28;
    let fresh = || (Arc::new(Simulated::new()) as SharedFileSystem, "/".into());
    for errno in [EIO, EACCES, ENOSPC] {
        let mut failures = 0;
        for_each_call(fresh, |case| {
            let saved = case.save_with(Fault::Fail { at: case.at, errno });
            case.check(&case.fs, saved.is_ok(), &format!("error {errno}"));
            case.check_successor(&case.fs);
            // An error without a type of ours comes from the test's own writing of files.
            if let Err(error) = saved
                && let Some(error) = error.downcast_ref::<cu_checkpoint::Error>()
            {
                failures += 1;
                let text = error.to_string();
                assert!(text.contains(" /"), "{text:?} names no file");
                assert!(error.source().is_some(), "{text:?} does not say why");
                let sorted = match errno {
                    ENOSPC => matches!(error, cu_checkpoint::Error::NoSpace { .. }),
                    EACCES => matches!(error, cu_checkpoint::Error::NotPermitted { .. }),
                    _ => matches!(error, cu_checkpoint::Error::Io { .. }),
                };
                assert!(sorted, "error {errno} became {error:?}");
            }
        });
        assert!(failures > 50, "only {failures} calls failed their save");
    }
}

/// Falling back to an older checkpoint because the newer one can't be read at the moment would lose
/// steps.
#[test]
fn a_load_that_fails_never_falls_back() {
    const EIO: i32 = 5;
    for subject in Subject::ALL {
        let fs: SharedFileSystem = Arc::new(Simulated::new());
        let root = Path::new("/");
        subject.prepare(History::Full, &fs, root);
        let counting = Faulty::new(&fs, Fault::None);
        subject
            .load(&(counting.clone() as SharedFileSystem), root)
            .unwrap();
        for at in 0..counting.calls() {
            let faulty = Faulty::new(&fs, Fault::Fail { at, errno: EIO });
            let loaded = subject.load(&(faulty as SharedFileSystem), root);
            assert!(
                loaded.is_err(),
                "{subject:?}: error at call {at} became {loaded:?}"
            );
        }
    }
}

/// A program that overlooks a failed write must not commit a checkpoint with a hole.
#[test]
fn a_checkpoint_with_a_failed_write_is_never_committed() {
    const ENOSPC: i32 = 28;
    let root = Path::new("/");
    let overlook = |fs: &SharedFileSystem| -> Anything {
        let mut checkpoints = Checkpoints::open_on(Arc::clone(fs), "/a/checkpoints")?;
        let mut writer = checkpoints.writer()?;
        let _ = writer.write_all(&[NEW; 40_000]);
        let _ = writer.write_all(&[NEW; 30_000]);
        writer.commit()?;
        let mut file = AtomicOptions::new_on(Arc::clone(fs)).create("/file")?;
        let _ = file.write_all(&[NEW; 25]);
        let _ = file.write_all(&[NEW; 25]);
        file.commit()?;
        Ok(())
    };
    let fresh = || {
        let fs: SharedFileSystem = Arc::new(Simulated::new());
        Subject::Stream.prepare(History::Full, &fs, root);
        Subject::AtomicFile.prepare(History::Full, &fs, root);
        fs
    };
    let counting = Faulty::new(&fresh(), Fault::None);
    overlook(&(counting.clone() as SharedFileSystem)).unwrap();
    for at in 0..counting.calls() {
        let fs = fresh();
        let faulty: SharedFileSystem = Faulty::new(&fs, Fault::Fail { at, errno: ENOSPC });
        let written = overlook(&faulty);
        for subject in [Subject::Stream, Subject::AtomicFile] {
            let state = subject.load(&fs, root).unwrap();
            assert!(
                state == Some(NEW) || (state == Some(OLD) && written.is_err()),
                "call {at}"
            );
        }
    }
}
