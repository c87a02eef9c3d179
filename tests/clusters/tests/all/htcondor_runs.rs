//! Whole runs of the real `cu` on a real HTCondor pool, in each of the three ways of resuming, and
//! what happens to them behind our back.

use cu_cluster_tests::runs::{
    GRID, WAYS, assert_chain, assert_completes, assert_grid, assert_promises, await_first_attempt,
    complete, ends, ids, in_a_condor_lane, program, resume, tiny_job, why_no_machine_takes,
    with_first_submission,
};
use cu_cluster_tests::{CondorPool, place};
use cu_tests::run::{Place, Run};
use serde_json::Value;

/// Digits is trained in attempts of a few epochs, and its result is that of an uninterrupted
/// training on this machine.
fn digits(way: &str) {
    let settings = "[settings]\nseed = 1\nepochs = 12\nlearning_rate = 0.01\nbatch_size = 20\n";
    in_a_condor_lane(|_, place| {
        let here = Place {
            cu: place.cu.clone(),
            directory: place.directory.clone(),
            config: "backend.kind = \"local\"".to_owned(),
            environment: Vec::new(),
            patience: place.patience,
        };
        let config = format!("{settings}epochs_per_attempt = 1000\n");
        let straight = Run::at(here, &program("digits"), &config);
        complete(&straight);
        let config = format!("{}{settings}epochs_per_attempt = 4\n", resume(way));
        let chopped = Run::at(place, &program("digits"), &config);
        complete(&chopped);
        let job = assert_chain(&chopped, 2);
        assert_eq!(
            job["metrics"]["test_accuracy"],
            straight.show(0)["metrics"]["test_accuracy"]
        );
        assert_eq!(
            job["metrics"]["train_loss"],
            straight.show(0)["metrics"]["train_loss"]
        );
        assert_same_cluster_job(&job, way != "submit");
    });
}

/// Whether all attempts were one cluster job.
fn assert_same_cluster_job(job: &Value, same: bool) {
    let ids = ids(job);
    assert_eq!(ids.iter().all(|id| *id == ids[0]), same, "{job}");
}

#[test]
fn attempts_share_cluster_jobs() {
    in_a_condor_lane(|_, place| {
        let keep = "backend.htcondor.keep = \"10min\"\nresources.time_limit = \"2min\"\n";
        let run = Run::at(place, &program("tiny_job"), &format!("{keep}{GRID}"));
        complete(&run);
        assert_grid(&run);
        let mut shared = std::collections::BTreeSet::new();
        for job in 0..6 {
            let job = run.show(job);
            for attempt in job["attempts"].as_array().expect("attempts") {
                let id = attempt["allocation"].as_str().expect("a cluster job");
                shared.insert(id.to_owned());
            }
        }
        assert!(shared.len() <= 6, "{shared:?}");
    });
}

#[test]
fn digits_by_new_submissions() {
    digits("submit");
}

#[test]
fn digits_by_the_same_job_queued_again() {
    digits("requeue");
}

#[test]
fn digits_in_the_same_slot() {
    digits("checkpoint");
}

/// Its attempts stop in time for their limit, and none is held for running into it.
fn timeout_signal(way: &str) {
    in_a_condor_lane(|_, place| {
        let config = format!(
            "{}[settings]\nsteps = 150\nstep_milliseconds = 100\n\
             [resources]\ntime_limit = \"20s\"\n[stop]\nbefore_limit = \"14s\"\ngrace = \"5s\"\n",
            resume(way)
        );
        let run = Run::at(place, &program("timeout_signal"), &config);
        complete(&run);
        let job = assert_chain(&run, 1);
        assert_eq!(job["metrics"]["steps"], 150, "{job}");
    });
}

#[test]
fn a_time_limit_by_new_submissions() {
    timeout_signal("submit");
}

#[test]
fn a_time_limit_by_the_same_job_queued_again() {
    timeout_signal("requeue");
}

#[test]
fn a_time_limit_in_the_same_slot() {
    timeout_signal("checkpoint");
}

fn act(pool: &CondorPool, command: &str, arguments: &[&str]) {
    let mut command = pool.command(command);
    command.args(arguments).current_dir("/tmp");
    let output = command.output().expect("the wrapper is there");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn condor_rm_ends_the_chain_in_every_way() {
    for way in WAYS {
        in_a_condor_lane(|pool, place| {
            let run = tiny_job(place, "stays", &resume(way));
            let main_process = run.start();
            let id = await_first_attempt(&run);
            act(pool, "condor_rm", &[&id]);
            let exit = main_process.wait();
            assert_eq!(exit.code, Some(1), "{way}: {exit:?}");
            let job = run.show(0);
            assert_eq!(job["state"], "cancelled", "{way}: {job}");
        });
    }
}

#[test]
fn an_evicted_attempt_is_resumed_in_every_way() {
    for way in WAYS {
        in_a_condor_lane(|pool, place| {
            let run = tiny_job(place, "stays", &resume(way));
            let main_process = run.start();
            let id = await_first_attempt(&run);
            act(pool, "condor_vacate_job", &[&id]);
            assert_completes(&run, main_process);
            assert_promises(&run);
        });
    }
}

#[test]
fn a_held_attempt_says_so_and_goes_on_when_it_is_released() {
    in_a_condor_lane(|pool, place| {
        let run = tiny_job(place, "stays", "");
        let main_process = run.start();
        let id = await_first_attempt(&run);
        act(pool, "condor_hold", &["-reason", "lunch", &id]);
        run.until("the reason of the hold", || {
            let job = run.show(0);
            let why = job["why"].as_str()?;
            let release = format!("hold code 1, subcode 0; `condor_release {id}` releases it");
            let told = why.contains("held") && why.contains("lunch") && why.contains(&release);
            (told || job["state"] != "running").then_some(())
        });
        // If the program saved in time its job has been resumed by now, and the held one is gone.
        let mut release = pool.command("condor_release");
        let _ = release.arg(&id).current_dir("/tmp").output();
        assert_completes(&run, main_process);
        assert_promises(&run);
    });
}

#[test]
fn a_run_that_no_machine_can_take_says_so_and_can_be_stopped() {
    in_a_condor_lane(|_, place| {
        let nowhere = "backend.htcondor.requirements = 'TARGET.Colour == \"green\"'\n";
        let run = tiny_job(place, "stays", nowhere);
        let why = why_no_machine_takes(&run);
        let id = ids(&run.show(0))[0].to_owned();
        for part in [
            "is queued (no machine of the pool can run it: none of its 9 slots meets",
            "no slot meets `TARGET.Colour == \"green\"`",
            &format!("`condor_q -better-analyze {id}` shows more"),
        ] {
            assert!(why.contains(part), "{why}");
        }
    });
}

#[test]
fn a_grid_of_jobs_goes_on_through_the_death_of_the_schedd() {
    let pool = CondorPool::own("");
    let lane = pool.lane();
    let work = pool.work_directory();
    let place = place::on_htcondor(&pool, &lane, work.path());
    let _user = pool.become_user();
    let run = Run::at(place, &program("tiny_job"), GRID);
    let main_process = run.start();
    run.await_file(&run.output(0, "steps.log"));
    pool.kill("schedd");
    run.until("an attempt that asks to be resumed meanwhile", || {
        let ended = run.show(0)["attempts"][0]["end"]
            .as_str()
            .map(str::to_owned);
        (ended? == "resume_requested").then_some(())
    });
    pool.start("schedd");
    assert_completes(&run, main_process);
    assert_grid(&run);
}

#[test]
fn killed_before_the_id_is_noted_the_job_is_adopted() {
    in_a_condor_lane(|pool, place| {
        let script = "$SUBMIT \"$@\"\nkill -9 $PPID";
        let place = with_first_submission(place, &pool.commands(), "condor_submit", script);
        let run = Run::at(place, &program("tiny_job"), GRID);
        let exit = run.start().wait();
        assert_eq!(exit.signal, Some(9), "{exit:?}");
        assert_completes(&run, run.go_on());
        assert_grid(&run);
        let job = run.show(0);
        assert_eq!(ends(&job).len(), 4, "{job}");
    });
}
