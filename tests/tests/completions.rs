//! Completions in the shells that people have, typed on a terminal: names of runs and jobs, keys and values, and files.
//! `tests/all` installs zsh and fish.

use std::fs;
use std::process::Command;

use cu_tests::cu::cu_binary;
use cu_tests::run::{Run, scratch};
use cu_tests::terminal::Terminal;
use tempfile::TempDir;

/// Ctrl-U.
const TAKE_BACK: &str = "\u{15}";

/// Starts a shell without anybody's settings, in which the completions of cu are loaded.
fn shell(run: &Run, home: &TempDir, words: &[&str], load: &str) -> Terminal {
    let bin = home.path().join("bin");
    fs::create_dir_all(&bin).expect("a directory");
    let _ = std::os::unix::fs::symlink(cu_binary(), bin.join("cu"));
    let path = std::env::var("PATH").unwrap_or_default();
    let results = run.dir().path().parent().expect("a parent").to_owned();
    // A shell wants a terminal that is its own.
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .args(words)
        .current_dir(home.path())
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("XDG_CONFIG_DIRS", home.path().join("site"))
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("CU_RESULTS_DIR", results)
        .env("PS1", "> ")
        .env_remove("ZDOTDIR")
        .env_remove("BASH_ENV")
        .env_remove("PROMPT_COMMAND");
    let mut terminal = Terminal::start(command, (120, 40));
    // Its own echo has the quotes between the words.
    terminal.type_in(&format!("{load}; echo is''_loaded\n"));
    terminal.until("the completions", |screen| screen.contains("is_loaded"));
    terminal
}

/// Types a line up to a tab, and waits until it has become `completed`.
fn completes(terminal: &mut Terminal, typed: &str, completed: &str) {
    terminal.type_in(typed);
    terminal.type_in("\t");
    terminal.until(completed, |screen| screen.contains(completed));
    terminal.type_in(TAKE_BACK);
}

/// Types a line up to two tabs, and waits until the words are listed.
fn lists(terminal: &mut Terminal, typed: &str, words: &[&str]) -> String {
    terminal.type_in(typed);
    terminal.type_in("\t\t");
    let screen = terminal.until(&words.join(" "), |screen| {
        words.iter().all(|word| screen.contains(word))
    });
    terminal.type_in(TAKE_BACK);
    screen
}

/// A run of three jobs, of which job 1 has failed.
fn ended() -> Run {
    let script = "[ \"$CU_JOB_ID\" != 1 ]";
    let run = Run::new(&["sh", "-c", script], "grid.rate = [0.5, 0.25, 0.125]\n");
    assert_eq!(run.start().wait().code, Some(1));
    run
}

fn home() -> TempDir {
    let home = scratch();
    let config = "name = \"x\"\ncommand = [\"true\"]\n[settings]\nmomentum = 0.9\n\
                  [profiles.accelerated]\nresources.cpus = 2\n";
    fs::write(home.path().join("training.toml"), config).expect("a file");
    fs::write(home.path().join("my own.toml"), config).expect("a file");
    fs::write(home.path().join("unrelated.txt"), "").expect("a file");
    home
}

/// What is the same in every shell.
fn all_kinds(terminal: &mut Terminal) {
    for (typed, completed) in [
        ("cu gri", "cu grid-search"),
        ("cu status ru", "cu status run"),
        ("cu retry run ", "cu retry run 1"),
        ("cu show 2 ru", "cu show 2 run"),
        ("cu run tra", "cu run training.toml"),
        ("cu run my", "cu run my\\ own.toml"),
        ("cu run training.toml settings.mo", "settings.momentum="),
        ("cu run training.toml stop.af", "stop.after="),
        ("cu run x.toml backend.kind=lo", "backend.kind=local"),
        (
            "cu run training.toml --profile acc",
            "--profile accelerated",
        ),
        ("cu run --backend=ht", "--backend=htcondor"),
        ("cu jobs --sort settings.r", "settings.rate"),
        ("cu update resources.mem", "cu update resources.memory="),
        ("cu help env", "cu help environment"),
        ("cu run -- cat unre", "cu run -- cat unrelated.txt"),
    ] {
        completes(terminal, typed, completed);
    }
}

#[test]
fn bash_completes_names_and_keys() {
    let (run, home) = (ended(), home());
    let words = ["bash", "--norc", "--noprofile", "-i"];
    let mut terminal = shell(&run, &home, &words, "source <(cu completions bash)");
    all_kinds(&mut terminal);
    lists(&mut terminal, "cu show ", &["0", "1", "2", "run"]);
    completes(&mut terminal, "cu run 'my", "cu run 'my own.toml'");
}

#[test]
fn zsh_completes_names_and_says_what_they_are() {
    let (run, home) = (ended(), home());
    let load =
        "autoload -Uz compinit && compinit -u -d \"$HOME/dump\" && source <(cu completions zsh)";
    let mut terminal = shell(&run, &home, &["zsh", "-f", "-i"], load);
    all_kinds(&mut terminal);
    let listed = ["1    -- failed, rate=0.25", "2    -- completed, rate=0.125"];
    lists(&mut terminal, "cu show ", &listed);
}

#[test]
fn fish_completes_names_and_says_what_they_are() {
    let (run, home) = (ended(), home());
    let words = ["fish", "--no-config", "--private", "-i"];
    let mut terminal = shell(&run, &home, &words, "cu completions fish | source");
    all_kinds(&mut terminal);
    let listed = ["failed, rate=0.25", "completed, rate=0.125"];
    lists(&mut terminal, "cu show ", &listed);
}

/// The lines that `cu complete fish` prints for these words, and what it says besides.
fn answer(run: &Run, words: &[&str]) -> (String, String) {
    let exit = run.cu(&[&["complete", "fish", "--", "cu"], words].concat());
    (exit.stdout, exit.stderr)
}

#[test]
fn mistakes_are_silent_and_names_need_no_store() {
    let run = ended();
    let results = run.dir().path().parent().expect("a parent").to_owned();
    let results = results.to_str().expect("UTF-8");
    // It has a store, which is none.
    fs::create_dir_all(format!("{results}/broken")).expect("a directory");
    fs::write(format!("{results}/broken/run.sqlite"), "no store").expect("a file");
    let (named, said) = answer(&run, &["--results-dir", results, "status", ""]);
    assert_eq!(named, "broken\trun\nrun\trun\n");
    assert_eq!(said, "");
    for words in [
        &["--results-dir", results, "show", "broken", ""][..],
        &["--results-dir", "/none", "show", ""],
        &["run", "/none.toml", "--profile", ""],
        &["frob", "x"],
    ] {
        let (named, said) = answer(&run, words);
        let is_option = |line: &str| line.starts_with("--");
        assert!(
            named.lines().all(is_option) && said.is_empty(),
            "{words:?}: {named}{said}"
        );
    }
    for words in [&["complete"][..], &["complete", "tcsh", "--", "cu", ""]] {
        let exit = run.cu(words);
        assert_eq!(
            (exit.stdout.as_str(), exit.stderr.as_str()),
            ("", ""),
            "{words:?}"
        );
    }
}
