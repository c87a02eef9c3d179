//! The reference of all keys, generated from their declarations.

use std::fmt::Write;

use super::file::File;
use super::table::{Key, Section, Shown, Table, join};

/// Every table of the config.
pub fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    File::describe("", &mut sections);
    sections
}

/// The dotted path of every key and table that the config knows, free tables' keys aside.
pub fn known_paths() -> Vec<String> {
    let mut paths = Vec::new();
    for section in sections() {
        if !section.path.is_empty() {
            paths.push(section.path.clone());
        }
        if section.free.is_none() {
            paths.extend(section.keys.iter().map(|key| join(&section.path, key.name)));
        }
    }
    paths
}

/// What the reference shows as the value of the key with this dotted path.
pub fn shown(path: &str) -> Option<&'static str> {
    sections().into_iter().find_map(|section| {
        let mut keys = section.keys.iter();
        let key = keys.find(|key| join(&section.path, key.name) == path)?;
        match key.shown {
            Shown::Default(value) | Shown::Example(value) => Some(value),
        }
    })
}

/// All keys with their documentation, as a TOML file that is itself a config.
pub fn reference() -> String {
    let mut text = String::new();
    for section in sections() {
        // Writing to a String can't fail.
        let _ = write_section(&mut text, &section);
    }
    text
}

/// The part of the reference about the key or table with this dotted path; about what is within the value of
/// a key, the part about this key. `None` if there is no such key.
pub fn reference_of(path: &str) -> Option<String> {
    let sections = sections();
    let within = format!("{path}.");
    let tables = sections
        .iter()
        .filter(|section| section.path == path || section.path.starts_with(&within));
    let mut text = String::new();
    for section in tables.filter(|_| !path.is_empty()) {
        // Writing to a String can't fail.
        let _ = write_section(&mut text, section);
    }
    if text.is_empty() {
        let _ = write_section(&mut text, &alone(path, sections)?);
    }
    Some(text.trim_matches('\n').to_owned())
}

/// The table of the key with this path, with no other key. A free table explains all its keys.
fn alone(path: &str, sections: Vec<Section>) -> Option<Section> {
    let key_in = |section: &Section| match section.path.as_str() {
        "" => Some(path.to_owned()),
        above => Some(path.strip_prefix(above)?.strip_prefix('.')?.to_owned()),
    };
    sections.into_iter().find_map(|mut section| {
        let key = key_in(&section)?;
        if section.free.is_none() {
            let is_it = |it: &Key| key == it.name || key.starts_with(&format!("{}.", it.name));
            let at = section.keys.iter().position(is_it)?;
            section.keys = &section.keys[at..=at];
            section.doc = &[];
        }
        Some(section)
    })
}

fn write_section(text: &mut String, section: &Section) -> std::fmt::Result {
    if !section.path.is_empty() {
        writeln!(text)?;
    }
    for line in section.doc {
        writeln!(text, "#{line}")?;
    }
    if !section.path.is_empty() {
        writeln!(text, "[{}]", section.path)?;
    }
    for key in section.keys {
        if !key.doc.is_empty() {
            writeln!(text)?;
        }
        for line in key.doc {
            writeln!(text, "#{line}")?;
        }
        match key.shown {
            Shown::Default(value) => writeln!(text, "{} = {value}  # the default", key.name)?,
            Shown::Example(value) => writeln!(text, "{} = {value}", key.name)?,
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The config that consists of all keys of one kind.
    fn only(wanted: fn(Shown) -> Option<&'static str>) -> File {
        let mut text = String::new();
        for section in sections() {
            if !section.path.is_empty() {
                writeln!(text, "[{}]", section.path).expect("a String takes all");
            }
            for key in section.keys {
                if let Some(value) = wanted(key.shown) {
                    writeln!(text, "{} = {value}", key.name).expect("a String takes all");
                }
            }
        }
        toml::from_str(&text).expect("every shown value has the type of its key")
    }

    /// The config that has every key, with the value that is shown.
    pub fn whole() -> File {
        only(|shown| match shown {
            Shown::Default(value) | Shown::Example(value) => Some(value),
        })
    }

    /// The config that writes every default out.
    pub fn defaults() -> File {
        only(|shown| match shown {
            Shown::Default(value) => Some(value),
            Shown::Example(_) => None,
        })
    }

    #[test]
    fn one_key_or_table_is_explained_alone() {
        let of = |path: &str| reference_of(path).expect(path);
        assert_eq!(
            of("stop.after"),
            "[stop]\n\n# Ask after this time.\nafter = \"50min\""
        );
        assert!(of("name").ends_with("\nname = \"digits\""));
        assert!(of("environment.ANY").contains("OMP_NUM_THREADS"));
        assert_eq!(of("resume.done_when.file"), of("resume.done_when"));
        let backend = of("backend");
        assert!(
            backend.contains("[backend.slurm.container]") && backend.contains("[backend.local]")
        );
        assert!(!backend.contains("[stop]"));
        for unknown in ["", "stop.", "sto", "stop.aftre", "backend.local.cpu"] {
            assert_eq!(reference_of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn every_shown_value_is_accepted() {
        let all = whole();
        assert!(all.stop.after.is_some() && all.backend.local.cpus.is_some());
        assert!(!all.settings.0.is_empty() && !all.environment.0.is_empty());
    }

    #[test]
    fn every_default_is_the_real_one() {
        let defaults = defaults();
        let nothing = File::default();
        assert_ne!(defaults, nothing, "the defaults are written out");
        assert_eq!(defaults.policy(), nothing.policy());
        assert_eq!(defaults.stop_policy(), nothing.stop_policy());
        assert_eq!(
            defaults.scheduler_resources(),
            nothing.scheduler_resources()
        );
        assert_eq!(defaults.exit_rules(), nothing.exit_rules());
        assert_eq!(defaults.backend.kind, nothing.backend.kind);
        assert_eq!(
            defaults.results_dir.map(|it| it.0).as_deref(),
            Some(crate::runs::RESULTS_DIR)
        );
    }

    #[test]
    fn the_copy_in_the_documentation_is_this_one() {
        let copy = include_str!("../../docs/config.toml");
        assert!(
            copy == reference(),
            "docs/config.toml is out of date: cu config reference > crates/cu-cli/docs/config.toml"
        );
    }
}
