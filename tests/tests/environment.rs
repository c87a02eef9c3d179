//! The environment of programs: what a config activates on each backend, and what `cu resume` from another
//! shell changes.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cu_tests::fake::{Fake, Kind, completed};
use cu_tests::run::Run;

/// A program that only the environment has. It resumes once, and says what it finds.
const TOOL: &str =
    "#!/bin/sh\necho \"$MODULES|$ACTIVATED|$1\" >>seen; [ -e state ] || { touch state; exit 3; }\n";

/// Makes an environment `venv` in `directory`, as Python would.
fn make_environment(directory: &Path) {
    let bin = directory.join("venv/bin");
    std::fs::create_dir_all(&bin).expect("a directory");
    let tool = bin.join("cu-tests-tool");
    std::fs::write(&tool, TOOL).expect("a file");
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).expect("a mode");
    let activate = format!(
        "PATH='{}':$PATH; export PATH ACTIVATED=yes\n",
        bin.display()
    );
    std::fs::write(bin.join("activate"), activate).expect("a file");
}

/// A home directory whose login defines `module`.
fn make_home(directory: &Path) {
    let home = directory.join("home");
    std::fs::create_dir_all(&home).expect("a directory");
    let profile = "module() { shift; export MODULES=\"$*\"; }\n";
    std::fs::write(home.join(".bash_profile"), profile).expect("a file");
}

const TOOL_AND_ARGUMENT: [&str; 2] = ["cu-tests-tool", "it's $5"];

/// It ran twice, in its environment.
fn is_activated(run: &Run, modules: &str) {
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?} {:#}", run.show(0));
    let seen = std::fs::read_to_string(run.output(0, "seen")).expect("it ran");
    assert_eq!(seen, format!("{modules}|yes|it's $5\n").repeat(2));
}

#[test]
fn a_virtual_environment_serves_an_unchanged_config_here() {
    let run = Run::new(
        &TOOL_AND_ARGUMENT,
        "[backend]\nactivate = \"venv/bin/activate\"\n",
    );
    make_environment(&run.path(""));
    is_activated(&run, "");
}

#[test]
fn an_environment_and_modules_serve_a_config_on_clusters() {
    for kind in [Kind::Slurm, Kind::Htcondor] {
        let site = Fake::new(kind, env!("CARGO_BIN_EXE_fake_cluster"));
        let config = "[backend]\nactivate = \"venv/bin/activate\"\nmodules = [\"a/1\", \"b\"]\n";
        let run = site.run_program(&TOOL_AND_ARGUMENT, config);
        make_environment(&run.path(""));
        make_home(site.home());
        is_activated(&run, "a/1 b");
    }
}

#[test]
fn a_batch_scripts_activation_hides_no_program() {
    let site = Fake::new(Kind::Slurm, env!("CARGO_BIN_EXE_fake_cluster"));
    let config = "[backend.slurm]\nactivate = \"venv/bin/activate\"\n";
    let run = site.run_program(&TOOL_AND_ARGUMENT, config);
    make_environment(&run.path(""));
    is_activated(&run, "");
}

#[test]
fn a_missing_activate_is_refused_before_anything_is_made() {
    for (make, words) in [
        (None, "there is no file"),
        (Some("venv"), "is a directory; name the script in it"),
    ] {
        let run = Run::new(&["true"], "[backend]\nactivate = \"venv\"\n");
        if let Some(name) = make {
            std::fs::create_dir(run.path(name)).expect("a directory");
        }
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(2), "{exit:?}");
        for word in ["backend.activate", "config.toml", "/venv", words] {
            assert!(exit.stderr.contains(word), "{word}: {exit:?}");
        }
        assert!(!run.path("results").exists(), "something was made");
    }
}

#[test]
fn an_activation_that_fails_names_itself_and_starts_nothing() {
    for (script, modules, words) in [
        (
            "echo no disk >&2; exit 1\n",
            "",
            &["backend.activate", "exit code 1", "no disk"][..],
        ),
        (
            "",
            "modules = [\"x\"]\n",
            &["no command `module`", "backend.modules"],
        ),
    ] {
        let config =
            format!("[resume]\nbackoff = \"10ms\"\n[backend]\nactivate = \"activate\"\n{modules}");
        let run = Run::new(&["sh", "-c", "touch ran"], &config);
        std::fs::write(run.path("activate"), script).expect("a file");
        let mut command = run.command(&["run", run.config().to_str().expect("UTF-8")]);
        // No profile of this machine's user defines it.
        command.env("HOME", run.path("")).env_remove("BASH_ENV");
        let output = command.output().expect("cu runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let job = run.show(0);
        // Another node might have done better.
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(4), "{job:#}");
        let why = job["why"].as_str().expect("a sentence");
        assert!(why.contains("resume.activation_retries = 3"), "{why}");
        let shown = run.cu(&["show", "0"]).stdout + &run.cu(&["logs", "0", "--stderr"]).stdout;
        for word in words {
            assert!(shown.contains(word), "{word}: {shown}");
        }
        assert!(!run.output(0, "ran").exists(), "the program ran");
    }
}

#[test]
fn an_activation_that_hangs_is_stopped_with_its_job() {
    let run = Run::new(&["true"], "[backend]\nactivate = \"activate\"\n");
    let begun = run.path("begun");
    let script = format!("touch '{}'; sleep 1000\n", begun.display());
    std::fs::write(run.path("activate"), script).expect("a file");
    let main_process = run.start();
    run.await_file(&begun);
    completed(&run.cu(&["stop", "all"]));
    assert_eq!(main_process.wait().code, Some(1));
    let job = run.show(0);
    assert_eq!(job["state"], "cancelled", "{job:#}");
}

/// Each attempt notes the variable LR. The first waits until it may go on.
const NOTES_LR: &str = "echo \"LR=$LR\" >>seen; [ -e state ] && exit 0; touch state; \
                        while [ ! -e go ]; do sleep 0.05; done; exit 3";

/// What `cu resume` says in a shell with `now`, where `cu run` had LR=0.5 and a password.
fn resumed(config: &str, now: &[(&str, &str)]) -> (Run, String) {
    let run = Run::new(&["sh", "-c", NOTES_LR], config);
    let mut command = run.command(&["run", run.config().to_str().expect("UTF-8")]);
    command
        .env("LR", "0.5")
        .env("PASSWORD", "hunter2")
        .env("SSH_TTY", "/dev/pts/1");
    let mut main_process = command.spawn().expect("cu starts");
    run.await_file(&run.output(0, "state"));
    main_process.kill().expect("it lives");
    main_process.wait().expect("it is dead");
    std::fs::write(run.output(0, "go"), "").expect("a file");
    let mut command = run.command(&["resume", run.dir().path().to_str().expect("UTF-8")]);
    let output = command.envs(now.iter().copied()).output().expect("cu runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    (run, String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn a_resume_from_another_shell_names_what_differs() {
    let (run, stderr) = resumed("", &[("PASSWORD", "other"), ("VIRTUAL_ENV", "/venv")]);
    let seen = std::fs::read_to_string(run.output(0, "seen")).expect("it ran");
    assert_eq!(seen, "LR=0.5\nLR=\n");
    let parts = "(changed: PASSWORD; not set any more: LR; new: VIRTUAL_ENV)";
    assert!(stderr.contains(parts), "{stderr}");
    let kept = run.dir().environment();
    let text = std::fs::read_to_string(&kept).expect("a file");
    assert!(
        text.contains("PASSWORD") && !text.contains("hunter2"),
        "{text}"
    );
    let mode = kept.metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_resume_is_silent_if_nothing_differs_that_matters() {
    let config = "[environment]\nLR = \"0.1\"\n";
    let (run, stderr) = resumed(
        config,
        &[("PASSWORD", "hunter2"), ("SSH_TTY", "/dev/pts/2")],
    );
    assert!(!stderr.contains("variables"), "{stderr}");
    let seen = std::fs::read_to_string(run.output(0, "seen")).expect("it ran");
    assert_eq!(seen, "LR=0.1\n".repeat(2));
}
