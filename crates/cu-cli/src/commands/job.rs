//! `cu job …`: the commands for a job's shell script. Scripts call them in loops, so this reads its
//! words by hand and starts nothing else.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use cu_client::shell::{MARGIN, ShellJob};

use cu_system::causes::in_one_line;

use crate::config::parse_time;
use crate::terminal::{bytes, data, say};

/// A yes, or done.
const YES: u8 = 0;
/// A no: not now, or nothing there.
const NO: u8 = 1;
/// Bad usage, or it could not be done.
const FAILED: u8 = 2;

/// Where the help says in each line what a command does.
const ABOUT: usize = 27;

/// What `--help` prints.
pub const HELP: &str = "\
Commands for a job's shell script. Outside a run they work too, and report to nobody.

usage: cu job COMMAND

  started                    print which job and attempt this is, and its checkpoint
  progress FRACTION          report how much of the whole job is done, from 0 to 1
  metrics NAME=VALUE...      report metrics before the end
  should-exit [--margin TIME]
                             exit with 0 if it is time to save and exit for resume, else with 1;
                             0 at the latest TIME (default 60s) before the time limit
  checkpoint save PATH       save a file or a directory as a checkpoint
  checkpoint load PATH       put the newest intact checkpoint at PATH; 1 if there is none
  checkpoint path            print the path of the newest directory checkpoint; 1 if there is none
  settings get KEY [DEFAULT] print one setting, by its dotted name; DEFAULT if there is none
  exit-for-resume            ask to be resumed; exits with 3, for `exec cu job exit-for-resume`
  finish [NAME=VALUE...]     write and report the results: the job is done

exit codes: 0 done or yes, 1 no or nothing there, 2 bad usage or failed, 3 exit-for-resume

  cu job checkpoint load state || echo 0 > state
  while [ \"$(cat state)\" -lt 1000 ]; do
      ./one_step state
      if cu job should-exit; then
          cu job checkpoint save state
          exec cu job exit-for-resume
      fi
  done
  cu job finish steps=\"$(cat state)\"";

/// The commands, each with what it does, for completions.
pub fn commands() -> Vec<(&'static str, &'static str)> {
    let mut commands: Vec<(&str, &str)> = Vec::new();
    let lines = HELP
        .lines()
        .take_while(|line| !line.starts_with("exit codes"));
    for line in lines.filter_map(|line| line.strip_prefix("  ")) {
        let name = line.split(' ').next().unwrap_or_default();
        let is_known = commands.iter().any(|(known, _)| *known == name);
        if !name.is_empty() && !is_known {
            commands.push((name, line.get(ABOUT..).unwrap_or_default()));
        }
    }
    commands
}

/// A request of a script.
#[derive(Debug, PartialEq)]
enum Request<'a> {
    Help,
    Started,
    Progress(f64),
    Metrics(Vec<&'a str>),
    ShouldExit(Duration),
    SaveCheckpoint(&'a Path),
    LoadCheckpoint(&'a Path),
    CheckpointPath,
    Setting(&'a str, Option<&'a str>),
    ExitForResume,
    Finish(Vec<&'a str>),
}

/// Carries out the request. Returns the exit code.
pub fn job(words: &[OsString]) -> u8 {
    let Some(request) = parse(words) else {
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let wrong = match words.is_empty() {
            true => "a command is missing".to_owned(),
            false => not_understood(&words),
        };
        say(&format!(
            "cu job: {wrong}; `cu job --help` lists the commands"
        ));
        return FAILED;
    };
    answer(request).unwrap_or_else(|text| {
        say(&format!("cu job: {text}"));
        FAILED
    })
}

/// What is wrong with these words: with all of them, or with those after a command.
fn not_understood(words: &[std::borrow::Cow<'_, str>]) -> String {
    let given = words.join(" ");
    let of_command = |line: &&str| line.split_whitespace().next() == Some(words[0].as_ref());
    let usages = HELP.lines().filter(|line| line.starts_with("  "));
    let usages = usages
        .filter(|line| !line.contains("cu job"))
        .filter(of_command);
    let usages = usages.map(|line| {
        let usage = line.trim_start().split("  ").next().unwrap_or_default();
        format!("`cu job {}`", usage.trim_end())
    });
    let usages: Vec<_> = usages.collect();
    match usages.is_empty() {
        true => format!("`{given}` is not a command"),
        false => format!(
            "`{given}` is not understood: write {}",
            usages.join(", or ")
        ),
    }
}

fn parse(words: &[OsString]) -> Option<Request<'_>> {
    let (command, rest) = words.split_first()?;
    let texts = || {
        rest.iter()
            .map(|word| word.to_str())
            .collect::<Option<Vec<_>>>()
    };
    Some(match (command.to_str()?, rest) {
        ("--help" | "-h" | "help", []) => Request::Help,
        (_, [option]) if option == "--help" || option == "-h" => Request::Help,
        ("started", []) => Request::Started,
        ("progress", [fraction]) => Request::Progress(fraction.to_str()?.trim().parse().ok()?),
        ("metrics", [_, ..]) => Request::Metrics(texts()?),
        ("finish", _) => Request::Finish(texts()?),
        ("should-exit", []) => Request::ShouldExit(MARGIN),
        ("should-exit", [option, margin]) if option == "--margin" => {
            Request::ShouldExit(parse_time(margin.to_str()?).ok()?)
        }
        ("checkpoint", [verb, path]) if verb == "save" => Request::SaveCheckpoint(Path::new(path)),
        ("checkpoint", [verb, path]) if verb == "load" => Request::LoadCheckpoint(Path::new(path)),
        ("checkpoint", [verb]) if verb == "path" => Request::CheckpointPath,
        ("settings", [verb, key]) if verb == "get" => Request::Setting(key.to_str()?, None),
        ("settings", [verb, key, otherwise]) if verb == "get" => {
            Request::Setting(key.to_str()?, Some(otherwise.to_str()?))
        }
        ("exit-for-resume", []) => Request::ExitForResume,
        _ => return None,
    })
}

fn answer(request: Request<'_>) -> Result<u8, String> {
    if request == Request::Help {
        return data(HELP).map(|()| YES).map_err(in_full);
    }
    let mut job = ShellJob::open().map_err(in_full)?;
    // Programs read it: byte for byte.
    let print = |text: &str| {
        bytes(format!("{text}\n").as_bytes())
            .map(drop)
            .map_err(in_full)
    };
    match request {
        Request::Help => {}
        Request::Started => {
            let start = job.started().map_err(in_full)?;
            let number = start
                .job
                .map(|job| format!("job {job}, "))
                .unwrap_or_default();
            let from = match start.checkpoint {
                Some(generation) => format!("from checkpoint {generation}"),
                None => "from the beginning".to_owned(),
            };
            print(&format!("{number}attempt {}, {from}", start.attempt))?;
        }
        // As in Python: a wrong number in a report ends no work.
        Request::Progress(fraction) if fraction.is_nan() => {
            say("cu job: this progress is not a number, and is ignored");
        }
        Request::Progress(fraction) => {
            job.progress(fraction.clamp(0.0, 1.0)).map_err(in_full)?;
        }
        Request::Metrics(words) => job.metrics(&words).map_err(in_full)?,
        Request::Finish(words) => job.finish(&words).map_err(in_full)?,
        Request::ShouldExit(margin) => match job.should_exit(margin) {
            Some(cause) => say(&format!("cu job: {cause}")),
            None => return Ok(NO),
        },
        Request::SaveCheckpoint(path) => {
            job.save_checkpoint(path).map_err(in_full)?;
        }
        Request::LoadCheckpoint(path) => {
            if job.load_checkpoint(path).map_err(in_full)?.is_none() {
                return Ok(NO);
            }
        }
        Request::CheckpointPath => match job.checkpoint_path().map_err(in_full)? {
            Some(path) => print(&path.display().to_string())?,
            None => return Ok(NO),
        },
        Request::Setting(key, otherwise) => {
            let setting = match otherwise {
                Some(otherwise) => job.setting_or(key, otherwise),
                None => job.setting(key),
            };
            print(&setting.map_err(in_full)?)?;
        }
        Request::ExitForResume => {
            let code = job.exit_for_resume();
            return u8::try_from(code).map_err(|_| format!("{code} is not an exit code"));
        }
    }
    Ok(YES)
}

fn in_full(error: impl std::error::Error) -> String {
    in_one_line(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Option<String> {
        let words: Vec<_> = words.split_whitespace().map(OsString::from).collect();
        parse(&words).map(|request| format!("{request:?}"))
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        for (words, expected) in [
            ("--help", "Help"),
            ("should-exit --help", "Help"),
            ("started", "Started"),
            ("progress 0.25", "Progress(0.25)"),
            ("metrics a=1 b=2", "Metrics([\"a=1\", \"b=2\"])"),
            ("should-exit", "ShouldExit(60s)"),
            ("should-exit --margin 2min", "ShouldExit(120s)"),
            ("checkpoint save state", "SaveCheckpoint(\"state\")"),
            ("checkpoint load state", "LoadCheckpoint(\"state\")"),
            ("checkpoint path", "CheckpointPath"),
            ("settings get a.b", "Setting(\"a.b\", None)"),
            ("settings get a.b 7", "Setting(\"a.b\", Some(\"7\"))"),
            ("exit-for-resume", "ExitForResume"),
            ("finish", "Finish([])"),
            ("finish a=1", "Finish([\"a=1\"])"),
        ] {
            assert_eq!(parsed(words).as_deref(), Some(expected), "{words}");
        }
    }

    #[test]
    fn a_wrong_argument_is_told_with_the_usage() {
        let told = |words: &str| {
            let words: Vec<_> = words.split(' ').map(std::borrow::Cow::from).collect();
            not_understood(&words)
        };
        for (words, expected) in [
            (
                "progress 0,5",
                "`progress 0,5` is not understood: write `cu job progress FRACTION`",
            ),
            (
                "should-exit 60",
                "`should-exit 60` is not understood: write `cu job should-exit [--margin TIME]`",
            ),
            ("resume", "`resume` is not a command"),
            ("cu job", "`cu job` is not a command"),
        ] {
            assert_eq!(told(words), expected);
        }
        assert_eq!(told("checkpoint").matches("`cu job checkpoint").count(), 3);
    }

    #[test]
    fn anything_else_is_refused() {
        for words in [
            "",
            "start",
            "started now",
            "progress",
            "progress half",
            "metrics",
            "should-exit 60",
            "should-exit --margin soon",
            "should-exit --margin 101years",
            "checkpoint",
            "checkpoint save",
            "checkpoint path here",
            "settings",
            "exit-for-resume 4",
        ] {
            assert_eq!(parsed(words), None, "{words}");
        }
    }
}
