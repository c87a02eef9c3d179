//! `cu run --or-resume`: one command for the first start and for every other one.

use cu_tests::process::Process;
use cu_tests::run::Run;

const COUNT: &str = "echo x >> count; ";

fn or_resume(run: &Run, more: &[&str]) -> Process {
    let config = run.config();
    let words = ["run", "--or-resume", config.to_str().expect("UTF-8")];
    run.spawn(&[&words[..], more].concat())
}

fn count(run: &Run) -> usize {
    let text = std::fs::read_to_string(run.output(0, "count")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn a_run_that_has_ended_is_not_run_again_and_exits_as_it_did() {
    for (script, code) in [("exit 0", 0), ("exit 7", 1)] {
        let run = Run::new(&["bash", "-c", &format!("{COUNT}{script}")], "");
        for _ in 0..2 {
            let exit = or_resume(&run, &[]).wait();
            assert_eq!(exit.code, Some(code), "{exit:?}");
        }
        assert_eq!(count(&run), 1);
    }
}

#[test]
fn a_run_whose_main_process_was_killed_goes_on() {
    let script = format!("{COUNT}while [ ! -e go ]; do sleep 0.05; done");
    let run = Run::new(&["bash", "-c", &script], "");
    let mut first = or_resume(&run, &[]);
    run.await_file(&run.output(0, "count"));
    let _ = first.kill();
    let second = or_resume(&run, &[]);
    std::fs::write(run.output(0, "go"), "").expect("a file");
    let exit = second.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(count(&run), 1);
}

#[test]
fn a_predecessor_that_still_works_on_the_run_is_waited_for() {
    let script = format!("{COUNT}while [ ! -e go ]; do sleep 0.05; done");
    let run = Run::new(&["bash", "-c", &script], "");
    let first = or_resume(&run, &[]);
    run.await_file(&run.output(0, "count"));
    let second = or_resume(&run, &[]);
    run.until("its wait", || {
        let said = second.stderr();
        said.contains("another main process works on").then_some(())
    });
    std::fs::write(run.output(0, "go"), "").expect("a file");
    for process in [first, second] {
        let exit = process.wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
    }
    assert_eq!(count(&run), 1);
}

#[test]
fn a_config_that_differs_from_the_runs_own_is_reported() {
    let run = Run::new(&["bash", "-c", "exit 0"], "");
    let _ = or_resume(&run, &[]).wait();
    let exit = or_resume(&run, &["stop.after=7s", "settings.seed=3"]).wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(
        exit.stderr
            .contains("settings.seed: none → 3, stop.after: none → 7s"),
        "{exit:?}"
    );
    let same = or_resume(&run, &[]).wait();
    assert!(!same.stderr.contains("differs"), "{same:?}");
}

#[test]
fn a_command_has_the_same_name_each_time() {
    let run = Run::new(&["true"], "");
    for _ in 0..2 {
        let exit = run.cu(&["run", "--or-resume", "--backend", "local", "--", "true"]);
        assert_eq!(exit.code, Some(0), "{exit:?}");
    }
    let listed = run.cu(&["list"]);
    assert!(
        listed.stdout.contains("true") && !listed.stdout.contains("true-2"),
        "{listed:?}"
    );
}

#[test]
fn cu_run_is_the_program_of_cu_run() {
    // The outer run stops each attempt after a while; the inner run is continued by the next one.
    let cu = cu_tests::cu::cu_binary().display().to_string();
    let inner = "n=$(cat n 2>/dev/null || echo 0); while [ $n -lt 40 ]; do \
                 sleep 0.1; n=$((n+1)); echo $n > n; done; touch FINISHED";
    let command = [
        &cu,
        "run",
        "--or-resume",
        "--results-dir",
        ".",
        "--name",
        "inner",
        "--backend",
        "local",
        "--",
        "bash",
        "-c",
        inner,
    ];
    let config = "[stop]\nafter = \"2s\"\nsignal = \"TERM\"\ngrace = \"20s\"\n";
    let run = Run::new(&command, config);
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    let attempts = job["attempts"].as_array().expect("a list").len();
    assert!(attempts >= 2, "it was never stopped: {job:#}");
    let finished = run.output(0, "FINISHED");
    assert!(finished.exists(), "{job:#}");
}
