//! What persons and the rules of a pool do to jobs behind our back: holds, removals, forbidden environments.
//! Each run ends right, and says who did what.

mod runs;

use cu_cluster_tests::{CondorPool, place, wait};
use cu_tests::run::Run;
use runs::{
    WAYS, assert_completes, assert_sum, await_first_attempt, complete, ends, ids, in_a_condor_lane,
    in_every_way, resume, start,
};
use serde_json::Value;

/// For bash: adds up numbers until the one that is its first argument. At SIGTERM it saves, and asks to be
/// resumed by its exit code.
const SAVES: &str = r#"
trap 'stop=1' TERM
step=0 sum=0
if [ -e state ]; then read -r step sum <state; fi
: >here
while [ "$step" -lt "$1" ]; do
    step=$((step + 1)) sum=$((sum + step))
    sleep 0.1
    echo "$step $sum" >state.new && mv state.new state
    if [ -n "$stop" ]; then exit 3; fi
done
echo "$sum" >result
"#;

fn saves(place: cu_tests::run::Place, steps: u64, config: &str) -> Run {
    let steps = steps.to_string();
    Run::at(place, &["bash", "-c", SAVES, "saves", &steps], config)
}

/// The user's own jobs in the pool that carry the name of this run, as `condor_q` lists them.
fn queued(pool: &CondorPool, run: &Run) -> String {
    let ids = ids(&run.show(0)).join(" ");
    let listed = pool.ask("condor_q", &["-all", "-af", "ClusterId", "ProcId"]);
    let listed = listed.lines().map(|line| line.replace(' ', "."));
    let ours = listed.filter(|id| ids.split(' ').any(|ours| ours == id));
    ours.collect::<Vec<_>>().join(" ")
}

fn nothing_is_left(pool: &CondorPool, run: &Run) {
    wait::until("the queue to be empty of the run", wait::BOUND, || {
        queued(pool, run).is_empty().then_some(())
    });
}

fn act(pool: &CondorPool, command: &str, arguments: &[&str]) {
    let mut command = pool.command(command);
    command.args(arguments).current_dir("/tmp");
    let output = command.output().expect("the wrapper is there");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn why(run: &Run) -> String {
    run.show(0)["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_persons_hold_lasts_until_it_is_released_in_every_way() {
    in_every_way(|pool, place, way| {
        let run = saves(place, 80, &resume(way));
        let main_process = run.start();
        let id = await_first_attempt(&run);
        act(pool, "condor_hold", &["-reason", "lunch", &id]);
        // It saved, and asked to be resumed.
        run.await_file(&run.dir().path().join("attempts/0/0/exit.json"));
        run.until("the hold", || {
            let why = why(&run);
            let told = why.contains("lunch") && why.contains("condor_release");
            told.then_some(())
        });
        // No time is named after which the record alone would decide.
        let why = why(&run);
        assert!(why.contains("it waits until the hold ends"), "{way}: {why}");
        let job = run.show(0);
        assert_eq!(ids(&job), [&*id], "{way}: {job}");
        act(pool, "condor_release", &[&id]);
        assert_completes(&run, main_process);
        assert_sum(&run, 80);
        let job = run.show(0);
        assert_eq!(ends(&job), ["resume_requested", "completed"], "{job}");
        nothing_is_left(pool, &run);
    });
}

#[test]
fn a_job_over_its_limit_is_not_left_held_in_any_way() {
    in_every_way(|pool, place, way| {
        let config = format!(
            "{}[resources]\ntime_limit = \"8s\"\n[stop]\ngrace = \"1s\"\n",
            resume(way)
        );
        let ignores = format!("trap '' TERM\n{}", runs::PERIODIC);
        let command = ["bash", "-c", &ignores, "periodic", "120"];
        let run = Run::at(place, &command, &config);
        complete(&run);
        let job = run.show(0);
        assert_eq!(ends(&job).first(), Some(&"time_limit"), "{way}: {job}");
        assert_sum(&run, 120);
        // At once: `cu run` has ended.
        assert_eq!(queued(pool, &run), "", "{way}: {job}");
    });
}

/// A pool that removes what runs for longer than some seconds.
const WALL_TIME: &str = "\
SYSTEM_PERIODIC_REMOVE = JobStatus == 2 && time() - JobCurrentStartDate > 6
SYSTEM_PERIODIC_REMOVE_REASON = \"wall time exceeded allowed max.\"
";

#[test]
fn a_removal_at_a_wall_time_delays_a_chain_in_every_way() {
    let pool = CondorPool::own(WALL_TIME);
    let work = pool.work_directory();
    let _user = pool.become_user();
    std::thread::scope(|scope| {
        for way in WAYS {
            let place = place::in_pool(&pool, work.path());
            let pool = &pool;
            scope.spawn(move || {
                let run = saves(place, 150, &resume(way));
                complete(&run);
                assert_sum(&run, 150);
                let job = run.show(0);
                let (last, before) = split(&job);
                assert_eq!(last, "completed", "{way}: {job}");
                assert!(!before.is_empty(), "{way}: {job}");
                let removed = |end: &&str| ["removed", "resume_requested"].contains(end);
                assert!(before.iter().all(removed), "{way}: {job}");
                assert!(
                    job.to_string().contains("wall time exceeded allowed max."),
                    "{way}: {job}"
                );
                nothing_is_left(pool, &run);
            });
        }
    });
}

fn split(job: &Value) -> (&str, Vec<&str>) {
    let mut ends = ends(job);
    let last = ends.pop().expect("attempts");
    (last, ends)
}

#[test]
fn a_pool_that_forbids_getenv_is_refused_with_the_way_out() {
    let pool = CondorPool::own("SUBMIT_ALLOW_GETENV = False\n");
    let work = pool.work_directory();
    let place = place::in_pool(&pool, work.path());
    let _user = pool.become_user();
    let run = saves(place.clone(), 5, "");
    let exit = run.start().wait();
    assert_ne!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.contains("environment = \"clean\""), "{exit:?}");
    assert!(!run.dir().store().exists(), "{exit:?}");
    let doctor = run.cu(&["doctor", run.config().to_str().expect("UTF-8")]);
    assert!(doctor.stdout.contains("SUBMIT_ALLOW_GETENV"), "{doctor:?}");
    let clean = saves(place, 5, "backend.htcondor.environment = \"clean\"\n");
    complete(&clean);
    assert_sum(&clean, 5);
}

/// The host is that of all machines of the pool: only time makes it one for the next attempt.
#[test]
fn a_host_where_nothing_started_is_avoided_for_ten_minutes() {
    in_a_condor_lane(|pool, place| {
        let activate = place.directory.join("activate");
        let well = place.directory.join("well");
        let text = format!("[ -e {well:?} ] || exit 1\n");
        std::fs::write(&activate, text).expect("the directory is the user's");
        let config = format!("backend.activate = {activate:?}\n");
        let run = Run::at(place, &["touch", "ran"], &config);
        let main_process = start(&run);
        run.until("the end of the first attempt", || {
            (ends(&run.show(0)).first() == Some(&"not_activated")).then_some(())
        });
        std::fs::write(&well, "").expect("the directory is the user's");
        let id = run.until("the cluster job of the next attempt", || {
            ids(&run.show(0)).get(1).map(|id| (*id).to_owned())
        });
        let of = |attribute: &str| pool.ask("condor_q", &[&id, "-af", attribute]);
        run.until("a negotiation that finds no machine", || {
            of("LastRejMatchTime").trim().parse::<u64>().ok()
        });
        assert!(!run.output(0, "ran").exists());
        let queued: u64 = of("QDate").trim().parse().expect("a time");
        let long_ago = (queued - 601).to_string();
        let _ = pool.ask("condor_qedit", &[&id, "QDate", &long_ago]);
        assert_completes(&run, main_process);
        assert_eq!(ends(&run.show(0)), ["not_activated", "completed"]);
    });
}
