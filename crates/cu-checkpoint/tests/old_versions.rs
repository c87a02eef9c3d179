//! Checkpoints written by earlier versions still load, and today's are written as they were: what
//! lies under `fixtures/` is never written again.
//!
//! A fixture is made once, when its version of the format is new:
//! `CU_WRITE_FIXTURES=1 cargo test -p cu-checkpoint --test old_versions -- --ignored`
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use cu_checkpoint::{Checkpoints, Generation};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct State {
    step: u64,
    learning_rate: f64,
    weights: Vec<f32>,
    phase: Phase,
    notes: BTreeMap<String, Option<i16>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Phase {
    Warmup,
    Training { epoch: u32 },
}

fn state() -> State {
    State {
        step: 1_234_567,
        learning_rate: 0.1,
        weights: vec![0.5, -2.0, f32::MAX],
        phase: Phase::Training { epoch: 3 },
        notes: BTreeMap::from([("größe".into(), Some(-5)), ("leer".into(), None)]),
    }
}

const STREAM: &[u8] = b"one\ntwo\r\nthree\x00\xff";
const FILES: [(&str, &[u8]); 3] = [
    ("empty", b""),
    ("model.bin", b"\x01\x02\x03"),
    ("optimizer/state", b"momentum"),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn write(root: &Path) {
    let open = |form| Checkpoints::open(root.join(form)).unwrap().for_attempt(2);
    open("value").save(&state()).unwrap();
    let mut streams = open("stream");
    let mut writer = streams.writer().unwrap();
    writer.write_all(STREAM).unwrap();
    writer.commit().unwrap();
    let mut directories = open("directory");
    let files = directories.directory().unwrap();
    for (name, content) in FILES {
        let path = files.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    files.commit().unwrap();
}

fn check(root: &Path) {
    let open = |form| Checkpoints::open(root.join(form)).unwrap();
    let found = open("value").load::<State>().unwrap().expect("a value");
    assert_eq!(
        (found.value, found.generation),
        (state(), Generation::new(2, 0))
    );
    let mut found = open("stream").reader().unwrap().expect("a stream");
    let mut stream = Vec::new();
    found.value.read_to_end(&mut stream).unwrap();
    assert_eq!(
        (stream.as_slice(), found.generation),
        (STREAM, Generation::new(2, 0))
    );
    let found = open("directory")
        .load_directory()
        .unwrap()
        .expect("a directory");
    assert_eq!(found.generation, Generation::new(2, 0));
    for (name, content) in FILES {
        assert_eq!(fs::read(found.value.join(name)).unwrap(), content);
    }
}

#[test]
fn version_1_loads() {
    check(&fixtures());
}

#[test]
fn version_1_is_what_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    write(scratch.path());
    check(scratch.path());
    for file in [
        "value/2.0.checkpoint",
        "stream/2.0.checkpoint",
        "directory/2.0.checkpoint/.cu-manifest",
    ] {
        assert_eq!(
            fs::read(scratch.path().join(file)).unwrap(),
            fs::read(fixtures().join(file)).unwrap(),
            "{file} is written differently: is this a new version of the format?"
        );
    }
}

/// The format as the documentation tells it, byte by byte.
#[test]
fn the_stream_is_as_documented() {
    let mut expected = b"\x89CUCKP\r\n".to_vec();
    expected.extend(1_u16.to_le_bytes());
    expected.extend([2, 0]);
    expected.extend(2_u32.to_le_bytes());
    expected.extend(0_u64.to_le_bytes());
    expected.extend((STREAM.len() as u64).to_le_bytes());
    expected.extend(crc32fast::hash(STREAM).to_le_bytes());
    expected.extend([0; 24]);
    expected.extend(crc32fast::hash(&expected).to_le_bytes());
    expected.extend(STREAM);
    assert_eq!(
        fs::read(fixtures().join("stream/2.0.checkpoint")).unwrap(),
        expected
    );
}

#[test]
#[ignore = "writes the fixtures of a new version, once"]
fn write_fixtures() {
    assert_eq!(std::env::var("CU_WRITE_FIXTURES").as_deref(), Ok("1"));
    assert!(!fixtures().exists(), "fixtures are never written again");
    write(&fixtures());
}
