//! The display of a run on a terminal, as a person sees it: a real terminal device, and a parser that keeps its
//! picture. It fits any size, takes no colours where none are wanted, leaves alone what others write, and is gone at
//! the end.

use std::fs;
use std::process::Command;

use cu_tests::cu::cu_binary;
use cu_tests::run::Run;
use cu_tests::terminal::Terminal;
use cu_tests::wait::until;
use rustix::process::Signal;

/// Jobs that announce something and wait for the file `go`; with `fails` they then fail.
fn waiting(jobs: usize) -> Run {
    let cu = cu_binary().display();
    let script = format!(
        "{cu} job progress 0.5; {cu} job metrics loss=0.25\n\
         echo epoch 1; printf 'epoch 2\\repoch 31 of 50: a long line without an end'\n\
         while [ ! -e \"$GO\" ]; do sleep 0.05; done\n\
         [ -s \"$GO\" ] && exit 1; exit 0"
    );
    let numbers: Vec<_> = (0..jobs).map(|number| number.to_string()).collect();
    let config = format!(
        "grid.number = [{}]\nstop.after = \"50min\"\n[backend.local]\ncpus = 3\n",
        numbers.join(", ")
    );
    Run::new(&["sh", "-c", &script], &config)
}

fn command(run: &Run, arguments: &[&str]) -> Command {
    let mut command = run.command(arguments);
    command.env("GO", run.path("go")).env_remove("NO_COLOR");
    command
}

fn start(run: &Run, columns_and_rows: (u16, u16), options: &[&str]) -> Terminal {
    let config = run.config();
    let config = config.to_str().expect("UTF-8");
    let arguments = [&["run", config], options].concat();
    Terminal::start(command(run, &arguments), columns_and_rows)
}

fn is_drawn(screen: &str) -> bool {
    screen.contains("of 50 min") && screen.contains("epoch 31")
}

#[test]
fn running_jobs_are_seen_and_gone_at_the_end() {
    let run = waiting(2);
    let mut terminal = start(&run, (80, 24), &[]);
    let screen = terminal.until("both jobs", |screen| {
        is_drawn(screen)
            && screen.contains(" 50 %")
            && screen.contains("2 running")
            && screen.contains("0.25")
    });
    assert!(screen.contains("run · 0 of 2 done · 2 running"), "{screen}");
    assert!(screen.contains("number  attempt"), "{screen}");
    assert!(!screen.contains("epoch 2\n"), "{screen}");
    fs::write(run.path("go"), "").expect("the gate opens");
    assert_eq!(terminal.end(), Some(0));
    let screen = terminal.until("the outcome", |screen| {
        screen.contains("run: completed, 2 of 2")
    });
    assert!(
        !screen.contains("last line") && !screen.contains("done"),
        "{screen}"
    );
}

#[test]
fn in_the_background_it_draws_nothing_over_the_prompt() {
    let run = waiting(1);
    let config = run.config();
    let given = command(&run, &["run", config.to_str().expect("UTF-8")]);
    // A shell has jobs only on the terminal that controls its session.
    let mut shell = Command::new("setsid");
    shell.args(["--ctty", "--wait", "bash"]);
    shell.args(["-c", "set -m; \"$@\" & echo my own words; wait $!", "bash"]);
    shell.arg(given.get_program()).args(given.get_args());
    shell.current_dir(run.path(""));
    for (name, value) in given.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut terminal = Terminal::start(shell, (80, 24));
    let screen = terminal.until("plain lines", |screen| {
        screen.contains("run: 0 of 1 jobs completed, 1 running")
    });
    assert!(screen.contains("my own words"), "{screen}");
    fs::write(run.path("go"), "").expect("the gate opens");
    assert_eq!(terminal.end(), Some(0));
    // A display moves the cursor up before it draws again.
    assert!(
        !terminal.bytes().contains("\u{1b}["),
        "{:?}",
        terminal.bytes()
    );
}

#[test]
fn narrow_and_wide_terminals_are_fitted() {
    for columns_and_rows in [(30, 15), (40, 24), (80, 24), (200, 60)] {
        let run = waiting(30);
        let terminal = start(&run, columns_and_rows, &[]);
        terminal.until("three jobs", |screen| {
            screen.contains("3 running") && screen.contains("of 50 min")
        });
        // The lines before the display may be longer than the terminal.
        let screen = terminal.screen();
        let display: Vec<_> = screen
            .lines()
            .skip_while(|line| !line.starts_with("run · "))
            .collect();
        assert!(
            !display.is_empty() && display.len() <= 12,
            "{columns_and_rows:?}: {screen}"
        );
        let widest = display.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns_and_rows.0.into()), "{screen}");
        assert!(screen.matches("attempt").count() <= 1, "{screen}");
    }
}

#[test]
fn a_resize_leaves_one_display() {
    let run = waiting(2);
    let terminal = start(&run, (120, 30), &[]);
    terminal.until("the display", is_drawn);
    for columns_and_rows in [(60, 20), (100, 25), (45, 15)] {
        terminal.resize(columns_and_rows);
        let width = usize::from(columns_and_rows.0);
        terminal.until("a bar of this width", |screen| {
            screen.lines().any(|line| {
                line.starts_with('[') && line.ends_with(" %") && line.chars().count() == width
            })
        });
        let screen = terminal.screen();
        assert_eq!(screen.matches("attempt  ").count(), 1, "{screen}");
    }
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let is_colored = |text: &str| text.contains("\u{1b}[1m") || text.contains("\u{1b}[32m");
    let run = waiting(1);
    let terminal = start(&run, (80, 24), &[]);
    terminal.until("the display", is_drawn);
    assert!(is_colored(&terminal.bytes()), "{:?}", terminal.bytes());
    drop(terminal);
    let mut plain = command(&run, &["resume"]);
    plain.env("NO_COLOR", "1");
    for plain in [plain, command(&run, &["--color", "never", "resume"])] {
        let terminal = Terminal::start(plain, (80, 24));
        terminal.until("the display", is_drawn);
        assert!(
            !terminal.bytes().contains('m') || !is_colored(&terminal.bytes()),
            "{:?}",
            terminal.bytes()
        );
    }
    let mut dumb = command(&run, &["resume"]);
    dumb.env("TERM", "dumb");
    let terminal = Terminal::start(dumb, (80, 24));
    terminal.until("plain lines", |screen| {
        screen.contains("run: 0 of 1 jobs completed")
    });
    assert!(
        !terminal.bytes().contains('\u{1b}'),
        "{:?}",
        terminal.bytes()
    );
}

#[test]
fn lines_written_while_it_is_stopped_stay() {
    let run = waiting(1);
    let mut terminal = start(&run, (80, 24), &[]);
    terminal.until("the display", is_drawn);
    terminal.signal(Signal::STOP);
    until("it is stopped", || terminal.has_state('T').then_some(()));
    terminal.write_beside("$ first\r\n$ second\r\n");
    terminal.until("the lines", |screen| screen.contains("$ second"));
    terminal.signal(Signal::CONT);
    let screen = terminal.until("a second display", |screen| {
        screen.matches("of 50 min").count() == 2
    });
    assert!(screen.contains("$ first\n$ second\n"), "{screen}");
}

#[test]
fn watch_shows_what_run_shows_and_leaves_with_ctrl_c() {
    let run = waiting(2);
    let config = run.config();
    let exit = command(&run, &["run", config.to_str().expect("UTF-8"), "--detach"]).status();
    assert!(exit.expect("cu starts").success());
    let mut terminal = Terminal::start(command(&run, &["watch"]), (80, 24));
    terminal.until("both jobs", |screen| {
        is_drawn(screen) && screen.contains("2 running")
    });
    terminal.signal(Signal::INT);
    assert_eq!(terminal.end(), Some(130));
    let screen = terminal.until("a word", |screen| screen.contains("the run continues"));
    assert!(!screen.contains("attempt"), "{screen}");
    assert_eq!(run.status()["state"], "running");
    // The same with failures.
    let mut terminal = Terminal::start(command(&run, &["watch"]), (80, 24));
    terminal.until("both jobs", is_drawn);
    fs::write(run.path("go"), "x").expect("the gate opens");
    assert_eq!(terminal.end(), Some(1));
    let screen = terminal.until("the outcome", |screen| screen.contains("run: failed, "));
    assert!(!screen.contains("attempt  "), "{screen}");
    assert!(!terminal.wraps() || !screen.contains("last line"));
}

#[test]
fn of_many_jobs_a_dozen_lines_are_shown() {
    let run = waiting(500);
    let terminal = start(&run, (80, 24), &[]);
    let screen = terminal.until("running jobs", |screen| {
        is_drawn(screen) && screen.contains("3 running")
    });
    assert!(screen.contains("0 of 500 done"), "{screen}");
    let display = screen
        .lines()
        .skip_while(|line| !line.starts_with("run · "));
    assert!(display.count() <= 12, "{screen}");
}

#[test]
fn stop_without_words_asks_before_it_cancels_all() {
    let run = waiting(2);
    let config = run.config();
    let config = config.to_str().expect("UTF-8");
    let exit = command(&run, &["run", config, "--detach", "--quiet"]).status();
    assert!(exit.expect("cu starts").success());
    for (answer, said) in [("", "nothing was stopped"), ("y", "stopping 2 jobs")] {
        let mut terminal = Terminal::start(command(&run, &["stop"]), (200, 24));
        terminal.until("a question", |screen| screen.contains("cancel 2 jobs of "));
        assert_eq!(run.status()["state"], "running");
        terminal.type_in(&format!("{answer}\n"));
        terminal.until(said, |screen| screen.contains(said));
        assert_eq!(terminal.end(), Some(0));
    }
    let exit = run.cu(&["wait"]);
    assert_eq!(exit.code, Some(1), "{exit:?}");
}
