//! Programs as they are, in their many ways: what came out right stays right. docs/ends.md has the rules.

use cu_tests::run::Run;
use serde_json::Value;

/// A bash script as the program of a job; `$cu` is the binary.
fn ran(script: &str) -> (Run, Value) {
    let cu = cu_tests::cu::cu_binary().display();
    let run = Run::new(&["bash", "-c", &format!("cu={cu}; {script}")], "");
    let exit = run.start().wait();
    let job = run.show(0);
    assert!(
        matches!(exit.code, Some(0 | 1)),
        "{script}: {exit:?} {job:#}"
    );
    (run, job)
}

#[test]
fn an_end_that_nobody_asked_for_is_believed() {
    let ends = "1, 2, 75, 124, 126, 127, 128, 130, 137, 139, 143, 255";
    let config = format!("[grid]\ncode = [{ends}]\n");
    let run = Run::new(&["bash", "-c", "exit {settings.code}"], &config);
    assert_eq!(run.start().wait().code, Some(1));
    for (job, code) in (0..).zip(ends.split(", ")) {
        let job = run.show(job);
        assert_eq!(job["state"], "failed", "{job:#}");
        let attempts = job["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), 1, "{job:#}");
        assert_eq!(attempts[0]["exit_code"].to_string(), code, "{job:#}");
    }
    for signal in [6, 9, 11, 15] {
        let (_run, job) = ran(&format!("kill -{signal} $$"));
        assert_eq!(job["state"], "failed", "{job:#}");
        assert_eq!(job["attempts"][0]["signal"], signal, "{job:#}");
    }
}

#[test]
fn the_last_word_of_a_program_outweighs_its_end() {
    for (script, state, attempts) in [
        ("$cu job finish n=1; kill -SEGV $$", "completed", 1),
        ("$cu job finish n=1; exit 1", "completed", 1),
        // A later step of the script knows nothing of the request.
        (
            "[ $CU_ATTEMPT = 1 ] || $cu job exit-for-resume; exit 0",
            "completed",
            2,
        ),
        (
            "[ $CU_ATTEMPT = 1 ] || $cu job exit-for-resume; kill -9 $$",
            "failed",
            2,
        ),
    ] {
        let (_run, job) = ran(script);
        assert_eq!(job["state"], state, "{script}: {job:#}");
        let list = job["attempts"].as_array().expect("a list");
        assert_eq!(list.len(), attempts, "{script}: {job:#}");
    }
}

#[test]
fn whatever_a_program_does_to_its_output_directory_it_goes_on() {
    for change in [
        "rm -rf \"$CU_OUTPUT_DIR\"/* \"$CU_OUTPUT_DIR\"/.[!.]*",
        "rm -rf \"$CU_OUTPUT_DIR\"",
        "mv \"$CU_OUTPUT_DIR\" \"$CU_OUTPUT_DIR.old\"; mkdir \"$CU_OUTPUT_DIR\"",
        "mkdir -p \"$ELSEWHERE\"; rm -rf \"$CU_OUTPUT_DIR\"; ln -s \"$ELSEWHERE\" \"$CU_OUTPUT_DIR\"",
    ] {
        let script = format!(
            "cd /; ELSEWHERE=$CU_RUN_DIR/../elsewhere; state=$CU_RUN_DIR/../state; \
             [ \"$($cu job settings get lr)\" = 0.5 ] || exit 9; \
             {change}; echo x >> $state; echo x > \"$CU_OUTPUT_DIR/x\" || true; \
             [ $(wc -l < $state) = 5 ] || exit 3"
        );
        let cu = cu_tests::cu::cu_binary().display();
        let script = format!("cu={cu}; {script}");
        let run = Run::new(&["bash", "-c", &script], "[settings]\nlr = 0.5\n");
        let exit = run.start().wait();
        let job = run.show(0);
        assert_eq!(job["state"], "completed", "{change}: {exit:?} {job:#}");
        assert_eq!(
            job["attempts"].as_array().map(Vec::len),
            Some(5),
            "{change}: {job:#}"
        );
    }
}

#[test]
fn leftovers_of_a_program_end_with_its_attempt() {
    // Daemons with closed files, without our environment, and deaf to SIGTERM.
    let script = "nohup sleep 1001 > /dev/null 2>&1 & setsid sleep 1002 & \
                  (env -i setsid sleep 1003 > /dev/null 2>&1 < /dev/null &) ; \
                  (trap '' TERM; exec setsid sleep 1004) & \
                  sleep 0.3; for stat in /proc/[0-9]*/cmdline; do \
                  tr '\\0' ' ' < $stat 2> /dev/null | grep -q '^sleep 100[1-4] $' && echo ${stat//[^0-9]/}; done > pids; true";
    let (run, job) = ran(script);
    assert_eq!(job["state"], "completed", "{job:#}");
    let pids = std::fs::read_to_string(run.output(0, "pids")).expect("a file");
    assert_eq!(pids.lines().count(), 4, "{pids}");
    for pid in pids.lines() {
        let command = format!("/proc/{}/cmdline", pid.trim());
        let command = std::fs::read_to_string(command).unwrap_or_default();
        assert!(!command.contains("sleep"), "{pid} lives");
    }
}
