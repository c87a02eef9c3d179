//! What an attempt finds and leaves in the job's output directory: the newest checkpoint, and
//! whether anything changed.

use std::path::Path;
use std::time::SystemTime;

use cu_checkpoint::Checkpoints;
use cu_protocol::{Attempt, Generation};

/// Names of our own files begin so, as those of `cu-checkpoint` do while it writes them.
pub(crate) const OUR_PREFIX: &str = ".cu-";

/// How many entries are looked at before the answer is "no change seen". A program that keeps more
/// files than this and changes only the last of them should write checkpoints.
const ENTRIES_LOOKED_AT: usize = 20_000;

/// The newest checkpoint in `output_dir/checkpoints`, by its name: whether it is intact, the next
/// attempt finds out when it loads it. `None` also if the directory can't be listed.
pub(crate) fn newest_checkpoint(output_dir: &Path) -> Option<Generation> {
    let checkpoints = Checkpoints::open(output_dir.join("checkpoints")).ok()?;
    let newest = *checkpoints.generations().ok()?.first()?;
    Some(Generation {
        attempt: Attempt(newest.attempt()),
        counter: newest.counter(),
    })
}

/// Whether a file of the program's has been written, created or removed since `start`, by the time
/// stamps of files and directories. Our own files don't count. The walk stops at the first change.
pub(crate) fn has_changed_since(output_dir: &Path, start: SystemTime) -> bool {
    let mut left = ENTRIES_LOOKED_AT;
    let mut directories = vec![(output_dir.to_owned(), true)];
    while let Some((directory, is_top)) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_ours = name.as_encoded_bytes().starts_with(OUR_PREFIX.as_bytes())
                || (is_top && name == "settings.json");
            if is_ours {
                continue;
            }
            if left == 0 {
                return false;
            }
            left -= 1;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            // Not the top itself: our own files come and go there.
            if metadata.modified().is_ok_and(|modified| modified >= start) {
                return true;
            }
            if metadata.is_dir() {
                directories.push((entry.path(), false));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_newest_checkpoint_is_the_one_of_the_newest_attempt() {
        let output = tempfile::tempdir().unwrap();
        assert_eq!(newest_checkpoint(output.path()), None);
        let checkpoints = output.path().join("checkpoints");
        fs::create_dir(&checkpoints).unwrap();
        for name in [
            "2.10.checkpoint",
            "10.2.checkpoint",
            "99.checkpoint",
            "junk",
        ] {
            fs::write(checkpoints.join(name), "").unwrap();
        }
        let expected = Generation {
            attempt: Attempt(10),
            counter: 2,
        };
        assert_eq!(newest_checkpoint(output.path()), Some(expected));
    }

    #[test]
    fn our_own_files_are_no_change_and_a_nested_one_is() {
        let output = tempfile::tempdir().unwrap();
        let before = SystemTime::now() - Duration::from_secs(5);
        fs::write(output.path().join("settings.json"), "{}").unwrap();
        fs::write(output.path().join(".cu-lock"), "").unwrap();
        assert!(!has_changed_since(output.path(), before));

        let nested = output.path().join("a/b");
        fs::create_dir_all(&nested).unwrap();
        fs::write(nested.join("log"), "step 1").unwrap();
        assert!(has_changed_since(output.path(), before));
        let later = SystemTime::now() + Duration::from_secs(5);
        assert!(!has_changed_since(output.path(), later));
    }
}
