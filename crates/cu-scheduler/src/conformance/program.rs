//! The programs of the suite's jobs, in steps that a shell or a simulated cluster can follow.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cu_system::shell::quote;

use crate::Signal;

/// One step of a program. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Appends a line to this file. The number of lines is the number of starts.
    Mark(PathBuf),
    /// Writes its arguments to this file, each followed by a NUL byte. The file appears whole.
    Arguments(PathBuf),
    /// Writes the value of a variable to this file.
    Variable(String, PathBuf),
    /// Writes its working directory to this file.
    WorkingDirectory(PathBuf),
    /// Writes a line to standard output.
    Print(String),
    /// Writes a line to standard error.
    PrintError(String),
    /// Waits until this file exists.
    Await(PathBuf),
    /// From now on this signal only makes this file.
    Note(Signal, PathBuf),
    /// From now on SIGTERM does nothing.
    IgnoreTerminate,
    /// Starts a child that ignores SIGTERM, opens this FIFO for writing, and neither ends nor
    /// closes it by itself.
    Child(PathBuf),
    /// Ends with this exit code. A program without this step ends with 0.
    Exit(u8),
    /// Ends by SIGKILL.
    KillItself,
}

/// The program of a job of the suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// In this order.
    pub steps: Vec<Step>,
}

impl Program {
    /// Makes a program of steps in this order.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
        }
    }

    /// The program as a script for `/bin/sh`, with the program's arguments. A script that waits for a
    /// file ends when the file's directory is removed, so that a failed test leaves no process.
    #[must_use]
    pub fn to_shell(&self) -> String {
        let mut script = String::new();
        for step in &self.steps {
            // Writing to a string can't fail.
            let _ = match step {
                Step::Mark(path) => writeln!(script, "echo started >> {}", quoted(path)),
                Step::Arguments(path) => whole(&mut script, r#"printf '%s\0' "$@""#, path),
                Step::Variable(name, path) => {
                    whole(&mut script, &format!("printf '%s' \"${name}\""), path)
                }
                Step::WorkingDirectory(path) => whole(&mut script, "pwd -P", path),
                Step::Print(text) => writeln!(script, "printf '%s\\n' {}", quote(text)),
                Step::PrintError(text) => {
                    writeln!(script, "printf '%s\\n' {} >&2", quote(text))
                }
                Step::Await(path) => {
                    let (path, directory) = (quoted(path), quoted(parent(path)));
                    writeln!(
                        script,
                        "while [ ! -e {path} ]; do [ -d {directory} ] || exit; sleep 0.05; done"
                    )
                }
                Step::Note(signal, path) => {
                    let note = quote(&format!(": > {}", quoted(path)));
                    writeln!(script, "trap {note} {}", signal.name())
                }
                Step::IgnoreTerminate => writeln!(script, "trap '' TERM"),
                Step::Child(fifo) => writeln!(
                    script,
                    "(trap '' TERM; exec 9> {}; while [ -d {} ]; do sleep 1; done) &",
                    quoted(fifo),
                    quoted(parent(fifo))
                ),
                Step::Exit(code) => writeln!(script, "exit {code}"),
                Step::KillItself => writeln!(script, "kill -KILL $$"),
            };
        }
        script
    }
}

/// Writes the output of `command` to the file `path`, which appears only when it is complete.
fn whole(script: &mut String, command: &str, path: &Path) -> std::fmt::Result {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let beside = quoted(Path::new(&beside));
    writeln!(
        script,
        "{command} > {beside} && mv {beside} {}",
        quoted(path)
    )
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn quoted(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_survive_the_shell() {
        let program = Program::new([Step::Print("a'b $(x)".into()), Step::Exit(3)]);
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", &program.to_shell()])
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"a'b $(x)\n");
        assert_eq!(output.status.code(), Some(3));
    }
}
