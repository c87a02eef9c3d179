//! The house rules that a program can check: no crate depends upwards or sideways, every file says
//! what it is for, none is too long, and a replaceable dependency is named in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cu_tests::modules::Modules;
use serde_json::Value;

/// From the foundation upwards. Each crate may use those before it.
const LAYERS: [&str; 11] = [
    "cu-system",
    "cu-protocol",
    "cu-checkpoint",
    "cu-optimize",
    "cu-run-dir",
    "cu-scheduler",
    "cu-client",
    "cu-supervisor",
    "cu-core",
    "cluster-utils",
    "cu-cli",
];

/// The directories of our code.
const DIRECTORIES: [&str; 4] = ["crates", "examples", "benches", "tests"];

const LONGEST_FILE: usize = 600;

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("a workspace above").to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    let output = command.args(arguments).current_dir(root()).output();
    let output = output.expect("cargo can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The normal dependencies of each of our packages on others of ours.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&["metadata", "--format-version=1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&text).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let packages = list(&metadata["packages"]);
    let ours: BTreeSet<_> = packages.iter().map(name).collect();
    let of = |package: &Value| {
        let normal = list(&package["dependencies"]).into_iter();
        let normal = normal.filter(|dependency| dependency["kind"].is_null());
        normal
            .map(|dependency| name(&dependency))
            .filter(|name| ours.contains(name))
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(package), of(package)))
        .collect()
}

#[test]
fn no_crate_depends_upwards() {
    let dependencies = dependencies();
    let place = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    for layer in LAYERS {
        let uses = dependencies.get(layer);
        let uses = uses.unwrap_or_else(|| panic!("there is no crate {layer}"));
        for used in uses {
            assert!(
                place(used) < place(layer) && place(used).is_some(),
                "{layer} must not depend on {used}"
            );
        }
    }
}

#[test]
fn every_published_crate_is_a_layer() {
    let crates = fs::read_dir(root().join("crates")).expect("crates/");
    let mut found: Vec<_> = crates
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().expect("UTF-8"))
        .collect();
    found.sort();
    let mut known = LAYERS.to_vec();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn crates_are_published_after_those_they_need() {
    let path = root().join("RELEASE.md");
    let text = fs::read_to_string(&path).expect("RELEASE.md");
    let list = text
        .split_once("for crate in ")
        .and_then(|(_, rest)| rest.split_once(';'))
        .map(|(list, _)| list);
    let list = list.expect("a list of crates in RELEASE.md");
    assert_eq!(list.split(' ').collect::<Vec<_>>(), LAYERS);
}

/// A package has no files beside its own: on crates.io and docs.rs a relative link leads nowhere.
#[test]
fn readmes_of_crates_have_no_relative_links() {
    for layer in LAYERS {
        let path = root().join("crates").join(layer).join("README.md");
        let text = fs::read_to_string(&path).expect("a README");
        for target in text.split("](").skip(1) {
            let leads_there = ["https://", "#"]
                .iter()
                .any(|start| target.starts_with(start));
            let shown = target.split(')').next().unwrap_or_default();
            assert!(leads_there, "{} links to {shown}", path.display());
        }
    }
}

/// Each of the lower crates, and the crates that it must not know.
#[test]
fn lower_crates_know_nothing_of_their_strangers() {
    let unknown = [
        ("cu-protocol", &["cu-checkpoint", "cu-scheduler"][..]),
        ("cu-checkpoint", &["cu-protocol", "cu-scheduler"]),
        (
            "cu-optimize",
            &["cu-system", "cu-protocol", "cu-checkpoint"],
        ),
        ("cu-run-dir", &["cu-scheduler"]),
        (
            "cu-scheduler",
            &["cu-protocol", "cu-checkpoint", "cu-run-dir"],
        ),
        ("cu-system", &["cu-protocol", "cu-checkpoint"]),
        ("cu-client", &["cu-run-dir", "cu-scheduler"]),
        ("cu-supervisor", &["cu-scheduler", "cu-client"]),
        ("cu-core", &["cu-client", "cu-supervisor"]),
    ];
    let dependencies = dependencies();
    for (layer, strangers) in unknown {
        for stranger in strangers {
            let knows = dependencies[layer].contains(*stranger);
            assert!(!knows, "{layer} must know nothing of {stranger}");
        }
    }
}

#[test]
fn the_main_process_and_the_supervisor_share_files_only() {
    let tree = |package| {
        let edges = "--edges=normal,dev,build";
        let tree = cargo(&["tree", "-p", package, edges, "--prefix=none"]);
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    for (one, other) in [("cu-core", "cu-supervisor"), ("cu-supervisor", "cu-core")] {
        let packages = tree(one);
        assert!(packages.contains("cu-run-dir"), "{packages:?}");
        assert!(!packages.contains(other), "{one} depends on {other}");
    }
}

#[test]
fn a_program_takes_no_runtime_along() {
    let tree = cargo(&[
        "tree",
        "-p",
        "cu-client",
        "-e",
        "normal",
        "--prefix",
        "none",
    ]);
    let packages: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(packages.contains("cu-checkpoint"), "{packages:?}");
    for heavy in ["tokio", "clap", "rusqlite", "libsqlite3-sys"] {
        assert!(!packages.contains(heavy), "cu-client needs {heavy}");
    }
}

/// All files below `directory` with this extension, except for those that cargo builds.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden && entry.file_name() != "target" {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let paths = DIRECTORIES
        .iter()
        .flat_map(|directory| files(&root().join(directory), "rs"));
    let sources: Vec<_> = paths
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source");
            (path, text)
        })
        .collect();
    assert!(sources.len() > 100, "only {} sources", sources.len());
    sources
}

#[test]
fn every_source_says_what_it_is_for() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        let says = first
            .strip_prefix("//! ")
            .is_some_and(|words| words.len() > 10);
        assert!(says, "{} begins with {first:?}", path.display());
    }
}

#[test]
fn no_source_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LONGEST_FILE, "{}: {lines} lines", path.display());
    }
}

/// Circles that are known, with the reason why they are harmless, or what would end them. `cu-core` has none.
const KNOWN_CIRCLES: [(&str, &[&str], &str); 11] = [
    (
        "cu-system",
        &["files", "users"],
        "files are refused by their owner, and the user database is read as a file",
    ),
    (
        "cu-protocol",
        &[
            "codec",
            "connection",
            "ids",
            "message",
            "metrics",
            "operator",
            "time",
        ],
        "each message derives its encoding, and the codec lists the messages",
    ),
    (
        "cu-checkpoint",
        &["background", "checkpoints"],
        "methods of one type in two files",
    ),
    (
        "cu-checkpoint",
        &["error", "header"],
        "an error names the form in a header, and a header that can't be read is damage",
    ),
    (
        "cu-run-dir",
        &[
            "error",
            "json_file",
            "outbox",
            "private",
            "run_dir",
            "trust",
        ],
        "the error holds the reason for distrust; run_dir names a message as the outbox does",
    ),
    (
        "cu-scheduler",
        &["local/attempts", "local/keeper"],
        "methods of one type in two files",
    ),
    (
        "cu-scheduler",
        &[
            "local/journal",
            "local/proc_fs",
            "local/process",
            "local/record",
            "local/table",
        ],
        "the journal records jobs of the table, and the table has their records and processes",
    ),
    (
        "cu-client",
        &["job", "options"],
        "options make a job, and Job::initialize begins with the default ones",
    ),
    (
        "cu-client",
        &["python_text", "tree"],
        "a list in a tree of metrics becomes Python's text, which is written from a tree",
    ),
    (
        "cu-supervisor",
        &["event", "relay"],
        "to be ended: the link belongs to neither of them",
    ),
    (
        "cu-cli",
        &["backend", "config", "error", "runs", "terminal"],
        "to be ended: the error holds the config's error and a backend's kind",
    ),
];

#[test]
fn no_modules_of_a_crate_use_each_other_in_a_circle() {
    let mut found = Vec::new();
    let mut gone: Vec<_> = KNOWN_CIRCLES.iter().collect();
    for layer in LAYERS {
        let modules = Modules::read(&root().join("crates").join(layer).join("src"));
        for circle in modules.circles() {
            let known = gone
                .iter()
                .position(|(of, names, _)| *of == layer && circle.iter().eq(names.iter()));
            match known {
                Some(place) => drop(gone.remove(place)),
                None => found.push(format!("{layer}: {circle:?}")),
            }
        }
    }
    assert!(found.is_empty(), "circles: {found:#?}");
    assert!(gone.is_empty(), "these circles are gone: {gone:#?}");
}

#[test]
fn the_machine_names_no_clock_and_no_key_of_the_config() {
    let reference = root().join("crates/cu-cli/docs/config.toml");
    let reference = fs::read_to_string(reference).expect("the reference of the config");
    let tables = reference
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let tables: Vec<_> = tables.map(|table| format!("{table}.")).collect();
    assert!(tables.contains(&"resume.".to_owned()), "{tables:?}");
    let clocks = ["SystemTime", "Instant", "Clock", "tokio", "now()"];
    for path in files(&root().join("crates/cu-core/src/machine"), "rs") {
        let text = fs::read_to_string(&path).expect("a source");
        for clock in clocks {
            assert!(!text.contains(clock), "{} has {clock}", path.display());
        }
        let is_of_key = |character: char| character.is_alphanumeric() || "_.".contains(character);
        for word in text.split(|character| !is_of_key(character)) {
            let is_key = tables.iter().any(|table| word.starts_with(table.as_str()));
            assert!(!is_key, "{} names {word}", path.display());
        }
    }
}

#[test]
fn bincode_is_named_in_one_module_of_each_crate() {
    for layer in ["cu-protocol", "cu-checkpoint"] {
        let sources = files(&root().join("crates").join(layer).join("src"), "rs");
        let names_it = |path: &PathBuf| {
            let text = fs::read_to_string(path).expect("a source");
            let mut code = text.lines().map(str::trim_start);
            code.any(|line| !line.starts_with("//") && line.contains("bincode"))
        };
        let found: Vec<_> = sources.into_iter().filter(names_it).collect();
        assert_eq!(found.len(), 1, "{layer} names bincode in {found:?}");
    }
    let others = sources().into_iter().filter(|(path, text)| {
        let is_ours = |layer: &str| path.starts_with(root().join("crates").join(layer));
        let here = path.ends_with("tests/tests/layers.rs");
        let uses = text.contains("use bincode") || text.contains("bincode::");
        uses && !here && !is_ours("cu-protocol") && !is_ours("cu-checkpoint")
    });
    let others: Vec<_> = others.map(|(path, _)| path).collect();
    assert!(others.is_empty(), "bincode is used in {others:?}");
}

#[test]
fn the_architecture_page_names_only_what_exists() {
    let path = root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}", path.display());
    });
    // Every word in backquotes that begins like a path of the repository, not of a run directory.
    let quoted = text.split('`').skip(1).step_by(2);
    let directories = DIRECTORIES.map(|directory| format!("{directory}/"));
    let is_path = |word: &&str| {
        directories
            .iter()
            .any(|directory| word.starts_with(directory))
    };
    let named: Vec<_> = quoted.filter(is_path).collect();
    assert!(named.len() > 10, "only {} paths", named.len());
    for word in named {
        assert!(root().join(word).exists(), "ARCHITECTURE.md names `{word}`");
    }
}
