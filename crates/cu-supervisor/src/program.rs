//! The program: found, started in a process group of its own, signalled, and ended with all that
//! it started.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cu_protocol::{Attempt, JobId, ProgramEnd};
use cu_system::children::wait_if_ended;
use cu_system::machine::host;
use cu_system::script::Fault;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::activation::{activate, add_given};
use crate::event::Happening;
use crate::launch::Launch;
use crate::output_copies::is_for_us;
use crate::peak_memory::PeakMemory;
use crate::{Error, Result, RunDir};

/// A program that was started.
#[derive(Debug)]
pub(crate) struct Program {
    pid: Pid,
    peak_memory: PeakMemory,
}

/// What became of our children.
#[derive(Debug, Default)]
pub(crate) struct Reaped {
    /// How the program ended, if it has just done so.
    pub end: Option<ProgramEnd>,
    /// How another child ended, the last one if there are several.
    pub other: Option<ProgramEnd>,
    /// Whether no child is left, the program included.
    pub is_last: bool,
}

impl Program {
    /// Starts it, once its environment is activated. Nothing of what `happening` says then concerns the program.
    ///
    /// The program's name is looked up in PATH if it holds no slash; else it is relative to the
    /// working directory. The arguments are passed byte for byte.
    ///
    /// # Errors
    /// [`Error::Program`] or [`Error::Activation`], which say what was tried and why it failed; [`Error::File`] if another
    /// machine, or this one later, may well start it.
    pub fn start(
        launch: &Launch,
        run: &RunDir,
        (job, attempt): (JobId, Attempt),
        socket: &Path,
        happening: &Happening,
    ) -> Result<Self> {
        launch.make_directory()?;
        let working_directory = &launch.working_directory;
        let empty = || Error::Program("the command is empty".to_owned());
        let (name, arguments) = launch.command.split_first().ok_or_else(empty)?;
        let stdin = launch.open_stdin()?;
        let ours = [
            ("CU_JOB_ID", job.to_string().into()),
            ("CU_ATTEMPT", attempt.to_string().into()),
            ("CU_RUN_DIR", run.path().into()),
            ("CU_OUTPUT_DIR", run.output_dir(job).into()),
            ("CU_SETTINGS", run.settings(job).into()),
            ("CU_SOCKET", socket.into()),
            ("CU_STOP_FILE", run.stop_file(job, attempt).into()),
        ]
        .map(|(name, value): (&str, OsString)| (OsString::from(name), value));
        let variables = inherited(launch).chain(ours.clone()).collect();
        let activation = &launch.activation;
        let (mut variables, peak_memory) =
            activate(activation, variables, working_directory, happening)?;
        add_given(&mut variables, &launch.environment);
        variables.extend(ours);
        let path = variables.get(OsStr::new("PATH"));
        let path = path.map(OsString::as_os_str).unwrap_or_default();
        let program = resolve(name, path, working_directory)?;
        let stderr = match launch.output.in_one {
            true => io::stdout().into(),
            false => Stdio::inherit(),
        };
        let mut command = Command::new(&program);
        // An absolute path, a process group, no `pre_exec`: this is what the standard library can do
        // by `posix_spawn`, which costs the same however large we are.
        command
            .arg0(name)
            .args(arguments)
            .stdin(stdin.map_or_else(Stdio::inherit, Stdio::from))
            .stderr(stderr)
            .current_dir(working_directory)
            .env_clear()
            .envs(&variables)
            .process_group(0);
        let child = command.spawn().map_err(|error| {
            if is_asked_for(&error) {
                return Error::Program(why_not_started(&program, working_directory, &error));
            }
            Error::file("start", &program)(error)
        })?;
        // The child is waited for by number, together with whatever it leaves behind.
        Ok(Self {
            pid: Pid::from_child(&child),
            peak_memory,
        })
    }

    /// Its number, also that of its process group.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to its process group. Nobody there is fine.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.pid, signal);
    }

    /// This process takes its place: the program has only started it.
    pub fn hand_over(&mut self, pid: u32) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            self.pid = pid;
        }
    }

    /// How much memory it and what it left to us has needed, as far as it has ended.
    pub fn peak_memory(&self) -> PeakMemory {
        self.peak_memory
    }

    /// Takes note of all children that have ended: the program, and orphans it left to us.
    pub fn reap(&mut self) -> Reaped {
        let mut reaped = Reaped::default();
        loop {
            match wait_if_ended(None) {
                Ok(Some(ended)) => {
                    self.peak_memory.include(&ended);
                    let end = match (ended.status.code(), ended.status.signal()) {
                        (Some(code), _) => Some(ProgramEnd::Exited(code)),
                        (None, Some(signal)) => Some(ProgramEnd::Signaled(signal)),
                        (None, None) => None,
                    };
                    match ended.pid == self.pid() {
                        true => reaped.end = end,
                        false => reaped.other = end,
                    }
                }
                Ok(None) => return reaped,
                // If it is another error, nobody knows; it is asked again.
                Err(error) => {
                    reaped.is_last = Errno::from_io_error(&error) == Some(Errno::CHILD);
                    return reaped;
                }
            }
        }
    }
}

/// Our own variables with those that the job adds, before anything is activated.
fn inherited(launch: &Launch) -> impl Iterator<Item = (OsString, OsString)> {
    // A Python that is killed loses what it has printed and not written yet, so it writes at once, unless
    // the user has set this.
    let unbuffered = [("PYTHONUNBUFFERED".into(), "1".into())].into_iter();
    let given = launch.environment.iter();
    let given = given.map(|(name, value)| (name.into(), value.into()));
    let ours = std::env::vars_os();
    let ours = ours.filter(|(name, _)| !name.to_str().is_some_and(is_for_us));
    unbuffered.chain(ours).chain(given)
}

/// The program's absolute path.
fn resolve(name: &str, path: &OsStr, working_directory: &Path) -> Result<PathBuf> {
    if name.is_empty() {
        let text = "the command's first word is empty; it must name a program";
        return Err(Error::Program(text.to_owned()));
    }
    if name.contains('/') {
        // Without the `.` of `./train.sh`, so that errors name what people know.
        return Ok(working_directory.join(name).components().collect());
    }
    let mut unknown = None;
    for directory in std::env::split_paths(path) {
        // As in a shell, an empty entry is the working directory.
        let candidate = working_directory.join(directory).join(name);
        match candidate.metadata() {
            Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => {
                return Ok(candidate);
            }
            Err(error) if !is_asked_for(&error) => {
                unknown.get_or_insert(Error::file("look for", &candidate)(error));
            }
            _ => {}
        }
    }
    Err(unknown.unwrap_or_else(|| {
        let path = String::from_utf8_lossy(path.as_bytes());
        Error::Program(format!("there is no program `{name}` in any directory of PATH ({path}); give its path, or set PATH in the job's environment"))
    }))
}

/// Whether an error comes of what was asked for, so that it would come again: and not of a machine
/// or file system that is in trouble now.
fn is_asked_for(error: &std::io::Error) -> bool {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw_os_error) else {
        // The standard library's own: a NUL byte in an argument.
        return true;
    };
    matches!(
        errno,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NOEXEC
            | Errno::LIBBAD
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::TOOBIG
            | Errno::INVAL
    )
}

fn why_not_started(program: &Path, directory: &Path, error: &std::io::Error) -> String {
    if !directory.is_dir() {
        let (program, shown, host) = (program.display(), directory.display(), host());
        return format!(
            "{program} was not started: its working directory {shown} does not exist on {host}; make \
             it, or name one that every machine of the job sees (working_directory)"
        );
    }
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    // What may not be executed says so first, whatever its first line is.
    if errno != Some(Errno::ACCESS)
        && let Some(fault) = Fault::of(program)
    {
        return fault.to_string();
    }
    let (program, shown) = (program.display(), directory.display());
    let hint = match errno {
        Some(Errno::NOEXEC) => "; it may have been built for another kind of machine",
        Some(Errno::ACCESS) => "; run `chmod +x` on it, or name its interpreter first",
        Some(Errno::NOENT) => "; it does not exist on this machine",
        _ => "",
    };
    format!("{program} was not started in {shown}: {error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_searched_in_path_and_paths_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let here = scratch.path();
        let tool = here.join("bin/tool");
        std::fs::create_dir(here.join("bin")).unwrap();
        std::fs::write(&tool, "").unwrap();
        let path = OsString::from("/nowhere:bin");
        let error = resolve("tool", &path, here).unwrap_err().to_string();
        assert!(error.contains("/nowhere:bin"), "{error}");
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(resolve("tool", &path, here).unwrap(), tool);
        let plain = resolve("./bin/tool", &path, here).unwrap();
        assert_eq!(plain.as_os_str(), tool.as_os_str());
        assert_eq!(resolve("/bin/x", &path, here).unwrap(), Path::new("/bin/x"));
        assert!(resolve("", &path, here).is_err());
    }

    #[test]
    fn a_machine_in_trouble_is_told_from_a_wrong_command() {
        let error = |errno: Errno| std::io::Error::from(errno);
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC, Errno::TOOBIG] {
            assert!(is_asked_for(&error(errno)), "{errno}");
        }
        for errno in [
            Errno::AGAIN,
            Errno::NOMEM,
            Errno::MFILE,
            Errno::NFILE,
            Errno::IO,
        ] {
            assert!(!is_asked_for(&error(errno)), "{errno}");
        }
        for errno in [Errno::STALE, Errno::TXTBSY, Errno::TIMEDOUT, Errno::NOSPC] {
            assert!(!is_asked_for(&error(errno)), "{errno}");
        }
        let nul = Command::new("a\0b").spawn().unwrap_err();
        assert!(is_asked_for(&nul));
    }
}
