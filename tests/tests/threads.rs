//! A user, or a machine, that has no threads left: the main process says so and ends, and the run
//! goes on when there are some again.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cu_test_privileges::leave_out;
use cu_tests::process::{Exit, Process};
use cu_tests::run::{Place, Run, scratch};

/// Of nobody else: the limit counts all processes of a user, and does not hold for root.
const USER: u32 = 61_234;

/// How many threads the main process has at its start, less one.
const TOO_FEW: std::ops::RangeInclusive<u32> = 1..=5;

#[test]
fn without_threads_cu_says_so_ends_and_resumes_whole() {
    if !rustix::process::geteuid().is_root() {
        return leave_out("limits on processes", "only root can be another user");
    }
    // Where that user can read it.
    let folder = scratch();
    let cu = folder.path().join("cu");
    let place = Place::this_machine();
    fs::copy(&place.cu, &cu).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place {
        cu,
        folder: folder.path().to_owned(),
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

/// `cu run` or `cu resume` to its end, of a user who may have so many processes and threads.
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
