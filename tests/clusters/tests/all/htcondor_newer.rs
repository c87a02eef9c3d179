//! Whole runs on HTCondor 25.14, which may give a slot away after a self-checkpoint, and may log nothing of an
//! idle job that is removed.

use cu_cluster_tests::runs::{
    GRID, WAYS, assert_grid, assert_promises, await_first_attempt, complete, ends, ids, program,
    resume, tiny_job,
};
use cu_cluster_tests::{CondorPool, place, runs};
use cu_tests::run::{Place, Run};

use crate::htcondor::in_history;

/// The attempts of a run end as they do on HTCondor 23.9, and each job of the grid is resumed three times.
fn a_grid_completes(place: Place, way: &str, grid: &str) -> Run {
    let run = Run::at(
        place,
        &program("tiny_job"),
        &format!("{}{grid}", resume(way)),
    );
    complete(&run);
    assert_grid(&run);
    run
}

/// As the user, not as root, who acts for the pool.
fn remove(pool: &CondorPool, id: &str) {
    let mut remove = pool.command("condor_rm");
    let removed = remove.arg(id).current_dir("/tmp").output();
    let removed = removed.expect("the wrapper is there");
    assert!(removed.status.success(), "{removed:?}");
}

/// A person removes a job that runs, and one that waits in vain.
fn removals_end_a_run(pool: &CondorPool, place: Place, way: &str) {
    let run = tiny_job(place.clone(), "stays", &resume(way));
    let main_process = run.start();
    let id = await_first_attempt(&run);
    remove(pool, &id);
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let job = run.show(0);
    assert_eq!(ends(&job), ["cancelled"], "{job}");
    assert_promises(&run);

    let never = "backend.htcondor.requirements = \"OpSysMajorVer >= 99\"\n";
    let run = tiny_job(place, "works", &format!("{}{never}", resume(way)));
    let main_process = run.start();
    run.await_file(&run.dir().path().join("attempts/0/newest"));
    let id = run.until("its cluster job id", || {
        runs::ids(&run.show(0)).first().map(|id| (*id).to_owned())
    });
    remove(pool, &id);
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let job = run.show(0);
    assert_eq!(ends(&job), ["cancelled"], "{job}");
}

#[test]
fn a_newer_htcondor_resumes_and_removes_as_an_older_one() {
    let pool = CondorPool::newer("");
    let version = pool.ask("condor_version", &[]);
    assert!(version.contains(" 25."), "{version}");
    std::thread::scope(|scope| {
        for way in WAYS {
            let pool = &pool;
            scope.spawn(move || {
                let lane = pool.lane();
                let work = pool.work_directory();
                let place = place::on_htcondor(pool, &lane, work.path());
                let _user = pool.become_user();
                let in_directory = |name: &str| {
                    let directory = place.directory.join(name);
                    std::fs::create_dir(&directory).expect("the directory is the user's");
                    Place {
                        directory,
                        ..place.clone()
                    }
                };
                a_grid_completes(in_directory("grid"), way, GRID);
                removals_end_a_run(pool, in_directory("removals"), way);
            });
        }
    });
}

/// A claim of a second or more takes no more jobs, and a self-checkpoint asks whether it would. An attempt has two
/// steps, so that each claim is as old at its first checkpoint.
#[test]
fn a_slot_given_away_after_a_checkpoint_loses_nothing() {
    let pool = CondorPool::newer("CHECK_REACTIVATE_AFTER_CHECKPOINT = True\nCLAIM_WORKLIFE = 0\n");
    let lane = pool.lane();
    let work = pool.work_directory();
    let place = place::on_htcondor(&pool, &lane, work.path());
    let _user = pool.become_user();
    let grid = GRID.replace("step_milliseconds = 100", "step_milliseconds = 600");
    let run = a_grid_completes(place, "checkpoint", &grid);
    for job in 0..6 {
        let job = run.show(job);
        let ids = ids(&job);
        assert!(ids.iter().all(|id| *id == ids[0]), "{job}");
        let starts = in_history(&pool, ids[0], "NumShadowStarts");
        let starts: u32 = starts.parse().expect("a number");
        assert!(starts > 1, "it kept its slot: {starts} starts of {job}");
    }
}
