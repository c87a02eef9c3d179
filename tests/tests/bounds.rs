//! Bounds on the files and messages of jobs: beyond them nothing is misread, and nothing is dropped
//! in silence.

use cu_core::machine::Event;
use cu_protocol::{Attempt, JobId, Message, Sequence};
use cu_tests::cu::cu_binary;
use cu_tests::run::{Run, scratch};

/// Runs to its end, and returns the output of `cu show 0`.
fn show_after(run: &Run) -> String {
    let exit = run.start().wait();
    let shown = run.cu(&["show", "0"]);
    assert_eq!(exit.code, Some(0), "{exit:?}\n{shown:?}");
    shown.stdout
}

#[test]
fn one_changed_file_among_21000_is_progress() {
    // The changed file is the oldest, which the file system lists last.
    let program = r#"
        mkdir -p many && echo step >> many/first
        [ "$CU_ATTEMPT" -gt 0 ] || (cd many && seq 21000 | xargs touch)
        [ "$CU_ATTEMPT" -ge 5 ] || exit 3
    "#;
    let run = Run::new(&["sh", "-c", program], "");
    let shown = show_after(&run);
    assert!(shown.contains("job 0 is completed"), "{shown}");
}

#[test]
fn a_file_changed_behind_a_link_is_progress() {
    let program = r#"
        [ -e elsewhere ] || ln -s "$0" elsewhere
        echo step >> elsewhere/steps
        [ "$CU_ATTEMPT" -ge 5 ] || exit 3
    "#;
    let elsewhere = scratch();
    let path = elsewhere.path().to_str().expect("UTF-8");
    let run = Run::new(&["sh", "-c", program, path], "");
    let shown = show_after(&run);
    assert!(shown.contains("job 0 is completed"), "{shown}");
}

#[test]
fn more_metrics_than_a_job_may_have_are_an_error_in_a_shell() {
    // Half of them in each of two attempts, then one more, then a text that is too long.
    let program = r#"
        names() { seq "$1" "$2" | sed 's/.*/m&=&/'; }
        "$0" job metrics $(names $((CU_ATTEMPT * 512 + 1)) $((CU_ATTEMPT * 512 + 512))) || exit 9
        [ "$CU_ATTEMPT" = 1 ] || exit 3
        "$0" job metrics one_more=1 2> refused && exit 8
        "$0" job metrics "m1=$(head -c 70000 /dev/zero | tr '\0' x)" 2>> refused && exit 7
        "$0" job metrics m1=0 || exit 6
        "$0" job finish $(names 1 1025) 2>> refused && exit 5
        exit 0
    "#;
    let cu = cu_binary().to_str().expect("UTF-8");
    let run = Run::new(&["sh", "-c", program, cu], "");
    let shown = show_after(&run);
    let refused = std::fs::read_to_string(run.output(0, "refused")).expect("what was said");
    for words in [
        "the supervisor refused the early results: with these the job would have 1025 metrics, but \
         at most 1024",
        "the text of the metric `m1` has 70000 bytes, but at most 65536",
        "the supervisor refused the results: with these the job would have 1025 metrics",
    ] {
        assert!(refused.contains(words), "{words}: {refused}\n{shown}");
    }
    let metrics = run.show(0)["metrics"].clone();
    assert_eq!(metrics.as_object().map(|all| all.len()), Some(1024));
    assert_eq!(
        (&metrics["m1"], &metrics["m1024"]),
        (&0.into(), &1024.into())
    );
    let stderr =
        std::fs::read_to_string(run.dir().stderr(JobId(0), Attempt(1))).expect("it is there");
    assert_eq!(stderr.matches("was refused").count(), 1, "{stderr}");
}

#[test]
fn early_metrics_do_not_fill_the_history() {
    let program = r#"
        for step in $(seq 30); do "$0" job metrics loss=0.$step accuracy=$step || exit 9; done
    "#;
    let cu = cu_binary().to_str().expect("UTF-8");
    let run = Run::new(&["sh", "-c", program, cu], "");
    let shown = show_after(&run);
    assert!(shown.contains("accuracy = 30"), "{shown}");
    let events = run.reader().events().expect("a history");
    let is_early = |event: &Event| {
        matches!(
            event,
            Event::Said {
                message: Message::EarlyMetrics(_),
                ..
            }
        )
    };
    let early = events.iter().filter(|recorded| is_early(&recorded.event));
    assert_eq!(early.count(), 1);
}

#[test]
fn a_resume_finds_results_of_an_attempt_that_was_given_up() {
    // Attempt 0 loses its supervisor, so nobody knows how it ended.
    let program = r#"[ "$CU_ATTEMPT" -gt 0 ] || kill -KILL $PPID; "$0" job finish loss=0.25"#;
    let cu = cu_binary().to_str().expect("UTF-8");
    let run = Run::new(&["sh", "-c", program, cu], "");
    let before = show_after(&run);
    assert!(before.contains("loss = 0.25"), "{before}");
    assert!(!before.contains("had been given up"), "{before}");
    // Its program lived on, without a connection, and its results were confirmed.
    let outbox = run.dir().outbox(JobId(0), Attempt(0));
    std::fs::create_dir_all(&outbox).expect("a directory");
    let message = run.dir().outbox_message(JobId(0), Attempt(0), Sequence(7));
    let text = r#"{"version":1,"envelope":{"job":0,"attempt":0,"sequence":7,
        "message":{"results":{"loss":0.125}}}}"#;
    std::fs::write(&message, text).expect("a message");
    let exit = run.go_on().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(!message.exists(), "it was taken");
    let shown = run.cu(&["show", "0"]).stdout;
    let late = "attempt 0, which had been given up, has reported something since, most recently its \
                results: that is recorded, and the job stays as it is";
    assert!(shown.contains(late), "{shown}");
    assert!(shown.contains("job 0 is completed"), "{shown}");
    assert!(shown.contains("loss = 0.25"), "it stays as it is: {shown}");
    let log = std::fs::read_to_string(run.dir().log()).expect("a log");
    assert!(log.contains(late), "{log}");
    let events = run.reader().events().expect("a history");
    let is_late = |event: &Event| {
        matches!(
            event,
            Event::Said {
                attempt: Attempt(0),
                message: Message::Results(_),
                ..
            }
        )
    };
    assert!(events.iter().any(|recorded| is_late(&recorded.event)));
}
