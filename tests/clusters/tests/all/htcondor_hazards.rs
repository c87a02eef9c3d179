//! What breaks below runs on HTCondor, and what is changed behind our back: each run ends right, no two
//! attempts of a job overlap, and `cu show` reports what happened.

use cu_cluster_tests::CondorPool;
use cu_cluster_tests::runs::{
    PERIODIC, WAYS, assert_completes, assert_promises, assert_sum, await_first_attempt, complete,
    ends, in_a_condor_lane, resume, tiny_job,
};
use cu_tests::run::Run;

/// In each way of resuming, `harm` comes over the first attempt, and the job completes all the same.
fn assert_survives(harm: impl Fn(&CondorPool, &Run, &str)) {
    for way in WAYS {
        in_a_condor_lane(|pool, place| {
            let run = tiny_job(place, "stays", &resume(way));
            let main_process = run.start();
            let id = await_first_attempt(&run);
            harm(pool, &run, &id);
            assert_completes(&run, main_process);
            assert_promises(&run);
            let job = run.show(0);
            let ends = ends(&job);
            assert!(ends.len() > 1, "{way}: {job}");
            assert_eq!(ends.last(), Some(&"completed"), "{way}: {job}");
        });
    }
}

#[test]
fn a_shadow_that_dies_takes_no_step_along() {
    assert_survives(|pool, _, id| pool.kill_shadow(id));
}

#[test]
fn a_starter_that_dies_takes_no_step_along() {
    assert_survives(|pool, run, _| pool.kill_starter(run.dir().path()));
}

#[test]
fn a_job_that_is_edited_is_known_all_the_same() {
    assert_survives(|pool, _, id| {
        for (attribute, value) in [
            ("CuAttempt", "\"somebody/1/2\""),
            ("CuRun", "\"somebody\""),
            ("RequestCpus", "2"),
        ] {
            pool.ask("condor_qedit", &[id, attribute, value]);
        }
        pool.ask("condor_vacate_job", &[id]);
    });
}

#[test]
fn ignoring_the_limit_it_resumes_from_its_last_save() {
    in_a_condor_lane(|_, place| {
        let config = "[resources]\ntime_limit = \"15s\"\n[stop]\ngrace = \"1s\"\n";
        let ignores = format!("trap '' TERM\n{PERIODIC}");
        let run = Run::at(place, &["bash", "-c", &ignores, "periodic", "300"], config);
        complete(&run);
        let job = run.show(0);
        let ends = ends(&job);
        assert_eq!(ends.first(), Some(&"time_limit"), "{job}");
        assert_eq!(ends.last(), Some(&"completed"), "{job}");
        assert_sum(&run, 300);
    });
}
