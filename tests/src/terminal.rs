//! A terminal device with a program on it, and what a person sees there.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::Parser;

use crate::wait::until;

/// A terminal and the program on it.
#[derive(Debug)]
pub struct Terminal {
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

impl fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.parser.screen().contents())
    }
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
    ///
    /// # Panics
    /// If it can't.
    #[must_use]
    pub fn start(mut command: Command, columns_and_rows: (u16, u16)) -> Self {
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
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
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
    ///
    /// # Panics
    /// If it can't.
    #[must_use]
    pub fn screen(&self) -> String {
        let seen = self.seen.lock().expect("nobody panics with it");
        seen.parser.screen().contents()
    }

    /// All bytes that were written.
    ///
    /// # Panics
    /// If it can't.
    #[must_use]
    pub fn bytes(&self) -> String {
        let seen = self.seen.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&seen.bytes).into_owned()
    }

    /// Waits until the screen is as `is_right` wants it.
    ///
    /// # Panics
    /// If it can't.
    pub fn until(&self, what: &str, is_right: impl Fn(&str) -> bool) -> String {
        until(what, || {
            let screen = self.screen();
            is_right(&screen).then_some(screen)
        })
    }

    /// Types the text.
    ///
    /// # Panics
    /// If it can't.
    pub fn type_in(&mut self, text: &str) {
        let typed = self.person.write_all(text.as_bytes());
        typed.expect("it takes what is typed");
    }

    /// Writes what another program on the terminal would write.
    ///
    /// # Panics
    /// If it can't.
    pub fn write_beside(&mut self, text: &str) {
        let written = self.inner.write_all(text.as_bytes());
        written.expect("it takes what is written");
    }

    /// Gives it another size.
    ///
    /// # Panics
    /// If it can't.
    pub fn resize(&self, columns_and_rows: (u16, u16)) {
        let (columns, rows) = columns_and_rows;
        let mut seen = self.seen.lock().expect("nobody panics with it");
        seen.parser.screen_mut().set_size(some(rows), some(columns));
        tcsetwinsize(&self.inner, size(columns_and_rows)).expect("it has a size");
    }

    /// Whether any line of the screen goes on in the next one.
    ///
    /// # Panics
    /// If it can't.
    #[must_use]
    pub fn wraps(&self) -> bool {
        let seen = self.seen.lock().expect("nobody panics with it");
        let screen = seen.parser.screen();
        (0..screen.size().0.get()).any(|row| screen.row_wrapped(row))
    }

    /// Sends the program a signal.
    ///
    /// # Panics
    /// If it can't.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    /// Whether `/proc` shows this state of the program.
    ///
    /// # Panics
    /// If it can't.
    #[must_use]
    pub fn has_state(&self, state: char) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.is_ok_and(|stat| stat.contains(&format!(") {state} ")))
    }

    /// Waits for the end of the program. Returns its exit code.
    ///
    /// # Panics
    /// If it can't.
    pub fn end(&mut self) -> Option<i32> {
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
