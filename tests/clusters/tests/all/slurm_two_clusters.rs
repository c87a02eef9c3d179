//! Two real Slurms in one accounting, as behind the login of many a centre: a run stays on the one that was
//! chosen, whatever the commands speak to by themselves, and touches nothing on the other.

use cu_cluster_tests::runs::{
    GRID, ask, assert_completes, assert_grid, await_first_attempt, in_a_lane, program, tiny_job,
};
use cu_cluster_tests::{SlurmCluster, SlurmSettings, Suite};
use cu_tests::run::Run;

/// The names of the jobs that accounting has of a cluster.
fn jobs_on(cluster: &SlurmCluster, name: &str) -> Vec<String> {
    let names = ["-M", name, "-a", "-X", "-n", "-P", "-o", "JobName"];
    let names = ask(cluster, "sacct", &names);
    names.lines().map(str::to_owned).collect()
}

fn state_on(cluster: &SlurmCluster, name: &str, id: &str) -> String {
    let state = ask(
        cluster,
        "squeue",
        &["-M", name, "-h", "-t", "all", "-o", "%T", "-j", id],
    );
    // `CLUSTER: second` stands before the rows.
    state.lines().last().unwrap_or_default().trim().to_owned()
}

fn replace_in_config(run: &Run, from: &str, to: &str) {
    let path = run.dir().path().join("run.toml");
    let text = std::fs::read_to_string(&path).expect("a config");
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).expect("it is the user's");
}

#[test]
fn a_run_stays_on_its_cluster_and_touches_nothing_elsewhere() {
    let first = SlurmCluster::own(Suite::Trixie, &SlurmSettings::default());
    let second = first.beside();
    in_a_lane(&first, |lane, place| {
        // By a variable, as a module of the site sets it.
        let mut by_variable = place.clone();
        by_variable.directory = place.directory.join("variable");
        std::fs::create_dir(&by_variable.directory).expect("the directory is the user's");
        let variable = ("SLURM_CLUSTERS".into(), "second".into());
        by_variable.environment.push(variable);
        let run = Run::at(by_variable, &program("tiny_job"), GRID);
        assert_completes(&run, run.start());
        assert_grid(&run);
        let attempts = run.status()["attempts"].as_u64().expect("a number");
        run.until("all attempts in the accounting of the second", || {
            (jobs_on(&first, "second").len() as u64 == attempts).then_some(())
        });
        assert_eq!(jobs_on(&first, "trixie"), [""; 0]);

        // By the key. On the first, a stranger has the same id.
        let key = "backend.slurm.cluster = \"second\"\n";
        let run = tiny_job(place, "stays", key);
        let mut main_process = run.start();
        let id = await_first_attempt(&run);
        main_process.kill();
        let stranger = [
            "--parsable",
            "--hold",
            "--partition",
            lane.partition(),
            "--output=/dev/null",
            "--wrap",
            "sleep 600",
        ];
        let given = || ask(&first, "sbatch", &stranger).trim().to_owned();
        while given() != id {}
        assert_eq!(state_on(&first, "trixie", &id), "PENDING");

        // Somebody takes the key away: the commands speak to the first then.
        replace_in_config(&run, "cluster = \"second\"\n", "");
        let refused = run.go_on().wait();
        assert_ne!(refused.code, Some(0), "{refused:?}");
        for word in ["second", "trixie"] {
            assert!(refused.stderr.contains(word), "{refused:?}");
        }
        let stopped = run.cu(&["stop", "all"]);
        assert_ne!(stopped.code, Some(0), "{stopped:?}");
        assert_eq!(state_on(&first, "second", &id), "RUNNING");

        // The login of the second speaks to it by itself.
        let (here, there) = (first.commands(), second.commands());
        let (here, there) = (format!("{here:?}"), format!("{there:?}"));
        replace_in_config(&run, &here, &there);
        let stopped = run.cu(&["stop", "all"]);
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        assert_eq!(run.show(0)["state"], "cancelled");
        run.until("the end of its job", || {
            (state_on(&first, "second", &id) != "RUNNING").then_some(())
        });
        assert_eq!(state_on(&first, "trixie", &id), "PENDING");
    });
}
