//! `docs/recipes.md` and `examples/recipes` have the same recipes, and each has a test with the real program.

use std::path::Path;

/// Not a package of Debian.
const TRIED_BY_HAND: &str = "lightning";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn recipes() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/recipes");
    let entries = std::fs::read_dir(directory).expect("the recipes");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let directories = paths.filter(|path| path.is_dir());
    directories
        .map(|path| path.file_name().expect("a name").display().to_string())
        .collect()
}

#[test]
fn no_recipe_is_missing_in_the_page() {
    let page = read("../docs/recipes.md");
    let recipes = recipes();
    assert!(recipes.len() >= 11, "{recipes:?}");
    for recipe in &recipes {
        let link = format!("(../examples/recipes/{recipe}/run.toml)");
        assert!(page.contains(&link), "docs/recipes.md has no {link}");
    }
    assert_eq!(page.matches("/run.toml)").count(), recipes.len());
}

#[test]
fn no_recipe_is_without_a_test() {
    let tests = read("clusters/tests/all/recipes.rs") + &read("clusters/tests/large_recipes.rs");
    for recipe in recipes().iter().filter(|name| *name != TRIED_BY_HAND) {
        assert!(
            tests.contains(&format!("directory: \"recipes/{recipe}\"")),
            "{recipe}"
        );
    }
}

#[test]
fn each_recipe_says_how_it_is_stopped_resumed_and_done() {
    for recipe in recipes() {
        let config = read(&format!("../examples/recipes/{recipe}/run.toml"));
        for word in ["#   stopped ", "#   resumed ", "#   done "] {
            assert!(config.contains(word), "{recipe}: {word}");
        }
    }
}
