//! Chooses the backend of a run: the one that its config names, else the first whose commands are here,
//! else this machine.

use std::path::{Path, PathBuf};

use super::built::built;
use super::kind::Kind;
use crate::config::{self, Error, File, Override, Parsed};

/// A backend with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub kind: Kind,
    /// Why, for people.
    pub reason: String,
    /// A warning if a person may have expected another.
    pub warning: Option<String>,
}

impl Choice {
    /// The choice as a key: a config with it leaves no choice open.
    pub fn as_override(&self) -> Override {
        let name = self.kind.name();
        Override::option("backend.kind", name, format!("--backend {name}"))
    }
}

/// The backend that a config asks for.
///
/// # Errors
/// If this build does not have it, or its commands are not here.
pub fn choose(parsed: &Parsed) -> Result<Choice, Error> {
    let file = &parsed.file;
    let lacking = |kind: Kind| Error::NoBackend {
        place: parsed.place("backend.kind"),
        backend: kind.title(),
    };
    if let Some(kind) = file.backend.kind {
        if built(kind).is_none() {
            return Err(lacking(kind));
        }
        return match (kind.command(), command_path(kind, file)) {
            (Some(command), None) => Err(Error::NoCommand {
                place: parsed.place("backend.kind"),
                backend: kind.title(),
                command,
                directory: file.backend.commands(kind).map(Path::to_owned),
                key: kind.key("commands"),
            }),
            _ => Ok(Choice {
                kind,
                reason: format!("backend.kind = {}", kind.name()),
                warning: None,
            }),
        };
    }
    let found = |kind: Kind| Some((kind, command_path(kind, file)?));
    let here: Vec<_> = Kind::CLUSTERS.into_iter().filter_map(found).collect();
    if let Some((kind, path)) = here.iter().find(|(kind, _)| built(*kind).is_some()) {
        return Ok(Choice {
            kind: *kind,
            reason: format!("because {} is here", path.display()),
            warning: None,
        });
    }
    if built(Kind::Local).is_none() {
        return Err(lacking(Kind::Local));
    }
    let looked_for: Vec<_> = Kind::CLUSTERS
        .iter()
        .filter_map(|kind| kind.command())
        .collect();
    Ok(Choice {
        kind: Kind::Local,
        reason: format!("because neither {} is in PATH", looked_for.join(" nor ")),
        warning: here.first().map(|(kind, path)| {
            format!(
                "{} is here, but this build of cu has no {kind} backend: all jobs run on this \
                 machine (backend.kind=local says that this is meant)",
                path.display()
            )
        }),
    })
}

/// The backend that a run was with: `named` is how its scheduler names itself, which is recorded.
/// `None` before the first main process, and for a scheduler that is not one of `cu`.
pub fn recorded(named: &str) -> Option<Kind> {
    let mut all = Kind::ALL.into_iter();
    all.find(|kind| named.starts_with(kind.title()))
}

/// The cluster or access point in the name that a scheduler gives itself: `cluster "abc"`. `None` for
/// this machine, and where its name is not known.
pub fn place(named: &str) -> Option<&str> {
    let (_, place) = named.split_once('(')?;
    let place = place.strip_suffix(')')?;
    ["cluster ", "access point "]
        .iter()
        .any(|it| place.starts_with(it))
        .then_some(place)
}

/// The path of the command whose presence shows that the cluster is here.
fn command_path(kind: Kind, file: &File) -> Option<PathBuf> {
    config::find_command(kind.command()?, file.backend.commands(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_whatever_the_version() {
        for (named, expected) in [
            ("Slurm 24.11.5 (cluster \"abc\")", Some("cluster \"abc\"")),
            (
                "HTCondor 23.9.6 (access point \"a.b\")",
                Some("access point \"a.b\""),
            ),
            ("HTCondor 23.9.6", None),
            ("this machine (8 CPUs)", None),
            ("", None),
        ] {
            assert_eq!(place(named), expected, "{named}");
        }
    }
}
