//! Whether an attempt printed what the one before did not, for programs that save where nobody looks; or the
//! same as that, for programs that always begin at the same state.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;

use cu_protocol::{Attempt, JobId, OutputChange};
use cu_run_dir::{RunDir, read_exit_record};
use cu_system::files;
use memchr::memmem;

/// At most this much of the output is compared, from its beginning, in bytes.
const MOST: u64 = 64 << 10;
/// At most this many earlier attempts are looked at: the last ones.
const ATTEMPTS: u32 = 10;

/// Why output is taken for progress; a clause.
pub(crate) const NEW_OUTPUT: &str = "no file has changed, but it printed something new";

/// Whether what the attempt printed may be progress: nothing else shows any in the last attempts of its job,
/// and it printed what the last one that printed anything did not.
pub(crate) fn is_new(run: &RunDir, job: JobId, attempt: Attempt) -> bool {
    let earlier = || {
        (attempt.0.saturating_sub(ATTEMPTS)..attempt.0)
            .rev()
            .map(Attempt)
    };
    let has_shown_progress = |attempt| {
        let record = read_exit_record(&run.exit_record(job, attempt));
        record.is_ok_and(|record| {
            record.is_some_and(|it| {
                it.checkpoint.is_some() || it.output_changed == OutputChange::Changed
            })
        })
    };
    // Errors don't show progress, unless a program reports there what it does.
    let prints = !beginning(&run.stdout(job, attempt)).is_empty();
    let path = |attempt| match prints {
        true => run.stdout(job, attempt),
        false => run.stderr(job, attempt),
    };
    let now = beginning(&path(attempt));
    let before = earlier().map(|attempt| beginning(&path(attempt)));
    let before = before.into_iter().find(|before| !before.is_empty());
    let prints_new = match before {
        None => !now.is_empty(),
        Some(before) => !repeats(&now, &before),
    };
    prints_new && !earlier().any(has_shown_progress)
}

/// Whether the attempt printed something, and the attempt before printed the same. Errors don't count, since
/// equal errors may end programs that go on.
pub(crate) fn is_the_same(run: &RunDir, job: JobId, attempt: Attempt) -> bool {
    let Some(before) = attempt.0.checked_sub(1).map(Attempt) else {
        return false;
    };
    let [now, before] = [attempt, before].map(|attempt| beginning(&run.stdout(job, attempt)));
    !now.is_empty() && !before.is_empty() && repeats(&now, &before)
}

/// A repetition may be cut off earlier or later.
fn repeats(now: &[u8], before: &[u8]) -> bool {
    now.starts_with(before) || before.starts_with(now)
}

/// In lines in which a shell names the number of a process that a signal has ended.
const OF_A_SHELL: [&[u8]; 2] = [b" Terminated", b" Killed"];

/// The beginning of what the program wrote there, without our own lines and those about signals.
fn beginning(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let open = files::open(path, OpenOptions::new().read(true));
    let read = open.and_then(|file: File| file.take(MOST).read_to_end(&mut content));
    if read.is_err() {
        return Vec::new();
    }
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    let of_the_program = lines.filter(|line| {
        let is_ours = line.starts_with(crate::OUR_LINES.as_bytes());
        let is_of_a_shell = OF_A_SHELL
            .iter()
            .any(|word| memmem::find(line, word).is_some());
        !is_ours && !is_of_a_shell
    });
    of_the_program.flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cu_protocol::{ExitRecord, ProgramEnd, Timestamp};
    use cu_run_dir::write_exit_record;

    use super::*;

    const JOB: JobId = JobId(0);

    /// A run whose attempts printed these.
    fn printed(outputs: &[&str]) -> (tempfile::TempDir, RunDir) {
        let scratch = tempfile::tempdir().unwrap();
        let run = RunDir::new(scratch.path());
        for (attempt, output) in (0..).map(Attempt).zip(outputs) {
            fs::create_dir_all(run.attempt(JOB, attempt)).unwrap();
            fs::write(run.stdout(JOB, attempt), output).unwrap();
        }
        (scratch, run)
    }

    #[test]
    fn a_program_that_prints_the_same_each_time_makes_no_progress() {
        for (outputs, expected) in [
            (&["epoch 0\n"][..], true),
            (&["", ""], false),
            (&["starting\n", "starting\n"], false),
            (&["epoch 0\nepoch 1\n", "epoch 0\n"], false),
            (&["epoch 0\n", "epoch 0\nepoch 1\n"], false),
            (&["epoch 0\n", "epoch 1\n"], true),
            (&["starting\n", "", "starting\n"], false),
            (&["epoch 0\n", "", "epoch 1\n"], true),
            (&["epoch 0\n", ""], false),
        ] {
            let (_scratch, run) = printed(outputs);
            let last = Attempt(u32::try_from(outputs.len()).unwrap() - 1);
            assert_eq!(is_new(&run, JOB, last), expected, "{outputs:?}");
        }
    }

    #[test]
    fn an_attempt_that_begins_anew_prints_the_same() {
        for (outputs, expected) in [
            (&["epoch 0\n"][..], false),
            (&["", ""], false),
            (&["epoch 0\n", ""], false),
            (&["epoch 0\nepoch 1\n", "epoch 0\n"], true),
            (&["epoch 0\n", "epoch 0\nepoch 1\n"], true),
            (&["epoch 0\n", "epoch 1\n"], false),
            (&["epoch 0\n", "epoch 1\n", "epoch 0\n"], false),
        ] {
            let (_scratch, run) = printed(outputs);
            let last = Attempt(u32::try_from(outputs.len()).unwrap() - 1);
            assert_eq!(is_the_same(&run, JOB, last), expected, "{outputs:?}");
        }
    }

    #[test]
    fn output_does_not_count_where_files_show_progress() {
        let (_scratch, run) = printed(&["epoch 0\n", "epoch 1\n"]);
        let record = ExitRecord {
            end: ProgramEnd::Exited(3),
            stop: None,
            host: "n1".to_owned(),
            started: None,
            ended: Timestamp::from_millis(0),
            peak_memory_bytes: None,
            checkpoint: None,
            output_changed: OutputChange::Changed,
            condition: None,
            noticed: cu_protocol::Noticed::default(),
        };
        write_exit_record(&run.exit_record(JOB, Attempt(0)), &record).unwrap();
        assert!(!is_new(&run, JOB, Attempt(1)));
    }

    #[test]
    fn lines_about_ended_processes_do_not_count() {
        let (_scratch, run) = printed(&["", ""]);
        for attempt in [0, 1].map(Attempt) {
            let ours = format!("{}process {attempt} was ended\n", crate::OUR_LINES);
            let text = format!("{ours}bash: line 1: {attempt} Terminated    ./train\n");
            fs::write(run.stderr(JOB, attempt), text).unwrap();
        }
        assert!(!is_new(&run, JOB, Attempt(1)));
    }
}
