//! `cu sbatch` on real Slurms: batch scripts as people write them ask Slurm for the same as with sbatch.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output};

use cu_cluster_tests::{Login, SlurmCluster, Suite};
use serde_json::Value;

/// A user at a login node.
struct LoginNode<'a>(Login<'a, SlurmCluster>);

impl<'a> Deref for LoginNode<'a> {
    type Target = Login<'a, SlurmCluster>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn at_login(suite: Suite, test: impl FnOnce(&LoginNode<'_>)) {
    let cluster = SlurmCluster::up(suite);
    let lane = cluster.lane();
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let partition = [("SBATCH_PARTITION", lane.partition())];
    test(&LoginNode(Login::new(&cluster, work.path(), &partition)));
}

impl LoginNode<'_> {
    fn script(&self, name: &str, text: &str) -> PathBuf {
        self.write(name, text, 0o755)
    }

    /// What a command of sbatch's says, with these variables beside its own. An empty partition is none.
    fn said(&self, mut command: Command, variables: &[&str]) -> Output {
        for (name, value) in variables.iter().filter_map(|it| it.split_once('=')) {
            command.env(name, value);
        }
        if variables.contains(&NO_PARTITION) {
            command.env_remove("SBATCH_PARTITION");
        }
        command.output().expect("it can be started")
    }

    fn sbatch(&self, words: &[&str], variables: &[&str]) -> Output {
        self.said(self.command("sbatch", ".", words), variables)
    }

    fn cu(&self, words: &[&str], variables: &[&str]) -> Output {
        self.said(self.0.cu(".", words), variables)
    }

    /// The options that sbatch reads from these words.
    fn options(&self, words: &[&str], variables: &[&str]) -> BTreeMap<String, String> {
        let asked: Vec<&str> = ["-vv", "--test-only"]
            .iter()
            .chain(words)
            .copied()
            .collect();
        let output = self.sbatch(&asked, variables);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines = said
            .lines()
            .filter_map(|line| line.strip_prefix("sbatch: "));
        let lines = lines.skip_while(|line| *line != "defined options");
        let lines = lines.take_while(|line| *line != "end of defined options");
        let options = lines.filter_map(|line| line.split_once(" : "));
        let options: BTreeMap<String, String> = options
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .filter(|(name, _)| !OURS.contains(&name.as_str()))
            .collect();
        assert!(said.contains("end of defined options"), "{words:?}: {said}");
        options
    }
}

const NO_PARTITION: &str = "SBATCH_PARTITION=";

/// What a chain has to decide itself, and says that it does, with what the test asks for.
const OURS: [&str; 12] = [
    "comment",
    "error",
    "export",
    "job-name",
    "no-requeue",
    "open-mode",
    "output",
    "requeue",
    "signal",
    "test-only",
    "verbose",
    "wrap",
];

/// Lines of a script, words on the command line and variables.
type Style = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

#[rustfmt::skip]
const STYLES: &[Style] = &[
    ("", &[], &[]),
    ("#SBATCH --ntasks=2\n#SBATCH --cpus-per-task=1", &[], &[]),
    ("#SBATCH -n 2 -c1", &[], &[]),
    ("#SBATCH -n2# two", &[], &[]),
    ("#SBATCH --mem 100 # trailing", &[], &[]),
    ("#SBATCH --mem-per-cpu=50M\n#SBATCH -N1-1 --ntasks-per-node 2", &[], &[]),
    ("#SBATCH --job-name \"a b\" --comment='x # y'", &[], &[]),
    ("#SBATCH\t--time=5\t--tasks-per-node=1", &[], &[]),
    ("#SBATCH --exclusive", &[], &[]),
    ("#SBATCH --exclusive=user -O", &[], &[]),
    ("#SBATCH --gres=gpu:1", &[], &[]),
    ("#SBATCH -G1 --cpus-per-gpu=1", &[], &[]),
    ("#SBATCH --gpus-per-node=1 --mem-per-gpu=10", &[], &[]),
    ("#SBATCH -C small --contiguous", &[], &[]),
    ("#SBATCH -C \"small|large\"", &[], &[]),
    ("#SBATCH --nice=10\n#SBATCH -t 5:00", &[], &[]),
    ("#SBATCH --nice --no-kill -s", &[], &[]),
    ("#SBATCH -t 1:00:30", &[], &[]),
    ("#SBATCH --time 1-0", &[], &[]),
    ("#SBATCH --time=UNLIMITED", &[], &[]),
    ("##SBATCH --time=1\n #SBATCH --time=2\n# SBATCH --time=3\necho\n#SBATCH --time=4", &[], &[]),
    ("#SBATCH --begin=2036-01-01T00:00\n#SBATCH --hold", &[], &[]),
    ("#SBATCH --mail-type=END,FAIL --mail-user=ada@example.org", &[], &[]),
    ("#SBATCH --chdir=/tmp --output=a.%j -e b.%j", &[], &[]),
    ("#SBATCH --signal=B:USR1@60 -t 10 --open-mode=append --requeue", &[], &[]),
    ("#SBATCH -m block:cyclic --ntasks-per-core=1 --hint=nomultithread", &[], &[]),
    ("#SBATCH --threads-per-core=1 --sockets-per-node=1 --cores-per-socket=1", &[], &[]),
    ("#SBATCH --spread-job --use-min-nodes --tmp=1M --mincpus=1", &[], &[]),
    ("#SBATCH --switches=1@5:00 --profile=none --acctg-freq=30 --propagate=NONE", &[], &[]),
    ("#SBATCH --export=NONE --get-user-env", &[], &[]),
    ("#SBATCH --export=A=1,B -p debug -x n7 --deadline=2036-01-01T00:00", &[], &[]),
    ("#SBATCH -t 5 -J here --mem=10", &["-t", "6", "-Jthere", "--mem=20"], &[]),
    ("#SBATCH -t 5", &["--part=debug", "--qos=normal"], &["SBATCH_TIMELIMIT=7"]),
    ("#SBATCH -t 5 --mem=10", &["-t4"], &["SBATCH_TIMELIMIT=7", "SBATCH_MEM_PER_CPU=5"]),
    ("", &["-n2", "--cpus-per-task", "1", "-HO"], &["SBATCH_GRES=gpu:1", "SBATCH_EXCLUSIVE="]),
    ("", &["--dependency=afterany:1", "--kill-on-invalid-dep=yes"], &["SBATCH_DISTRIBUTION=block"]),
];

fn scripts_in_every_style_ask_slurm_for_the_same(suite: Suite) {
    at_login(suite, |login| {
        for (number, (lines, words, variables)) in STYLES.iter().enumerate() {
            let interpreter = match number % 2 {
                0 => "#!/bin/bash",
                _ => "#!/usr/bin/env python3",
            };
            let name = format!("style-{number}.sh");
            login.script(&name, &format!("{interpreter}\n{lines}\n\ntrue\n"));
            assert_same_options(login, words, &[&name, "an argument"], variables);
        }
        assert_same_options(login, &["-t3", "--wrap", "hostname"], &[], &[]);
    });
}

fn assert_same_options(login: &LoginNode<'_>, words: &[&str], script: &[&str], variables: &[&str]) {
    let all = [words, script].concat();
    let plain = login.options(&all, variables);
    let asked = [&["--json", "sbatch", "--test-only"], &all[..]].concat();
    let output = login.cu(&asked, variables);
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{all:?}: {error}: {output:?}"));
    let submitted = answer["submissions"][0]["text"]
        .as_str()
        .unwrap_or_default();
    assert!(!submitted.is_empty(), "{all:?}: {answer}");
    login.script("ours.sh", submitted);
    let mut ours = login.options(&["ours.sh"], &[NO_PARTITION]);
    let mut plain = plain;
    // A time limit is one in whole minutes either way.
    for options in [&mut ours, &mut plain] {
        if options
            .get("time")
            .is_some_and(|time| !time.ends_with(":00"))
        {
            options.insert("time".to_owned(), "rounded".to_owned());
        }
    }
    if plain.get("time").is_some_and(|time| time == "rounded") {
        ours.insert("time".to_owned(), "rounded".to_owned());
    }
    plain
        .entry("chdir".to_owned())
        .or_insert(login.directory.display().to_string());
    assert_eq!(ours, plain, "{all:?} {variables:?}\n{submitted}");
}

/// What `scontrol show job` shows otherwise, because it does for any two jobs or because `cu sbatch` says so.
const DIFFERS: [&str; 20] = [
    "AccrueTime",
    "Command",
    "Comment",
    "Deadline",
    "EligibleTime",
    "EndTime",
    "JobId",
    "JobName",
    "LastSchedEval",
    "Priority",
    "Requeue",
    "SLUID",
    "StartTime",
    "StdErr",
    "StdIn",
    "StdOut",
    "SubmitLine",
    "SubmitTime",
    "Scheduler",
    "AllocNode:Sid",
];

fn a_job_is_to_slurm_what_sbatch_makes_of_it(suite: Suite) {
    at_login(suite, |login| {
        for (number, lines) in [
            "",
            "#SBATCH -n2 --mem-per-cpu=20 -t 5:30 --gres=gpu:1 --mail-type=END",
            "#SBATCH --nodes=1 --ntasks-per-node=2 --exclusive -C small --nice=7 --qos=normal",
        ]
        .iter()
        .enumerate()
        {
            let name = format!("held-{number}.sh");
            login.script(&name, &format!("#!/bin/bash\n{lines}\nsleep 60\n"));
            let words = ["--hold", &*name, "an argument"];
            let plain = login.sbatch(&words, &[]);
            let ours = login.cu(&[&["sbatch"], &words[..]].concat(), &[]);
            let [plain, ours] = [plain, ours].map(|output| {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let id = said.strip_prefix("Submitted batch job ").map(str::trim);
                id.unwrap_or_else(|| panic!("{output:?}")).to_owned()
            });
            let shown = |id: &str| {
                let text = login.cluster.ask("scontrol", &["show", "job", id]);
                let fields = text.split_whitespace().filter_map(|it| it.split_once('='));
                let fields = fields.filter(|(name, _)| !DIFFERS.contains(name));
                let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
                fields.collect::<BTreeMap<_, _>>()
            };
            let (expected, found) = (shown(&plain), shown(&ours));
            assert!(expected.len() > 20, "{expected:?}");
            assert_eq!(found, expected, "{lines}");
            login.cluster.ask("scancel", &[&plain]);
            let run = format!("results/held-{number}");
            let stop = login.cu(&["stop", "all", "--yes", &run], &[]);
            assert!(stop.status.success(), "{stop:?}");
            let wait = login.cu(&["wait", &run], &[]);
            assert_eq!(wait.status.code(), Some(1), "{wait:?}");
        }
    });
}

#[test]
fn a_script_that_sbatch_would_refuse_is_refused_at_once() {
    at_login(Suite::Trixie, |login| {
        login.script(
            "wrong.sh",
            "#!/bin/bash\n#SBATCH --partition=nowhere\ntrue\n",
        );
        let refused = login.cu(&["sbatch", "wrong.sh"], &[NO_PARTITION]);
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(said.contains("invalid partition"), "{refused:?}");
    });
}

mod on_slurm_20_11 {
    use super::*;

    #[test]
    fn the_options_are_the_same() {
        scripts_in_every_style_ask_slurm_for_the_same(Suite::Bullseye);
    }

    #[test]
    fn the_job_is_the_same() {
        a_job_is_to_slurm_what_sbatch_makes_of_it(Suite::Bullseye);
    }
}

mod on_slurm_22_05 {
    use super::*;

    #[test]
    fn the_options_are_the_same() {
        scripts_in_every_style_ask_slurm_for_the_same(Suite::Bookworm);
    }

    #[test]
    fn the_job_is_the_same() {
        a_job_is_to_slurm_what_sbatch_makes_of_it(Suite::Bookworm);
    }
}

mod on_slurm_24_11 {
    use super::*;

    #[test]
    fn the_options_are_the_same() {
        scripts_in_every_style_ask_slurm_for_the_same(Suite::Trixie);
    }

    #[test]
    fn the_job_is_the_same() {
        a_job_is_to_slurm_what_sbatch_makes_of_it(Suite::Trixie);
    }
}

mod on_slurm_26_05 {
    use super::*;

    #[test]
    fn the_options_are_the_same() {
        scripts_in_every_style_ask_slurm_for_the_same(Suite::Forky);
    }

    #[test]
    fn the_job_is_the_same() {
        a_job_is_to_slurm_what_sbatch_makes_of_it(Suite::Forky);
    }
}
