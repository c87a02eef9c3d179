//! Any sequence of saves by living and outdated attempts, with damage in between: the newest
//! undamaged generation loads, and each newer one is reported.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use cu_checkpoint::{Checkpoints, Error, Form, Generation};
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Debug, Clone)]
enum Step {
    Save {
        attempt: u32,
        form: Form,
        keep: usize,
        is_new_process: bool,
    },
    Damage {
        which: Index,
        how: Damage,
    },
    Delete {
        which: Index,
    },
}

#[derive(Debug, Clone)]
enum Damage {
    FlipBit(Index),
    Cut(Index),
    Append(u8),
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Value), Just(Form::Stream), Just(Form::Directory)]
}

fn step() -> impl Strategy<Value = Step> {
    let damage = prop_oneof![
        3 => any::<Index>().prop_map(Damage::FlipBit),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => any::<u8>().prop_map(Damage::Append),
    ];
    prop_oneof![
        4 => (0..3_u32, form(), 1..4_usize, any::<bool>()).prop_map(
            |(attempt, form, keep, is_new_process)| Step::Save { attempt, form, keep, is_new_process }
        ),
        2 => (any::<Index>(), damage).prop_map(|(which, how)| Step::Damage { which, how }),
        1 => any::<Index>().prop_map(|which| Step::Delete { which }),
    ]
}

/// The checkpoints that should be there.
#[derive(Debug, Clone)]
struct Expected {
    form: Form,
    content: Vec<u8>,
    is_damaged: bool,
}

#[derive(Default)]
struct Model {
    present: BTreeMap<Generation, Expected>,
    handles: BTreeMap<u32, Checkpoints>,
    /// The last counter of each open handle.
    last: BTreeMap<u32, u64>,
    saves: u8,
}

fn write(checkpoints: &mut Checkpoints, form: Form, content: &[u8]) -> Generation {
    match form {
        Form::Value => checkpoints.save(content).unwrap(),
        Form::Stream => {
            let mut writer = checkpoints.writer().unwrap();
            writer.write_all(content).unwrap();
            writer.commit().unwrap()
        }
        Form::Directory => {
            let files = checkpoints.directory().unwrap();
            fs::create_dir(files.path().join("sub")).unwrap();
            fs::write(files.path().join("sub/file"), content).unwrap();
            files.commit().unwrap()
        }
    }
}

/// The files of a checkpoint.
fn files(directory: &Path, generation: Generation, form: Form) -> Vec<PathBuf> {
    let path = directory.join(format!("{generation}.checkpoint"));
    match form {
        Form::Directory => vec![path.join("sub/file"), path.join(".cu-manifest")],
        _ => vec![path],
    }
}

fn damage(path: &Path, how: &Damage) {
    let mut bytes = fs::read(path).unwrap();
    match how {
        Damage::FlipBit(which) if !bytes.is_empty() => {
            let bit = which.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Damage::Cut(which) if !bytes.is_empty() => bytes.truncate(which.index(bytes.len())),
        Damage::Append(byte) => bytes.push(*byte),
        _ => bytes.push(0),
    }
    fs::write(path, bytes).unwrap();
}

impl Model {
    fn take(&mut self, directory: &Path, step: &Step) {
        match step {
            Step::Save {
                attempt,
                form,
                keep,
                is_new_process,
            } => {
                self.save(directory, *attempt, *form, *keep, *is_new_process);
            }
            Step::Damage { which, how } if !self.present.is_empty() => {
                let index = which.index(self.present.len());
                let (generation, expected) = self.present.iter_mut().nth(index).unwrap();
                if !expected.is_damaged {
                    expected.is_damaged = true;
                    let files = files(directory, *generation, expected.form);
                    damage(&files[which.index(files.len())], how);
                }
            }
            Step::Delete { which } if !self.present.is_empty() => {
                let index = which.index(self.present.len());
                let (generation, expected) = self.present.iter().nth(index).unwrap();
                let path = directory.join(format!("{generation}.checkpoint"));
                match expected.form {
                    Form::Directory => fs::remove_dir_all(path).unwrap(),
                    _ => fs::remove_file(path).unwrap(),
                }
                let generation = *generation;
                self.present.remove(&generation);
            }
            _ => {}
        }
    }

    fn save(&mut self, directory: &Path, attempt: u32, form: Form, keep: usize, is_new: bool) {
        if is_new {
            self.handles.remove(&attempt);
            self.last.remove(&attempt);
        }
        let keep_last = NonZeroUsize::new(keep).unwrap();
        let mut handle = self
            .handles
            .remove(&attempt)
            .unwrap_or_else(|| Checkpoints::open(directory).unwrap().for_attempt(attempt))
            .keep_last(keep_last);
        self.saves += 1;
        let content = vec![self.saves; 30 + usize::from(self.saves)];
        let on_disk = self
            .present
            .keys()
            .filter(|generation| generation.attempt() == attempt)
            .map(|generation| generation.counter())
            .max();
        let counter = on_disk
            .max(self.last.get(&attempt).copied())
            .map_or(0, |last| last + 1);
        let saved = Generation::new(attempt, counter);
        assert_eq!(write(&mut handle, form, &content), saved);
        self.handles.insert(attempt, handle);
        self.last.insert(attempt, counter);
        self.present.insert(
            saved,
            Expected {
                form,
                content,
                is_damaged: false,
            },
        );
        let not_newer: Vec<_> = self.present.range(..=saved).map(|(key, _)| *key).collect();
        for old in not_newer.iter().rev().skip(keep) {
            self.present.remove(old);
        }
    }

    fn check(&self, directory: &Path) {
        let checkpoints = Checkpoints::open(directory).unwrap();
        let newest_first: Vec<_> = self.present.iter().rev().collect();
        let generations: Vec<_> = newest_first
            .iter()
            .map(|(generation, _)| **generation)
            .collect();
        assert_eq!(checkpoints.generations().unwrap(), generations);

        let intact = newest_first
            .iter()
            .position(|(_, expected)| !expected.is_damaged);
        let skipped = &generations[..intact.unwrap_or(generations.len())];
        let same = |found: &[cu_checkpoint::Skipped]| {
            assert_eq!(
                found.iter().map(|one| one.generation).collect::<Vec<_>>(),
                skipped
            );
        };
        let Some(intact) = intact else {
            match checkpoints.load::<Vec<u8>>() {
                Ok(None) => assert!(generations.is_empty()),
                Err(Error::AllDamaged { skipped, .. }) => same(&skipped),
                other => panic!("{other:?} without an intact checkpoint"),
            }
            return;
        };
        let (generation, expected) = newest_first[intact];
        match expected.form {
            Form::Value => {
                let found = checkpoints.load::<Vec<u8>>().unwrap().unwrap();
                assert_eq!(
                    (found.generation, &found.value),
                    (*generation, &expected.content)
                );
                same(&found.skipped);
                assert!(matches!(checkpoints.reader(), Err(Error::OtherForm { .. })));
                assert!(matches!(
                    checkpoints.load_bytes(),
                    Err(Error::OtherForm { .. })
                ));
            }
            Form::Stream => {
                let mut found = checkpoints.reader().unwrap().unwrap();
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut found.value, &mut content).unwrap();
                assert_eq!(
                    (found.generation, &content),
                    (*generation, &expected.content)
                );
                same(&found.skipped);
                let at_once = checkpoints.load_bytes().unwrap().unwrap();
                assert_eq!(
                    (at_once.generation, &at_once.value),
                    (*generation, &expected.content)
                );
                same(&at_once.skipped);
                assert!(matches!(
                    checkpoints.load_directory(),
                    Err(Error::OtherForm { .. })
                ));
            }
            Form::Directory => {
                let found = checkpoints.load_directory().unwrap().unwrap();
                let content = fs::read(found.value.join("sub/file")).unwrap();
                assert_eq!(
                    (found.generation, &content),
                    (*generation, &expected.content)
                );
                same(&found.skipped);
                assert!(matches!(
                    checkpoints.load::<Vec<u8>>(),
                    Err(Error::OtherForm { .. })
                ));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_newest_undamaged_one_loads(steps in proptest::collection::vec(step(), 1..20)) {
        let scratch = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        for step in &steps {
            model.take(scratch.path(), step);
            model.check(scratch.path());
        }
    }
}
