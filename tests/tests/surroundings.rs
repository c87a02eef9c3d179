//! What surrounds a chain at other people's sites: temporary directories, limits, variables, commands and disks
//! that are not as they are here.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use cu_tests::fake::{Fake, Kind, TWO_RESUMES, completed};
use cu_tests::mounts::Mount;
use cu_tests::process::{Exit, Process};
use cu_tests::run::Run;
use cu_tests::terminal::Terminal;
use rustix::process::Signal;

fn cluster(kind: Kind) -> Fake {
    Fake::new(kind, env!("CARGO_BIN_EXE_fake_cluster"))
}

#[track_caller]
fn has_run(run: &Run, exit: &Exit, attempts: u32) {
    completed(exit);
    let n = std::fs::read_to_string(run.output(0, "n")).unwrap();
    assert_eq!(n, format!("{attempts}\n"), "{exit:?}");
}

/// `cu run` under the limits that `prlimit` takes. The jobs of a fake cluster inherit limits and variables.
fn limited(run: &Run, limits: &[&str]) -> Command {
    let cu = run.command(&["run", run.config().to_str().unwrap()]);
    let mut command = Command::new("prlimit");
    command.args(limits).arg(cu.get_program());
    command.args(cu.get_args()).envs(
        cu.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.current_dir(run.path(""));
    command
}

/// What another attempt or another job of Slurm's was given, and what people set for its commands.
const FOREIGN: [(&str, &str); 14] = [
    ("CU_SUBMISSION", "0123456789abcdef0123456789abcdef/9/9"),
    ("CU_OUTPUT_DIR", "/nonexistent"),
    ("CU_JOB", "9"),
    ("CU_ATTEMPT", "9"),
    ("CU_DEADLINE", "1"),
    ("CU_KILL_WAIT", "1"),
    ("SLURM_JOB_ID", "77"),
    ("SLURM_JOB_END_TIME", "1"),
    ("SLURM_ARRAY_JOB_ID", "70"),
    ("SLURM_ARRAY_TASK_ID", "7"),
    ("SLURM_PROCID", "3"),
    ("SQUEUE_FORMAT", "%i"),
    ("SQUEUE_STATES", "CG"),
    ("SACCT_FORMAT", "jobid"),
];

#[test]
fn odd_surroundings_of_a_login_node_harm_no_chain() {
    let long = "x".repeat(115);
    let limits = [
        "--as=400000000",
        "--nofile=64",
        "--cpu=30",
        "--fsize=2000000",
        "--stack=1000000",
        "--core=0",
    ];
    let none: &[(&str, &str)] = &[];
    for (temporary, limits, variables) in [
        ("/nonexistent", &[][..], &FOREIGN[..]),
        ("", &limits, none),
        ("/proc", &[], none),
        (&long, &[], none),
    ] {
        let site = cluster(Kind::Slurm);
        let run = site.run(TWO_RESUMES, "", "");
        let temporary = match temporary == long {
            true => run.path(temporary),
            false => temporary.into(),
        };
        if temporary.starts_with(run.path("")) {
            std::fs::create_dir(&temporary).unwrap();
        }
        let mut command = limited(&run, limits);
        command.env("TMPDIR", temporary).env_remove("HOME");
        command.envs(variables.iter().copied());
        let exit = Process::start(command, &run.path("")).wait();
        has_run(&run, &exit, 3);
        let attempts = run.show(0)["attempts"].clone();
        assert_eq!(attempts.as_array().unwrap().len(), 3, "{attempts}");
    }
}

#[test]
fn a_command_that_is_missing_is_named_or_not_needed() {
    let without = |kind: Kind, missing: &[&str]| {
        let site = cluster(kind);
        for name in missing {
            std::fs::remove_file(site.home().join("bin").join(name)).unwrap();
        }
        let commands = format!("commands = {:?}", site.home().join("bin"));
        let run = site.run(TWO_RESUMES, &commands, "");
        let exit = run.start().wait();
        (site, run, exit)
    };
    for (kind, missing) in [
        (Kind::Slurm, &["squeue", "sacct", "scancel", "sinfo"][..]),
        (
            Kind::Htcondor,
            &["condor_q", "condor_history", "condor_rm", "condor_status"],
        ),
    ] {
        let (_site, run, exit) = without(kind, missing);
        has_run(&run, &exit, 3);
    }
    for (kind, name, code) in [
        (Kind::Slurm, "scontrol", 5),
        (Kind::Slurm, "sbatch", 2),
        (Kind::Htcondor, "condor_version", 5),
        (Kind::Htcondor, "condor_submit", 2),
    ] {
        let (_site, _run, exit) = without(kind, &[name]);
        assert_eq!(exit.code, Some(code), "{name}: {exit:?}");
        assert!(exit.stderr.contains(name), "{exit:?}");
    }
}

/// The ids of the second cluster of a federation and above: arrays, single jobs, the question for them and a cancel.
#[test]
fn ids_of_a_federation_are_taken_as_they_are() {
    const FIRST: u32 = 4_227_858_432;
    let site = cluster(Kind::Slurm);
    site.ids_begin_at(FIRST);
    let run = site.run(TWO_RESUMES, "", "[grid]\njob = [0, 1]\n");
    completed(&run.start().wait());
    let jobs = site.jobs();
    assert!(jobs.contains(&format!("{FIRST}_1")), "{jobs:?}");
    assert_eq!(jobs.len(), 6, "{jobs:?}");
    for attempt in run.show(1)["attempts"].as_array().unwrap() {
        let id = attempt["cluster_job_id"].as_str().unwrap();
        assert!(jobs.iter().any(|job| job == id), "{attempt} of {jobs:?}");
    }

    let stopped = site.run("touch ready; sleep 1000", "", "");
    let main_process = stopped.start();
    stopped.await_file(&stopped.output(0, "ready"));
    completed(&stopped.cu(&["stop", "all"]));
    assert_eq!(main_process.wait().code, Some(1));
    let scancel = site.calls("scancel");
    let last = site.jobs().pop().unwrap();
    assert!(
        scancel.iter().any(|call| call.contains(&last)),
        "{scancel:?}"
    );
}

/// The terminal on which a run was started goes: an ssh connection that breaks.
#[test]
fn a_detached_run_outlives_its_terminal() {
    let site = cluster(Kind::Slurm);
    let script = "touch here; while [ ! -e go ]; do sleep 0.05; done";
    let run = site.run(script, "", "");
    let cu = run.command(&["run", "--detach", run.config().to_str().unwrap()]);
    // A shell that leads the terminal's session, in whose process group its commands are.
    let mut shell = Command::new("setsid");
    shell.args([
        "--ctty",
        "sh",
        "-c",
        "\"$@\"; echo It has detached.; read -r line",
        "sh",
    ]);
    shell.arg(cu.get_program()).args(cu.get_args());
    shell.envs(
        cu.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    shell.current_dir(run.path(""));
    let mut terminal = Terminal::start(shell, (80, 24));
    run.await_file(&run.output(0, "here"));
    terminal.until("the prompt", |screen| screen.contains("It has detached."));
    // Its end hangs up the terminal.
    terminal.signal(Signal::KILL);
    terminal.end();
    std::fs::write(run.output(0, "go"), "").unwrap();
    let waited = run.cu(&["wait"]);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    assert_eq!(run.show(0)["state"], "completed");
}

#[test]
fn without_an_event_log_the_queue_tells_all() {
    let pool = cluster(Kind::Htcondor);
    pool.writes_no_event_log();
    let run = pool.run(TWO_RESUMES, "", "");
    has_run(&run, &run.start().wait(), 3);
    assert_eq!(pool.jobs(), ["1.0", "2.0", "3.0"]);
}

#[test]
fn a_disk_that_fills_up_in_mid_run_loses_no_attempt() {
    let site = cluster(Kind::Slurm);
    // The second attempt fills what is left.
    let script = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; [ $n -lt 5 ] || exit 0; \
                  [ $n != 1 ] || { cat /dev/zero >fill; } 2>/dev/null; exit 3";
    let run = site.run(script, "", "");
    let results = run.path("results");
    std::fs::create_dir(&results).unwrap();
    let Some(mount) = Mount::small(&results, "size=3m") else {
        return;
    };
    let exit = run.start().wait();
    let freed = std::fs::remove_file(run.output(0, "fill"));
    let resumed = freed.is_ok().then(|| run.go_on().wait());
    let n = std::fs::read_to_string(run.output(0, "n"));
    drop(mount);
    assert_eq!(exit.code, Some(7), "{exit:?}");
    assert!(exit.stderr.contains("make room"), "{exit:?}");
    completed(&resumed.unwrap());
    assert_eq!(n.unwrap(), "6\n");
}
