//! The JSON Schema of configs, from their declarations. Editors complete and check TOML by it.

use serde_json::{Value, json};

use super::layer::PROFILES;
use super::reference::sections;
use super::table::{Section, join};

/// The schema of every config. A run's config must have a name and a command, but overrides may give them.
pub fn schema() -> Value {
    let sections = sections();
    let mut schema = of_table("", &sections);
    let profile = schema.clone();
    let more = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The config of a run of cu",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        schema[key] = value.clone();
    }
    schema["properties"][PROFILES] = json!({
        "description": "Keys that are put over the others, if `--profile` or CU_PROFILE names them.",
        "type": "object",
        "additionalProperties": profile,
    });
    schema
}

fn of_table(path: &str, sections: &[Section]) -> Value {
    let Some(section) = sections.iter().find(|section| section.path == path) else {
        return json!({});
    };
    if let Some(values) = section.free {
        return json!({
            "description": joined(section.doc),
            "type": "object",
            "additionalProperties": values(),
        });
    }
    let keys = section.keys.iter().map(|key| {
        let mut schema = (key.schema)();
        schema["description"] = joined(key.doc).into();
        (key.name.to_owned(), schema)
    });
    let mut properties: serde_json::Map<_, _> = keys.collect();
    let inner = sections.iter().filter_map(|inner| {
        let name = match path {
            "" => inner.path.as_str(),
            path => inner.path.strip_prefix(path)?.strip_prefix('.')?,
        };
        (!name.is_empty() && !name.contains('.')).then_some(name)
    });
    for name in inner {
        properties.insert(name.to_owned(), of_table(&join(path, name), sections));
    }
    json!({
        "description": joined(section.doc),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The lines of a comment as one text.
fn joined(doc: &[&str]) -> String {
    let lines: Vec<_> = doc.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    fn is_valid(config: &str) -> bool {
        let config: toml::Table = toml::from_str(config).expect("TOML");
        let config = serde_json::to_value(config).expect("JSON");
        jsonschema::draft202012::is_valid(&schema(), &config)
    }

    #[test]
    fn the_reference_is_valid_and_the_schema_itself_is() {
        jsonschema::meta::validate(&schema()).expect("a schema");
        assert!(is_valid(&reference()));
        assert!(is_valid(
            "[profiles.gpu]\nbackend.slurm.partition = \"gpu\"\n"
        ));
        assert!(is_valid(""));
    }

    #[test]
    fn whatever_the_schema_refuses_the_parser_refuses() {
        for wrong in [
            "nme = \"x\"",
            "command = \"true\"",
            "[resources]\ncpus = 0",
            "[resources]\nmemory = 2",
            "[resources]\nmemory = \"2 gigs\"",
            "[stop]\nafter = \"soon\"",
            "[stop]\nsignal = \"KILL\"",
            "[stop]\ncreate = { content = \"x\" }",
            "[resume]\nexit_code = 0",
            "[resume]\nexit_code = []",
            "[resume]\ndone_when = {}",
            "[resume]\nexit_0_when_stopped = \"maybe\"",
            "[backend]\nkind = \"pbs\"",
            "[backend.slurm]\nresume = \"again\"",
            "[backend.slurm]\nenvironment = \"all\"",
            "[backend.slurm.container]\nimag = \"x\"",
            "[backend.htcondor]\nresume = \"again\"",
            "[backend.htcondor]\nuniverse = \"java\"",
            "[environment]\nX = 1",
        ] {
            assert!(!is_valid(wrong), "{wrong}");
            let parsed = crate::config::source::tests::parsed(wrong, &[]);
            assert!(parsed.is_err(), "{wrong}");
        }
    }

    /// Every key whose texts are listed, with these.
    fn listed(path: &str, schema: &Value, found: &mut Vec<(String, String)>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let key = join(path, name);
            let texts = inner["enum"].as_array().into_iter().flatten();
            found.extend(texts.map(|text| (key.clone(), text.to_string())));
            listed(&key, inner, found);
        }
    }

    #[test]
    fn every_text_that_the_schema_lists_is_accepted() {
        let mut found = Vec::new();
        listed("", &schema(), &mut found);
        assert!(found.len() > 10, "{found:?}");
        for (key, text) in found {
            let config = format!("{key} = {text}");
            let parsed = crate::config::source::tests::parsed(&config, &[]);
            assert!(parsed.is_ok(), "{config}");
        }
    }
}
