//! The command line around runs: signals that `nohup` ignores, a main process that hangs, words of other tools,
//! help, completions and man pages.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use cu_tests::cu::cu_binary;
use cu_tests::process::Process;
use cu_tests::run::Run;
use cu_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};

const GATE: &str = "touch here; while [ ! -e go ]; do sleep 0.05; done";

fn pid(number: u32) -> Pid {
    let number = i32::try_from(number).ok();
    number.and_then(Pid::from_raw).expect("a process")
}

fn log(run: &Run) -> String {
    fs::read_to_string(run.dir().log()).unwrap_or_default()
}

#[test]
fn signals_that_were_ignored_stay_ignored() {
    let run = Run::new(&["sh", "-c", GATE], "");
    // As `nohup` does, and a script's `&`.
    let mut command = Command::new("sh");
    let words = ["-c", "trap '' HUP INT; exec \"$0\" run \"$1\""];
    command.args(words).arg(cu_binary()).arg(run.config());
    command.env("CU_RESULTS_DIR", run.path("results"));
    let main_process = Process::start(command, &run.path(""));
    run.await_file(&run.output(0, "here"));
    for signal in [Signal::HUP, Signal::INT] {
        kill_process(pid(main_process.id()), signal).expect("it lives");
    }
    // A job whose start the main process has not heard of is not asked.
    run.until("the start is recorded", || {
        let started = &run.show(0)["attempts"][0]["started"];
        started.is_string().then_some(())
    });
    // It has had both by the time that it answers this.
    let asked = run.json(&["checkpoint"]);
    assert_eq!(asked["jobs"], 1, "{}", log(&run));
    fs::write(run.output(0, "go"), "").expect("the gate opens");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[test]
fn a_plain_hang_up_detaches_and_names_what_survives_it() {
    let run = Run::new(&["sh", "-c", GATE], "");
    let main_process = run.start();
    run.await_file(&run.output(0, "here"));
    kill_process(pid(main_process.id()), Signal::HUP).expect("it lives");
    assert_eq!(main_process.wait().code, Some(130));
    assert!(log(&run).contains("--detach"), "{}", log(&run));
    fs::write(run.output(0, "go"), "").expect("the gate opens");
    assert_eq!(run.go_on().wait().code, Some(0));
}

#[test]
fn a_main_process_that_hangs_is_named_and_the_way_out_too() {
    let run = Run::new(&["sh", "-c", GATE], "");
    let main_process = run.start();
    run.await_file(&run.output(0, "here"));
    kill_process(pid(main_process.id()), Signal::STOP).expect("it lives");
    let stop = run.spawn(&["stop"]);
    let named = format!(
        "waiting for the main process (process {} on ",
        main_process.id()
    );
    until("a word about the wait", || {
        stop.stderr().contains(&named).then_some(())
    });
    let exit = stop.wait();
    assert_eq!(exit.code, Some(8), "{exit:?}");
    let advice = format!("`kill -KILL {}`", main_process.id());
    assert!(exit.stderr.contains(&advice), "{exit:?}");
    kill_process(pid(main_process.id()), Signal::CONT).expect("it lives");
    fs::write(run.output(0, "go"), "").expect("the gate opens");
    let _ = main_process.wait();
}

fn cu(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(cu_binary())
        .args(arguments)
        .output()
        .expect("cu starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8(text).expect("UTF-8"),
    )
}

#[test]
fn a_word_of_another_tool_leads_to_the_command() {
    for (word, expected) in [
        ("top", "'watch'"),
        ("scancel", "'stop'"),
        ("resmue", "'resume'"),
        ("ps", "'jobs'"),
    ] {
        let (code, text) = cu(&[word]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(&format!("exists: {expected}")), "{text}");
    }
    for word in ["prob", "main-proces", "frob"] {
        let (code, text) = cu(&[word]);
        assert_eq!(code, Some(2), "{text}");
        assert!(!text.contains("similar"), "{text}");
    }
}

#[test]
fn help_has_topics_and_the_commands_inside_a_job() {
    for (arguments, words) in [
        (&["help", "exit-codes"][..], "130"),
        (&["help", "environment"], "CU_OUTPUT_DIR"),
        (&["help", "files"], "all_data.csv"),
        (&["help", "words"], "main process"),
        (&["help", "job"], "cu job should-exit"),
        (&["help", "exec"], "cu exec RUN_DIR"),
        (&["job", "should-exit", "--help"], "cu job should-exit"),
        (&["--help"], "cu help exit-codes"),
        (&["jobs", "--help"], "queue_time"),
    ] {
        let (code, text) = cu(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
}

#[test]
fn completions_and_man_pages_cover_what_people_type() {
    // Those of other shells ask for names: completions.rs.
    for shell in ["elvish", "powershell"] {
        let (code, script) = cu(&["completions", shell]);
        assert_eq!(code, Some(0), "{script}");
        assert!(
            script.contains("checkpoint") && script.contains("on-interrupt"),
            "{shell}"
        );
        assert!(
            !script.contains("main-process") && !script.contains("probe"),
            "{shell}"
        );
    }
    let (_, script) = cu(&["completions", "bash"]);
    let mut bash = Command::new("bash");
    let mut bash = bash
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .expect("bash starts");
    let mut stdin = bash.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("bash reads");
    drop(stdin);
    assert!(bash.wait().expect("it ends").success(), "{script}");

    let scratch = cu_tests::run::scratch();
    let directory = scratch.path().join("man1");
    let (code, text) = cu(&["man", directory.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{text}");
    for page in ["cu.1", "cu-jobs.1", "cu-run.1"] {
        let page = fs::read_to_string(directory.join(page)).expect(page);
        assert!(page.contains(".TH"), "{page}");
    }
    assert!(!directory.join("cu-main-process.1").exists());
}
