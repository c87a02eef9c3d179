//! Saving and loading checkpoints, compared with the least that is as durable: write, fsync,
//! rename, fsync of the directory.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use cu_benches::{Contest, scratch, timed};
use cu_checkpoint::Checkpoints;

/// Length in bytes, name, number of saves in one turn, and of turns.
const SIZES: [(usize, &str, u32, usize); 4] = [
    (4 << 10, "4 KiB", 20, ROUNDS),
    (1 << 20, "1 MiB", 10, ROUNDS),
    (64 << 20, "64 MiB", 1, ROUNDS),
    (1 << 30, "1 GiB", 1, 5),
];
const ROUNDS: usize = 15;
/// The number of files of the form with many files.
const FILES: usize = 10;

fn main() -> Result<()> {
    for (length, name, times, rounds) in SIZES {
        one_file(length, name, times, rounds)?;
    }
    many_files()
}

/// The forms of one file: a value of numbers, and a stream of the same bytes.
fn one_file(length: usize, name: &str, times: u32, rounds: usize) -> Result<()> {
    let scratch = scratch()?;
    let raw = scratch.path().join("raw");
    fs::create_dir(&raw)?;
    let numbers: Vec<f64> = (0..length / size_of::<f64>())
        .map(|number| number as f64)
        .collect();
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let mut values = Checkpoints::open(scratch.path().join("values"))?;
    let mut streams = Checkpoints::open(scratch.path().join("streams"))?;

    Contest::new()
        .with("write, fsync, rename, fsync", || {
            timed(times, || write_durably(&raw, "state", &bytes))
        })
        .with("`save`", || {
            timed(times, || Ok(values.save(&numbers).map(drop)?))
        })
        .with("`writer`", || {
            timed(times, || {
                let mut writer = streams.writer()?;
                writer.write_all(&bytes)?;
                writer.commit()?;
                Ok(())
            })
        })
        .run(&format!("save {name}"), rounds)?;

    Contest::new()
        .with("read", || {
            timed(times, || {
                black_box(fs::read(raw.join("state"))?);
                Ok(())
            })
        })
        .with("`load`", || {
            timed(times, || {
                black_box(
                    values
                        .load::<Vec<f64>>()?
                        .context("no checkpoint was saved")?,
                );
                Ok(())
            })
        })
        .with("`load_bytes`", || {
            timed(times, || {
                black_box(streams.load_bytes()?.context("no checkpoint was saved")?);
                Ok(())
            })
        })
        .with("`reader`", || {
            timed(times, || {
                let mut found = streams.reader()?.context("no checkpoint was saved")?;
                let mut read = Vec::with_capacity(length);
                found.value.read_to_end(&mut read)?;
                black_box(read);
                Ok(())
            })
        })
        .run(&format!("load {name}"), rounds)
}

/// Ten files that make one mebibyte together.
fn many_files() -> Result<()> {
    const TIMES: u32 = 3;
    let scratch = scratch()?;
    let raw = scratch.path().join("raw");
    fs::create_dir(&raw)?;
    let bytes = vec![7; (1 << 20) / FILES];
    let names: Vec<String> = (0..FILES).map(|number| format!("part-{number}")).collect();
    let mut directories = Checkpoints::open(scratch.path().join("directories"))?;

    Contest::new()
        .with(
            "mkdir, 10 times write and fsync, fsync, rename, fsync",
            || timed(TIMES, || write_directory_durably(&raw, &names, &bytes)),
        )
        .with("`directory`", || {
            timed(TIMES, || {
                let directory = directories.directory()?;
                for name in &names {
                    fs::write(directory.path().join(name), &bytes)?;
                }
                directory.commit()?;
                Ok(())
            })
        })
        .run("save 10 files of 0.1 MiB", ROUNDS)?;

    let read_all = |directory: &Path| -> Result<()> {
        for name in &names {
            black_box(fs::read(directory.join(name))?);
        }
        Ok(())
    };
    Contest::new()
        .with("read", || timed(TIMES, || read_all(&raw.join("state"))))
        .with("`load_directory`, then read", || {
            timed(TIMES, || {
                let found = directories
                    .load_directory()?
                    .context("no checkpoint was saved")?;
                read_all(&found.value)
            })
        })
        .run("load 10 files of 0.1 MiB", ROUNDS)
}

fn write_durably(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let temporary = directory.join("temporary");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, directory.join(name))?;
    Ok(File::open(directory)?.sync_all()?)
}

/// The same for many files, which replace an older directory.
fn write_directory_durably(parent: &Path, names: &[String], bytes: &[u8]) -> Result<()> {
    let (temporary, state) = (parent.join("temporary"), parent.join("state"));
    fs::create_dir(&temporary)?;
    for name in names {
        let mut file = File::create(temporary.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(&temporary)?.sync_all()?;
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::rename(temporary, state)?;
    Ok(File::open(parent)?.sync_all()?)
}
