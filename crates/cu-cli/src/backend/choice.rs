//! Which backend a run takes: the one that its config names, else the first whose commands are here,
//! else this machine.

use std::fmt;
use std::path::Path;

use crate::config::{self, Error, File, Source, Wish};

/// A backend of `cu`, in this build or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This machine.
    Local,
    /// Slurm.
    Slurm,
    /// HTCondor.
    Htcondor,
}

/// Those that are looked for, in this order, before this machine is taken.
const CLUSTERS: [Kind; 2] = [Kind::Slurm, Kind::Htcondor];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Slurm, Self::Htcondor];

    /// As the config writes it; its state is kept under this name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Slurm => "slurm",
            Self::Htcondor => "htcondor",
        }
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Local => cfg!(feature = "local"),
            Self::Slurm => cfg!(feature = "slurm"),
            Self::Htcondor => cfg!(feature = "htcondor"),
        }
    }

    /// For people.
    fn title(self) -> &'static str {
        match self {
            Self::Local => "this machine",
            Self::Slurm => "Slurm",
            Self::Htcondor => "HTCondor",
        }
    }

    /// The command by whose presence it is recognised, and the key of the config that says where it
    /// is.
    fn command(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Local => None,
            Self::Slurm => Some(("sbatch", "backend.slurm.commands")),
            Self::Htcondor => Some(("condor_submit", "backend.htcondor.commands")),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.title())
    }
}

/// A backend with the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub kind: Kind,
    /// Why, for people.
    pub reason: String,
    /// What a person may have expected instead.
    pub warning: Option<String>,
}

/// The backend for what `file`, which is what `source` says, wishes for.
///
/// # Errors
/// If this build does not have it, or its commands are not here.
pub fn choose(source: &Source, file: &File) -> Result<Choice, Error> {
    let command_of = |kind: Kind| {
        let (command, _) = kind.command()?;
        config::find_command(command, commands(kind, file))
    };
    let lacking = |kind: Kind| Error::NoBackend {
        place: source.place("backend.kind"),
        backend: kind.title(),
    };
    let found = |kind: Kind| {
        let path = command_of(kind)?;
        Some((kind, path))
    };
    let forced = match file.backend.kind.unwrap_or_default() {
        Wish::Auto => None,
        Wish::Local => Some(Kind::Local),
        Wish::Slurm => Some(Kind::Slurm),
        Wish::Htcondor => Some(Kind::Htcondor),
    };
    if let Some(kind) = forced {
        if !kind.is_built() {
            return Err(lacking(kind));
        }
        return match (kind.command(), command_of(kind)) {
            (Some((command, key)), None) => Err(Error::NoCommand {
                place: source.place("backend.kind"),
                backend: kind.title(),
                command,
                folder: commands(kind, file).map(Path::to_owned),
                key,
            }),
            _ => Ok(Choice {
                kind,
                reason: "as backend.kind says".to_owned(),
                warning: None,
            }),
        };
    }
    let here: Vec<_> = CLUSTERS.into_iter().filter_map(found).collect();
    if let Some((kind, path)) = here.iter().find(|(kind, _)| kind.is_built()) {
        return Ok(Choice {
            kind: *kind,
            reason: format!("because {} is here", path.display()),
            warning: None,
        });
    }
    if !Kind::Local.is_built() {
        return Err(lacking(Kind::Local));
    }
    Ok(Choice {
        kind: Kind::Local,
        reason: "because neither sbatch nor condor_submit is in PATH".to_owned(),
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
/// `None` before the first main process, and for one that is not of ours.
pub fn recorded(named: &str) -> Option<Kind> {
    let mut all = Kind::ALL.into_iter();
    all.find(|kind| named.starts_with(kind.title()))
}

/// The folder that the config names for a backend's commands.
fn commands(kind: Kind, file: &File) -> Option<&Path> {
    let folder = match kind {
        Kind::Local => None,
        Kind::Slurm => file.backend.slurm.commands.as_deref(),
        Kind::Htcondor => file.backend.htcondor.commands.as_deref(),
    };
    folder.map(Path::new)
}
