//! What tests of whole runs on clusters share.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::programs::static_program;
use crate::{CondorPool, SlurmCluster, SlurmLane, place, wait};
use cu_tests::checker::assert_kept;
use cu_tests::history::History;
use cu_tests::process::Process;
use cu_tests::run::{Place, Run};
use serde_json::Value;

/// The steps of `tiny_job`, unless its settings say otherwise.
pub const STEPS: u64 = 8;

/// A test in a lane of its own, as an ordinary user.
pub fn in_a_lane(cluster: &SlurmCluster, test: impl FnOnce(&SlurmLane<'_>, Place)) {
    let lane = cluster.lane();
    let work = cluster.work_directory();
    let place = place::on_slurm(cluster, &lane, work.path());
    let _user = cluster.become_user();
    test(&lane, place);
}

/// The same on HTCondor.
pub fn in_a_condor_lane(test: impl FnOnce(&CondorPool, Place)) {
    let pool = CondorPool::up();
    let lane = pool.lane();
    let work = pool.work_directory();
    let place = place::on_htcondor(&pool, &lane, work.path());
    let _user = pool.become_user();
    test(&pool, place);
}

/// The ways in which a job is resumed on HTCondor.
pub const WAYS: [&str; 3] = ["submit", "requeue", "checkpoint"];

/// The same test in each of them at once, each in a lane of its own.
pub fn in_every_way(test: impl Fn(&CondorPool, Place, &str) + Sync) {
    std::thread::scope(|scope| {
        for way in WAYS {
            let test = &test;
            scope.spawn(move || in_a_condor_lane(|pool, place| test(pool, place, way)));
        }
    });
}

/// The line of a config that chooses one of them.
pub fn resume(way: &str) -> String {
    format!("backend.htcondor.resume = {way:?}\n")
}

/// For bash: adds up numbers until the one that is its argument, one a moment, knows nothing of us, and
/// writes down every step.
pub const PERIODIC: &str = r#"
step=0 sum=0
if [ -e state ]; then read -r step sum <state; fi
while [ "$step" -lt "$1" ]; do
    step=$((step + 1)) sum=$((sum + step))
    sleep 0.1
    echo "$step $sum" >state.new && mv state.new state
done
echo "$sum" >result
"#;

/// The result of job 0 is the sum of all numbers up to this one.
pub fn assert_sum(run: &Run, last: u64) {
    let result = std::fs::read_to_string(run.output(0, "result")).expect("a result");
    assert_eq!(result.trim(), (last * (last + 1) / 2).to_string());
}

/// The command of a program that jobs can run.
pub fn program(name: &str) -> Vec<String> {
    let path = static_program(name);
    vec![path.to_str().expect("UTF-8").to_owned()]
}

/// A run of one `tiny_job` that behaves so in its first attempt.
pub fn tiny_job(place: Place, behaviour: &str, config: &str) -> Run {
    let config = format!("settings.behaviour = \"{behaviour}\"\n{config}");
    Run::at(place, &program("tiny_job"), &config)
}

/// A grid of jobs with three resumes each, over which something can happen.
pub const GRID: &str =
    "[settings]\nstep_milliseconds = 100\n[grid]\nparameter = [0, 1, 2, 3, 4, 5]\n";

/// Every promise was kept to the jobs of [`GRID`], and all are completed.
pub fn assert_grid(run: &Run) {
    assert_promises(run);
    let status = run.status();
    assert_eq!(status["jobs"]["completed"], 6, "{status}");
}

/// The place with the commands in `commands`, but that `submit`, one of them, is `script` the first
/// time that it is called to submit, and itself from then on. `$SUBMIT` in it is the real one.
pub fn with_first_submission(place: Place, commands: &Path, submit: &str, script: &str) -> Place {
    let once = place.directory.join("once");
    let first = format!(
        "mkdir {} 2>/dev/null || exec $SUBMIT \"$@\"\n{script}",
        once.display()
    );
    with_submissions(place, commands, submit, &first)
}

/// The same, but that `submit` is `script` each time that it is called to submit.
pub fn with_submissions(mut place: Place, commands: &Path, submit: &str, script: &str) -> Place {
    let changed = place.directory.join("commands");
    std::fs::create_dir(&changed).expect("the directory is the user's");
    for entry in std::fs::read_dir(commands).expect("it is there") {
        let name = entry.expect("it can be read").file_name();
        if name != submit {
            symlink(commands.join(&name), changed.join(&name)).expect("a new directory");
        }
    }
    let text = format!(
        "#!/bin/sh\nSUBMIT={}\ncase \" $* \" in *--version*) exec $SUBMIT \"$@\" ;; esac\n{script}\n",
        commands.join(submit).display(),
    );
    let path = changed.join(submit);
    std::fs::write(&path, text).expect("a new directory");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("it is the user's");
    let usual = format!("{commands:?}");
    place.config = place.config.replace(&usual, &format!("{changed:?}"));
    place
}

/// `cu run`, to its good end.
pub fn complete(run: &Run) {
    assert_completes(run, run.start());
}

/// Starts `cu run`, and returns when job 0 is about to be submitted: from then on there is something to show.
pub fn start(run: &Run) -> Process {
    let main_process = run.start();
    run.await_file(&run.dir().path().join("attempts/0/newest"));
    main_process
}

/// The run completes, and says so.
pub fn assert_completes(run: &Run, main_process: Process) {
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?} {}", run.show(0));
}

/// Every promise was kept to `tiny_job`s.
pub fn assert_promises(run: &Run) {
    assert_kept(&History::read(&run.dir()).expect("a history"), STEPS);
}

/// How the attempts of a job ended, in order.
pub fn ends(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().expect("attempts").iter();
    attempts
        .map(|attempt| attempt["end"].as_str().unwrap_or("none"))
        .collect()
}

/// The cluster job ids of a job's attempts, in order.
pub fn ids(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().expect("attempts").iter();
    attempts
        .filter_map(|attempt| attempt["cluster_job_id"].as_str())
        .collect()
}

/// Several attempts of job 0, all but the last of which asked to be resumed.
pub fn assert_chain(run: &Run, resumes: usize) -> Value {
    let job = run.show(0);
    let ends = ends(&job);
    let (last, before) = ends.split_last().expect("attempts");
    assert_eq!(*last, "completed", "{job}");
    assert!(before.iter().all(|end| *end == "resume_requested"), "{job}");
    assert!(before.len() >= resumes, "{job}");
    job
}

/// The id of the attempt of job 0 that has just said that it is there.
pub fn await_first_attempt(run: &Run) -> String {
    run.await_file(&run.output(0, "here"));
    run.until("its cluster job id in the store", || {
        ids(&run.show(0)).first().map(|id| (*id).to_owned())
    })
}

/// Why job 0 of a run waits, as the run reports it, if no machine of the pool can take the job. Stops the run.
pub fn why_no_machine_takes(run: &Run) -> String {
    let main_process = run.start();
    run.await_file(&run.dir().path().join("attempts/0/newest"));
    let why = run.until("why its job waits", || {
        let job = run.show(0);
        let why = job["why"].as_str()?.to_owned();
        why.contains("no machine of the pool").then_some(why)
    });
    let stop = run.cu(&["stop"]);
    assert_eq!(stop.code, Some(0), "{stop:?}");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let job = run.show(0);
    assert_eq!(job["state"], "cancelled", "{job}");
    why
}

/// What a command of the cluster prints.
pub fn ask(cluster: &SlurmCluster, command: &str, arguments: &[&str]) -> String {
    let mut asked = cluster.command(command);
    asked.args(arguments).current_dir("/tmp");
    let output = asked.output().expect("the wrapper is there");
    assert!(
        output.status.success(),
        "{command} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The states that Slurm's accounting has for the attempts of a job that has ended: a row for each start.
/// Accounting hears of an end a little later than the run does.
pub fn states(cluster: &SlurmCluster, job: &Value) -> Vec<String> {
    let ids = ids(job);
    let asked = ["-X", "-n", "-P", "-D", "-o", "State", "-j", &ids.join(",")];
    let is_over = |state: &&str| !["PENDING", "RUNNING", "COMPLETING"].contains(state);
    wait::until(
        "the ends of all attempts in accounting",
        wait::BOUND,
        || {
            let text = ask(cluster, "sacct", &asked);
            let rows: Vec<&str> = text.lines().collect();
            let all = rows.len() >= ids.len() && rows.iter().all(is_over);
            all.then(|| rows.into_iter().map(str::to_owned).collect())
        },
    )
}

/// No attempt of the job ran into its time limit.
pub fn assert_no_time_limit_was_reached(cluster: &SlurmCluster, job: &Value) {
    let states = states(cluster, job);
    assert_eq!(states.len(), ids(job).len(), "a row each: {states:?}");
    let reached = states.iter().any(|state| state.starts_with("TIMEOUT"));
    assert!(!reached, "{states:?}");
}

/// Slurm has as many jobs of the run as there were attempts.
pub fn assert_submitted_once_each(cluster: &SlurmCluster, run: &Run) {
    let attempts = run.status()["attempts"].as_u64().expect("a number");
    let job = run.show(0);
    let name = ["-X", "-n", "-P", "-o", "JobName"];
    let first = ask(
        cluster,
        "sacct",
        &[&name[..], &["-j", ids(&job)[0]]].concat(),
    );
    // LABEL:RUN/…
    let (name_of_run, _) = first.split_once('/').expect("a name of ours");
    // Accounting hears of everything, some of it a little later.
    let ours = run.until("as many jobs in accounting as there were attempts", || {
        let rows = ask(cluster, "sacct", &name);
        let ours = rows
            .lines()
            .filter(|row| row.starts_with(name_of_run))
            .count() as u64;
        (ours >= attempts).then_some(ours)
    });
    assert_eq!(ours, attempts);
}
