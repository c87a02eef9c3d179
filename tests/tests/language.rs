//! Plain English, as far as a program can check it: the constructions that CONTRIBUTING.md bans appear
//! in no source, document or message, and names of tests are short and say something.

use std::fs;
use std::path::{Path, PathBuf};

/// They quote what is banned, or are the recorded words of others.
const NOT_OURS: [&str; 3] = [
    "CONTRIBUTING.md",
    "tests/tests/language.rs",
    "crates/cu-scheduler/tests/recorded",
];

/// Files of these extensions are read, and those without one that begin with `#!`.
const EXTENSIONS: [&str; 7] = ["md", "py", "rs", "sh", "sql", "toml", "yml"];

const LONGEST_TEST_NAME: usize = 60;

/// A construction that we avoid.
struct Habit {
    name: &'static str,
    instead: &'static str,
    is_in: fn(&Line) -> bool,
}

const HABITS: [Habit; 8] = [
    Habit {
        name: "\"is no\" before a noun",
        instead: "\"is not a\", or what it is",
        is_in: |line| (2..line.words.len()).any(|place| is_no_noun(&line.words, place)),
    },
    Habit {
        name: "\"folder\"",
        instead: "\"directory\"",
        is_in: |line| line.has_word("folder") || line.has_word("folders"),
    },
    Habit {
        name: "\"tells\"",
        instead: "\"shows\", \"reports\", \"prints\" or \"distinguishes\"",
        is_in: |line| line.has_word("tells"),
    },
    Habit {
        name: "a sentence that begins with \"Who\"",
        instead: "name the process or the person, or \"Returns whether…\"",
        is_in: |line| {
            let begins = |word| line.begins_sentence(&[word]);
            !line.asks() && ["who", "whoever", "whose"].into_iter().any(begins)
        },
    },
    Habit {
        name: "a sentence whose subject is a clause with \"That\"",
        instead: "\"Checks that…\", or a main clause",
        is_in: |line| {
            let begins = |word| line.begins_sentence(&["that", word]);
            ["a", "an", "it", "no", "nobody", "one", "the", "there", "we"]
                .into_iter()
                .any(begins)
        },
    },
    Habit {
        name: "a sentence that begins with \"Of\" and its object",
        instead: "the subject first; \"only\" if it limits",
        is_in: |line| {
            let begins = |word| line.begins_sentence(&["of", word]);
            [
                "a", "all", "an", "another", "these", "those", "what", "which",
            ]
            .into_iter()
            .any(begins)
        },
    },
    Habit {
        name: "\"so many\" for a limit",
        instead: "\"at most this many\", or the number",
        is_in: |line| {
            line.begins_sentence(&["so", "many"]) || line.has_words(&["so", "many", "at"])
        },
    },
    Habit {
        name: "\"at the most\"",
        instead: "\"at most\"",
        is_in: |line| {
            [
                "at the most.",
                "at the most,",
                "at the most;",
                "at the most:",
            ]
            .iter()
            .any(|text| line.text.contains(text))
                || line.text.ends_with("at the most")
        },
    },
];

/// "this is no file": a form of "be", then "no" at `place`, then a noun. "There is no file", "it is no
/// longer there" and "it is no slower than" are English.
fn is_no_noun(words: &[String], place: usize) -> bool {
    let word = |place: usize| words.get(place).map_or("", String::as_str);
    let compares = ["longer", "more"].contains(&word(place + 1)) || word(place + 2) == "than";
    word(place) == "no"
        && ["is", "are", "was", "were"].contains(&word(place - 1))
        && word(place - 2) != "there"
        && !compares
}

/// A line of a file, without the marks of a comment or a list.
struct Line {
    text: String,
    /// In lower case. A word that ends a sentence keeps its full stop.
    words: Vec<String>,
}

impl Line {
    fn new(line: &str) -> Self {
        let marks = ['/', '!', '#', '*', '-', '>', '"', ' ', '\t'];
        let text = line.trim_start_matches(marks).trim_end().to_owned();
        let is_mark = |c: char| !c.is_alphanumeric() && c != '_' && c != '.';
        let words = text
            .split_whitespace()
            .flat_map(|word| word.split(is_mark))
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        Self { text, words }
    }

    fn has_word(&self, wanted: &str) -> bool {
        self.words.iter().any(|word| bare(word) == wanted)
    }

    fn has_words(&self, wanted: &[&str]) -> bool {
        self.words
            .windows(wanted.len())
            .any(|words| words == wanted)
    }

    /// Whether a sentence of the line begins with these words, the first one with a capital letter.
    fn begins_sentence(&self, wanted: &[&str]) -> bool {
        let sentences = self.text.split(". ");
        sentences.into_iter().any(|sentence| {
            let mut words = sentence.split_whitespace();
            sentence.starts_with(char::is_uppercase)
                && wanted.iter().all(|word| {
                    let found = words.next().map(str::to_lowercase);
                    found.is_some_and(|found| bare(&found) == *word)
                })
        })
    }

    fn asks(&self) -> bool {
        self.text.contains('?')
    }
}

fn bare(word: &str) -> &str {
    word.trim_matches('.')
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("a workspace above").to_owned()
}

/// Every text of ours below `directory`, by its path from the root of the repository.
fn texts(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let inside = path.strip_prefix(root()).expect("below the root");
        let name = inside.to_str().expect("UTF-8").to_owned();
        let is_skipped = |skipped: &&str| inside.starts_with(skipped);
        let is_hidden = name.starts_with('.') && name != ".github" && name != ".ci";
        let is_built = ["target", "results", "__pycache__"]
            .iter()
            .any(|built| inside.ends_with(built));
        if is_hidden || is_built || NOT_OURS.iter().any(is_skipped) {
            continue;
        }
        if path.is_dir() {
            found.extend(texts(&path));
            continue;
        }
        let extension = path.extension().and_then(|text| text.to_str());
        let is_ours = extension.is_none_or(|extension| EXTENSIONS.contains(&extension));
        let text = fs::read(&path).expect("a file");
        if let (true, Ok(text)) = (is_ours, String::from_utf8(text))
            && (extension.is_some() || text.starts_with("#!") || name == "justfile")
        {
            found.push((name, text));
        }
    }
    found
}

/// The names of the tests in a source, with their lines.
fn test_names(source: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut is_test = false;
    for (number, line) in source.lines().enumerate() {
        let line = line.trim_start();
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let line = line.strip_prefix("async ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix("fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if is_test {
                names.push((number + 1, name.to_owned()));
            }
            is_test = false;
        }
    }
    names
}

#[test]
fn banned_constructions_appear_nowhere() {
    let mut found = Vec::new();
    let texts = texts(&root());
    assert!(texts.len() > 150, "only {} texts", texts.len());
    for (path, text) in texts {
        for (number, line) in text.lines().enumerate() {
            // A heading may be a bare clause.
            if path.ends_with(".md") && line.starts_with('#') {
                continue;
            }
            let line = Line::new(line);
            for habit in HABITS.iter().filter(|habit| (habit.is_in)(&line)) {
                let (name, instead) = (habit.name, habit.instead);
                let number = number + 1;
                let text = &line.text;
                found.push(format!("{path}:{number}: {name}; write {instead}: {text}"));
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn test_names_are_short_and_name_the_hazard() {
    let mut found = Vec::new();
    let mut count = 0;
    for (path, text) in texts(&root()) {
        if !path.ends_with(".rs") {
            continue;
        }
        for (number, name) in test_names(&text) {
            count += 1;
            let clause = ["who_", "what_", "that_", "nobody_", "nothing_", "it_"]
                .iter()
                .find(|start| name.starts_with(**start));
            if let Some(start) = clause {
                found.push(format!(
                    "{path}:{number}: {name} begins with {start}; name the hazard"
                ));
            }
            if name.len() > LONGEST_TEST_NAME {
                let length = name.len();
                found.push(format!(
                    "{path}:{number}: {name} has {length} characters; \
                     at most {LONGEST_TEST_NAME}"
                ));
            }
        }
    }
    assert!(count > 200, "only {count} tests");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Each habit is found in a line of its own, and good English is not.
#[test]
fn each_habit_is_found_and_good_english_is_not() {
    let bad = [
        ("    // This is no TOML.", 0),
        ("names of them are no numbers", 0),
        ("let folder = 1;", 1),
        ("/// `cu show` tells of the fence.", 2),
        ("/// Who only asks need not answer.", 3),
        ("It ends. Whoever waits starts.", 3),
        ("/// Whose.", 3),
        ("/// That there is a run.", 4),
        ("// Of a reading that began before nothing follows.", 5),
        ("// So many numbers are reserved.", 6),
        ("They are taken, so many at once.", 6),
        ("It waits 5 s at the most.", 7),
    ];
    for (text, expected) in bad {
        let line = Line::new(text);
        let found: Vec<_> = (0..HABITS.len())
            .filter(|habit| (HABITS[*habit].is_in)(&line))
            .collect();
        let expected_name = HABITS[expected].name;
        assert_eq!(found, [expected], "{text}: should be {expected_name}");
    }
    let good = [
        "there is no run, and it is no longer there",
        "It is no kinder than POSIX.",
        "The answer is no. The job waits.",
        "cluster.work_folder()",
        "A person who asks is told.",
        "// That is why it waits.",
        "// Of course.",
        "There are so many that it takes long.",
        "at the most recent checkpoint",
        "Who may do what?",
    ];
    for text in good {
        let line = Line::new(text);
        let found = HABITS.iter().find(|habit| (habit.is_in)(&line));
        assert!(
            found.is_none(),
            "{text}: {:?}",
            found.map(|habit| habit.name)
        );
    }
    let source = "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test]\nasync fn c() {}\n";
    assert_eq!(
        test_names(source),
        [(2, "a".to_owned()), (5, "c".to_owned())]
    );
}
