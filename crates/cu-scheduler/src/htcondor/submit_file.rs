//! What condor_submit makes of a person's submit description: the ads of its jobs, which its own parser prints
//! (`-dry-run`). So includes, conditions, macros and `queue` statements mean what they mean there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::cluster::{Command, Output};

/// How long HTCondor's parser may take, which asks no daemon but may run a command that the file names.
const LIMIT: Duration = Duration::from_secs(120);

/// Commands of a submit description that have no attribute of their own, as attributes.
const ASKED: [(&str, &str); 2] = [
    (REQUIREMENTS, "$(requirements:undefined)"),
    (GETENV, "\"$(getenv)\""),
];

/// The macro that holds the number of the cluster: HTCondor's own have 1 in a dry run, and some versions let nobody
/// change that.
const CLUSTER: &str = "CuCluster";
/// What it takes the place of.
const CLUSTERS: [&str; 2] = ["cluster", "clusterid"];

/// The requirements in the file's own words, without what HTCondor adds.
pub const REQUIREMENTS: &str = "CuGivenRequirements";
/// The value of `getenv`, a text.
pub const GETENV: &str = "CuGivenGetenv";

/// A submit description as a person hands it in.
#[derive(Clone, Debug)]
pub struct SubmitFile<'a> {
    /// Where it is submitted.
    pub directory: &'a Path,
    /// Options of condor_submit, and its macros, before the file.
    pub words: &'a [String],
    /// The file; standard input if `None`.
    pub file: Option<&'a str>,
    /// Its content.
    pub text: &'a str,
    /// `-queue` and what follows it.
    pub queue: &'a [String],
    /// The number for which `$(Cluster)` stands.
    pub cluster: u64,
}

/// The jobs of a submit description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expanded {
    /// The ad of each job.
    pub jobs: Vec<JobAd>,
    /// The ad of a job of which nothing is said but its program.
    pub defaults: JobAd,
    /// What condor_submit warns of.
    pub warnings: Vec<String>,
}

/// The ad of a job that is not submitted yet. Names of attributes ignore case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobAd(BTreeMap<String, (String, String)>);

impl JobAd {
    /// The expression of an attribute, as HTCondor writes it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.get(&name.to_ascii_lowercase());
        found.map(|(_, value)| value.as_str())
    }

    /// The text of an attribute that is one.
    pub fn text(&self, name: &str) -> Option<String> {
        let quoted = self.get(name)?.strip_prefix('"')?.strip_suffix('"')?;
        // An ad in this form has one escape.
        Some(quoted.replace("\\\"", "\""))
    }

    /// The number of an attribute that is a whole one.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    /// All attributes, with their names as they were given.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.values();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn set(&mut self, name: &str, value: &str) {
        let entry = (name.to_owned(), value.to_owned());
        self.0.insert(name.to_ascii_lowercase(), entry);
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for JobAd {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(attributes: I) -> Self {
        let mut ad = Self::default();
        for (name, value) in attributes {
            ad.set(name, value);
        }
        ad
    }
}

/// The jobs that condor_submit makes of a description. Nothing is submitted.
///
/// # Errors
/// Its words about what is wrong, which name the line.
pub async fn expand(
    commands: Option<&Path>,
    description: &SubmitFile<'_>,
) -> Result<Expanded, String> {
    let SubmitFile { file, cluster, .. } = description;
    let text = with_number(description.text);
    let name = file.unwrap_or("standard input");
    check_included(description.directory, &text, name)?;
    let numbered = |words: &[String]| words.iter().map(|word| with_number(word)).collect();
    let mut words: Vec<String> = numbered(description.words);
    let queue: Vec<String> = numbered(description.queue);
    let mut append = |line: String| words.extend(["-append".to_owned(), line]);
    append(format!("{CLUSTER} = {cluster}"));
    for (name, value) in ASKED {
        append(format!("My.{name} = {value}"));
    }
    let is_as_it_was = text == description.text;
    let path = file.filter(|_| is_as_it_was).unwrap_or("-");
    words.push(path.to_owned());
    words.extend(queue);
    let output = dry_run(commands, description.directory, &words, text.as_bytes()).await?;
    if output.code != 0 {
        return Err(errors(&output).replace("<stdin>", name));
    }
    let plain = ["-".to_owned()];
    let text = b"executable = /bin/true\nqueue\n";
    let plain = dry_run(commands, description.directory, &plain, text).await?;
    let defaults = ads(&plain.stdout).into_iter().next();
    Ok(Expanded {
        jobs: ads(&output.stdout),
        defaults: defaults.ok_or_else(|| errors(&plain))?,
        warnings: warnings(&output),
    })
}

async fn dry_run(
    commands: Option<&Path>,
    directory: &Path,
    words: &[String],
    stdin: &[u8],
) -> Result<Output, String> {
    let command = Command::new(commands, "condor_submit").with_our_locale();
    let command = command.start_in(directory).arguments(["-dry-run", "-"]);
    let output = command.arguments(words).input(stdin).limit(LIMIT).run();
    output.await.map_err(|failure| failure.to_string())
}

/// `text` with our macro where it names the cluster: `$(Cluster)`, `$(ClusterId:0)`, `$INT(Cluster,%05d)`.
fn with_number(text: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut written = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        written.push_str(before);
        written.push('$');
        rest = behind;
        // Two dollar signs stand for the machine.
        if let Some(behind) = rest.strip_prefix('$') {
            written.push('$');
            rest = behind;
            continue;
        }
        let function = rest.trim_start_matches(is_part);
        let Some(inner) = function.strip_prefix('(').map(str::trim_start) else {
            continue;
        };
        let behind = inner.trim_start_matches(is_part);
        let name = inner[..inner.len() - behind.len()].to_ascii_lowercase();
        let ends = behind.trim_start().starts_with([')', ',', ':']);
        if ends && CLUSTERS.contains(&name.as_str()) {
            written.push_str(&rest[..rest.len() - inner.len()]);
            written.push_str(CLUSTER);
            rest = behind;
        }
    }
    written + rest
}

/// Checks that no file that `text` includes names the cluster: that file is read as it is.
fn check_included(directory: &Path, text: &str, name: &str) -> Result<(), String> {
    for line in text.lines().map(str::trim) {
        let Some((word, path)) = line.split_once(':') else {
            continue;
        };
        if !word.trim().eq_ignore_ascii_case("include") {
            continue;
        }
        let path = path.trim();
        let included = std::fs::read_to_string(directory.join(path)).unwrap_or_default();
        if with_number(&included) != included {
            return Err(format!(
                "{path} is included and names $(Cluster): move that line into {name} itself"
            ));
        }
    }
    Ok(())
}

/// What condor_submit says of a description that it does not take.
fn errors(output: &Output) -> String {
    let words = output.words();
    let lines = words.lines().map(str::trim);
    let lines = lines.map(|line| line.strip_prefix("ERROR: ").unwrap_or(line));
    // The last one repeats where the first one was.
    let said =
        lines.filter(|line| !line.is_empty() && !line.starts_with("Failed to parse command"));
    let said: Vec<&str> = said.collect();
    match said.is_empty() {
        true => words,
        false => said.join("; "),
    }
}

fn warnings(output: &Output) -> Vec<String> {
    let lines = output.stderr.lines().map(str::trim);
    let ours = format!("'{CLUSTER} = ");
    let is_ours = |line: &str| line.contains(&ours);
    let lines = lines.filter(|line| !line.is_empty() && !is_ours(line));
    let lines = lines.map(|line| line.strip_prefix("WARNING: ").unwrap_or(line));
    lines.map(str::to_owned).collect()
}

/// The ads in the output of a dry run: of a cluster's first job all attributes, of the others those that differ.
/// Where the description came from standard input, all is printed again for people, with blanks around `=`.
fn ads(stdout: &str) -> Vec<JobAd> {
    let mut ads: Vec<JobAd> = Vec::new();
    // Where the first ad of the present cluster is.
    let mut first = 0;
    for line in stdout.lines() {
        let Some((name, value)) = line.split_once('=').filter(|(name, _)| is_name(name)) else {
            continue;
        };
        if name == "ClusterId" {
            first = ads.len();
            ads.push(JobAd::default());
        } else if name == "ProcId" && ads.last().is_some_and(|ad| ad.get(name).is_some()) {
            ads.push(ads[first].clone());
        }
        if let Some(ad) = ads.last_mut() {
            ad.set(name, value);
        }
    }
    ads
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_part)
}

/// The arguments of a job.
///
/// # Errors
/// If a quote is not closed.
pub fn arguments(ad: &JobAd) -> Result<Vec<String>, String> {
    match (ad.text("Arguments"), ad.text("Args")) {
        (Some(new), _) => words(&new),
        // The older syntax knows no quotes.
        (None, old) => Ok(old
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()),
    }
}

/// The variables of a job.
///
/// # Errors
/// If a quote is not closed, or a variable has no value.
pub fn environment(ad: &JobAd) -> Result<Vec<(String, String)>, String> {
    let words = match (ad.text("Environment"), ad.text("Env")) {
        (Some(new), _) => words(&new)?,
        (None, old) => {
            let delimiter = ad.text("EnvDelim").unwrap_or_else(|| ";".to_owned());
            let old = old.unwrap_or_default();
            let parts = old
                .split(&*delimiter)
                .filter(|part| !part.trim().is_empty());
            parts.map(|part| part.trim_start().to_owned()).collect()
        }
    };
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("`{word}` has no `=`")),
    };
    words.into_iter().map(pair).collect()
}

/// Words apart at blanks, but for those between single quotes, where two of them stand for one.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('\'') if letters.peek() == Some(&'\'') => {
                            letters.next();
                            word.push('\'');
                        }
                        Some('\'') => break,
                        Some(letter) => word.push(letter),
                        None => return Err(format!("a single quote is not closed in {text}")),
                    }
                }
            }
            letter if letter.is_ascii_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HTCondor 25.14 prints them.
    const PRINTED: &str = "Dry-Run job(s)\nClusterId=1\nIn=\"/dev/null\"\nOut=\"out.0\"\nWin=\"a\\b\\\"c\"\n\
                           Requirements=(A == \"B=C\")\nProcId=0\nJobStatus=1\n.\nProcId=1\nJobStatus=1\n\
                           Out=\"out.1\"\n.\nProcId=2\nJobStatus=1\nOut=\"out.2\"\n.\n\
                           3 job(s) dry-run to cluster 1.\n\n** Proc 1.0:\nOut = \"out.0\"\nProcId = 0\n";

    #[test]
    fn later_ads_are_the_first_but_for_what_differs() {
        let ads = ads(PRINTED);
        let out: Vec<_> = ads.iter().map(|ad| ad.text("out").unwrap()).collect();
        assert_eq!(out, ["out.0", "out.1", "out.2"]);
        assert!(
            ads.iter()
                .all(|ad| ad.text("In").as_deref() == Some("/dev/null"))
        );
        assert_eq!(ads[2].number("ProcId"), Some(2));
        assert_eq!(ads[1].text("Win").as_deref(), Some("a\\b\"c"));
        assert_eq!(ads[1].get("Requirements"), Some("(A == \"B=C\")"));
        let other = format!("{PRINTED}\nClusterId=2\nOut=\"b\"\nProcId=0\nProcId=1\n");
        let ads = super::ads(&other);
        assert_eq!(ads.len(), 5);
        assert_eq!((ads[4].get("In"), ads[4].get("ProcId")), (None, Some("1")));
    }

    #[test]
    fn the_number_of_the_cluster_is_ours_in_every_form() {
        for (text, expected) in [
            ("out.$(Cluster).$(Process)", "out.$(CuCluster).$(Process)"),
            (
                "$(CLUSTERID:1) $INT( ClusterId ,%05d)",
                "$(CuCluster:1) $INT( CuCluster ,%05d)",
            ),
            (
                "$$(Cluster) $(ClusterName) $(x",
                "$$(Cluster) $(ClusterName) $(x",
            ),
            ("é$(cluster)$", "é$(CuCluster)$"),
        ] {
            assert_eq!(with_number(text), expected);
        }
    }

    #[test]
    fn both_syntaxes_of_arguments_and_environment_are_read() {
        let ad = |name: &str, value: &str| {
            let mut ad = JobAd::default();
            ad.set(name, value);
            ad
        };
        let new = ad("Arguments", r#""-c echo' '''a' 'b'''' '' x\"y""#);
        assert_eq!(arguments(&new).unwrap(), ["-c", "echo 'a b'", "", "x\"y"]);
        let old = ad("Args", r#""a\b \"c:\\d\" 'x y'""#);
        assert_eq!(
            arguments(&old).unwrap(),
            ["a\\b", "\"c:\\\\d\"", "'x", "y'"]
        );
        assert_eq!(arguments(&JobAd::default()).unwrap(), [""; 0]);
        let pairs = |text: &[(&str, &str)]| -> Vec<(String, String)> {
            let pair = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
            text.iter().map(pair).collect()
        };
        let new = ad("Environment", r#""A=it''''s B=x' 'y D=""#);
        let expected = pairs(&[("A", "it's"), ("B", "x y"), ("D", "")]);
        assert_eq!(environment(&new).unwrap(), expected);
        let old = ad("Env", r#""A=1;B=x y""#);
        assert_eq!(
            environment(&old).unwrap(),
            pairs(&[("A", "1"), ("B", "x y")])
        );
        assert!(arguments(&ad("Arguments", "\"a 'b\"")).is_err());
    }

    #[test]
    fn a_refusal_is_one_sentence_with_the_line() {
        let output = Output {
            code: 1,
            stdout: "Dry-Run job(s)".into(),
            stderr: "\nERROR: on Line 2 of a.sub: \nERROR: no\n\nERROR: Failed to parse command file (line 2).\n"
                .into(),
        };
        assert_eq!(errors(&output), "on Line 2 of a.sub:; no");
    }
}
