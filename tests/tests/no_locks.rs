//! A results directory whose file system has no locks (Lustre without `flock`, some NFS): a run is refused before
//! anything is made, with the way out. Nodes may lack locks.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use cu_tests::fake::{Fake, Kind, TWO_RESUMES, completed};
use cu_tests::process::{Exit, Process};
use cu_tests::run::Run;

/// ENOSYS, ENOLCK, EOPNOTSUPP.
const ERRORS: [u32; 3] = [38, 37, 95];

fn run() -> Run {
    Run::new(&["true"], "")
}

/// `cu` with these arguments, which can't lock anything.
fn without_locks(run: &Run, errno: u32, arguments: &[&str]) -> Exit {
    let meant = run.command(arguments);
    let mut command = Command::new(env!("CARGO_BIN_EXE_without_locks"));
    command.arg(errno.to_string()).arg(meant.get_program());
    command.args(meant.get_args());
    let set = meant
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    command.envs(set);
    command.current_dir(meant.get_current_dir().unwrap());
    Process::start(command, &run.path("")).wait()
}

#[track_caller]
fn says_what_to_do(exit: &Exit) {
    assert_eq!(exit.code, Some(7), "{exit:?}");
    for part in ["has no locks", "--results-dir"] {
        assert!(exit.stderr.contains(part), "{exit:?}");
    }
}

#[test]
fn a_run_is_refused_before_anything_is_made() {
    for errno in ERRORS {
        let run = run();
        let config = run.config();
        let exit = without_locks(&run, errno, &["run", config.to_str().unwrap()]);
        says_what_to_do(&exit);
        assert!(!run.path("results").exists(), "{exit:?}");
    }
}

#[test]
fn doctor_tries_the_locks() {
    let run = run();
    let config = run.config();
    let arguments = ["doctor", config.to_str().unwrap()];
    for errno in ERRORS {
        let exit = without_locks(&run, errno, &arguments);
        assert_eq!(exit.code, Some(9), "{exit:?}");
        for part in ["has no locks", "--results-dir"] {
            assert!(exit.stdout.contains(part), "{exit:?}");
        }
    }
    let exit = run.cu(&arguments);
    assert!(exit.stdout.contains("a run can be locked"), "{exit:?}");
}

#[test]
fn a_run_made_elsewhere_is_not_resumed() {
    let run = run();
    completed(&run.start().wait());
    let path = run.dir().path().to_str().unwrap().to_owned();
    for errno in ERRORS {
        says_what_to_do(&without_locks(&run, errno, &["resume", &path]));
        // The directory for temporary files, where a copy would be read, has no locks here either.
        says_what_to_do(&without_locks(&run, errno, &["show", "0", &path]));
    }
    completed(&run.go_on().wait());
}

#[test]
fn nodes_may_lack_locks() {
    let cluster = Fake::new(Kind::Slurm, env!("CARGO_BIN_EXE_fake_cluster"));
    let wrapper = env!("CARGO_BIN_EXE_without_locks");
    let config = format!("wrapper = [{wrapper:?}, \"38\"]\n");
    let run = cluster.run(TWO_RESUMES, &config, "");
    completed(&run.start().wait());
    let n = std::fs::read_to_string(run.output(0, "n")).unwrap();
    assert_eq!(n, "3\n");
}
