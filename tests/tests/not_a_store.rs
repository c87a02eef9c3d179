//! A FIFO, a device, a socket or a directory is in place of a run's store. No command waits for it
//! or reads it to its end, and the other runs are still listed.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use cu_tests::run::Run;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Makes the replacement at a path.
type Make = fn(&Path);

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

fn endless(path: &Path) {
    symlink("/dev/zero", path).expect("a link");
}

fn socket(path: &Path) {
    drop(UnixListener::bind(path).expect("a socket"));
}

fn directory(path: &Path) {
    std::fs::create_dir(path).expect("a directory");
}

#[test]
fn a_false_store_hangs_no_command_and_hides_no_run() {
    let run = Run::new(&["true"], "");
    assert_eq!(run.start().wait().code, Some(0));
    let whole = run.dir().path().to_owned();
    let kinds: [(&str, Make); 4] = [
        ("a FIFO", fifo),
        ("a device", endless),
        ("a socket", socket),
        ("a directory", directory),
    ];
    for (kind, make) in kinds {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let odd = whole.with_file_name("odd");
            std::fs::create_dir(&odd).expect("a directory");
            let file = |name: &str| -> PathBuf { odd.join(name) };
            for name in ["run.sqlite", "run.toml", "secret"] {
                std::fs::copy(whole.join(name), file(name)).expect("a copy");
            }
            let path = file(&format!("run.sqlite{suffix}"));
            if suffix.is_empty() {
                std::fs::remove_file(&path).expect("removed");
            }
            make(&path);
            let odd_run = odd.to_str().expect("UTF-8");
            // It can't be read, and no command acts on such a run.
            for (arguments, code) in [
                (&["status", odd_run][..], 6),
                (&["show", "0", odd_run], 6),
                (&["logs", "0", odd_run], 6),
                (&["stop", odd_run], 7),
                (&["resume", odd_run], 7),
            ] {
                let exit = run.cu(arguments);
                assert_eq!(exit.code, Some(code), "{kind}, {arguments:?}: {exit:?}");
                let reason = match (kind, code) {
                    ("a device", 7) => "it is a symbolic link".to_owned(), // That leads there.
                    _ => format!("it is {kind}, not a regular file"),
                };
                for expected in [path.to_str().expect("UTF-8"), &reason] {
                    let said = exit.stderr.contains(expected);
                    assert!(said, "{kind}, {arguments:?}: {exit:?}");
                }
            }
            let listed = run.json(&["list"]);
            let states: Vec<_> = (0..2)
                .map(|place| listed[place]["state"].as_str())
                .collect();
            assert_eq!(
                states,
                [Some("completed"), Some("unreadable")],
                "{kind}: {listed}"
            );
            assert_eq!(run.status()["run_dir"].as_str(), whole.to_str(), "{kind}");
            std::fs::remove_dir_all(&odd).expect("removed");
        }
    }
}
