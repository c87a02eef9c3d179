//! Which modules of a crate use which, read from its sources: paths that begin with `crate`, `super` or
//! `self`, followed through re-exports to the module that has the item. Tests within sources are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by the names on the way to it, from the root of its crate.
type Module = Vec<String>;

/// The modules of one crate.
#[derive(Debug, Default)]
pub struct Modules {
    /// Without comments and tests.
    sources: BTreeMap<Module, String>,
}

impl Modules {
    /// Reads all modules below `src`, the directory of `lib.rs` or `main.rs`.
    ///
    /// # Panics
    /// If a source can't be read.
    pub fn read(src: &Path) -> Self {
        let mut modules = Self::default();
        modules.add(src, src);
        modules
    }

    /// The modules with these sources, by their paths below `src`.
    pub fn of(sources: &[(&str, &str)]) -> Self {
        let sources = sources.iter().map(|(path, text)| {
            let module = module_of(Path::new(path)).expect("not a test");
            (module, code(text))
        });
        Self {
            sources: sources.collect(),
        }
    }

    fn add(&mut self, src: &Path, directory: &Path) {
        let entries = fs::read_dir(directory).expect("a directory of sources");
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                self.add(src, &path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(src).expect("it is below");
                if let Some(module) = module_of(below) {
                    let text = fs::read_to_string(&path).expect("a source");
                    self.sources.insert(module, code(&text));
                }
            }
        }
    }

    /// The circles: modules beside each other, each with all that is below it, that use each other,
    /// directly or through others. A module and those below it may use each other.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let mut uses: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, text) in &self.sources {
            for path in paths(text) {
                let to = self.resolve(from, &path, 0);
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                if let (Some(user), Some(used)) = (from.get(common), to.get(common)) {
                    let level = uses.entry(from[..common].to_vec()).or_default();
                    let of_user = level.entry(user.clone()).or_default();
                    of_user.insert(used.clone());
                }
            }
        }
        let mut circles = Vec::new();
        for (above, uses) in &uses {
            for circle in circles_of(uses) {
                let whole = |name: &String| {
                    let mut path = above.clone();
                    path.push(name.clone());
                    path.join("/")
                };
                circles.push(circle.iter().map(whole).collect());
            }
        }
        circles
    }

    /// The module that has the item at `path`, as `from` names it.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Module {
        assert!(depth < 20, "{from:?} re-exports in a circle: {path:?}");
        let mut module = from.clone();
        let mut rest = path;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                name => {
                    let mut below = module.clone();
                    below.push(name.to_owned());
                    if self.sources.contains_key(&below) {
                        module = below;
                    } else {
                        return match self.re_export(&module, name) {
                            Some(target) => self.resolve(&module, &target, depth + 1),
                            None => module,
                        };
                    }
                }
            }
            rest = others;
        }
        module
    }

    /// Where `module` has `name` from, if it passes it on.
    fn re_export(&self, module: &Module, name: &str) -> Option<Vec<String>> {
        let text = self.sources.get(module)?;
        uses(text)
            .into_iter()
            .filter(|used| used.is_passed_on && used.name() == name)
            .map(|used| used.path)
            // From another crate, say.
            .find(|path| {
                let mut below = module.clone();
                below.push(path[0].clone());
                ["crate", "super", "self"].contains(&path[0].as_str())
                    || self.sources.contains_key(&below)
            })
    }
}

/// Where a source stands among the modules; `None` for tests.
fn module_of(path: &Path) -> Option<Module> {
    let mut module: Module = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module.iter().any(|name| name == "tests") {
        return None;
    }
    let last = module.last().map(String::as_str);
    if last == Some("mod") || (module.len() == 1 && matches!(last, Some("lib" | "main"))) {
        module.pop();
    }
    Some(module)
}

/// `text` without comments and without the tests at its end.
fn code(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A path that is used under a name.
struct Use {
    path: Vec<String>,
    alias: Option<String>,
    /// It is visible to others.
    is_passed_on: bool,
}

impl Use {
    fn name(&self) -> &str {
        let last = self.path.last().map_or("", String::as_str);
        self.alias.as_deref().unwrap_or(last)
    }
}

/// All `use` declarations, one path each.
fn uses(text: &str) -> Vec<Use> {
    let mut found = Vec::new();
    let mut statement = String::new();
    for line in text.lines().map(str::trim) {
        let visibility = line.split_once("use ").map(|(before, _)| before.trim());
        let begins = visibility.is_some_and(|it| it.is_empty() || it.starts_with("pub"));
        if statement.is_empty() && !begins {
            continue;
        }
        statement.push(' ');
        statement.push_str(line);
        if let Some(whole) = statement.strip_suffix(';') {
            let (visibility, tree) = whole.split_once("use ").expect("it begins so");
            let is_passed_on = !visibility.trim().is_empty();
            for (path, alias) in expand(tree.trim()) {
                found.push(Use {
                    path,
                    alias,
                    is_passed_on,
                });
            }
            statement.clear();
        }
    }
    found
}

/// The paths of a tree such as `a::{b, c::{self, d as e}}`, each with its alias.
fn expand(tree: &str) -> Vec<(Vec<String>, Option<String>)> {
    let segments = |text: &str| -> Vec<String> {
        let parts = text.split("::").map(str::trim);
        parts
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let Some((before, group)) = tree.split_once('{') else {
        let (path, alias) = match tree.split_once(" as ") {
            Some((path, alias)) => (path, Some(alias.trim().to_owned())),
            None => (tree, None),
        };
        return vec![(segments(path), alias)];
    };
    let group = group.trim().trim_end_matches(',').trim();
    let inner = group.strip_suffix('}').unwrap_or(group);
    let mut found = Vec::new();
    let (mut depth, mut start) = (0, 0);
    let ends = inner.char_indices().chain([(inner.len(), ',')]);
    for (place, character) in ends {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..place].trim();
                start = place + 1;
                for (path, alias) in expand(part) {
                    let path = path.into_iter().filter(|segment| segment != "self");
                    found.push((segments(before).into_iter().chain(path).collect(), alias));
                }
            }
            _ => {}
        }
    }
    found.retain(|(path, _): &(Vec<String>, _)| !path.is_empty());
    found
}

/// All paths to modules of the same crate, in declarations and in between.
fn paths(text: &str) -> BTreeSet<Vec<String>> {
    let is_own = |path: &Vec<String>| {
        let first = path.first().map(String::as_str);
        matches!(first, Some("crate" | "super" | "self"))
    };
    let declared = uses(text).into_iter().map(|used| used.path).filter(is_own);
    let mut found: BTreeSet<_> = declared.collect();
    let is_of_path = |character: char| character.is_alphanumeric() || "_:".contains(character);
    let words = text.split(|character| !is_of_path(character));
    let inline = words.map(|word| word.split("::").map(str::to_owned).collect());
    found.extend(inline.filter(|path: &Vec<String>| is_own(path) && path.len() > 1));
    found.retain(|path| path.iter().all(|segment| !segment.is_empty()));
    found
}

/// The sets of names that reach each other.
fn circles_of(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reached_from = |start: &String| {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(next) = open.pop() {
            for used in uses.get(next).into_iter().flatten() {
                if reached.insert(used.clone()) {
                    open.push(used);
                }
            }
        }
        reached
    };
    let reached: BTreeMap<_, _> = uses.keys().map(|name| (name, reached_from(name))).collect();
    let of = |name: &String| -> BTreeSet<String> {
        let back = |other: &&String| reached.get(other).is_some_and(|it| it.contains(name));
        reached[name].iter().filter(back).cloned().collect()
    };
    uses.keys().map(of).filter(|it| it.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(circle: &[&str]) -> BTreeSet<String> {
        circle.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_circle_through_a_re_export_is_found() {
        let lib = "mod end;\nmod lock;\nmod store;\npub(crate) use lock::{\n    Lock,\n    held as is_held,\n};\npub use store::Reader;";
        let store = "//! Uses crate::end in its words alone.\nmod read;\npub use read::Reader;";
        let read = "use crate::is_held;\nfn f() {\n    g(super::path());\n}";
        let lock = "use crate::{Reader, end::{self, End}};";
        let end = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::Lock;\n}";
        let modules = Modules::of(&[
            ("lib.rs", lib),
            ("store/mod.rs", store),
            ("store/read.rs", read),
            ("lock.rs", lock),
            ("end.rs", end),
        ]);
        assert_eq!(modules.circles(), [names(&["lock", "store"])]);
    }

    #[test]
    fn a_circle_of_three_beside_each_other_is_found_below() {
        let modules = Modules::of(&[
            ("main.rs", "mod a;"),
            ("a/mod.rs", "mod x; mod y; mod z;\nuse x::X;"),
            ("a/x.rs", "use super::y::Y;\npub struct X;"),
            ("a/y.rs", "fn f() { crate::a::z::g() }"),
            ("a/z.rs", "pub fn g() { super::x::h(); super::A; }"),
        ]);
        assert_eq!(modules.circles(), [names(&["a/x", "a/y", "a/z"])]);
    }
}
