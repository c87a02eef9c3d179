//! The first hour of three newcomers: each tries once, and has what they came for.

use std::fs;

use cu_tests::process::{Exit, Process};
use cu_tests::run::Run;

/// Surroundings without a run: `cu` is typed where a project is.
fn project() -> Run {
    let run = Run::new(&["true"], "");
    fs::remove_file(run.config()).expect("no config is needed");
    run
}

fn assert_ended(exit: &Exit, parts: &[&str]) {
    let seen = format!("{}{}", exit.stdout, exit.stderr);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for part in parts {
        assert!(seen.contains(part), "{part:?} is missing in:\n{seen}");
    }
}

/// Where attempts have begun. On a busy machine one may be stopped before it has done anything.
fn assert_begun_at(run: &Run, log: &str, expected: &[&str]) {
    let log = fs::read_to_string(run.path(log)).expect("a log");
    let mut begun: Vec<_> = log.lines().collect();
    begun.dedup();
    assert_eq!(begun, expected, "{log}");
}

/// Reads its data by a relative path, saves to a directory of its own, and knows nothing of `cu` or of signals. After
/// some epochs an attempt only waits, so that it is always stopped, however fast the machine is.
const TRAIN: &str = r#"
import argparse, os, time
parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("--out", required=True)
arguments = parser.parse_args()
rows = open(arguments.data).read().split()
os.makedirs(arguments.out, exist_ok=True)
path = os.path.join(arguments.out, "checkpoint")
begin = int(open(path).read()) if os.path.exists(path) else 0
with open(os.path.join(arguments.out, "log"), "a") as log:
    print("epoch", begin, file=log)
for epoch in range(begin, 9):
    if epoch == begin + 4:
        time.sleep(600)
    with open(path + ".part", "w") as part:
        part.write(str(epoch + 1))
    os.rename(path + ".part", path)
print("trained on", len(rows), "rows")
"#;

#[test]
fn a_student_resumes_an_unmodified_training_at_the_first_try() {
    let run = project();
    fs::create_dir(run.path("data")).expect("a directory");
    fs::write(run.path("data/train.npz"), "1 2 3").expect("a file");
    fs::write(run.path("train.py"), TRAIN).expect("a file");
    let exit = run.cu(&[
        "run",
        "--stop-after",
        "5s",
        "--",
        "python3",
        "train.py",
        "--data",
        "data/train.npz",
        "--out",
        "scratch/exp1",
    ]);
    assert_ended(&exit, &["train: completed, 1 of 1 jobs completed, "]);
    assert_begun_at(&run, "scratch/exp1/log", &["epoch 0", "epoch 4", "epoch 8"]);
    assert_ended(&run.cu(&["logs", "train"]), &["trained on 3 rows"]);
}

/// A rank of a simulation that writes a restart file when it hears SIGUSR1, and ends. With an error code, mpirun would
/// kill the others while they save.
const RANK: &str = r#"
rank=$OMPI_COMM_WORLD_RANK
save() { echo "$step" >"restart.$rank"; exit 0; }
trap save USR1
step=$(cat "restart.$rank" 2>/dev/null || echo 0)
echo "step $step" >>"log.$rank"
end=$((step + 3))
while [ "$step" -lt 6 ]; do
    # The last step of an attempt takes until it is asked to stop.
    step=$((step + 1))
    while [ "$step" -eq "$end" ] && [ "$step" -lt 6 ]; do sleep 0.1; done
done
"#;

#[test]
fn an_engineer_resumes_ranks_behind_mpirun_at_the_first_try() {
    let run = project();
    fs::write(run.path("rank.sh"), RANK).expect("a file");
    let mut command = run.command(&[
        "run",
        "--stop-after",
        "5s",
        "--",
        "mpirun",
        "--oversubscribe",
        "-n",
        "2",
        "bash",
        "rank.sh",
    ]);
    // Open MPI refuses root, under which tests may run.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1");
    command.env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    let exit = Process::start(command, &run.path("")).wait();
    assert_ended(&exit, &["mpirun: completed, 1 of 1 jobs completed, "]);
    for rank in 0..2 {
        assert_begun_at(&run, &format!("log.{rank}"), &["step 0", "step 3"]);
    }
}

#[test]
fn an_administrator_sees_what_would_happen_before_it_does() {
    let run = project();
    assert_ended(&run.cu(&["config", "init"]), &["run.toml"]);
    assert_ended(&run.cu(&["config", "check", "run.toml"]), &["correct"]);
    let examined = run.cu(&["doctor", "--backend", "local"]);
    for part in ["scheduler", "permissions", "locks", "free space"] {
        assert!(examined.stdout.contains(part), "{examined:?}");
    }
    let shown = run.cu(&[
        "run",
        "--dry-run",
        "--time-limit",
        "1h",
        "--stop-before-limit",
        "5min",
        "--",
        "sleep",
        "1",
    ]);
    assert_ended(
        &shown,
        &["cu run would make", "time_limit = \"1h\"", "sleep"],
    );
    assert!(!run.path("results").exists(), "nothing was made");
}
