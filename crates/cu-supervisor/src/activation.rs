//! Runs a shell before the program starts, which loads modules and sources a script, and takes over the
//! variables that are there then. The program itself is not started by a shell, and nothing is pasted into
//! the shell's text: it gets names and paths as arguments.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cu_run_dir::Activation;
use cu_system::children::{EndedChild, wait_if_ended};
use cu_system::machine::host;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::event::{Event, Happening};
use crate::peak_memory::PeakMemory;
use crate::{Error, Result};

/// The variables of a process.
pub(crate) type Variables = BTreeMap<OsString, OsString>;

const SCRIPT: &str = include_str!("activation.sh");

/// These tell of the shell itself, which is gone when the program starts.
const SHELLS_OWN: [&str; 4] = ["_", "OLDPWD", "PWD", "SHLVL"];

/// How often we look whether the shell has ended, should its signal be lost.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How far the shell has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begun,
    NoModuleCommand,
    Modules,
    Script,
    Variables,
}

/// The variables that the program gets: those that a shell with `variables` has in `directory` once it has
/// done what `activation` says; and what that has needed. Waits for that shell, for as long as nobody asks to stop.
///
/// # Errors
/// [`Error::Activation`] if a step fails; [`Error::File`] or [`Error::System`] if this machine lacks something, or
/// a signal asks to stop.
pub(crate) fn activate(
    activation: &Activation,
    variables: Variables,
    directory: &Path,
    happening: &Happening,
) -> Result<(Variables, PeakMemory)> {
    if activation.is_empty() {
        return Ok((variables, PeakMemory::default()));
    }
    if let Some(script) = &activation.script {
        // What the submitting machine has found, and this one does not see, another one may.
        File::open(script).map_err(Error::file("read the file to activate", script))?;
    }
    // No pipe: what the script leaves running would keep that open.
    let report = memfd_create("activation", MemfdFlags::empty());
    let report = report.map_err(|errno| Error::system("make a file in memory")(errno.into()))?;
    let mut report = File::from(report);
    let mut command = Command::new("bash");
    if !activation.modules.is_empty() {
        // Modules are defined at login.
        command.arg("-l");
    }
    let script = activation.script.as_deref().unwrap_or(Path::new(""));
    command
        .args(["-c", SCRIPT, "bash"])
        .arg(report.as_raw_fd().to_string())
        .arg(script)
        .args(&activation.modules)
        .env_clear()
        .envs(&variables)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .process_group(0);
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if directory.is_dir() => Error::Activation(format!(
            "there is no bash in any directory of PATH on {}, which activate and modules need",
            host()
        )),
        _ => Error::system("start bash for activate and modules")(error),
    })?;
    let ended = wait_for(child, happening)?;
    let status = ended.status;
    let mut peak_memory = PeakMemory::default();
    peak_memory.include(&ended);
    let mut text = Vec::new();
    let read = report.rewind().and_then(|()| report.read_to_end(&mut text));
    read.map_err(Error::system(
        "read the variables after activate and modules",
    ))?;
    match parse(&text) {
        (Step::Variables, found) if status.success() => {
            Ok((as_programs(found, &variables), peak_memory))
        }
        (step, _) => Err(Error::Activation(why(step, status, activation))),
    }
}

/// Waits until the shell has ended; ends it if somebody asks to stop.
fn wait_for(mut child: Child, happening: &Happening) -> Result<EndedChild> {
    const WHAT: &str = "wait until activate and modules are done";
    loop {
        let ended = wait_if_ended(Some(child.id())).map_err(Error::system(WHAT))?;
        if let Some(ended) = ended {
            return Ok(ended);
        }
        // The program's own events come later: it has not begun.
        if let Some(Event::StopSignal(signal)) = happening.within(LOOK_EVERY) {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
            let text = format!("signal {} asked to stop", signal.as_raw());
            return Err(Error::system(WHAT)(io::Error::other(text)));
        }
    }
}

/// How far the shell came, and its variables.
fn parse(report: &[u8]) -> (Step, Variables) {
    let mut step = Step::Begun;
    let mut words = report.split(|byte| *byte == 0);
    for word in words.by_ref() {
        step = match word {
            b"no module command" => Step::NoModuleCommand,
            b"modules" => Step::Modules,
            b"script" => Step::Script,
            b"variables" => Step::Variables,
            _ => break,
        };
        if step == Step::Variables {
            break;
        }
    }
    let pair = |word: &[u8]| {
        let at = word.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (
            OsStr::from_bytes(&word[..at]),
            OsStr::from_bytes(&word[at + 1..]),
        );
        (at > 0).then(|| (name.to_owned(), value.to_owned()))
    };
    (step, words.filter_map(pair).collect())
}

/// The shell's variables without what it says of itself.
fn as_programs(mut found: Variables, before: &Variables) -> Variables {
    for name in SHELLS_OWN.map(OsStr::new) {
        found.remove(name);
        found.extend(
            before
                .get_key_value(name)
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    found
}

/// Adds variables that the user has given. One that is there already and contains the given value as an
/// entry of a list, as PATH does after an activation, stays.
pub(crate) fn add_given<'a>(
    variables: &mut Variables,
    given: impl IntoIterator<Item = (&'a String, &'a String)>,
) {
    for (name, value) in given {
        let found = variables.get(OsStr::new(name));
        let found = found.map(|found| format!(":{}:", found.to_string_lossy()));
        if !found.is_some_and(|found| found.contains(&format!(":{value}:"))) {
            variables.insert(name.into(), value.into());
        }
    }
}

fn why(step: Step, status: ExitStatus, activation: &Activation) -> String {
    let host = host();
    let ended = match (status.code(), status.signal()) {
        (Some(0), _) => "ended the shell".to_owned(),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    };
    let hint = "its message is in the attempt's standard error (`cu logs`)";
    let modules = activation.modules.join(" ");
    let script = activation.script.as_deref().unwrap_or(Path::new(""));
    match step {
        Step::NoModuleCommand => format!(
            "there is no command `module` on {host}, not even in a login shell; take backend.modules out, or \
             choose machines that have it"
        ),
        Step::Begun => format!(
            "the login shell on {host} {ended} before it came to backend.modules; look at what \
             ~/.bash_profile and ~/.profile do"
        ),
        Step::Modules => format!("`module load {modules}` {ended} on {host}; {hint}"),
        Step::Script => format!(
            "the script {} (backend.activate) {ended} on {host}; {hint}",
            script.display()
        ),
        Step::Variables => {
            format!("/usr/bin/env {ended} on {host} after activate and modules; {hint}")
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn variables(given: &[(&str, &str)]) -> Variables {
        let owned = |(name, value): &(&str, &str)| (name.into(), value.into());
        given.iter().map(owned).collect()
    }

    /// What a program finds after this script and these modules.
    fn activated(text: &str, modules: &[&str]) -> Result<Variables> {
        let scratch = tempfile::tempdir().unwrap();
        let script = scratch.path().join("it's $(touch F) activate");
        std::fs::write(&script, text).unwrap();
        let activation = Activation {
            modules: modules.iter().map(|&name| name.to_owned()).collect(),
            script: Some(script),
        };
        let home = scratch.path().to_str().unwrap();
        let profile = "module() { [ \"$1\" = load ] && shift && export LOADED=\"$*\" && [ \"$1\" != no ]; }\n";
        if modules.first() != Some(&"absent") {
            std::fs::write(scratch.path().join(".bash_profile"), profile).unwrap();
        }
        let before = variables(&[
            ("PATH", "/usr/bin:/bin"),
            ("HOME", home),
            ("SHLVL", "7"),
            ("A", "1\n2="),
        ]);
        let happening = Happening::new();
        let found = activate(&activation, before, scratch.path(), &happening);
        let found = found.map(|(found, _)| found);
        assert!(!scratch.path().join("F").exists(), "a path was executed");
        found
    }

    #[test]
    fn exported_variables_arrive_and_nothing_of_the_shell() {
        let found = activated(
            "export PATH=\"/venv/bin:$PATH\" B=$'x\\ny' ARGUMENTS=\"$*\"; C=c; unset D; cd /; echo said",
            &[],
        );
        let mut found = found.unwrap();
        assert!(found.remove(OsStr::new("HOME")).is_some());
        let expected = [
            ("PATH", "/venv/bin:/usr/bin:/bin"),
            ("SHLVL", "7"),
            ("A", "1\n2="),
            ("B", "x\ny"),
            ("ARGUMENTS", ""),
        ];
        assert_eq!(found, variables(&expected));
    }

    #[test]
    fn modules_are_loaded_first_and_are_no_arguments_of_the_script() {
        let found = activated("export SEEN=\"$LOADED|$*\"", &["gcc", "a b;c"]).unwrap();
        assert_eq!(found[OsStr::new("SEEN")], "gcc a b;c|");
    }

    #[test]
    fn each_step_that_fails_is_named() {
        for (script, modules, words) in [
            ("exit 0", &[][..], "(backend.activate) ended the shell"),
            ("exec true", &[], "(backend.activate) ended the shell"),
            (
                "return 3",
                &[],
                "(backend.activate) failed with exit code 3",
            ),
            ("kill -9 $$", &[], "was killed by signal 9"),
            (
                "",
                &["no", "b"],
                "`module load no b` failed with exit code 1",
            ),
            ("", &["absent"], "no command `module`"),
        ] {
            match activated(script, modules) {
                Err(Error::Activation(text)) => assert!(text.contains(words), "{text}"),
                other => panic!("{script}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_script_that_only_this_machine_lacks_fails_no_job() {
        let activation = Activation {
            modules: Vec::new(),
            script: Some("/nowhere/activate".into()),
        };
        let happening = Happening::new();
        let found = activate(&activation, Variables::new(), Path::new("/"), &happening);
        assert!(matches!(found, Err(Error::File { .. })), "{found:?}");
    }

    #[test]
    fn a_script_that_hangs_ends_when_somebody_asks_to_stop() {
        let scratch = tempfile::tempdir().unwrap();
        let script = scratch.path().join("activate");
        std::fs::write(&script, "sleep 1000").unwrap();
        let activation = Activation {
            modules: Vec::new(),
            script: Some(script),
        };
        let happening = Happening::new();
        happening.happens(Event::ChildEnded);
        happening.happens(Event::StopSignal(Signal::TERM));
        let before = variables(&[("PATH", "/usr/bin:/bin")]);
        let found = activate(&activation, before, scratch.path(), &happening);
        assert!(matches!(found, Err(Error::System { .. })), "{found:?}");
    }

    #[test]
    fn a_given_variable_stays_unless_the_script_has_added_to_it() {
        let mut found = variables(&[("PATH", "/venv/bin:/given"), ("N", "16")]);
        let given = [("PATH", "/given"), ("N", "1"), ("X", "x")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        add_given(&mut found, given.iter().map(|(name, value)| (name, value)));
        let expected = [("PATH", "/venv/bin:/given"), ("N", "1"), ("X", "x")];
        assert_eq!(found, variables(&expected));
    }
}
