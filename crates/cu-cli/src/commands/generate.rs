//! `cu completions` and `cu man`: what shells and `man` want to know of the command line.

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::args::{Arguments, Man as ManArguments};
use crate::error::{Error, ExitCode, Result};
use crate::terminal;

/// Prints the completions for a shell: `script`, which asks `cu` for names, or one that knows commands and options
/// alone.
///
/// # Errors
/// If stdout can't be written.
pub fn completions(shell: Shell, script: Option<&str>) -> Result<ExitCode> {
    let mut text = Vec::new();
    match script {
        Some(script) => text.extend_from_slice(script.as_bytes()),
        None => generate(shell, &mut for_people(), "cu", &mut text),
    }
    let _ = terminal::bytes(&text)?;
    Ok(ExitCode::Done)
}

/// Prints the man page of `cu`, or writes those of all commands into a directory.
///
/// # Errors
/// If they can't be written.
pub fn man(arguments: &ManArguments) -> Result<ExitCode> {
    let Some(directory) = &arguments.directory else {
        let mut page = Vec::new();
        let rendered = Man::new(for_people()).render(&mut page);
        rendered.map_err(Error::internal("write a man page"))?;
        let _ = terminal::bytes(&page)?;
        return Ok(ExitCode::Done);
    };
    std::fs::create_dir_all(directory).map_err(Error::write("make", directory))?;
    let written = clap_mangen::generate_to(for_people(), directory);
    written.map_err(Error::write("write man pages into", directory))?;
    Ok(ExitCode::Done)
}

/// The command line without the commands that `cu` calls itself.
pub fn for_people() -> Command {
    let all = Arguments::command();
    let commands = all
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut cu = Command::new("cu")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments())
        .subcommands(commands.cloned());
    if let Some(about) = all.get_about() {
        cu = cu.about(about.clone());
    }
    if let Some(after) = all.get_after_long_help() {
        cu = cu.after_long_help(after.clone());
    }
    cu
}
