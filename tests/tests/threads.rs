//! The user or the machine has no threads left: the main process says so and ends, and the run
//! continues when there are some again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cu_test_privileges::leave_out;
use cu_tests::process::{Exit, Process};
use cu_tests::run::{Place, Run, scratch};

/// A user without other processes: the limit counts all processes of a user, and does not apply to
/// root.
const USER: u32 = 61_234;

/// The number of threads of the main process at its start, less one.
const TOO_FEW: std::ops::RangeInclusive<u32> = 1..=4;

#[test]
fn without_threads_cu_says_so_ends_and_resumes_whole() {
    if !rustix::process::geteuid().is_root() {
        return leave_out("limits on processes", "only root can be another user");
    }
    // A place that this user can read.
    let directory = scratch();
    let cu = directory.path().join("cu");
    let place = Place::this_machine();
    fs::copy(&place.cu, &cu).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place {
        cu,
        directory: directory.path().to_owned(),
        ..place
    };
    let run = Run::at(place, &["/bin/true"], "");
    give(&run.path(""));
    for processes in TOO_FEW {
        let exit = limited(&run, processes);
        assert_eq!(exit.code, Some(7), "{processes}: {exit:?}");
        assert!(exit.stderr.contains("can't start a thread"), "{exit:?}");
        assert!(exit.stderr.contains("hint:"), "{exit:?}");
        assert!(!exit.stderr.contains("panicked"), "{exit:?}");
    }
    let exit = limited(&run, 100);
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

/// Runs `cu run` or `cu resume` to its end, as a user who may have at most this many processes and
/// threads.
fn limited(run: &Run, processes: u32) -> Exit {
    let made = run.dir().store().exists();
    let (verb, what) = match made {
        true => ("resume", run.dir().path().to_owned()),
        false => ("run", run.config()),
    };
    let cu = run.command(&[verb, what.to_str().expect("UTF-8")]);
    let mut command = Command::new("prlimit");
    command.arg(format!("--nproc={processes}:{processes}"));
    command.arg(cu.get_program()).args(cu.get_args());
    command.envs(
        cu.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.current_dir(run.path("")).uid(USER).gid(USER);
    Process::start(command, &run.path("")).wait()
}

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("root gives");
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path());
    }
}
