//! The settings of the access point, as condor_config_val reads them: it asks no daemon.

use super::options::{Environment, HtcondorOptions};
use super::queue::Commands;
use crate::InvalidOption;

/// A setting; `None` if it is unset or unknown.
pub(super) async fn setting(commands: &Commands, name: &str) -> Option<String> {
    let output = commands.command("condor_config_val").argument(name).run();
    let output = output.await.ok().filter(|output| output.code == 0)?;
    let value = output.stdout.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The schedd that commands without `-name` speak to. It has the jobs that they submit, and no other
/// knows them.
pub(super) async fn name(commands: &Commands) -> Option<String> {
    if let Some(elsewhere) = setting(commands, "SCHEDD_HOST").await {
        return Some(elsewhere);
    }
    let host = setting(commands, "FULL_HOSTNAME").await?;
    let own = setting(commands, "SCHEDD_NAME").await;
    Some(match own.as_deref().map(|own| own.trim_end_matches('@')) {
        None | Some("") => host,
        Some(own) if own.contains('@') || own == host => own.to_owned(),
        Some(own) => format!("{own}@{host}"),
    })
}

/// Whether a value of SUBMIT_ALLOW_GETENV forbids to hand over the whole environment.
pub(super) fn forbids_environment(value: &str) -> bool {
    ["false", "f", "no", "0"].contains(&value.trim().to_ascii_lowercase().as_str())
}

/// Checks options against the settings of the access point. Blocks for a moment, and needs no pool.
///
/// # Errors
/// The first option that this access point does not take.
pub fn check_here(options: &HtcondorOptions) -> Result<(), InvalidOption> {
    if options.environment == Environment::Clean {
        return Ok(());
    }
    let name = "condor_config_val";
    let program = options.commands.as_ref().map(|them| them.join(name));
    let output = std::process::Command::new(program.unwrap_or_else(|| name.into()))
        .arg("SUBMIT_ALLOW_GETENV")
        .stdin(std::process::Stdio::null())
        .output();
    // Without an answer, condor_submit will say it.
    let value = output.ok().filter(|output| output.status.success());
    let value = value.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match value.filter(|value| forbids_environment(value)) {
        Some(_) => Err(InvalidOption::new("environment", FORBIDDEN)),
        None => Ok(()),
    }
}

/// Why an attempt can't have the environment of the main process.
const FORBIDDEN: &str = "this access point forbids jobs to take over the whole environment \
     (SUBMIT_ALLOW_GETENV = false): set environment = \"clean\", and name the variables that programs \
     need";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_false_value_forbids_the_environment() {
        for value in ["false", "False\n", "NO", "0"] {
            assert!(forbids_environment(value), "{value}");
        }
        for value in ["true", "", "$(X)", "1"] {
            assert!(!forbids_environment(value), "{value}");
        }
    }
}
