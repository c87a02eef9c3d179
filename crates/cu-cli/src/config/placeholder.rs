//! Placeholders in commands, variables and paths: `--rate={settings.rate}` is `--rate=0.1`, for programs
//! that know nothing of `cu`. What only an attempt knows stays open, as a [`Part`].
//!
//! A brace means something only if what it encloses is a placeholder, or nearly one: that is an error,
//! since a program would run for hours with the wrong text. All other braces (JSON, awk, `${X}`, f-strings)
//! stay as they are. A second brace before a placeholder makes it literal: `{{job}` is `{job}`.

use std::collections::BTreeSet;
use std::path::Path;

use cu_run_dir::{Part, Template};
use serde_json::{Map, Value};

use super::overrides::split_key;
use super::source::nearest;
use super::table::join;

/// The beginning of a setting's placeholder.
const SETTINGS: &str = "settings.";

/// The other placeholders.
const NAMES: [&str; 5] = ["output_dir", "job", "attempt", "config_dir", CLUSTER_UTILS];

/// The one that stands for several arguments.
const CLUSTER_UTILS: &str = "cluster_utils";

/// What else people call them, in small letters and without signs.
const OTHER_NAMES: [(&str, &str); 14] = [
    ("outdir", "output_dir"),
    ("output", "output_dir"),
    ("outputdirectory", "output_dir"),
    ("jobs", "job"),
    ("jobid", "job"),
    ("jobnumber", "job"),
    ("jobindex", "job"),
    ("attempts", "attempt"),
    ("attemptid", "attempt"),
    ("attemptnumber", "attempt"),
    ("configdirectory", "config_dir"),
    ("cuoutputdir", "output_dir"),
    ("cujobid", "job"),
    ("cuattempt", "attempt"),
];

/// What is known of a job before it has an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The job's settings.
    pub settings: &'a Map<String, Value>,
    /// The config's directory.
    pub config_dir: &'a Path,
}

/// What stands between two braces.
enum Meaning {
    Text(String),
    Open(Part),
    /// Probably not what was meant, for this reason.
    Wrong(String),
}

/// `text` with what is known in the place of its placeholders: a text of the settings as it is, all else
/// as in JSON.
///
/// # Errors
/// The first placeholder that names nothing, or has no end.
pub fn fill(text: &str, known: Known<'_>) -> Result<Template, String> {
    let mut filled = Template::default();
    let mut rest = text;
    while let Some((before, at)) = split(rest) {
        filled.push(before.into());
        if let Some((literal, after)) = literal(at, known)? {
            filled.push(literal.into());
            rest = after;
            continue;
        }
        match placeholder(at, before.ends_with('$'), known)? {
            Some((meaning, after)) => {
                match meaning {
                    Meaning::Text(text) => filled.push(Part::Text(text)),
                    Meaning::Open(part) => filled.push(part),
                    Meaning::Wrong(reason) => return Err(reason),
                }
                rest = after;
            }
            None => {
                filled.push("{".into());
                rest = &at[1..];
            }
        }
    }
    filled.push(rest.into());
    Ok(filled)
}

/// `text` as [`fill`] fills it, or the several arguments of a program for cluster_utils.
///
/// # Errors
/// As [`fill`].
pub fn fill_argument(text: &str, known: Known<'_>) -> Result<Template, String> {
    let inside = text.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
    match inside {
        Some(CLUSTER_UTILS) => Ok([Part::ClusterUtils].into_iter().collect()),
        _ => fill(text, known),
    }
}

/// Whether a text has a placeholder whose value `cu` fills in.
pub fn has_any(text: &str) -> bool {
    let is_one = |at: &str| {
        let inside = at.strip_prefix('{').unwrap_or_default();
        let name = inside.split_once('}').map(|(name, _)| name);
        name.is_some_and(|name| name.starts_with(SETTINGS) || NAMES.contains(&name))
    };
    let mut rest = text;
    while let Some((_, at)) = split(rest) {
        if is_one(at) {
            return true;
        }
        rest = &at[1..];
    }
    false
}

/// `text` so that nothing in it is filled in.
#[cfg(any(feature = "slurm", feature = "htcondor"))]
pub fn literally(text: &str) -> String {
    let settings = Map::new();
    let known = Known {
        settings: &settings,
        config_dir: Path::new("/"),
    };
    let mut written = String::new();
    let mut rest = text;
    while let Some((before, at)) = split(rest) {
        written.push_str(before);
        let means_something = placeholder(at, before.ends_with('$'), known);
        written.push_str(match means_something {
            Ok(None) => "{",
            Ok(Some(_)) | Err(_) => "{{",
        });
        rest = &at[1..];
    }
    written + rest
}

/// What is before the first brace, and the rest with it.
fn split(text: &str) -> Option<(&str, &str)> {
    text.find('{').map(|at| text.split_at(at))
}

/// The placeholder that is literal because of the brace with which `text` begins, and what follows.
fn literal<'a>(text: &'a str, known: Known<'_>) -> Result<Option<(&'a str, &'a str)>, String> {
    let inner = &text[1..];
    if inner.starts_with("{settings.") {
        return Ok(Some(inner.split_at("{settings.".len())));
    }
    let found = match inner.starts_with('{') {
        true => placeholder(inner, false, known)?,
        false => None,
    };
    Ok(found.map(|(_, after)| inner.split_at(inner.len() - after.len())))
}

/// What the brace with which `text` begins means, and what follows it. After a `$` it is a variable of a
/// shell.
fn placeholder<'a>(
    text: &'a str,
    is_variable: bool,
    known: Known<'_>,
) -> Result<Option<(Meaning, &'a str)>, String> {
    let inside = &text[1..];
    let Some((name, after)) = inside.split_once('}') else {
        return match inside.starts_with(SETTINGS) {
            true => Err(format!("`{text}` has no `}}`")),
            false => Ok(None),
        };
    };
    if is_variable && !name.starts_with(SETTINGS) {
        return Ok(None);
    }
    Ok(meaning(name, known).map(|meaning| (meaning, after)))
}

fn meaning(name: &str, known: Known<'_>) -> Option<Meaning> {
    if let Some(setting) = name.strip_prefix(SETTINGS) {
        return Some(match value(known.settings, setting) {
            Some(text) => Meaning::Text(text),
            None => Meaning::Wrong(missing(known.settings, setting)),
        });
    }
    let suggested = match name {
        "output_dir" => return Some(Meaning::Open(Part::OutputDir)),
        "job" => return Some(Meaning::Open(Part::Job)),
        "attempt" => return Some(Meaning::Open(Part::Attempt)),
        CLUSTER_UTILS => {
            return Some(Meaning::Wrong(format!(
                "`{{{CLUSTER_UTILS}}}` stands for several arguments, so it must be an argument of its own \
                 in `command`; to write it literally, use `{{{{{CLUSTER_UTILS}}}`"
            )));
        }
        "config_dir" => return Some(Meaning::Text(known.config_dir.display().to_string())),
        _ => suggestion(name, known.settings)?,
    };
    let literal = format!("{{{{{name}}}");
    Some(Meaning::Wrong(format!(
        "`{{{name}}}` is not a placeholder; did you mean `{suggested}`? To write it literally, use \
         `{literal}`"
    )))
}

/// What was probably meant, if it is not plainly something else.
fn suggestion(name: &str, settings: &Map<String, Value>) -> Option<String> {
    let of_setting = |name: &str| format!("{{{SETTINGS}{name}}}");
    // What begins with a space, or holds a brace or a quote, is JSON, a template or code.
    if name.starts_with(' ') || name.contains(['{', '"', '\'', '\n']) {
        return None;
    }
    if value(settings, name).is_some() {
        return Some(of_setting(name));
    }
    if let Some((table, setting)) = name.split_once('.') {
        let table = table.to_lowercase();
        let is_table = table == "grid" || strsim::damerau_levenshtein(&table, "settings") <= 2;
        let setting = nearest(setting, &names(settings)).unwrap_or_else(|| setting.to_owned());
        return is_table.then(|| of_setting(&setting));
    }
    let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    if !name.chars().all(is_word) {
        return None;
    }
    let bare = |name: &str| -> String {
        let letters = name.chars().filter(|letter| letter.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let given = bare(name);
    let is_close = |known: &&&str| {
        let known = bare(known);
        // A short name is close to far too many.
        let allowed = known.chars().count() / 4;
        given == known || (allowed > 0 && strsim::damerau_levenshtein(&given, &known) <= allowed)
    };
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == given);
    let meant = other.map(|(_, name)| name);
    let meant = meant.or_else(|| NAMES.iter().find(is_close))?;
    Some(format!("{{{meant}}}"))
}

fn value(settings: &Map<String, Value>, name: &str) -> Option<String> {
    let parts = split_key(name)?;
    let (first, inner) = parts.split_first()?;
    let inside = |value, part: &String| Value::get(value, part);
    match inner.iter().try_fold(settings.get(first)?, inside)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn missing(settings: &Map<String, Value>, name: &str) -> String {
    let hint = match nearest(name, &names(settings)) {
        Some(nearest) => format!("did you mean `{{{SETTINGS}{nearest}}}`?"),
        None => format!("to write this literally, use `{{{{{SETTINGS}`"),
    };
    format!("`{{{SETTINGS}{name}}}` is not a setting; {hint}")
}

fn names(settings: &Map<String, Value>) -> Vec<String> {
    let mut names = BTreeSet::new();
    collect_names("", settings, &mut names);
    names.into_iter().collect()
}

fn collect_names(path: &str, settings: &Map<String, Value>, names: &mut BTreeSet<String>) {
    for (name, value) in settings {
        let name = join(path, name);
        if let Value::Object(inner) = value {
            collect_names(&name, inner, names);
        }
        names.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_literal_text_has_no_placeholders(text in "([{}$ a]|settings[.]x|job|outdir){0,12}") {
            let settings = Map::from_iter([("x".to_owned(), Value::from(1))]);
            let known = Known { settings: &settings, config_dir: Path::new("/") };
            let filled = fill(&literally(&text), known).expect("no placeholder");
            proptest::prop_assert_eq!(filled.to_string(), text);
        }
    }
    use proptest::prelude::*;
    use serde_json::json;

    fn filled(argument: &str) -> Result<String, String> {
        let settings = json!({
            "rate": 0.1, "steps": 100_000_000_000_u64, "tiny": 1e-7, "data set": "a b\n$(x)",
            "debug": true, "layers": [1, 2], "optimizer": {"name": "sgd"},
        });
        let Value::Object(settings) = settings else {
            unreachable!("it is one");
        };
        with(argument, &settings)
    }

    /// In the form for people, in which what is open stands in braces.
    fn with(argument: &str, settings: &Map<String, Value>) -> Result<String, String> {
        let config_dir = Path::new("/home/ada/project");
        let known = Known {
            settings,
            config_dir,
        };
        fill(argument, known).map(|template| template.to_string())
    }

    #[test]
    fn text_is_as_it_is_and_all_else_as_in_json() {
        for (argument, expected) in [
            ("{settings.rate}", "0.1"),
            (
                "--steps={settings.steps},{settings.tiny}",
                "--steps=100000000000,1e-7",
            ),
            ("{settings.data set}", "a b\n$(x)"),
            ("{settings.debug}", "true"),
            ("{settings.layers}", "[1,2]"),
            ("{settings.optimizer.name}.csv", "sgd.csv"),
            ("{settings.optimizer}", "{\"name\":\"sgd\"}"),
            ("{\"a\":{settings.rate}}", "{\"a\":0.1}"),
        ] {
            assert_eq!(filled(argument).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn other_braces_stay_as_they_are() {
        for (argument, expected) in [
            ("{print $1}", "{print $1}"),
            ("{x}{settings}{", "{x}{settings}{"),
            (
                "${rate} ${job} ${output_dir}",
                "${rate} ${job} ${output_dir}",
            ),
            ("{\"rate\": 1, \"job\": {}}", "{\"rate\": 1, \"job\": {}}"),
            ("{ {settings.rate}, { rate }", "{ 0.1, { rate }"),
            ("/x/{s+=$1} END{print s}", "/x/{s+=$1} END{print s}"),
            (
                "f'{loss:.3f} {i} {a.b} {batch}'",
                "f'{loss:.3f} {i} {a.b} {batch}'",
            ),
            ("{a,b}.{1..9}{}", "{a,b}.{1..9}{}"),
            ("{{ job }} {{x}}", "{{ job }} {{x}}"),
            ("{{settings.rate}", "{settings.rate}"),
            ("{{{settings.rate}}", "{{settings.rate}}"),
            ("{{settings.no} {settings.rate}", "{settings.no} 0.1"),
            ("{{rate} {{job} {{outdir}", "{rate} {job} {outdir}"),
            ("{{{job}}", "{{job}}"),
        ] {
            assert_eq!(filled(argument).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_placeholder_without_a_setting_is_an_error() {
        for (argument, reason) in [
            (
                "{settings.rat}",
                "`{settings.rat}` is not a setting; did you mean `{settings.rate}`?",
            ),
            (
                "{settings.optimizer.nam}",
                "`{settings.optimizer.nam}` is not a setting; \
                 did you mean `{settings.optimizer.name}`?",
            ),
            (
                "{settings.quite.other}",
                "`{settings.quite.other}` is not a setting; \
                 to write this literally, use `{{settings.`",
            ),
            (
                "{settings.}",
                "`{settings.}` is not a setting; \
                 to write this literally, use `{{settings.`",
            ),
            ("--rate={settings.rate", "`{settings.rate` has no `}`"),
            (
                "--rate={rate}",
                "`{rate}` is not a placeholder; did you mean `{settings.rate}`? \
              To write it literally, use `{{rate}`",
            ),
        ] {
            assert_eq!(filled(argument), Err(reason.to_owned()));
        }
    }

    #[test]
    fn a_misspelt_placeholder_is_an_error_that_names_the_right_one() {
        for (argument, meant) in [
            ("{rate}", "{settings.rate}"),
            ("{data set}", "{settings.data set}"),
            ("{optimizer.name}", "{settings.optimizer.name}"),
            ("{setting.rate}", "{settings.rate}"),
            ("{Settings.rat}", "{settings.rate}"),
            ("{grid.rate}", "{settings.rate}"),
            ("{outputdir}", "{output_dir}"),
            ("{output-dir}", "{output_dir}"),
            ("{OUTPUT_DIR}", "{output_dir}"),
            ("{outptu_dir}", "{output_dir}"),
            ("{CU_OUTPUT_DIR}", "{output_dir}"),
            ("{job_id}", "{job}"),
            ("{JOB}", "{job}"),
            ("{atempt}", "{attempt}"),
            ("{config-dir}", "{config_dir}"),
            ("{cluster-utils}", "{cluster_utils}"),
        ] {
            let error = filled(argument).expect_err(argument);
            let expected = format!("did you mean `{meant}`?");
            assert!(error.contains(&expected), "{error}");
        }
    }

    #[test]
    fn parts_that_only_an_attempt_knows_stay_open() {
        let settings = Map::from_iter([("x".to_owned(), json!("{attempt}"))]);
        let config_dir = Path::new("/p");
        let known = Known {
            settings: &settings,
            config_dir,
        };
        let template = fill("{config_dir}/{output_dir}{settings.x}{job}", known);
        let expected = [
            Part::from("/p/"),
            Part::OutputDir,
            Part::from("{attempt}"),
            Part::Job,
        ];
        assert_eq!(template, Ok(expected.into_iter().collect()));
        assert!(has_any("a{job}") && has_any("{settings.x}") && !has_any("{x}${y}{"));
    }

    #[test]
    fn several_arguments_are_no_part_of_one() {
        let settings = Map::new();
        let known = Known {
            settings: &settings,
            config_dir: Path::new("/p"),
        };
        let filled = fill_argument("{cluster_utils}", known);
        assert_eq!(filled, Ok([Part::ClusterUtils].into_iter().collect()));
        assert!(has_any("{cluster_utils}"));
        for text in [
            "a{cluster_utils}",
            "{cluster_utils} ",
            "{{x}{cluster_utils}",
        ] {
            let error = fill_argument(text, known).expect_err(text);
            assert!(
                error.contains("an argument of its own in `command`"),
                "{error}"
            );
        }
        assert!(fill("{cluster_utils}", known).is_err());
        let literal = fill_argument("{{cluster_utils}", known);
        assert_eq!(literal, Ok("{cluster_utils}".into()));
    }

    proptest! {
        /// No value is read again: a setting may hold what looks like a placeholder.
        #[test]
        fn any_text_of_a_setting_arrives_as_it_is(text in ".*", before in "([a-z=}]|\\{ )*", after in ".*") {
            let settings = Map::from_iter([("x".to_owned(), json!(text))]);
            prop_assume!(!after.contains('{'));
            let argument = format!("{before}{{settings.x}}{after}");
            prop_assert_eq!(with(&argument, &settings), Ok(format!("{before}{text}{after}")));
        }

        #[test]
        fn any_argument_is_filled_or_an_error(argument in "([{}.x$]|job|settings|\\{settings\\.)*") {
            let settings = Map::from_iter([("x".to_owned(), json!(1))]);
            let _ = with(&argument, &settings);
        }
    }
}
