//! The list of backends, with what every build knows of each.

use std::fmt;

use serde::Deserializer;
use serde::de::Error;

use crate::config::units::text;

/// A backend of `cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This machine.
    Local,
    /// Slurm.
    Slurm,
    /// HTCondor.
    Htcondor,
}

/// The facts about a backend before it is opened.
struct About {
    /// As the config writes it.
    name: &'static str,
    /// For people.
    title: &'static str,
    /// The command whose presence shows that the cluster is here.
    command: Option<&'static str>,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Local, Self::Slurm, Self::Htcondor];

    /// Those that submit to other machines, in the order in which `auto` looks for them.
    pub const CLUSTERS: [Self; 2] = [Self::Slurm, Self::Htcondor];

    const fn about(self) -> About {
        match self {
            Self::Local => About {
                name: "local",
                title: "this machine",
                command: None,
            },
            Self::Slurm => About {
                name: "slurm",
                title: "Slurm",
                command: Some("sbatch"),
            },
            Self::Htcondor => About {
                name: "htcondor",
                title: "HTCondor",
                command: Some("condor_submit"),
            },
        }
    }

    /// As the config writes it. The backend keeps its state in a directory of this name, and its
    /// table of the config is `backend.{name}`.
    pub const fn name(self) -> &'static str {
        self.about().name
    }

    /// For people.
    pub const fn title(self) -> &'static str {
        self.about().title
    }

    /// The command whose presence shows that the cluster is here. This machine needs none.
    pub const fn command(self) -> Option<&'static str> {
        self.about().command
    }

    /// The dotted path of `key` in the table of this backend.
    pub fn key(self, key: &str) -> String {
        format!("backend.{}.{key}", self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.title())
    }
}

/// Reads the name of a backend; `auto` leaves the choice open.
pub fn kind_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Kind>, D::Error> {
    const AUTO: &str = "auto";
    let name = text(deserializer, "the name of a backend")?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    if kind.is_some() || name == AUTO {
        return Ok(kind);
    }
    let names = Kind::ALL.map(|kind| format!("`{}`", kind.name()));
    Err(D::Error::custom(format!(
        "unknown backend `{name}`, expected one of `{AUTO}`, {}",
        names.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error as ValueError;

    fn read(text: &str) -> Result<Option<Kind>, ValueError> {
        kind_or_auto(text.into_deserializer())
    }

    #[test]
    fn each_name_is_read_and_auto_is_none() {
        for kind in Kind::ALL {
            assert_eq!(read(kind.name()), Ok(Some(kind)));
        }
        assert_eq!(read("auto"), Ok(None));
        let error = read("lsf").expect_err("unknown").to_string();
        let expected =
            "unknown backend `lsf`, expected one of `auto`, `local`, `slurm`, `htcondor`";
        assert_eq!(error, expected);
    }

    #[test]
    fn clusters_are_all_but_this_machine() {
        let with_command = Kind::ALL
            .into_iter()
            .filter(|kind| kind.command().is_some());
        assert!(with_command.eq(Kind::CLUSTERS));
    }
}
