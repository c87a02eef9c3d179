//! `cu sbatch` on real Slurms: a batch script that is stopped and resumed leaves what it leaves with sbatch and without
//! a break. `batch_scripts` has the scripts, in the styles in which people write them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;

use cu_cluster_tests::{Login, SlurmCluster, Suite};
use serde_json::Value;

/// How many of the scripts run at once: more than the lane's processors, since most of the time is waiting.
const AT_ONCE: usize = 6;

/// Words that a shell would expand and `cu` could take for its own.
const ARGUMENTS: [&str; 3] = ["a b", "{job}", "$HOME"];

/// A script that is typed with the same words after `sbatch` and after `cu sbatch`.
struct Typed {
    /// The name of a directory for it.
    name: String,
    words: Vec<String>,
}

/// A command line of a loop that handles no signal.
const WRAPPED: &str = "s=$(cat state || echo 0); while [ $s -lt 8 ]; do sleep 0.5; s=$((s+1)); \
                       echo $s >n && mv n state; done 2>/dev/null; echo ended >result";

/// All of them, copied to where jobs see them.
fn scripts(login: &Login<'_, SlurmCluster>) -> Vec<Typed> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/batch_scripts");
    let entries = fs::read_dir(&directory).expect("the scripts are there");
    let copied = entries.map(|entry| {
        let path = entry.expect("it can be read").path();
        let [file, name] = [path.file_name(), path.file_stem()]
            .map(|name| name.expect("a name").to_string_lossy().into_owned());
        let text = fs::read_to_string(&path).expect("it can be read");
        let copy = login.write(&format!("scripts/{file}"), &text, 0o755);
        let words = [
            &[copy.display().to_string()],
            &ARGUMENTS.map(str::to_owned)[..],
        ]
        .concat();
        Typed { name, words }
    });
    let wrapped = ["--output=out.log", "--wrap", WRAPPED].map(str::to_owned);
    let wrapped = Typed {
        name: "wrapped".to_owned(),
        words: wrapped.into(),
    };
    let all: Vec<Typed> = copied.chain([wrapped]).collect();
    assert!(all.len() > 30, "{} scripts", all.len());
    all
}

fn scripts_in_pieces_leave_what_they_leave_without_a_break(suite: Suite) {
    let cluster = SlurmCluster::up(suite);
    let lane = cluster.lane();
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let home = work.path().display().to_string();
    let variables = [
        ("SBATCH_PARTITION", lane.partition()),
        ("HOME", &home), // A login shell reads files there.
        ("MINE", "by the shell"),
    ];
    let login = Login::new(&cluster, work.path(), &variables);
    let waiting = Mutex::new(scripts(&login));
    let next = || waiting.lock().ok()?.pop();
    let work_off = || {
        let done = std::iter::from_fn(next).map(|script| compare(&login, &script));
        done.filter_map(Result::err).collect::<Vec<_>>()
    };
    let wrong = std::thread::scope(|scope| {
        let threads = [(); AT_ONCE].map(|()| scope.spawn(work_off));
        let wrong = threads.map(|thread| thread.join().expect("it asserts nothing"));
        wrong.concat()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs the script without a break, and in pieces. Returns what differs.
fn compare(login: &Login<'_, SlurmCluster>, Typed { name, words }: &Typed) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [whole, pieces] = ["whole", "pieces"].map(|how| format!("{how}/{name}"));
    for place in [&whole, &pieces] {
        let numbers = format!("{place}/numbers");
        login.write(&numbers, "1\n2\n3\n4\n5\n6\n7\n8\n", 0o644);
        for directory in ["deeper", "logs"] {
            fs::create_dir_all(login.directory.join(place).join(directory)).expect("a directory");
        }
    }
    let plain = [&["--wait"], &words[..]].concat();
    let plain = run(login.command("sbatch", &whole, &plain));
    let ours = ["sbatch", "stop.after=3s", "stop.grace=20s", "--wait"];
    let ours = run(login.cu(&pieces, &[&ours[..], &words].concat()));
    let status = run(login.cu(&pieces, &["--json", "status"]));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
    let [expected, found] = [&whole, &pieces].map(|place| left(&login.directory.join(place)));
    let has_result = expected.keys().any(|file| file.contains("result"));
    let is_the_same = [
        (
            "one of the two failed",
            plain.status.success() == ours.status.success(),
        ),
        ("it was not resumed", status["resumes"].as_u64() >= Some(1)),
        ("sbatch left no result", has_result),
        ("it left something else", found == expected),
    ];
    match is_the_same.iter().find(|(_, holds)| !holds) {
        None => Ok(()),
        Some((wrong, _)) => Err(format!(
            "{name}: {wrong}\nsbatch: {plain:?}\n left {expected:?}\ncu sbatch: {ours:?}\n left {found:?}"
        )),
    }
}

fn run(mut command: std::process::Command) -> Output {
    command.output().expect("it can be started")
}

/// The files below `directory` with their contents, but for those of `cu` and those with the number of a job in their name.
fn left(directory: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(at) = directories.pop() {
        for entry in fs::read_dir(&at).expect("a directory") {
            let path = entry.expect("it can be read").path();
            let name = path
                .strip_prefix(directory)
                .expect("below it")
                .display()
                .to_string();
            if path.is_dir() && name != "results" {
                directories.push(path);
            } else if path.is_file() && !name.starts_with("slurm-") {
                let content = fs::read(&path).expect("it can be read");
                files.insert(name, String::from_utf8_lossy(&content).into_owned());
            }
        }
    }
    files
}

#[test]
fn on_slurm_20_11() {
    scripts_in_pieces_leave_what_they_leave_without_a_break(Suite::Bullseye);
}

#[test]
fn on_slurm_22_05() {
    scripts_in_pieces_leave_what_they_leave_without_a_break(Suite::Bookworm);
}

#[test]
fn on_slurm_24_11() {
    scripts_in_pieces_leave_what_they_leave_without_a_break(Suite::Trixie);
}

#[test]
fn on_slurm_26_05() {
    scripts_in_pieces_leave_what_they_leave_without_a_break(Suite::Forky);
}
