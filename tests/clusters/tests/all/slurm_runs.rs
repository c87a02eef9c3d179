//! Whole runs of the real `cu` on real Slurms: chains of attempts that stop by themselves, at the
//! warning before a time limit, or at the limit, end with their results in one output directory.

use cu_cluster_tests::image;
use cu_cluster_tests::runs::{
    PERIODIC, assert_chain, assert_no_time_limit_was_reached, assert_promises, assert_sum,
    complete, ends, program,
};
use cu_cluster_tests::{SlurmCluster, Suite, runs};
use cu_tests::run::{Place, Run};

/// In a lane of its own, as an ordinary user.
fn in_a_lane(suite: Suite, test: impl FnOnce(&SlurmCluster, Place)) {
    let cluster = SlurmCluster::up(suite);
    runs::in_a_lane(&cluster, |_, place| test(&cluster, place));
}

fn a_grid_of_jobs_is_resumed_in_arrays(suite: Suite) {
    in_a_lane(suite, |_, place| {
        let grid = "[grid]\nstep_milliseconds = [0, 1, 2, 3, 4, 5]\n";
        let run = Run::at(place, &program("tiny_job"), grid);
        complete(&run);
        assert_promises(&run);
        let status = run.status();
        assert_eq!(status["jobs"]["completed"], 6, "{status}");
        assert_eq!(status["resumes"], 18, "{status}");
        assert_chain(&run, 3);
    });
}

fn the_warning_before_the_limit_is_heeded(suite: Suite) {
    in_a_lane(suite, |cluster, place| {
        // Slurm looks every 30 s, and the warning comes up to 30 s early: with a limit of one
        // minute at most half a minute is left for it, and at least a quarter of a minute.
        let config = "[settings]\nsteps = 300\nstep_milliseconds = 200\n\
             [resources]\ntime_limit = \"1min\"\n\
             [stop]\nbefore_limit = \"20s\"\ngrace = \"10s\"\n";
        let run = Run::at(place, &program("timeout_signal"), config);
        complete(&run);
        let job = assert_chain(&run, 1);
        assert_eq!(job["metrics"]["steps"], 300, "{job}");
        assert_no_time_limit_was_reached(cluster, &job);
    });
}

/// Adds up numbers, one a moment. At SIGTERM or SIGUSR1 it writes down where it is and exits with 3.
const LEGACY: &str = r#"
stop=no
trap 'stop=yes' TERM USR1
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

fn a_program_that_knows_nothing_of_us_is_asked_in_time(suite: Suite, wrapper: &str, signal: &str) {
    in_a_lane(suite, |cluster, place| {
        let command = ["sh", "-c", wrapper, "bash", "-c", LEGACY];
        let config = format!(
            "[resources]\ntime_limit = \"1min\"\n\
             [stop]\nbefore_limit = \"20s\"\ngrace = \"10s\"\nsignal = {signal:?}\n"
        );
        let run = Run::at(place, &command, &config);
        complete(&run);
        let job = assert_chain(&run, 1);
        assert_sum(&run, 400);
        assert_no_time_limit_was_reached(cluster, &job);
    });
}

fn killed_by_the_limit_it_resumes_from_its_last_save(suite: Suite) {
    in_a_lane(suite, |cluster, place| {
        // No warning before the limit, and USR1 to nobody: the program gets no wish of ours to stop.
        let config = "[resources]\ntime_limit = \"1min\"\n[stop]\ngrace = \"1min\"\n";
        let run = Run::at(place, &["bash", "-c", PERIODIC, "periodic", "900"], config);
        complete(&run);
        let job = run.show(0);
        let ends = ends(&job);
        assert_eq!(ends.first(), Some(&"time_limit"), "{job}");
        assert_eq!(ends.last(), Some(&"completed"), "{job}");
        assert_sum(&run, 900);
        assert_eq!(runs::states(cluster, &job)[0], "TIMEOUT");
    });
}

#[test]
fn a_program_in_a_container_is_resumed() {
    in_a_lane(Suite::Forky, |cluster, place| {
        let image = image::make(cluster, &place.directory);
        let (command, programs) = image::marked_tiny_job();
        let config = format!(
            "[backend.slurm.container]\nimage = {image:?}\narguments = [\"--bind\", {programs:?}]\n"
        );
        let run = Run::at(place, &command, &config);
        complete(&run);
        assert_promises(&run);
        let job = assert_chain(&run, 3);
        image::assert_marked(&run, &job);
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
                    // A shell that does not `exec` the program, and does nothing about signals.
                    let wrapper = "\"$0\" \"$@\"; code=$?; exit $code";
                    a_program_that_knows_nothing_of_us_is_asked_in_time($suite, wrapper, "TERM");
                }

                #[test]
                fn a_program_started_by_srun_is_asked_in_time() {
                    // `srun` passes USR1 on to the step; at TERM it would end the step itself, and
                    // the exit code would be lost.
                    let wrapper = "srun \"$0\" \"$@\"";
                    a_program_that_knows_nothing_of_us_is_asked_in_time($suite, wrapper, "USR1");
                }

                #[test]
                fn killed_by_the_limit_it_resumes_from_its_last_save() {
                    super::killed_by_the_limit_it_resumes_from_its_last_save($suite);
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
