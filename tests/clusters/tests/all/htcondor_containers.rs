//! Whole runs of the real `cu` in containers of a real HTCondor pool, and what is said where there
//! are none.

use std::path::Path;

use cu_cluster_tests::image;
use cu_cluster_tests::runs::{
    WAYS, assert_chain, assert_completes, assert_promises, await_first_attempt, complete, ends,
    in_a_condor_lane, program, resume, tiny_job, why_no_machine_takes,
};
use cu_tests::run::Run;

/// `place.config` goes on with this: jobs in the image.
fn in_image(image: &Path) -> String {
    format!("universe = \"container\"\nimage = {image:?}\n")
}

/// The job sees the directory, too.
fn with_directory(config: &mut String, directory: &Path) {
    let line = format!("+SingularityBind = \"{}\"", directory.display());
    *config = config.replace("extra = [", &format!("extra = [{line:?}, "));
}

#[test]
fn a_program_in_a_container_is_resumed_in_every_way() {
    for way in WAYS {
        in_a_condor_lane(|pool, mut place| {
            let image = image::make(pool, &place.directory);
            let (command, programs) = image::marked_tiny_job();
            place.config.push_str(&in_image(&image));
            with_directory(&mut place.config, &programs);
            let run = Run::at(place, &command, &resume(way));
            complete(&run);
            assert_promises(&run);
            let job = assert_chain(&run, 3);
            image::assert_marked(&run, &job);
        });
    }
}

#[test]
fn an_attempt_that_is_evicted_from_its_container_is_resumed() {
    in_a_condor_lane(|pool, mut place| {
        let image = image::make(pool, &place.directory);
        let (_, programs) = image::marked_tiny_job();
        place.config.push_str(&in_image(&image));
        with_directory(&mut place.config, &programs);
        let run = tiny_job(place, "stays", "");
        let main_process = run.start();
        let id = await_first_attempt(&run);
        pool.ask("condor_vacate_job", &[&id]);
        assert_completes(&run, main_process);
        assert_promises(&run);
    });
}

#[test]
fn a_program_that_is_not_in_its_container_is_told() {
    in_a_condor_lane(|pool, mut place| {
        let image = image::make(pool, &place.directory);
        place.config.push_str(&in_image(&image));
        // Nothing was started, so that its exit code is not the program's.
        let run = tiny_job(place, "stays", "resume.losses = 1\n");
        let shown = format!("{}: not found", program("cu")[0]);
        assert_fails(&run, &["lost", "lost"], &shown);
    });
}

#[test]
fn a_container_that_never_starts_is_not_tried_for_ever() {
    in_a_condor_lane(|_, mut place| {
        let image = place.directory.join("nothing");
        std::fs::create_dir(&image).expect("a new directory");
        place.config.push_str(&in_image(&image));
        let run = tiny_job(place, "stays", "resume.losses = 1\n");
        let shown = "its container did not start: Error from slot";
        assert_fails(&run, &["lost", "lost"], shown);
    });
}

/// After attempts with these ends, of which a person is shown this.
fn assert_fails(run: &Run, expected: &[&str], shown: &str) {
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(1), "{exit:?} {job}");
    assert_eq!(ends(&job), expected, "{job}");
    let text = run.cu(&["show", "0"]).stdout;
    assert!(text.contains(shown), "{text}");
}

#[test]
fn a_pool_without_docker_says_so() {
    in_a_condor_lane(|_, mut place| {
        let docker = "universe = \"docker\"\nimage = \"debian:13\"\n";
        place.config.push_str(docker);
        let run = tiny_job(place, "stays", "");
        let why = why_no_machine_takes(&run);
        let expected = "no machine of the pool can run it: none of its 9 slots meets the job's \
                        requirements; no slot meets `TARGET.HasDocker`";
        assert!(why.contains(expected), "{why}");
    });
}
