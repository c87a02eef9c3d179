//! `cu update`: a main process that lives takes it over, else the next one does; it is there whole, and once.

use cu_tests::run::Run;

/// Attempt N waits for the file `goN`, then asks to be resumed; attempt 2 is done.
const SCRIPT: &str = "echo x >>count; touch began$CU_ATTEMPT; \
                      while [ ! -e go$CU_ATTEMPT ]; do sleep 0.05; done; [ $CU_ATTEMPT -ge 2 ] || exit 3";

fn run(config: &str) -> Run {
    let config = format!("working_directory = \"{{output_dir}}\"\n{config}");
    Run::new(&["bash", "-c", SCRIPT], &config)
}

fn let_go(run: &Run, attempt: u32) {
    run.await_file(&run.output(0, &format!("began{attempt}")));
    std::fs::write(run.output(0, &format!("go{attempt}")), "").expect("a file");
}

fn update(run: &Run, words: &[&str]) -> String {
    let path = run.dir().path().to_str().expect("UTF-8").to_owned();
    let exit = run.cu(&[&["update", &path], words].concat());
    assert_eq!(exit.code, Some(0), "{exit:?}");
    format!("{}{}", exit.stdout, exit.stderr)
}

fn shown(run: &Run) -> String {
    run.cu(&["show", "0"]).stdout
}

#[test]
fn a_living_main_process_takes_an_update_over() {
    let run = run("resume.max_attempts = 1\n");
    let main_process = run.start();
    run.await_file(&run.output(0, "began0"));
    let said = update(
        &run,
        &["resume.max_attempts=4", "resources.cpus=2", "stop.grace=7s"],
    );
    assert!(said.contains("resume.max_attempts: 1 → 4"), "{said}");
    assert!(
        said.contains("the main process has taken it over"),
        "{said}"
    );
    (0..3).for_each(|attempt| let_go(&run, attempt));
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let shown = shown(&run);
    assert!(shown.contains("resources.cpus: 1 → 2"), "{shown}");
    let spec =
        std::fs::read_to_string(run.dir().job_spec(cu_protocol::JobId(0))).expect("job.json");
    assert!(spec.contains("\"grace\": 7.0"), "{spec}");
    let log = std::fs::read_to_string(run.dir().log()).expect("main.log");
    assert!(!log.contains("WARN"), "our own update is expected: {log}");
    let updates = &run.json(&["show", "0"])["updates"];
    assert_eq!(
        updates[0]["changes"][0]["key"], "resources.cpus",
        "{updates}"
    );
    assert!(
        updates[0]["at"].as_str().expect("UTC").ends_with('Z'),
        "{updates}"
    );
    let count = std::fs::read_to_string(run.output(0, "count")).expect("it ran");
    assert_eq!(count.lines().count(), 3, "no attempt was started twice");
}

#[test]
fn without_a_main_process_the_next_one_takes_it_over_once() {
    let run = run("resume.max_attempts = 1\nbackend.max_submitted = 5\n");
    let mut main_process = run.start();
    run.await_file(&run.output(0, "began0"));
    let _ = main_process.kill();
    let said = update(&run, &["resume.max_attempts=4"]);
    assert!(said.contains("it is recorded; `cu resume"), "{said}");
    // The second builds on the first, which is still pending.
    let said = update(&run, &["backend.max_submitted=6"]);
    assert!(!said.contains("max_attempts"), "{said}");
    assert!(shown(&run).contains("an update waits for a main process"));
    let updates = &run.json(&["show", "0"])["updates"];
    assert_eq!(updates[1]["at"], serde_json::Value::Null, "{updates}");
    let pending: Vec<_> = std::fs::read_dir(run.dir().updates())
        .expect("updates")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), std::fs::read(path).expect("it can be read")))
        .collect();
    assert_eq!(pending.len(), 2);
    let mut main_process = run.go_on();
    let_go(&run, 0);
    run.await_file(&run.output(0, "began1"));
    // As if it had been killed between recording them and removing their files.
    let _ = main_process.kill();
    for (path, text) in &pending {
        cu_run_dir::replace(path, text).expect("written");
    }
    let main_process = run.go_on();
    (1..3).for_each(|attempt| let_go(&run, attempt));
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(!exit.stderr.contains("edited since"), "{exit:?}");
    let shown = shown(&run);
    assert_eq!(
        shown.matches("resume.max_attempts: 1 → 4").count(),
        1,
        "{shown}"
    );
    let kept = std::fs::read_to_string(run.dir().config()).expect("run.toml");
    assert!(
        kept.contains("max_submitted = 6") && kept.contains("max_attempts = 4"),
        "{kept}"
    );
}

#[test]
fn an_edited_config_is_noticed_and_applied() {
    let run = run("resume.max_attempts = 1\nsettings.x = 1\n");
    let mut main_process = run.start();
    run.await_file(&run.output(0, "began0"));
    let _ = main_process.kill();
    let path = run.dir().path().to_str().expect("UTF-8").to_owned();
    for (words, expected) in [
        (
            "settings.x=2",
            "settings.x (1 → 2) can't change in a run: it decides what the jobs compute",
        ),
        (
            "resume.exit_code=4",
            "attempts that have ended were judged by it",
        ),
        ("resume.max_atempts=4", "resume.max_attempts"),
        ("resources.memory=lots", "resources.memory"),
    ] {
        let exit = run.cu(&["update", &path, words]);
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains(expected), "{exit:?}");
    }
    let same = update(&run, &["resume.max_attempts=1"]);
    assert!(same.contains("nothing changes"), "{same}");
    let edit = |path: &std::path::Path, before: &str, after: &str| {
        let text = std::fs::read_to_string(path).expect("a config");
        assert!(text.contains(before), "{text}");
        cu_run_dir::replace(path, text.replace(before, after).as_bytes()).expect("written");
    };
    edit(&run.config(), "max_attempts = 1", "max_attempts = 4");
    edit(&run.dir().config(), "max_attempts = 1", "max_attempts = 2");
    let mut main_process = run.go_on();
    let_go(&run, 0);
    run.until("the notice", || {
        let said = main_process.stderr();
        let is_said = said.contains("resume.max_attempts: 1 → 4")
            && said.contains("resume.max_attempts: 1 → 2")
            && said.contains("--from-config` applies it");
        is_said.then_some(())
    });
    let _ = main_process.kill();
    edit(&run.config(), "x = 1", "x = 2");
    let exit = run.cu(&["update", &path, "--from-config"]);
    assert!(
        exit.stderr.contains("settings.x (1 → 2) can't change"),
        "{exit:?}"
    );
    edit(&run.config(), "x = 2", "x = 1");
    let said = update(&run, &["--from-config"]);
    assert!(said.contains("resume.max_attempts: 1 → 4"), "{said}");
    let again = update(&run, &["--from-config"]);
    assert!(again.contains("nothing changes"), "{again}");
    // A run that is over says what it can't have any more.
    let main_process = run.go_on();
    let_go(&run, 1);
    let_go(&run, 2);
    assert_eq!(main_process.wait().code, Some(0));
    let resumed = |run: &Run| run.cu(&["resume", &path]).stderr;
    assert!(!resumed(&run).contains("edited"), "{}", resumed(&run));
    edit(&run.config(), "max_attempts = 4", "max_attempts = 5");
    assert!(!resumed(&run).contains("edited"), "{}", resumed(&run));
    edit(&run.config(), "x = 1", "x = 3");
    let said = resumed(&run);
    assert!(
        said.contains("settings.x can't change in a run: `cu run` makes a new one"),
        "{said}"
    );
}
