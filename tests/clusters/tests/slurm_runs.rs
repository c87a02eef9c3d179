//! Whole runs of the real `cu` on real Slurms: chains of attempts that stop by themselves, at the
//! warning before a time limit, or at the limit, end with their results in one output directory.

use cu_cluster_tests::place::on_slurm;
use cu_cluster_tests::programs::static_program;
use cu_cluster_tests::{SlurmCluster, Suite};
use cu_tests::checker::assert_kept;
use cu_tests::history::History;
use cu_tests::run::{Place, Run};
use serde_json::Value;

/// In a lane of its own, as an ordinary user.
fn in_a_lane(suite: Suite, test: impl FnOnce(&SlurmCluster, Place)) {
    let cluster = SlurmCluster::up(suite);
    let lane = cluster.lane();
    let work = cluster.work_folder();
    let place = on_slurm(&cluster, &lane, work.path());
    let _user = cluster.become_user();
    test(&cluster, place);
}

fn words(program: &str) -> Vec<String> {
    let path = static_program(program);
    vec![path.to_str().expect("UTF-8").to_owned()]
}

/// `cu run`, to its good end.
fn complete(run: &Run) {
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

/// How the attempts of a job ended, in order.
fn ends(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().expect("attempts").iter();
    attempts
        .map(|attempt| attempt["end"].as_str().unwrap_or("none"))
        .collect()
}

/// Several attempts, all but the last of which asked to be resumed.
fn assert_chain(run: &Run, resumes: usize) -> Value {
    let job = run.show(0);
    let ends = ends(&job);
    let (last, before) = ends.split_last().expect("attempts");
    assert_eq!(*last, "completed", "{job}");
    assert!(before.iter().all(|end| *end == "resume_requested"), "{job}");
    assert!(before.len() >= resumes, "{job}");
    job
}

/// The states that Slurm's accounting has for the attempts of a job.
fn states(cluster: &SlurmCluster, job: &Value) -> Vec<String> {
    let attempts = job["attempts"].as_array().expect("attempts").iter();
    let ids: Vec<_> = attempts
        .map(|attempt| attempt["cluster_job_id"].as_str().expect("an id"))
        .collect();
    let mut sacct = cluster.command("sacct");
    sacct.args(["-X", "-n", "-P", "-D", "-o", "State", "-j", &ids.join(",")]);
    let output = sacct.current_dir("/tmp").output().expect("it is there");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let states: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(states.len(), ids.len(), "one row an attempt: {text}");
    states
}

fn a_grid_of_jobs_is_resumed_in_arrays(suite: Suite) {
    in_a_lane(suite, |_, place| {
        let grid = "[grid]\nseed = [0, 1, 2, 3, 4, 5]\n";
        // `tiny_job` takes no other settings: the seed stands for one that it has.
        let grid = grid.replace("seed", "step_milliseconds");
        let run = Run::at(place, &words("tiny_job"), &grid);
        complete(&run);
        assert_kept(&History::read(&run.dir()).expect("a history"), 8);
        let status = run.status();
        assert_eq!(status["jobs"]["completed"], 6, "{status}");
        assert_eq!(status["resumes"], 18, "{status}");
        assert_chain(&run, 3);
    });
}

fn the_warning_before_the_limit_is_heeded(suite: Suite) {
    in_a_lane(suite, |cluster, place| {
        // Slurm looks every 30 s, and the warning comes up to 30 s early: of a limit of one minute
        // half a minute is left at the most, and a quarter of it at the least.
        let config = "[settings]\nsteps = 300\nstep_milliseconds = 200\n\
             [resources]\ntime_limit = \"1min\"\n\
             [stop]\nbefore_limit = \"20s\"\ngrace = \"10s\"\n";
        let run = Run::at(place, &words("timeout_signal"), config);
        complete(&run);
        let job = assert_chain(&run, 1);
        assert_eq!(job["metrics"]["steps"], 300, "{job}");
        let states = states(cluster, &job);
        let over = |state: &String| !state.starts_with("TIMEOUT");
        assert!(states.iter().all(over), "{states:?}");
    });
}

/// Adds up numbers, one a moment. At SIGTERM it writes down where it is and exits with 3.
const LEGACY: &str = r#"
stop=no
trap 'stop=yes' TERM
step=0 sum=0
if [ -e state ]; then read -r step sum <state; fi
while [ "$step" -lt 400 ]; do
    step=$((step + 1)) sum=$((sum + step))
    sleep 0.1
    if [ $stop = yes ]; then
        echo "$step $sum" >state.new && mv state.new state
        exit 3
    fi
done
echo "$sum" >result
"#;

/// The same, but it knows no signals, and writes down every step.
const PERIODIC: &str = r#"
step=0 sum=0
if [ -e state ]; then read -r step sum <state; fi
while [ "$step" -lt 900 ]; do
    step=$((step + 1)) sum=$((sum + step))
    sleep 0.1
    echo "$step $sum" >state.new && mv state.new state
done
echo "$sum" >result
"#;

fn assert_sum(run: &Run, steps: u64) {
    let result = std::fs::read_to_string(run.output(0, "result")).expect("a result");
    assert_eq!(result.trim(), (steps * (steps + 1) / 2).to_string());
}

const ASKED_IN_TIME: &str = "[resources]\ntime_limit = \"1min\"\n\
     [stop]\nbefore_limit = \"20s\"\nsignal = \"TERM\"\ngrace = \"10s\"\n";

fn a_program_that_knows_nothing_of_us_is_asked_in_time(suite: Suite, wrapper: &[&str]) {
    in_a_lane(suite, |cluster, place| {
        let program = ["bash", "-c", LEGACY];
        let run = Run::at(place, &[wrapper, &program[..]].concat(), ASKED_IN_TIME);
        complete(&run);
        let job = assert_chain(&run, 1);
        assert_sum(&run, 400);
        let states = states(cluster, &job);
        let over = |state: &String| !state.starts_with("TIMEOUT");
        assert!(states.iter().all(over), "{states:?}");
    });
}

fn who_is_killed_by_the_limit_goes_on_from_its_last_state(suite: Suite) {
    in_a_lane(suite, |cluster, place| {
        // No warning before the limit, and USR1 to nobody: nothing of ours tells it to stop.
        let config = "[resources]\ntime_limit = \"1min\"\n[stop]\ngrace = \"1min\"\n";
        let run = Run::at(place, &["bash", "-c", PERIODIC], config);
        complete(&run);
        let job = run.show(0);
        let ends = ends(&job);
        assert_eq!(ends.first(), Some(&"time_limit"), "{job}");
        assert_eq!(ends.last(), Some(&"completed"), "{job}");
        assert_sum(&run, 900);
        assert_eq!(states(cluster, &job)[0], "TIMEOUT");
    });
}

macro_rules! on_every_slurm {
    ($($name:ident: $suite:expr,)*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn a_grid_of_jobs_is_resumed_in_arrays() {
                    super::a_grid_of_jobs_is_resumed_in_arrays($suite);
                }

                #[test]
                fn the_warning_before_the_limit_is_heeded() {
                    super::the_warning_before_the_limit_is_heeded($suite);
                }

                #[test]
                fn a_program_behind_a_wrapper_is_asked_in_time() {
                    // A shell that is no `exec`, and has nothing to do with signals.
                    let wrapper = ["sh", "-c", "\"$0\" \"$@\"; code=$?; exit $code"];
                    a_program_that_knows_nothing_of_us_is_asked_in_time($suite, &wrapper);
                }

                #[test]
                fn a_program_started_by_srun_is_asked_in_time() {
                    let wrapper = ["sh", "-c", "srun \"$0\" \"$@\""];
                    a_program_that_knows_nothing_of_us_is_asked_in_time($suite, &wrapper);
                }

                #[test]
                fn who_is_killed_by_the_limit_goes_on_from_its_last_state() {
                    super::who_is_killed_by_the_limit_goes_on_from_its_last_state($suite);
                }
            }
        )*
    };
}

on_every_slurm! {
    slurm_20_11: Suite::Bullseye,
    slurm_22_05: Suite::Bookworm,
    slurm_24_11: Suite::Trixie,
    slurm_26_05: Suite::Forky,
}
