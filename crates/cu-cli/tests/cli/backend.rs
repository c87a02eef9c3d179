//! Which backend a run takes, and what is said when it can't be had. The clusters here are commands
//! of a few lines: what real ones do is tested on real ones.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Bench, Ended, WAIT};

/// A scheduler's command that is there and can't do anything.
const AWAY: &str = "#!/bin/sh
echo 'Unable to contact slurm controller (connect failure)' >&2
exit 1
";

/// `cu` where `PATH` has the commands of the bench and nothing else.
fn cu(bench: &Bench, arguments: &[&str]) -> Ended {
    output(bench.command(arguments).env("PATH", bench.path("commands")))
}

fn output(command: &mut Command) -> Ended {
    Ended::from(command.output().expect("cu runs"))
}

/// A bench with a config, and with `commands`.
fn bench(commands: &[&str]) -> Bench {
    let bench = Bench::new();
    fs::create_dir(bench.path("commands")).expect("a directory");
    for command in commands {
        bench.program(&format!("commands/{command}"), AWAY);
    }
    bench.write(
        "run.toml",
        "name = \"a\"\ncommand = [\"/bin/sh\", \"-c\", \":\"]\nresources.time_limit = \"1h\"\n\
         stop.after = \"50min\"\n",
    );
    bench
}

#[test]
fn without_a_cluster_it_is_this_machine_and_stays_so() {
    let bench = bench(&[]);
    let ended = cu(&bench, &["run", "run.toml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let words = "on this machine (because neither sbatch nor condor_submit is in PATH)";
    assert!(ended.stderr.contains(words), "{ended:?}");
    let config: toml::Table = toml::from_str(&bench.read("results/a/run.toml")).expect("TOML");
    assert_eq!(config["backend"]["kind"].as_str(), Some("local"));
    // What comes to be in PATH later changes nothing.
    bench.program("commands/sbatch", AWAY);
    let ended = cu(&bench, &["resume", "a"]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_run_that_had_a_backend_keeps_to_it_without_a_config() {
    let bench = bench(&[]);
    assert_eq!(cu(&bench, &["run", "run.toml"]).code, 0);
    fs::remove_file(bench.path("results/a/run.toml")).expect("a config");
    bench.program("commands/sbatch", AWAY);
    let ended = cu(&bench, &["resume", "a"]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// As ARCHITECTURE.md says in "Which copy of a setting counts".
#[test]
fn a_resume_reads_only_the_backend_from_run_toml() {
    let bench = bench(&[]);
    let program = "command=[\"/bin/sh\", \"-c\", \"echo $MARK; exit 1\"]";
    let given = [
        "environment.MARK=old",
        "resources.cpus=2",
        "backend.local.cpus=2",
    ];
    let ended = cu(
        &bench,
        &[&["run", "run.toml", program], &given[..]].concat(),
    );
    assert_eq!(ended.code, 1, "{ended:?}");
    let edit = |before: &str, after: &str| {
        let text = bench.read("results/a/run.toml");
        assert!(text.contains(before), "{text}");
        bench.write("results/a/run.toml", text.replace(before, after));
    };
    let resume = || {
        assert_eq!(cu(&bench, &["retry", "0", "a"]).code, 0);
        let ended = cu(&bench, &["resume", "a"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        ended
    };
    // Neither the command nor the budgets nor the resources are read again.
    edit("MARK = \"old\"", "MARK = \"new\"");
    edit(
        "[resources]",
        "[resume]\nfailure_retries = 2\n\n[resources]",
    );
    edit("[resources]\ncpus = 2", "[resources]\ncpus = 1");
    resume();
    assert_eq!(bench.read("results/a/attempts/0/1/stdout"), "old\n");
    assert!(!bench.path("results/a/attempts/0/2").exists());
    // The backend is.
    edit("[backend.local]\ncpus = 2", "[backend.local]\ncpus = 1");
    let ended = resume();
    assert!(
        ended
            .stdout
            .contains("it asks for 2 CPUs, but this machine offers 1"),
        "{ended:?}"
    );
    // It must still be a config.
    edit("[resources]", "[resauces]");
    assert_eq!(cu(&bench, &["resume", "a"]).code, 2);
}

#[test]
fn without_a_config_the_recorded_backend_is_taken() {
    let bench = bench(&[]);
    assert_eq!(cu(&bench, &["run", "run.toml"]).code, 0);
    fs::remove_file(bench.path("results/a/run.toml")).expect("a config");
    fs::remove_dir_all(bench.path("results/a/backend")).expect("a directory");
    bench.program("commands/sbatch", AWAY);
    let ended = cu(&bench, &["resume", "a"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let words = "run.toml is missing: the run goes on with this machine, as recorded";
    assert!(ended.stderr.contains(words), "{ended:?}");
}

#[test]
fn no_other_backend_takes_over_attempts_that_run() {
    let bench = Bench::new();
    bench.program("wait.sh", WAIT);
    bench.program("sbatch", AWAY);
    let config = "name = \"a\"\ncommand = [\"./wait.sh\"]\nbackend.kind = \"local\"\n";
    bench.write("run.toml", config);
    let main_process = bench.start(&["run", "run.toml"]);
    bench.wait_until_waiting("a");
    main_process.signal(Signal::TERM);
    assert_eq!(main_process.end().code, 130);
    let before = bench.read("results/a/run.toml");
    let slurm = format!(
        "kind = \"slurm\"\nslurm.commands = {:?}",
        bench.path("").display().to_string()
    );
    bench.write(
        "results/a/run.toml",
        before.replace("kind = \"local\"", &slurm),
    );
    for command in ["resume", "stop"] {
        let ended = bench.cu(&[command, "a"]);
        assert_eq!(ended.code, 2, "{command}: {ended:?}");
        let words = "says Slurm, but attempts of the run are queued or running on this machine";
        assert!(ended.stderr.contains(words), "{command}: {ended:?}");
        let hint = "set backend.kind to \"local\" in ";
        assert!(ended.stderr.contains(hint), "{command}: {ended:?}");
    }
    bench.write("results/a/run.toml", before);
    bench.let_go("a");
    let ended = bench.cu(&["resume", "a"]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn this_machine_can_be_wished_for_beside_a_cluster() {
    let bench = bench(&["sbatch"]);
    let ended = cu(&bench, &["run", "run.toml", "--backend", "local"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("on this machine (backend.kind = local)"),
        "{ended:?}"
    );
}

#[cfg(all(feature = "slurm", feature = "htcondor"))]
mod on_clusters {
    use super::*;

    /// The backend that a dry run chooses, which then can't be asked.
    fn chosen(bench: &Bench, arguments: &[&str]) -> String {
        let ended = cu(
            bench,
            &[&["run", "run.toml", "--dry-run"], arguments].concat(),
        );
        assert_eq!(ended.code, 5, "{ended:?}");
        assert!(!bench.path("results").exists(), "nothing was made");
        ended.stderr
    }

    #[test]
    fn a_backend_that_is_wished_for_must_be_here() {
        let bench = bench(&[]);
        for (arguments, words) in [
            (
                &["--backend", "slurm"][..],
                &[
                    "--backend slurm",
                    "sbatch is not in PATH",
                    "backend.slurm.commands",
                ][..],
            ),
            (
                &["backend.kind=htcondor"],
                &["condor_submit is not in PATH", "backend.htcondor.commands"],
            ),
            (
                &["backend.kind=slurm", "backend.slurm.commands=nowhere"],
                &["sbatch is not in /", "/nowhere"],
            ),
            (&["backend.kind=lsf"], &["backend.kind", "slurm"]),
        ] {
            let ended = cu(&bench, &[&["run", "run.toml"], arguments].concat());
            assert_eq!(ended.code, 2, "{ended:?}");
            for word in words {
                assert!(ended.stderr.contains(word), "`{word}` is not in {ended:?}");
            }
        }
        assert!(!bench.path("results").exists(), "nothing was made");
    }

    #[test]
    fn the_first_cluster_that_is_here_is_taken() {
        const SLURM: [&str; 5] = ["sbatch", "squeue", "sacct", "scancel", "scontrol"];
        const HTCONDOR: [&str; 4] = ["condor_submit", "condor_q", "condor_rm", "condor_version"];
        let both = bench(&[&SLURM[..], &HTCONDOR].concat());
        assert!(chosen(&both, &[]).contains("can't use Slurm"));
        assert!(chosen(&both, &["backend.kind=htcondor"]).contains("can't use HTCondor"));
        assert!(chosen(&bench(&HTCONDOR), &[]).contains("can't use HTCondor"));
        let elsewhere = bench(&[]);
        fs::create_dir(elsewhere.path("slurm")).expect("a directory");
        for command in SLURM {
            elsewhere.program(&format!("slurm/{command}"), AWAY);
        }
        let said = chosen(&elsewhere, &["backend.slurm.commands=slurm"]);
        assert!(
            said.contains("Unable to contact slurm controller"),
            "{said}"
        );
    }

    #[test]
    fn a_scheduler_that_is_away_is_exit_code_5_and_leaves_the_run() {
        let bench = bench(&["sbatch", "scontrol"]);
        let ended = cu(&bench, &["run", "run.toml"]);
        assert_eq!(ended.code, 5, "{ended:?}");
        for words in [
            "on Slurm (because /",
            "Unable to contact slurm controller",
            "hint: `cu doctor` examines the cluster",
        ] {
            assert!(
                ended.stderr.contains(words),
                "`{words}` is not in {ended:?}"
            );
        }
        let config: toml::Table = toml::from_str(&bench.read("results/a/run.toml")).expect("TOML");
        assert_eq!(config["backend"]["kind"].as_str(), Some("slurm"));
        let ended = cu(&bench, &["resume", "a"]);
        assert_eq!(ended.code, 5, "{ended:?}");
    }

    #[test]
    fn a_value_that_no_cluster_takes_names_its_key() {
        let bench = bench(&["sbatch", "condor_submit"]);
        for (arguments, words) in [
            (
                &["backend.slurm.partition=\"a b\""][..],
                "`backend.slurm.partition`: ",
            ),
            (
                &["backend.slurm.extra=[\"--output=x\"]"],
                "`backend.slurm.extra`: ",
            ),
            (
                &["backend.kind=htcondor", "backend.htcondor.transfer=true"],
                "`backend.htcondor.transfer`: ",
            ),
        ] {
            let ended = cu(&bench, &[&["run", "run.toml"], arguments].concat());
            assert_eq!(ended.code, 2, "{ended:?}");
            assert!(
                ended.stderr.contains(words),
                "`{words}` is not in {ended:?}"
            );
        }
        assert!(!bench.path("results").exists(), "nothing was made");
    }
}
