//! Checkpoints of earlier versions still load, and the current version writes the same bytes as
//! before. The files under `fixtures/` are never written again.
//!
//! A fixture is made once, when its version of the format is new:
//! `cargo run -p cu-checkpoint --bin cu-checkpoint-programs write-fixtures`
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "support/fixtures.rs"]
mod fixtures;

use std::fs;
use std::io::Read;
use std::path::Path;

use cu_checkpoint::{Checkpoints, Generation};
use fixtures::{FILES, STREAM, State, fixtures, state, write};

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
fn version_1_is_written_byte_for_byte() {
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

/// The format of the documentation, byte by byte.
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
