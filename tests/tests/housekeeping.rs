//! Commands about a run as a whole: `cu events` prints what happened, `cu export` packs it, `cu rm` removes it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use cu_tests::run::Run;
use serde_json::Value;

/// Job 0 is resumed once, job 1 fails, job 2 waits to be stopped.
const THREE_ENDS: &str = r#"case $CU_JOB_ID in
    0) [ $CU_ATTEMPT = 0 ] && exit 3; exit 0;;
    1) exit 7;;
    2) while [ -d "$CU_TESTS_SCRATCH" ]; do sleep 0.02; done;;
    esac"#;

fn parsed(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Each kind of event with the names that only it has.
fn names_of(event: &str) -> &'static [&'static str] {
    match event {
        "submitted" => &["cluster_job_id"],
        "not_submitted" => &["reason"],
        "started" => &["host"],
        "stopped" => &["after_milliseconds", "sent"],
        "ended" => &["end", "exit_code", "signal", "detail"],
        "ordered" => &["order"],
        "job_ended" => &["state", "why"],
        "run_ended" => &["state"],
        other => panic!("unknown event {other}"),
    }
}

#[test]
fn each_event_is_one_object_in_a_line_of_its_own() {
    let run = Run::new(&["sh", "-c", THREE_ENDS], "grid.number = [0, 1, 2]\n");
    let main_process = run.start();
    run.await_file(&run.dir().store());
    let follower = run.spawn(&["events", "--follow", "--json"]);
    run.until("the start of job 2 in the store", || {
        run.show(2)["attempts"][0]["started"]
            .is_string()
            .then_some(())
    });
    assert_eq!(run.cu(&["stop", "2"]).code, Some(0));
    assert_eq!(main_process.wait().code, Some(1));
    let followed = follower.wait();
    assert_eq!(followed.code, Some(0), "{followed:?}");
    let events = parsed(&followed.stdout);
    for event in &events {
        let mut names: Vec<_> = event
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = ["at", "event", "job", "attempt"].to_vec();
        expected.extend(names_of(event["event"].as_str().unwrap()));
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{event}");
        let at = event["at"].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z'), "{event}");
    }
    let kinds = |job: &Value| {
        let of_job = events.iter().filter(|event| event["job"] == *job);
        let kinds = of_job.map(|event| event["event"].as_str().unwrap());
        kinds.collect::<Vec<_>>().join(" ")
    };
    let resumed = "submitted started ended submitted started ended job_ended";
    assert_eq!(kinds(&0.into()), resumed);
    assert_eq!(kinds(&1.into()), "submitted started ended job_ended");
    assert_eq!(
        kinds(&2.into()),
        "submitted started ordered stopped ended job_ended"
    );
    assert_eq!(kinds(&Value::Null), "run_ended");
    let ends: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "ended")
        .collect();
    let end_of = |job: u32| ends.iter().find(|event| event["job"] == job).unwrap();
    assert_eq!(
        (&end_of(0)["end"], &end_of(0)["exit_code"]),
        (&"resume_requested".into(), &3.into())
    );
    assert_eq!(end_of(1)["exit_code"], 7);
    assert_eq!(end_of(2)["end"], "cancelled");

    // Later the same is there at once, and for people.
    let again = run.cu(&["events", "--json"]);
    assert_eq!(again.stdout, followed.stdout);
    let words = run.cu(&["events"]);
    assert_eq!(words.stdout.lines().count(), events.len(), "{words:?}");
    assert!(
        words.stdout.contains("job 1, attempt 0: failed"),
        "{words:?}"
    );
}

#[test]
fn a_run_is_exported_at_any_time_and_removed_at_its_end() {
    let script = r#"mkdir -p checkpoints; echo state >checkpoints/c; echo precious >result
        ln -s "$CU_TESTS_SCRATCH/elsewhere" link; mkfifo pipe; touch here
        while [ ! -e go ] && [ -d "$CU_TESTS_SCRATCH" ]; do sleep 0.02; done"#;
    let run = Run::new(&["sh", "-c", script], "");
    fs::create_dir(run.path("elsewhere")).unwrap();
    fs::write(run.path("elsewhere/kept"), "").unwrap();
    let code = |arguments: &[&str]| run.cu(arguments).code;
    let mut main_process = run.start();
    run.await_file(&run.output(0, "here"));

    // While it goes on.
    assert_eq!(code(&["rm", "run", "--yes"]), Some(4));
    let export = run.json(&["export", "run", "-o", "alive.tar"]);
    assert_eq!(export["file"], run.path("alive.tar").to_str().unwrap());
    let unpack = |archive: &str, into: &str| {
        fs::create_dir(run.path(into)).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xf")
            .arg(run.path(archive))
            .arg("-C")
            .arg(run.path(into));
        assert!(tar.status().unwrap().success());
        run.path(into).join("run")
    };
    let copy = unpack("alive.tar", "alive");
    assert_eq!(
        run.json(&["status", copy.to_str().unwrap()])["state"],
        "interrupted"
    );
    let output = copy.join("working_directories/0");
    assert_eq!(
        fs::read_to_string(output.join("result")).unwrap(),
        "precious\n"
    );
    assert!(output.join("link").is_symlink());
    for left_out in [
        "secret",
        "lock",
        "server.json",
        "backend",
        "attempts/0/lock",
    ] {
        assert!(!copy.join(left_out).exists(), "{left_out}");
    }
    assert!(!output.join("checkpoints").exists() && !output.join("pipe").exists());
    assert_eq!(
        code(&["export", "run", "-o", "alive.tar"]),
        Some(2),
        "it is there already"
    );

    // Without a main process its attempt goes on.
    main_process.kill();
    let refused = run.cu(&["rm", "run", "--yes"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("has 1 job in the scheduler's hands"),
        "{refused:?}"
    );
    fs::write(run.output(0, "go"), "").unwrap();
    assert_eq!(run.go_on().wait().code, Some(0));

    assert_eq!(code(&["export", "run", "--checkpoints"]), Some(0));
    let copy = unpack("run.tar.gz", "ended");
    assert_eq!(
        fs::read_to_string(copy.join("working_directories/0/checkpoints/c")).unwrap(),
        "state\n"
    );
    assert_eq!(
        run.json(&["show", "0", copy.to_str().unwrap()])["state"],
        "completed"
    );
    let listed = run.json(&["list", "--disk"]);
    assert!(listed[0]["disk"]["files"].as_u64() > Some(10), "{listed}");

    // Nobody can be asked, it is not a run, it is a link.
    symlink(run.dir().path(), run.path("results/link")).unwrap();
    for (arguments, expected) in [
        (&["rm", "run"][..], 2),
        (&["rm", "--yes", "elsewhere"], 6),
        (&["rm", "--yes", "results"], 6),
        (&["rm", "--yes", "run", "nowhere"], 6),
        (&["rm", "--yes", "link"], 2),
    ] {
        assert_eq!(code(arguments), Some(expected), "{arguments:?}");
        assert!(run.dir().store().exists(), "{arguments:?}");
    }
    assert_eq!(
        run.json(&["rm", "--yes", "run"])["removed"][0]["run_dir"],
        run.dir().path().to_str().unwrap()
    );
    assert!(!run.dir().path().exists());
    assert!(run.path("elsewhere/kept").exists(), "a link was followed");

    // Another `cu rm` was killed in the middle.
    let left = run.path("results/.cu-removed-run");
    fs::create_dir_all(left.join("working_directories/0")).unwrap();
    assert_eq!(code(&["rm", "--yes", "run"]), Some(0));
    assert!(!left.exists());
    assert_eq!(code(&["rm", "--yes", "run"]), Some(6));
}
