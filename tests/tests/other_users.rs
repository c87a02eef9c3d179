//! No file of another user is executed, emptied or believed, and no other user reads or replaces our
//! files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cu_core::{JobPlan, Policy, RunDir, RunPlan, create_run};
use cu_protocol::{Attempt, JobId};
use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{Resources, Scheduler, Submission, SubmissionName};
use cu_tests::process::{Exit, Process};
use cu_tests::run::Run;
use cu_tests::stranger::{Public, STRANGER, can_be_played, for_all, give_away, set_mode};

/// A job that is done at once.
const DONE: [&str; 1] = ["true"];
/// A job that waits for the file `go`.
const WAITS: [&str; 3] = [
    "sh",
    "-c",
    "touch here; until [ -e go ]; do sleep 0.02; done",
];

/// A run without a main process.
fn make_run(path: &Path, command: &[&str]) -> RunDir {
    let run = RunDir::new(path);
    let command = command.iter().map(|&word| word.to_owned()).collect();
    let jobs = vec![JobPlan::new(command)];
    let plan = RunPlan::new("made".to_owned(), Policy::default(), jobs);
    create_run(&run, &plan).expect("a run");
    fs::write(run.config(), "[backend]\nkind = \"local\"\n").expect("its config");
    set_mode(&run.config(), 0o600);
    run
}

/// Leaves a submission in the journal of the local backend, which waits to be started.
fn queue(run: &RunDir, command: Vec<String>) {
    let mut options = LocalOptions::new(run.backend("local"));
    options.max_running = Some(0);
    let directory = run.attempt(JobId(0), Attempt(0));
    fs::create_dir_all(&directory).expect("a directory");
    let submission = Submission {
        name: SubmissionName::new("evil", 0, 0).expect("a name"),
        command,
        environment: Default::default(),
        working_directory: directory.clone(),
        directory,
        resources: Resources::default(),
        previous: None,
        avoid_hosts: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let local: Arc<dyn Scheduler> = Arc::new(Local::open(options).expect("the backend"));
    let submitted = runtime
        .expect("a runtime")
        .block_on(local.submit(&[submission]));
    submitted
        .into_iter()
        .for_each(|it| drop(it.expect("taken")));
}

/// A trap of another user: his run is the newest in a shared directory, a start of his program waits
/// in it, and links in it lead to files of ours.
struct Trap {
    public: Public,
    results: PathBuf,
    evil: PathBuf,
    /// The file that his program makes.
    executed: PathBuf,
    /// A file of ours.
    precious: PathBuf,
}

impl Trap {
    fn new() -> Self {
        let public = Public::new();
        let results = public.directory("results", 0o1777);
        make_run(&results.join("own"), &DONE);
        let evil = results.join("evil");
        let executed = public.path("executed");
        let precious = public.path("precious");
        fs::write(&precious, "precious").expect("a file");
        let touch = vec!["/usr/bin/touch".to_owned(), executed.display().to_string()];
        let run = make_run(&evil, &["touch", executed.to_str().expect("UTF-8")]);
        queue(&run, touch);
        fs::remove_file(run.lock()).expect("a lock");
        for link in [run.lock(), run.log()] {
            symlink(&precious, link).expect("a link");
        }
        give_away(&evil);
        set_mode(&evil, 0o755);
        for readable in [run.store(), run.config(), run.secret()] {
            set_mode(&readable, 0o644);
        }
        Self {
            public,
            results,
            evil,
            executed,
            precious,
        }
    }

    fn assert_harmless(&self) {
        let precious = fs::read_to_string(&self.precious).expect("a file");
        assert_eq!(precious, "precious");
        assert!(!self.executed.exists(), "his program was executed");
    }
}

#[test]
fn the_newest_run_is_one_of_ours() {
    if !can_be_played() {
        return;
    }
    let trap = Trap::new();
    let results = trap.results.to_str().expect("UTF-8");
    let exit = trap.public.cu(&["resume", "--results-dir", results]);
    trap.assert_harmless();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stdout.contains("made: completed"), "{exit:?}");
    let own = trap
        .public
        .cu(&["status", "--json", "--results-dir", results]);
    assert!(own.stdout.contains("results/own"), "{own:?}");
    fs::remove_dir_all(trap.results.join("own")).expect("removed");
    let none = trap.public.cu(&["resume", "--results-dir", results]);
    assert!(none.stderr.contains("no run of yours in"), "{none:?}");
    trap.assert_harmless();
}

#[test]
fn runs_of_other_users_are_read_but_never_acted_on() {
    if !can_be_played() {
        return;
    }
    let trap = Trap::new();
    let evil = trap.evil.to_str().expect("UTF-8");
    for arguments in [
        &["resume", evil][..],
        &["resume", "--detach", evil],
        &["main-process", evil],
        &["stop", evil],
        &["pause", evil],
        &["continue", evil],
        &["retry", evil],
        &["checkpoint", evil],
    ] {
        let exit = trap.public.cu(arguments);
        trap.assert_harmless();
        assert!(!matches!(exit.code, Some(0 | 1)), "{arguments:?}: {exit:?}");
        let said = exit.stdout + &exit.stderr;
        assert!(said.contains(&format!("{evil} can't be trusted")), "{said}");
        assert!(said.contains(&format!("id {STRANGER}")), "{said}");
        assert!(said.contains("hint: `cu status "), "{said}");
    }
    let exec = trap.public.cu(&["exec", evil, "0", "0"]);
    assert_eq!(exec.code, Some(200), "{exec:?}");
    assert!(exec.stderr.contains("can't be trusted"), "{exec:?}");
    trap.assert_harmless();
    for arguments in [
        &["status", evil][..],
        &["show", "0", evil],
        &["logs", "0", evil],
    ] {
        let exit = trap.public.cu(arguments);
        assert_eq!(exit.code, Some(0), "{arguments:?}: {exit:?}");
    }
    let results = trap.results.to_str().expect("UTF-8");
    let list = trap.public.cu(&["list", "--results-dir", results]);
    let his = list
        .stdout
        .lines()
        .find(|line| line.contains("results/evil"));
    assert!(his.is_some_and(|line| line.contains(", of ")), "{list:?}");
    let own = list
        .stdout
        .lines()
        .find(|line| line.contains("results/own"));
    assert!(own.is_some_and(|line| !line.contains(", of ")), "{list:?}");
    trap.assert_harmless();
}

#[test]
fn links_of_another_user_are_not_followed() {
    if !can_be_played() {
        return;
    }
    let public = Public::new();
    let own = public.directory("own", 0o700);
    let run = make_run(&own.join("run"), &DONE);
    let shared = public.directory("shared", 0o1777);
    let (his, ours) = (shared.join("his"), shared.join("ours"));
    for link in [&his, &ours] {
        symlink(run.path(), link).expect("a link");
    }
    std::os::unix::fs::lchown(&his, Some(STRANGER), Some(STRANGER)).expect("given away");
    let exit = public.cu(&["resume", his.to_str().expect("UTF-8")]);
    assert!(exit.stderr.contains("can't be trusted"), "{exit:?}");
    let exit = public.cu(&["resume", ours.to_str().expect("UTF-8")]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_swapped_run_starts_no_program_of_another_user() {
    if !can_be_played() {
        return;
    }
    let public = Public::new();
    let results = public.directory("results", 0o777);
    let executed = public.path("executed");
    let touch = ["touch", executed.to_str().expect("UTF-8")];
    // His whole run, or one of his directories or files within ours.
    let run = make_run(&results.join("run"), &DONE);
    let his = make_run(&public.path("his"), &touch);
    for run in [&run, &his] {
        let exit = public.cu(&["resume", run.path().to_str().expect("UTF-8")]);
        assert_eq!(exit.code, Some(0), "{exit:?}");
        fs::create_dir(run.attempt(JobId(0), Attempt(1))).expect("a directory");
        fs::write(run.newest_attempt(JobId(0)), "1").expect("another attempt was submitted");
    }
    fs::remove_file(&executed).expect("the program is one that runs");
    let in_the_way = |path: &Path| {
        let aside = public.path("aside");
        let copied = public.path("copied");
        fs::rename(path, &aside).expect("set aside");
        let of_his = his
            .path()
            .join(path.strip_prefix(run.path()).expect("within"));
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(of_his).arg(&copied);
        assert_eq!(Process::start(copy, &public.path("")).wait().code, Some(0));
        give_away(&copied);
        fs::rename(&copied, path).expect("swapped");
        let mut before = Vec::new();
        for_all(path, &mut |path| before.push(path.to_owned()));
        let exit = public.cu(&["exec", run.path().to_str().expect("UTF-8"), "0", "1"]);
        assert!(!executed.exists(), "{path:?}: {exit:?}");
        assert_eq!(exit.code, Some(200), "{path:?}: {exit:?}");
        assert!(
            exit.stderr.contains(&format!("id {STRANGER}")),
            "{path:?}: {exit:?}"
        );
        let mut after = Vec::new();
        for_all(path, &mut |path| after.push(path.to_owned()));
        assert_eq!(after, before, "nothing is written there");
        match path.is_dir() {
            true => fs::remove_dir_all(path).expect("removed"),
            false => fs::remove_file(path).expect("removed"),
        }
        fs::rename(&aside, path).expect("set back");
    };
    in_the_way(run.path());
    in_the_way(&run.all_attempts());
    in_the_way(&run.attempts(JobId(0)));
    in_the_way(&run.job_spec(JobId(0)));
}

#[test]
fn a_results_directory_where_others_may_rename_is_refused() {
    if !can_be_played() {
        return;
    }
    let public = Public::new();
    let run_in = |results: &Path, more: &[&str]| -> Exit {
        let results = results.to_str().expect("UTF-8");
        let arguments = ["run", "--backend", "local", "--results-dir", results];
        public.cu(&[&arguments, more, &["--", "true"]].concat())
    };
    let open = public.directory("open", 0o777);
    fs::create_dir(open.join("own")).expect("a directory");
    let his = public.directory("his", 0o755);
    chown(&his, Some(STRANGER), None).expect("given away");
    for results in [&open, &open.join("own"), &open.join("own/results"), &his] {
        let exit = run_in(results, &[]);
        assert_eq!(exit.code, Some(2), "{results:?}: {exit:?}");
        assert!(exit.stderr.contains("may replace"), "{exit:?}");
        assert!(exit.stderr.contains("hint: "), "{exit:?}");
        let made = fs::read_dir(results).into_iter().flatten().flatten();
        let made: Vec<_> = made.map(|entry| entry.file_name()).collect();
        assert!(made.is_empty() || made == ["own"], "{made:?}");
        let meant = run_in(results, &["--trust-parents"]);
        assert_eq!(meant.code, Some(0), "{meant:?}");
        assert!(meant.stderr.contains("warning: "), "{meant:?}");
        fs::remove_dir_all(results.join("true")).expect("the run");
    }
    let lab = public.directory("lab", 0o2770);
    chown(&lab, None, Some(STRANGER)).expect("given away");
    let exit = run_in(&lab, &[]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(
        exit.stderr.matches("members of the group").count(),
        1,
        "{exit:?}"
    );
    let sticky = public.directory("sticky", 0o1777);
    let exit = run_in(&sticky, &[]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(!exit.stderr.contains("may replace"), "{exit:?}");
    let mode = |path: &Path| path.metadata().expect("made").permissions().mode() & 0o7777;
    assert_eq!(mode(&open.join("own/results")), 0o700);
    assert_eq!(mode(&sticky.join("true")), 0o700);
}

/// A run without a main process and with a waiting job.
fn interrupted() -> Run {
    let run = Run::new(&WAITS, "");
    let mut main_process = run.start();
    run.await_file(&run.output(0, "here"));
    main_process.kill();
    run
}

fn chmod(words: &str, run: &Run) {
    let mut chmod = Command::new("chmod");
    chmod.args(words.split(' ')).arg(run.dir().path());
    assert_eq!(Process::start(chmod, &run.path("")).wait().code, Some(0));
}

/// Runs the command of the hint, between the first backquotes, as people do.
fn type_hint(exit: &Exit, run: &Run) {
    let hint = exit.stderr.split("hint: ").nth(1).expect("a hint");
    let typed = hint.split('`').nth(1).expect("a command");
    let mut shell = Command::new("sh");
    shell.args(["-c", typed]);
    let done = Process::start(shell, &run.path("")).wait();
    assert_eq!(done.code, Some(0), "{typed}: {done:?}");
}

#[test]
fn a_run_that_others_may_write_is_refused_with_the_cure() {
    for opened in ["-R g+w", "-R o+w", "-R a+rwX", "-R g+rX"] {
        let run = interrupted();
        chmod(opened, &run);
        let path = run.dir().path().to_owned();
        let resume = || run.spawn(&["resume", path.to_str().expect("UTF-8")]);
        let refused = resume().wait();
        assert_eq!(refused.code, Some(7), "{opened}: {refused:?}");
        assert!(refused.stderr.contains("can't be trusted"), "{refused:?}");
        type_hint(&refused, &run);
        fs::write(run.output(0, "go"), "").expect("let go");
        let exit = resume().wait();
        assert_eq!(exit.code, Some(0), "{opened}: {exit:?}");
    }
}

#[test]
fn a_permitted_reader_reads_a_run_and_changes_nothing() {
    if !can_be_played() {
        return;
    }
    let public = Public::new();
    let results = public.directory("results", 0o755);
    let arguments = ["run", "--backend", "local", "--results-dir"];
    let command = ["--", "sh", "-c", "echo words"];
    let made = public.cu(&[
        &arguments[..],
        &[results.to_str().expect("UTF-8")],
        &command,
    ]
    .concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    let run = RunDir::new(results.join("sh"));
    let path = run.path().to_str().expect("UTF-8");
    let kept_out = public.cu_of_stranger(&["status", path]);
    assert_ne!(kept_out.code, Some(0), "{kept_out:?}");
    // As SECURITY.md says.
    for_all(run.path(), &mut |path| {
        let execute = if path.is_dir() { 0o050 } else { 0o040 };
        set_mode(
            path,
            path.metadata().expect("it is there").mode() & 0o777 | execute,
        );
        chown(path, None, Some(STRANGER)).expect("a group");
    });
    set_mode(&run.secret(), 0o600);
    set_mode(&run.all_backends(), 0o700);
    set_mode(&run.job_spec(JobId(0)), 0o600);
    let seen = || {
        let mut seen = Vec::new();
        for_all(run.path(), &mut |path| {
            let found = path.symlink_metadata().expect("it is there");
            seen.push((
                path.to_owned(),
                found.mode(),
                found.len(),
                found.mtime_nsec(),
            ));
        });
        seen.sort();
        seen
    };
    let before = seen();
    for arguments in [
        &["status", path][..],
        &["show", "0", path],
        &["logs", "0", path],
    ] {
        let exit = public.cu_of_stranger(arguments);
        assert_eq!(exit.code, Some(0), "{arguments:?}: {exit:?}");
    }
    let list = [
        "list",
        "--json",
        "--results-dir",
        results.to_str().expect("UTF-8"),
    ];
    let list = public.cu_of_stranger(&list);
    assert!(
        list.stdout.contains("\"owner\": \"root (id 0)\""),
        "{list:?}"
    );
    let stop = public.cu_of_stranger(&["stop", path]);
    assert!(stop.stderr.contains("can't be trusted"), "{stop:?}");
    assert_eq!(seen(), before);
}

#[test]
fn no_socket_is_made_where_others_may_rename() {
    let script = "echo $CU_SOCKET > socket; $CU job finish accuracy=0.9";
    let run = Run::new(&["sh", "-c", script], "");
    let open = run.path("open");
    fs::create_dir(&open).expect("a directory");
    set_mode(&open, 0o777);
    let mut command = run.command(&["run", run.config().to_str().expect("UTF-8")]);
    let cu = command.get_program().to_owned();
    command.env("TMPDIR", &open).env("CU", cu);
    let exit = Process::start(command, &run.path("")).wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let socket = fs::read_to_string(run.output(0, "socket")).expect("its path");
    assert!(!Path::new(&socket).starts_with(&open), "{socket}");
    assert_eq!(run.show(0)["metrics"]["accuracy"], 0.9);
    let told = fs::read_to_string(run.dir().stderr(JobId(0), Attempt(0))).expect("stderr");
    assert!(told.contains("the socket can't be in"), "{told}");
}

#[test]
fn files_of_a_run_are_private_whatever_the_umask() {
    let script = "umask > umask; echo words; echo words >&2; $CU job metrics a=1; \
                  $CU job finish a=2; [ $CU_ATTEMPT = 1 ] || exit 3";
    for umask in ["000", "022", "077"] {
        let run = Run::new(&["sh", "-c", script], "");
        let mut command = Command::new("sh");
        let cu = run.command(&[]).get_program().to_owned();
        command.args([
            "-c",
            &format!("umask {umask}; exec \"$CU\" run config.toml"),
        ]);
        command
            .env("CU", &cu)
            .env("CU_RESULTS_DIR", run.path("results"));
        command.current_dir(run.path(""));
        let exit = Process::start(command, &run.path("")).wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let the_program_s = run.dir().output_dir(JobId(0));
        for_all(&run.path("results"), &mut |path| {
            let mode = path.symlink_metadata().expect("it is there").mode() & 0o777;
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let is_ours = !path.starts_with(&the_program_s) || name.starts_with(".cu-");
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            let is_output = path != the_program_s && !is_ours;
            assert!(is_output || mode == wanted, "{path:?} has mode {mode:o}");
        });
        let found = fs::read_to_string(run.output(0, "umask")).expect("its umask");
        assert_eq!(found.trim(), format!("0{umask}"));
    }
}

#[test]
fn a_fifo_in_place_of_a_file_hangs_no_command() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let run = interrupted();
    let dir = run.dir();
    let path = dir.path().to_str().expect("UTF-8").to_owned();
    let state = |name: &str| dir.backend("local").join(name);
    for file in [
        dir.lock(),
        dir.config(),
        dir.log(),
        dir.secret(),
        dir.server_file(),
        state("lock"),
        state("journal"),
        dir.stdout(JobId(0), Attempt(0)),
    ] {
        let aside = run.path("aside");
        fs::rename(&file, &aside).expect("set aside");
        mknodat(CWD, &file, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a FIFO");
        for arguments in [&["list"][..], &["status", &path], &["show", "0", &path]] {
            let exit = run.cu(arguments);
            assert_eq!(exit.code, Some(0), "{file:?}, {arguments:?}: {exit:?}");
        }
        let is_output = file == dir.stdout(JobId(0), Attempt(0));
        let logs = run.cu(&["logs", "0", &path]);
        assert_eq!(logs.code != Some(0), is_output, "{file:?}: {logs:?}");
        if !is_output {
            for command in ["resume", "stop", "pause"] {
                let exit = run.cu(&[command, &path]);
                assert!(
                    !matches!(exit.code, Some(0 | 1)),
                    "{file:?}, {command}: {exit:?}"
                );
                assert!(
                    exit.stderr.contains(file.to_str().expect("UTF-8")),
                    "{exit:?}"
                );
            }
        }
        fs::rename(&aside, &file).expect("set back");
    }
    fs::write(run.output(0, "go"), "").expect("let go");
    assert_eq!(run.go_on().wait().code, Some(0));
}

fn copy(from: &Path, to: &Path, run: &Run) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    assert_eq!(Process::start(copy, &run.path("")).wait().code, Some(0));
}

#[test]
fn a_copy_beside_its_original_is_refused() {
    let run = interrupted();
    let original = run.dir().path().to_owned();
    let copied = run.path("results/copied");
    copy(&original, &copied, &run);
    let copied = copied.to_str().expect("UTF-8");
    for command in ["resume", "stop", "retry"] {
        let exit = run.cu(&[command, copied]);
        assert_eq!(exit.code, Some(2), "{exit:?}");
        let said = format!("is a copy of the one in {}", original.display());
        assert!(exit.stderr.contains(&said), "{exit:?}");
    }
    let status = run.json(&["status", copied]);
    assert_eq!(status["state"], "interrupted", "it can be read");
    // The original goes on, also by another name.
    symlink(&original, run.path("link")).expect("a link");
    fs::write(run.output(0, "go"), "").expect("let go");
    let exit = run.cu(&["resume", run.path("link").to_str().expect("UTF-8")]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_run_that_was_moved_goes_on() {
    let run = interrupted();
    fs::write(run.output(0, "go"), "").expect("let go");
    run.await_file(&run.dir().exit_record(JobId(0), Attempt(0)));
    let moved = run.path("results/moved");
    fs::rename(run.dir().path(), &moved).expect("moved");
    // Another run at its old path is not its original.
    make_run(run.dir().path(), &DONE);
    let exit = run.cu(&["resume", moved.to_str().expect("UTF-8")]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    // The run is not a copy of itself when it is seen by another path.
    let back = run.path("results/back");
    fs::rename(&moved, &back).expect("moved");
    symlink(&back, &moved).expect("a link");
    let exit = run.cu(&["retry", back.to_str().expect("UTF-8")]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_run_seen_by_a_second_mount_goes_on() {
    if !can_be_played() {
        return;
    }
    let run = interrupted();
    let second = run.path("second");
    fs::create_dir(&second).expect("a directory");
    let mount = |program: &str, arguments: &[&Path]| {
        let mut command = Command::new(program);
        command.args(arguments);
        Process::start(command, &run.path("")).wait()
    };
    let bound = mount(
        "mount",
        &[Path::new("--bind"), &run.path("results"), &second],
    );
    assert_eq!(bound.code, Some(0), "{bound:?}");
    let there = second.join("run");
    let paused = run.cu(&["pause", there.to_str().expect("UTF-8")]);
    // The run's own note of the path by which it was seen last.
    let here = run.cu(&["continue", run.dir().path().to_str().expect("UTF-8")]);
    let unmounted = mount("umount", &[Path::new("--lazy"), &second]);
    assert_eq!(unmounted.code, Some(0), "{unmounted:?}");
    assert_eq!(paused.code, Some(0), "{paused:?}");
    assert_eq!(here.code, Some(0), "{here:?}");
    fs::write(run.output(0, "go"), "").expect("let go");
    assert_eq!(run.go_on().wait().code, Some(0));
}
