//! Programs as they are, in their many ways: what came out right stays right. docs/ends.md has the rules.

use cu_tests::run::Run;
use serde_json::{Value, json};

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
fn left_processes_do_not_outlive_their_attempt() {
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

/// A Python program, which finds the door in the repository.
fn python(script: &str, config: &str) -> (Run, Value) {
    let door = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/cu-client/python");
    let config = format!("environment.PYTHONPATH = \"{door}\"\n{config}");
    let run = Run::new(&["python3", "-c", script], &config);
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    (run, job)
}

/// A program that makes its stop file `please` once it is ready is asked, resumed, and then completed.
/// Returns the attempt before the last.
fn is_resumed(script: &str, grace: &str) -> Value {
    let config = format!("[stop]\nfile = \"please\"\ngrace = \"{grace}\"\n");
    let (_run, job) = python(script, &config);
    let attempts = job["attempts"].as_array().expect("a list");
    assert!(attempts.len() >= 2, "{job:#}");
    attempts[attempts.len() - 2].clone()
}

#[test]
fn zombies_do_not_hide_the_program_that_is_asked() {
    let attempt = is_resumed(
        "import os, signal, sys, time\n\
         if os.path.exists('state'): sys.exit(0)\n\
         def save(*_): open('state', 'w').write('x'); sys.exit(0)\n\
         signal.signal(signal.SIGTERM, save)\n\
         for _ in range(300):\n    \
             if os.fork() == 0: os._exit(0)\n\
         open('please', 'w').close()\n\
         while True: time.sleep(0.05)\n",
        "20s",
    );
    let sent = &attempt["stopped"]["sent"];
    assert_eq!(sent.as_array().map(Vec::len), Some(1), "{attempt:#}");
    assert_eq!(sent[0]["signal"], "TERM", "{attempt:#}");
}

#[test]
fn a_framework_that_takes_our_handlers_still_hears_the_wish() {
    let attempt = is_resumed(
        "import cu_job, signal, time, sys\n\
         with cu_job.Job() as job:\n    \
             if job.load_json(): sys.exit(0)\n    \
             for it in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):\n        \
                 signal.signal(it, lambda *_: None)\n    \
             open('please', 'w').close()\n    \
             while not job.should_exit(): time.sleep(0.02)\n    \
             job.save_json(1)\n    \
             job.exit_for_resume()\n",
        "20s",
    );
    assert_eq!(attempt["exit_code"], 3, "{attempt:#}");
}

#[test]
fn a_callback_that_swallows_our_exit_is_bounded() {
    let attempt = is_resumed(
        "import cu_job, time, sys\n\
         with cu_job.Job() as job:\n    \
             if job.load_json(): sys.exit(0)\n    \
             open('please', 'w').close()\n    \
             while not job.should_exit(): time.sleep(0.02)\n    \
             job.save_json(1)\n    \
             try: job.exit_for_resume()\n    \
             except BaseException: pass\n    \
             while True: time.sleep(0.05)\n",
        "1s",
    );
    assert_eq!(attempt["end"], "resume_requested", "{attempt:#}");
}

#[test]
fn ctrl_c_in_a_terminal_reaches_no_program() {
    // A terminal's Ctrl-C goes to the process group in its foreground, which is that of `cu run`.
    let script = "read -r _ _ _ _ group _ < /proc/self/stat; echo $group";
    let run = Run::new(&["bash", "-c", script], "");
    let main_process = run.start();
    let path = format!("/proc/{}/stat", main_process.id());
    let stat = std::fs::read_to_string(path).expect("it runs");
    let fields = stat.rsplit(") ").next().expect("fields");
    let of_cu = fields.split(' ').nth(2).expect("a group");
    assert_eq!(main_process.wait().code, Some(0));
    let output = run.cu(&["logs", "0", "--attempt", "0", "--stdout"]).stdout;
    assert!(output.trim().parse::<u32>().is_ok(), "{output}");
    assert_ne!(output.trim(), of_cu);
}

#[test]
fn output_of_any_bytes_is_printed_as_it_was_written() {
    let script = "import sys\n\
                  every = bytes(range(256)) * 4096\n\
                  for _ in range(10): sys.stdout.buffer.write(every)\n\
                  sys.stderr.buffer.write(b'\\xff\\x00\\x1b[31m')\n";
    let (run, job) = python(script, "");
    for (stream, expected) in [
        ("--stdout", (0..=255).cycle().take(10 << 20).collect()),
        ("--stderr", b"\xff\0\x1b[31m".to_vec()),
    ] {
        let arguments = ["logs", "0", "--attempt", "0", stream];
        let output = run.command(&arguments).output().expect("cu");
        assert!(output.stdout == expected, "{stream}: {job:#}");
    }
}

#[test]
fn metrics_of_any_kind_arrive_and_stay_in_their_line() {
    let script = "import cu_job, decimal, enum, datetime\n\
        class Half:\n    \
            def item(self): return 0.5\n\
        E = enum.Enum('E', 'A')\n\
        inf = float('inf')\n\
        with cu_job.Job() as job: job.finalize({'nan': inf - inf, 'inf': inf, '-inf': -inf, 'zero': -0.0,\n  \
            'big': 2**70, 'i64': 2**63 - 1, 'bytes': b'\\xff', 'decimal': decimal.Decimal('1.5'), 'half': Half(),\n  \
            'nest': {'a': {'b': [1, {'c': 2}]}, 3: 4}, 'none': None, 'yes': True, 'tiny': 5e-324, '': 1,\n  \
            'a b': 1, 'ü☃': 1, 'set': {1}, 'enum': E.A, 'date': datetime.date(2020, 1, 2),\n  \
            'two\\nlines': 'x\\ny\\x1b[31m\\r'})\n";
    let (run, job) = python(script, "");
    for (name, expected) in [
        ("nan", json!({"float": "NaN"})),
        ("-inf", json!({"float": "-Infinity"})),
        ("big", json!(2.0_f64.powi(70))),
        ("i64", json!(i64::MAX)),
        ("bytes", json!("b'\\xff'")),
        ("decimal", json!("1.5")),
        ("half", json!(0.5)),
        ("nest.a.b", json!("[1, {'c': 2}]")),
        ("nest.3", json!(4)),
        ("none", Value::Null),
        ("yes", json!(true)),
        ("tiny", json!(5e-324)),
        ("", json!(1)),
        ("date", json!("2020-01-02")),
        ("two\nlines", json!("x\ny\u{1b}[31m\r")),
    ] {
        assert_eq!(job["metrics"][name], expected, "{name}: {job:#}");
    }
    let shown = run.cu(&["show", "0"]).stdout;
    let line = shown.lines().find(|line| line.starts_with("metrics: "));
    let line = line.expect("metrics");
    assert!(line.contains(r"two\nlines = x\ny\x1b[31m\x0d, "), "{line}");
    assert!(line.contains("ü☃ = 1"), "{line}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn settings_of_any_kind_arrive_or_are_refused_by_their_line() {
    let many: Vec<_> = (0..100_000).map(|it| format!("{it}.5")).collect();
    let script = "import cu_job, json\n\
        with cu_job.Job() as job:\n    \
            json.dump([job.settings.d, job.settings.t, job.settings.a.b.c.d.e.f, len(job.settings.many)], open('got', 'w'))\n";
    let settings = format!(
        "[settings]\nd = 2020-01-02\nt = 2020-01-02T03:04:05Z\na.b.c.d.e.f = -0.0\nmany = [{}]\n",
        many.join(",")
    );
    let (run, _job) = python(script, &settings);
    let got = std::fs::read_to_string(run.output(0, "got")).expect("a file");
    assert_eq!(
        got,
        r#"["2020-01-02", "2020-01-02T03:04:05Z", -0.0, 100000]"#
    );
    for word in ["nan", "-inf"] {
        let config = format!("[settings]\nlr = 0.5\nx = {word}\n");
        let run = Run::new(&["true"], &config);
        let exit = run.start().wait();
        assert_eq!(exit.code, Some(2), "{exit:?}");
        for part in ["config.toml, line ", "`settings.x`", "nan or inf"] {
            assert!(exit.stderr.contains(part), "{part}: {exit:?}");
        }
        assert!(!run.dir().path().exists(), "{exit:?}");
    }
}

#[test]
fn times_are_utc_for_programs_and_local_for_people() {
    let run = Run::new(&["true"], "");
    assert_eq!(run.start().wait().code, Some(0));
    let shown = |zone: &str, more: &[&str]| {
        let mut command = run.command(&[&["show", "0"], more].concat());
        let output = command.env("TZ", zone).output().expect("cu");
        String::from_utf8(output.stdout).expect("text")
    };
    // Zones that are written out need no database.
    let [here, there] = ["UTC0", "JST-9"].map(|zone| shown(zone, &["--json"]));
    assert_eq!(here, there);
    let job: Value = serde_json::from_str(&here).expect("JSON");
    let started = job["attempts"][0]["started"].as_str().expect("a time");
    assert!(started.ends_with('Z'), "{started}");
    let second = started[..19].replace('T', " ");
    assert!(shown("UTC0", &[]).contains(&second), "{second}");
    assert!(!shown("JST-9", &[]).contains(&second), "{second}");
}

#[test]
fn odd_words_of_a_script_are_refused_or_arrive() {
    let (run, job) = ran("tried() { $cu job \"$@\" 2>> said; echo $?; }; {\n\
         tried progress nan; tried progress 0,5; tried settings get nope; tried settings get nope 7\n\
         tried finish novalue; tried finish =x\n\
         mkdir 'd ☃'; echo hi > 'd ☃/-f'; tried checkpoint save 'd ☃'; tried checkpoint load ./-out; cat ./-out/-f\n\
         tried finish 'odd word=x=y' z=nan; } > codes; true");
    let read = |name| std::fs::read_to_string(run.output(0, name)).expect(name);
    let codes = read("codes");
    let codes: Vec<_> = codes.lines().collect();
    let expected = ["0", "2", "2", "7", "0", "2", "2", "0", "0", "hi", "0"];
    assert_eq!(codes, expected, "{}", read("said"));
    let metrics = json!({"odd word": "x=y", "z": {"float": "NaN"}});
    assert_eq!(job["metrics"], metrics, "{job:#}");
    let said = read("said");
    for part in ["`progress 0,5`", "FRACTION", "`nope`", "`novalue`", "`=x`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
