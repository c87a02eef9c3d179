//! Remembers which variables `cu run` had, since its programs inherit them, and reports how those of `cu resume`
//! differ. What is kept are digests, not values: variables hold tokens and passwords.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

use blake2::{Blake2s256, Digest};
use cu_core::RunDir;
use cu_system::causes::in_one_line;
use cu_system::files;
use serde::{Deserialize, Serialize};

use crate::config::{File, Source};
use crate::error::{Error, Result};

const VERSION: u32 = 1;

/// The longest file that is read. The kernel gives a process at most 6 MiB of variables and arguments.
const MOST_BYTES: u64 = 16 << 20;

/// These decide which programs and libraries are found, so that it counts if they are new, too.
const FOUND_BY: [&str; 9] = [
    "CONDA_PREFIX",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LOADEDMODULES",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "R_LIBS",
    "VIRTUAL_ENV",
];

/// What an activation sets by itself.
const ACTIVATED: [&str; 6] = [
    "CONDA_*",
    "LOADEDMODULES",
    "PATH",
    "PS1",
    "VIRTUAL_ENV*",
    "_LMFILES_",
];

/// Variables of a session, which no program's result depends on. `*` stands for any end.
#[rustfmt::skip]
const OF_A_SESSION: [&str; 50] = [
    "_", "BASH_FUNC_*", "BROWSER", "COLORTERM", "COLUMNS", "CU_*", "DBUS_*", "DESKTOP_*", "DISPLAY",
    "EDITOR", "GDM*", "GNOME_*", "GPG_*", "GTK_*", "HIST*", "HOSTNAME", "INVOCATION_ID", "ITERM_*",
    "JOURNAL_STREAM", "KDE_*", "KONSOLE_*", "KRB5CCNAME", "LC_TERMINAL*", "LESS*", "LINES", "LS_COLORS", "MAIL",
    "NOTIFY_SOCKET", "OLDPWD", "PAGER", "PROMPT*", "PS1", "PWD", "QT_*", "SESSION_MANAGER", "SHLVL", "SLURM_*",
    "SSH_*", "STY", "SUDO_*", "SYSTEMD_*", "TERM*", "TMUX*", "VISUAL", "VSCODE_*", "VTE_*", "WAYLAND_*",
    "WINDOW*", "XAUTHORITY", "XDG_*",
];

/// `environment.json`, which only this user may read.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// A digest of the value of each.
    variables: BTreeMap<String, String>,
}

impl Kept {
    fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let digest = digest(&name, &value);
            (!is_like(&name, &OF_A_SESSION)).then_some((name, digest))
        });
        Self {
            version: VERSION,
            variables: named.collect(),
        }
    }
}

/// Keeps digests of the variables of this process.
///
/// # Errors
/// If the file can't be written.
pub fn keep(run: &RunDir) -> Result<()> {
    let text = serde_json::to_vec(&Kept::of(std::env::vars_os()));
    let text = text.map_err(Error::internal("write the variables as JSON"))?;
    Ok(cu_run_dir::replace(&run.environment(), &text).map_err(cu_core::Error::from)?)
}

/// A warning, if programs that this process starts for `run` find other variables than those that `cu run`
/// started. A run of an earlier version has kept nothing, and gets none.
pub fn warning(run: &RunDir) -> Option<String> {
    // The error about a config that can't be read comes when the backend is opened.
    let config = Source::read_own(&run.config())
        .and_then(Source::parse)
        .ok()?;
    if !config.file.backend.inherits() {
        return None;
    }
    let path = run.environment();
    let kept = files::read_own(&path, MOST_BYTES).and_then(|text| {
        let kept: Kept = serde_json::from_slice(&text)?;
        match kept.version {
            VERSION => Ok(kept),
            other => Err(std::io::Error::other(format!("version {other} is unknown"))),
        }
    });
    match kept {
        Ok(kept) => differences(&kept, &Kept::of(std::env::vars_os()), &config.file),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(format!(
            "whether this shell has the variables of `cu run` is not known: can't read {}: {}",
            path.display(),
            in_one_line(&error)
        )),
    }
}

/// What differs that matters, in words.
fn differences(before: &Kept, now: &Kept, config: &File) -> Option<String> {
    let backend = &config.backend;
    let is_set = |name: &str| {
        config.environment.0.contains_key(name)
            || (backend.changes_path() && is_like(name, &ACTIVATED))
    };
    let counts = |name: &&String| !is_set(name);
    let (before, now) = (&before.variables, &now.variables);
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    for name in before.keys().filter(counts) {
        match now.get(name) {
            None => gone.push(name.as_str()),
            Some(value) if Some(value) != before.get(name) => changed.push(name.as_str()),
            Some(_) => {}
        }
    }
    let is_new = |name: &&String| !before.contains_key(*name) && is_like(name, &FOUND_BY);
    let new: Vec<_> = now
        .keys()
        .filter(counts)
        .filter(is_new)
        .map(String::as_str)
        .collect();
    let parts = [
        ("changed", changed),
        ("not set any more", gone),
        ("new", new),
    ];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<_> = parts
        .map(|(what, names)| format!("{what}: {}", list(&names)))
        .collect();
    (!parts.is_empty()).then(|| {
        format!(
            "this shell has other variables than `cu run` had, and the next attempts get them ({}). If they \
             need the first ones, end this with Ctrl-C, and type `cu resume` in a shell like the first. \
             [environment] and backend.activate in a config make later runs independent of the shell",
            parts.join("; ")
        )
    })
}

/// The names that decide most come first.
fn list(names: &[&str]) -> String {
    const MOST: usize = 8;
    let mut names = names.to_vec();
    names.sort_by_key(|name| !is_like(name, &FOUND_BY));
    match names.len().checked_sub(MOST).filter(|more| *more > 0) {
        None => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MOST].join(", ")),
    }
}

fn is_like(name: &str, patterns: &[&str]) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            None => name == *pattern,
        })
}

/// 128 bits, which no other value will have by chance. The name keeps equal values from looking alike.
fn digest(name: &str, value: &OsStr) -> String {
    let text = [name.as_bytes(), b"=", value.as_bytes()].concat();
    let digest = Blake2s256::digest(text);
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::tests::parsed;

    fn kept(given: &[(&str, &str)]) -> Kept {
        Kept::of(
            given
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        )
    }

    fn told(before: &[(&str, &str)], now: &[(&str, &str)], config: &str) -> Option<String> {
        let config = parsed(config, &[]).expect("a config");
        differences(&kept(before), &kept(now), &config.file)
    }

    const BEFORE: [(&str, &str); 4] = [
        ("PATH", "/venv/bin:/bin"),
        ("LR", "0.5"),
        ("TOKEN", "secret"),
        ("TERM", "xterm"),
    ];

    #[test]
    fn changed_variables_are_named_and_no_value_is() {
        let now = [
            ("PATH", "/bin"),
            ("TOKEN", "other"),
            ("PYTHONPATH", "/x"),
            ("NEW", "1"),
        ];
        let text = told(&BEFORE, &now, "").expect("a warning");
        let parts = "(changed: PATH, TOKEN; not set any more: LR; new: PYTHONPATH)";
        assert!(text.contains(parts), "{text}");
        let file = serde_json::to_string(&kept(&BEFORE)).expect("JSON");
        assert!(!file.contains("secret") && !file.contains("0.5"), "{file}");
    }

    #[test]
    fn a_session_and_what_the_config_sets_may_differ() {
        let now = [
            ("PATH", "/venv/bin:/bin"),
            ("LR", "0.5"),
            ("TOKEN", "secret"),
            ("SSH_TTY", "1"),
        ];
        assert_eq!(told(&BEFORE, &now, ""), None);
        let now = [("PATH", "/bin")];
        let config = "[environment]\nLR = \"0.5\"\nTOKEN = \"\"\n[backend]\nactivate = \"/venv/bin/activate\"\n";
        assert_eq!(told(&BEFORE, &now, config), None);
    }

    #[test]
    fn of_many_names_those_of_programs_come_first() {
        let names: Vec<String> = (0..20).map(|number| format!("A{number}")).collect();
        let mut before: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        before.push(("VIRTUAL_ENV", "/venv"));
        let text = told(&before, &[], "").expect("a warning");
        assert!(
            text.contains("not set any more: VIRTUAL_ENV, A0, "),
            "{text}"
        );
        assert!(text.contains(" and 13 more)"), "{text}");
    }
}
