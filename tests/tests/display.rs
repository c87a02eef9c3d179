//! The display of a run on a terminal, as a person sees it: a real terminal device, and a parser that keeps its
//! picture. It fits any size, takes no colours where none are wanted, leaves alone what others write, and is gone at
//! the end.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use cu_tests::cu::cu_binary;
use cu_tests::run::Run;
use cu_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::Parser;

/// A terminal and the program on it.
struct Terminal {
    /// The side of the person.
    person: File,
    /// The side of the program.
    inner: File,
    seen: Arc<Mutex<Seen>>,
    child: Child,
}

struct Seen {
    parser: Parser,
    bytes: Vec<u8>,
}

fn some(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a terminal has a size")
}

fn size((columns, rows): (u16, u16)) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    /// Starts `command` on a terminal of this many columns and rows.
    fn start(mut command: Command, columns_and_rows: (u16, u16)) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&person).expect("it is ours");
        unlockpt(&person).expect("it can be used");
        let name = ptsname(&person, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("its name is UTF-8");
        let inner = File::options().read(true).write(true).open(name);
        let inner = inner.expect("its other side");
        tcsetwinsize(&inner, size(columns_and_rows)).expect("it has a size");
        let side = || inner.try_clone().expect("another handle");
        command.stdin(side()).stdout(side()).stderr(side());
        if !command.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm-256color");
        }
        let child = command.spawn().expect("cu starts");
        let (columns, rows) = columns_and_rows;
        let seen = Arc::new(Mutex::new(Seen {
            parser: Parser::new(some(rows), some(columns), 1000),
            bytes: Vec::new(),
        }));
        let person = File::from(person);
        let mut reader = person.try_clone().expect("another handle");
        let writer = seen.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut seen = writer.lock().expect("nobody panics with it");
                seen.parser.process(&buffer[..count]);
                seen.bytes.extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            person,
            inner,
            seen,
            child,
        }
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        let seen = self.seen.lock().expect("nobody panics with it");
        seen.parser.screen().contents()
    }

    /// All bytes that were written.
    fn bytes(&self) -> String {
        let seen = self.seen.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&seen.bytes).into_owned()
    }

    /// Waits until the screen is as `is_right` wants it.
    fn until(&self, what: &str, is_right: impl Fn(&str) -> bool) -> String {
        until(what, || {
            let screen = self.screen();
            is_right(&screen).then_some(screen)
        })
    }

    fn resize(&self, columns_and_rows: (u16, u16)) {
        let (columns, rows) = columns_and_rows;
        let mut seen = self.seen.lock().expect("nobody panics with it");
        seen.parser.screen_mut().set_size(some(rows), some(columns));
        tcsetwinsize(&self.inner, size(columns_and_rows)).expect("it has a size");
    }

    /// Whether any line of the screen goes on in the next one.
    fn wraps(&self) -> bool {
        let seen = self.seen.lock().expect("nobody panics with it");
        let screen = seen.parser.screen();
        (0..screen.size().0.get()).any(|row| screen.row_wrapped(row))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    fn has_state(&self, state: char) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.is_ok_and(|stat| stat.contains(&format!(") {state} ")))
    }

    /// Waits for the end of the program. Returns its exit code.
    fn end(&mut self) -> Option<i32> {
        let child = &mut self.child;
        until("the end of cu", || child.try_wait().expect("it is ours")).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("on the terminal:\n{}", self.screen());
        }
    }
}

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
    terminal
        .inner
        .write_all(b"$ first\r\n$ second\r\n")
        .expect("it takes lines");
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
        writeln!(terminal.person, "{answer}").expect("it takes a line");
        terminal.until(said, |screen| screen.contains(said));
        assert_eq!(terminal.end(), Some(0));
    }
    let exit = run.cu(&["wait"]);
    assert_eq!(exit.code, Some(1), "{exit:?}");
}
