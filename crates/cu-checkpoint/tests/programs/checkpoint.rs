//! The program that the tests start. They kill `save-without-end FORM DIRECTORY ATTEMPT`; a
//! developer runs `write-fixtures`, once for each version of the format. It is not published.
#![allow(
    clippy::unwrap_used,
    reason = "a program of a test ends where it cannot go on"
)]

#[path = "../support/fixtures.rs"]
mod fixtures;
#[path = "../support/numbered.rs"]
mod numbered;

use std::fs;
use std::io::Write;

use cu_checkpoint::{Checkpoints, Generation};
use numbered::content;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["save-without-end", form, directory, attempt] => {
            save_without_end(form, directory, attempt.parse().unwrap());
        }
        ["write-fixtures"] => {
            let root = fixtures::fixtures();
            assert!(!root.exists(), "fixtures are never written again");
            fixtures::write(&root);
        }
        _ => panic!("there is no program {arguments:?}"),
    }
}

/// Saves one generation after the other, and acknowledges each on standard output.
fn save_without_end(form: &str, directory: &str, attempt: u32) {
    let mut checkpoints = Checkpoints::open(directory).unwrap().for_attempt(attempt);
    let mut expected = checkpoints
        .generations()
        .unwrap()
        .into_iter()
        .find(|generation| generation.attempt() == attempt)
        .map_or(0, |generation| generation.counter() + 1);
    loop {
        let generation = Generation::new(attempt, expected);
        assert_eq!(
            save(form, &mut checkpoints, &content(generation)),
            generation
        );
        let mut output = std::io::stdout().lock();
        writeln!(output, "saved {generation}").unwrap();
        output.flush().unwrap();
        expected += 1;
    }
}

fn save(form: &str, checkpoints: &mut Checkpoints, content: &[u8]) -> Generation {
    match form {
        "value" => checkpoints.save(content).unwrap(),
        "stream" => {
            let mut writer = checkpoints.writer().unwrap();
            writer.write_all(content).unwrap();
            writer.commit().unwrap()
        }
        "directory" => {
            let files = checkpoints.directory().unwrap();
            let (first, second) = content.split_at(content.len() / 3);
            fs::create_dir(files.path().join("sub")).unwrap();
            fs::write(files.path().join("first"), first).unwrap();
            fs::write(files.path().join("sub/second"), second).unwrap();
            files.commit().unwrap()
        }
        other => panic!("no form {other}"),
    }
}
