//! The content of the fixtures, and the functions that write them.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(dead_code, reason = "the program that writes them reads nothing")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cu_checkpoint::Checkpoints;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    step: u64,
    learning_rate: f64,
    weights: Vec<f32>,
    phase: Phase,
    notes: BTreeMap<String, Option<i16>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    Warmup,
    Training { epoch: u32 },
}

pub fn state() -> State {
    State {
        step: 1_234_567,
        learning_rate: 0.1,
        weights: vec![0.5, -2.0, f32::MAX],
        phase: Phase::Training { epoch: 3 },
        notes: BTreeMap::from([("größe".into(), Some(-5)), ("leer".into(), None)]),
    }
}

pub const STREAM: &[u8] = b"one\ntwo\r\nthree\x00\xff";
pub const FILES: [(&str, &[u8]); 3] = [
    ("empty", b""),
    ("model.bin", b"\x01\x02\x03"),
    ("optimizer/state", b"momentum"),
];

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

pub fn write(root: &Path) {
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
