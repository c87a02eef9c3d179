//! Bad input: a clear message, the documented exit code, and nothing made or lost.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::support::{Bench, COUNT, Terminal, WAIT};

/// Runs `cu` and checks its exit code and what it says.
fn expect(bench: &Bench, arguments: &[&str], code: i32, words: &[&str]) {
    let ended = bench.cu(arguments);
    assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is not in {ended:?}");
    }
    assert_eq!(ended.stdout, "", "{arguments:?}: talk goes to stderr");
}

#[test]
fn a_config_that_is_wrong_is_exit_code_2_and_makes_nothing() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    bench.write(
        "typo.toml",
        "name = \"a\"\ncommand = [\"./count.sh\"]\n[stop]\naftr = \"1h\"\n",
    );
    bench.write("good.toml", "name = \"a\"\ncommand = [\"./count.sh\"]\n");
    bench.write(
        "absent.toml",
        "name = \"a\"\ncommand = [\"no-such-program\"]\n",
    );
    for (arguments, words) in [
        (
            &["run", "typo.toml"][..],
            &[
                "typo.toml, line 4: unknown key `stop.aftr`",
                "hint: did you mean `stop.after`?",
            ][..],
        ),
        (
            &[
                "run",
                "good.toml",
                "stop.after=2h",
                "resources.time_limit=1h",
            ],
            &["`stop.after=2h`", "not less than resources.time_limit"],
        ),
        (
            &["run", "absent.toml"],
            &["absent.toml, line 2", "can't run `no-such-program`", "PATH"],
        ),
        (
            &["run", "--", "./no-such-program"],
            &["there is no file ", "after `--` from the current directory"],
        ),
        (
            &["run", "no.toml"],
            &["there is no config no.toml", "did you mean good.toml or "],
        ),
        (
            &["run", "--cpus", "-1", "--", "true"],
            &["invalid value '-1' for '--cpus <N>': expected a whole number, such as 4"],
        ),
        (
            &["logs", "-n", "x"],
            &["'x' for '--lines <LINES>': expected a whole number"],
        ),
        (
            &["run", "count.sh"],
            &[
                "count.sh is a script, not a config",
                "`cu run -- ./count.sh`",
            ],
        ),
        (
            &["run", "good.toml", "nonsense"],
            &["`nonsense` is not an override"],
        ),
        (
            &["run", "--name", "a/b", "--", "./count.sh"],
            &["--name a/b", "can't contain `/`"],
        ),
        (&["run"], &["required"]),
        (
            &["run", "good.toml", "--no-such-option"],
            &["--no-such-option"],
        ),
        (&["no-such-command"], &["no-such-command"]),
        (&["stop", "3-1"], &["not a range of jobs"]),
    ] {
        expect(&bench, arguments, 2, words);
    }
    assert!(!bench.path("results").exists(), "nothing was made");
}

#[test]
fn programs_get_errors_as_json() {
    let bench = Bench::new();
    for (arguments, code) in [
        (&["status", "--json"][..], 6),
        (&["run", "no.toml", "--json"], 2),
        (&["run", "--json", "--no-such-option"], 2),
    ] {
        let ended = bench.cu(arguments);
        assert_eq!(ended.code, code, "{ended:?}");
        let error = &ended.json()["error"];
        assert_eq!(error["exit_code"], code, "{ended:?}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{ended:?}"
        );
    }
}

#[test]
fn words_in_a_wrong_place_lead_to_the_command_that_was_meant() {
    let bench = Bench::new();
    expect(
        &bench,
        &["status"],
        6,
        &["hint: `cu run -- COMMAND` makes one"],
    );
    bench.write("run.toml", "name = \"digits\"\ncommand = [\"true\"]\n");
    bench.write("new.toml", "name = \"new\"\ncommand = [\"true\"]\n");
    bench.program("x.sh", "#!/bin/sh\n#SBATCH --time=1:00\necho hi\n");
    assert_eq!(bench.cu(&["run", "run.toml"]).code, 0);
    let gone = bench.path("results/gone");
    std::os::unix::fs::symlink("/nowhere/at/all", gone).expect("a link");
    for (arguments, code, hint) in [
        // A run where a config is expected, and the other way round.
        (
            &["run", "digits"][..],
            2,
            "hint: `cu resume digits` continues it",
        ),
        (
            &["run", "results/digits"],
            2,
            "hint: `cu resume results/digits` continues it",
        ),
        (&["status", "run.toml"], 6, "hint: name its run: digits"),
        (&["show", "0", "run.toml"], 6, "hint: name its run: digits"),
        (
            &["resume", "new.toml"],
            6,
            "hint: `cu run new.toml` makes its run",
        ),
        // A command without `--`.
        (
            &["run", "python", "train.py"],
            2,
            "write `cu run -- python train.py`",
        ),
        (
            &["run", "./x.sh", "--lr", "0.1"],
            2,
            "write `cu run -- ./x.sh --lr 0.1`",
        ),
        (
            &["run", "x.sh"],
            2,
            "hint: `cu run -- ./x.sh` runs it; `cu sbatch x.sh` submits it",
        ),
        // Names that are spelled otherwise, conditions without their option, links to nowhere.
        (&["status", "digist"], 6, "hint: did you mean digits?"),
        (
            &["jobs", "settings.lr<1"],
            6,
            "write `--where 'settings.lr<1'`",
        ),
        (
            &["status", "gone"],
            6,
            "is a link to /nowhere/at/all, which does not exist",
        ),
        (
            &["list", "digits"],
            2,
            "tip: `cu status digits` shows one run",
        ),
        (&["help", "exit-code"], 2, "exists: 'exit-codes'"),
        (&["sbatch"], 2, "no batch script is given"),
    ] {
        expect(&bench, arguments, code, &[hint]);
    }
}

#[test]
fn a_run_that_exists_is_not_touched() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    bench.write(
        "run.toml",
        "name = \"a\"\ncommand = [\"./count.sh\", \"1\"]\n",
    );
    assert_eq!(bench.cu(&["run", "run.toml"]).code, 0);
    let before = fs::read(bench.path("results/a/run.sqlite")).expect("a store");
    expect(
        &bench,
        &["run", "run.toml"],
        2,
        &[
            "there is a run in",
            "hint: it has ended: `cu jobs ",
            "`cu rm ",
            " removes it, or choose another name with `--name NAME`",
        ],
    );
    assert_eq!(
        fs::read(bench.path("results/a/run.sqlite")).expect("a store"),
        before
    );
    // A command alone finds itself another name.
    assert_eq!(bench.cu(&["run", "--", "./count.sh", "1"]).code, 0);
    assert_eq!(bench.cu(&["run", "--", "./count.sh", "1"]).code, 0);
    assert!(bench.path("results/count-2/run.sqlite").is_file());
}

#[test]
fn a_command_in_a_message_can_be_pasted() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    let directory = bench.path("Lea's results");
    let directory = directory.to_str().expect("UTF-8");
    let run = [
        "run",
        "--results-dir",
        directory,
        "--name",
        "a",
        "--detach",
        "--",
        "./wait.sh",
    ];
    let started = bench.cu(&run);
    assert_eq!(started.code, 0, "{started:?}");
    let told = started.stderr.split('`').nth(1).expect("a command");
    let told = told.replacen("cu", env!("CARGO_BIN_EXE_cu"), 1);
    let output = Command::new("sh").args(["-c", &told]).output();
    let output = output.expect("a shell");
    let stopped = bench.cu(&["stop", "all", "a", "--results-dir", directory]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(output.status.success(), "{told}: {output:?}");
}

#[test]
fn a_run_that_is_missing_damaged_or_newer_is_exit_code_6() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    expect(&bench, &["status"], 6, &["there is no run in"]);
    expect(
        &bench,
        &["resume", "nowhere"],
        6,
        &["there is no run nowhere"],
    );
    fs::create_dir(bench.path("empty")).expect("a directory");
    expect(&bench, &["resume", "empty"], 6, &["run.sqlite"]);
    assert_eq!(
        fs::read_dir(bench.path("empty"))
            .expect("a directory")
            .count(),
        0
    );

    for name in ["damaged", "newer"] {
        let ended = bench.cu(&["run", "--name", name, "--", "./count.sh", "1"]);
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let store = bench.path("results/newer/run.sqlite");
    let mut bytes = fs::read(&store).expect("a store");
    // SQLite keeps a number for its user, our format, in these four bytes.
    bytes[60..64].copy_from_slice(&1000_u32.to_be_bytes());
    fs::write(&store, bytes).expect("a store");
    expect(&bench, &["resume", "newer"], 6, &["newer version", "1000"]);

    bench.write(
        "results/damaged/run.sqlite",
        "this is not a database, however one looks at it",
    );
    for arguments in [["resume", "damaged"], ["status", "damaged"]] {
        expect(&bench, &arguments, 6, &["damaged", "hint: "]);
    }
    // The others can still be listed.
    let listed = bench.json(&["list", "--json"]);
    let unreadable = |run: &serde_json::Value| run["error"]["message"].is_string();
    let runs = listed.as_array().expect("a list");
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(unreadable), "{listed}");
    assert!(
        runs.iter().all(|run| run["state"] == "unreadable"),
        "{listed}"
    );
    let listed = bench.cu(&["list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    for words in [
        "damaged  unreadable",
        "newer    unreadable",
        "\nunreadable: the store ",
        "\nunreadable: the run in ",
    ] {
        assert!(listed.stdout.contains(words), "{words} in {listed:?}");
    }
}

#[test]
fn a_missing_job_or_attempt_is_exit_code_2() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    assert_eq!(bench.cu(&["run", "--", "./count.sh", "1"]).code, 0);
    expect(
        &bench,
        &["show", "1"],
        2,
        &["there is no job 1: the run has 1 job, numbered from 0"],
    );
    expect(
        &bench,
        &["logs", "0", "--attempt", "5"],
        2,
        &["no attempt 5"],
    );
    expect(&bench, &["stop", "0-7"], 2, &["there is no job 7"]);
}

#[test]
fn a_numeric_run_name_is_not_taken_for_a_job() {
    let bench = Bench::new();
    let name = ["run", "--name", "7", "--", "true"];
    assert_eq!(bench.cu(&name).code, 0);
    assert_eq!(bench.cu(&["run", "--", "true"]).code, 0);
    let hint = "hint: `7` is also a run: write `0 7` for its job 0";
    expect(&bench, &["show", "7"], 2, &["there is no job 7", hint]);
    expect(&bench, &["logs", "7"], 2, &["there is no job 7", hint]);
    expect(&bench, &["stop", "7"], 2, &["write `all 7` for the run"]);
    assert_eq!(bench.cu(&["show", "true"]).code, 0);
    for run in ["7", "true"] {
        let shown = bench.json(&["show", "0", run, "--json"]);
        let path = bench.path(format!("results/{run}/working_directories/0"));
        assert_eq!(shown["output_dir"], path.to_str().expect("UTF-8"));
    }
    let stopped = bench.json(&["stop", "all", "7", "--json"]);
    let path = bench.path("results/7");
    assert_eq!(stopped["run_dir"], path.to_str().expect("UTF-8"));
}

#[test]
fn programs_give_no_orders_to_a_terminal() {
    let bench = Bench::new();
    let cu = env!("CARGO_BIN_EXE_cu");
    let text = format!("#!/bin/sh\n{cu} job metrics \"$(printf 'note=a\\033[2Jb')\"\nexit 1\n");
    bench.program("orders.sh", &text);
    for arguments in [
        &["run", "--color", "always", "--", "./orders.sh"][..],
        &["show", "0", "--color", "always"],
        &["status", "--color", "always"],
    ] {
        let ended = bench.cu(arguments);
        assert!(!ended.stdout.contains("\x1b[2J"), "{ended:?}");
        assert!(!ended.stderr.contains("\x1b[2J"), "{ended:?}");
    }
    let shown = bench.cu(&["show", "0", "--color", "always"]);
    assert!(shown.stdout.contains(r"note = a\x1b[2Jb"), "{shown:?}");
}

#[test]
fn logs_give_no_orders_to_a_terminal_and_are_raw_in_a_pipe() {
    let bench = Bench::new();
    let written = "10 %\r20 %\n\x1b]0;title\x07\x1b[31mred\u{9b}2J \u{202e}gnp.exe \u{200b}end\n";
    bench.write("text", written);
    let path = bench.path("text").display().to_string();
    let program = format!("#!/bin/sh\ncat {path}\ncat {path} >&2\n");
    bench.program("orders.sh", &program);
    assert_eq!(bench.cu(&["run", "--", "./orders.sh"]).code, 0);
    let shown = r"\x1b]0;title\x07\x1b[31mred\x9b2J \u{202e}gnp.exe \u{200b}end";
    for arguments in [
        &["logs", "0"][..],
        &["logs", "0", "-f"],
        &["logs", "0", "--attempt", "0"],
        &["logs", "0", "--stderr"],
    ] {
        let mut terminal = Terminal::open();
        let running = bench.start_inside(&terminal, arguments);
        let seen = terminal.wait_for("end");
        assert!(seen.contains(shown), "{arguments:?}: {seen:?}");
        assert!(seen.contains("10 %\r20 %"), "{arguments:?}: {seen:?}");
        assert_eq!(running.end().code, 0);

        let raw = [arguments, &["--raw"]].concat();
        let mut terminal = Terminal::open();
        let running = bench.start_inside(&terminal, &raw);
        // The terminal itself makes two characters of the end of a line.
        let seen = terminal.wait_for("end").replace("\r\n", "\n");
        assert!(seen.contains(written.trim_end()), "{raw:?}: {seen:?}");
        assert_eq!(running.end().code, 0);

        let piped = bench.cu(arguments).stdout;
        assert!(piped.ends_with(written), "{arguments:?}: {piped:?}");
    }
    let json = bench.cu(&["logs", "0", "--json"]);
    assert!(json.stdout.is_ascii(), "{json:?}");
    let lines = json
        .stdout
        .lines()
        .map(serde_json::from_str::<serde_json::Value>);
    let lines = lines.map(|line| line.expect("an object")["line"].clone());
    let expected: Vec<_> = written.lines().chain(written.lines()).collect();
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[test]
fn hidden_characters_in_names_are_shown() {
    let bench = Bench::new();
    let program = "./no-\u{202e}hs.exe\u{200b}";
    bench.program(program, "#!/no/such/interpreter\n");
    let run = bench.cu(&["run", "--name", "hidden", "--", program]);
    assert_eq!(run.code, 1, "{run:?}");
    let said = [
        run.stdout + &run.stderr,
        bench.read("results/hidden/main.log"),
        bench.cu(&["show", "0", "hidden"]).stdout,
        bench.cu(&["list"]).stdout + &bench.cu(&["status", "hidden"]).stdout,
    ];
    for said in &said {
        assert!(!said.contains(['\u{202e}', '\u{200b}']), "{said:?}");
    }
    for said in &said[..3] {
        assert!(said.contains(r"no-\u{202e}hs.exe\u{200b}"), "{said:?}");
    }
    let json = bench.cu(&["show", "0", "hidden", "--json"]);
    assert!(json.stdout.is_ascii(), "{json:?}");
    let why = json.json()["why"].to_string();
    assert!(why.contains(&program[2..]), "{why}");
}

#[test]
fn a_place_that_cannot_be_written_is_exit_code_7() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    bench.write("file", "");
    let arguments = [
        "run",
        "--results-dir",
        "file/results",
        "--",
        "./count.sh",
        "1",
    ];
    expect(&bench, &arguments, 7, &["file/results"]);
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("the full device");
    let mut command = bench.command(&["config", "reference"]);
    let status = command.stdout(Stdio::from(full)).status().expect("cu runs");
    assert_eq!(status.code(), Some(7));
}

#[test]
fn a_reader_that_goes_away_is_harmless() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    for arguments in [
        &["config", "reference"][..],
        &["run", "--", "./count.sh", "2"],
        &["list"],
    ] {
        let mut running = bench.start(arguments);
        running.close_stdout();
        let ended = running.end();
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
    // A terminal that was closed.
    for arguments in [&["config", "reference"][..], &["list", "--json"]] {
        let mut command = bench.command(arguments);
        let status = command.stdout(Terminal::gone()).status().expect("cu runs");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_helpless_supervisor_is_not_a_failed_program() {
    let bench = Bench::new();
    let code = i32::from(cu_supervisor::Outcome::FENCED);
    let arguments = ["exec", "/dev/null", "7", "0"];
    expect(&bench, &arguments, code, &["/dev/null"]);

    let circle = bench.path("circle");
    std::os::unix::fs::symlink(&circle, &circle).expect("a link to itself");
    let arguments = ["exec", "circle", "7", "0"];
    expect(&bench, &arguments, code, &["circle: Too many levels"]);
}

#[test]
fn the_inner_commands_refuse_what_they_do_not_know() {
    let bench = Bench::new();
    expect(&bench, &["exec"], 2, &["usage: cu exec"]);
    expect(
        &bench,
        &["exec", "/nowhere", "x", "0"],
        2,
        &["usage: cu exec"],
    );
    expect(&bench, &["job", "dance"], 2, &["`dance` is not a command"]);
    expect(&bench, &["job"], 2, &["cu job: a command is missing"]);
    let help = bench.cu(&["job", "--help"]);
    assert!(
        help.code == 0 && help.stdout.contains("exit-for-resume"),
        "{help:?}"
    );
    let help = bench.cu(&["exec", "--help"]);
    assert_eq!(help.code, 0, "{help:?}");
    for word in ["usage: cu exec", "exit codes:", "128 + N", "127", "200"] {
        assert!(help.stdout.contains(word), "{word} in {help:?}");
    }
}

#[test]
fn every_command_stands_in_the_readme() {
    let readme = include_str!("../../README.md");
    let help = Bench::new().cu(&["--help"]).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut count = 0;
    for line in commands.take_while(|line| !line.is_empty()) {
        let Some(name) = line
            .split_whitespace()
            .next()
            .filter(|_| line.starts_with("  "))
        else {
            continue;
        };
        if name != "help" && line.starts_with(&format!("  {name}")) {
            assert!(readme.contains(&format!("| `cu {name}")), "{name}");
            count += 1;
        }
    }
    assert!(count >= 12, "{count} commands in {help}");
}
