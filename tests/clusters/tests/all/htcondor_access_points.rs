//! Two access points in one pool and one home, as on login nodes that speak to different schedds, and a queue
//! that was lost and gives its ids again. Nothing that is not the run's is touched, and nothing is lost.

use cu_cluster_tests::instance::WorkDirectory;
use cu_cluster_tests::runs::{assert_promises, await_first_attempt, ends, ids, tiny_job};
use cu_cluster_tests::{CondorPool, place, wait};
use cu_tests::process::Exit;
use cu_tests::run::{Place, Run};

/// A second schedd beside the pool's own, which gets a name, too: HTCondor looks a bare host up in the DNS.
const TWO: &str = "\
SCHEDD_NAME = first
DAEMON_LIST = $(DAEMON_LIST) SCHEDD2
DC_DAEMON_LIST = + SCHEDD2
SCHEDD2 = $(SCHEDD)
SCHEDD2_ARGS = -local-name SCHEDD2
SCHEDD2.SCHEDD_NAME = second
SCHEDD2.SCHEDD_LOG = $(LOG)/SchedLog2
SCHEDD2.SPOOL = /var/spool/condor/second
SCHEDD2.SCHEDD_ADDRESS_FILE = /var/spool/condor/second/.schedd_address
SCHEDD2.SCHEDD_DAEMON_AD_FILE = /var/spool/condor/second/.schedd_classad
SCHEDD2.HISTORY = /var/spool/condor/second/history
";

/// A pool of two access points.
struct Two {
    pool: CondorPool,
    work: WorkDirectory,
    first: String,
    second: String,
}

impl Two {
    fn up() -> Self {
        let pool = CondorPool::own(TWO);
        let named = |called: &str| {
            wait::until("both schedds", wait::BOUND, || {
                let names = pool.ask("condor_status", &["-schedd", "-af", "Name"]);
                let mut names = names.lines();
                let name = names.find(|name| name.starts_with(called));
                name.map(str::to_owned)
            })
        };
        let (first, second) = (named("first@"), named("second@"));
        let work = pool.work_directory();
        Self {
            pool,
            work,
            first,
            second,
        }
    }

    fn place(&self) -> Place {
        place::in_pool(&self.pool, self.work.path())
    }

    /// What `cu` says where the commands speak to the access point `name`.
    fn at(&self, name: &str, run: &Run, arguments: &[&str]) -> Exit {
        let mut command = run.command(arguments);
        command.env("_CONDOR_SCHEDD_HOST", name);
        let process = cu_tests::process::Process::start(command, &run.path(""));
        process.with_patience(self.place().patience).wait()
    }

    fn queue(&self, name: &str) -> String {
        let asked = ["-name", name, "-all", "-af", "CuAttempt"];
        self.pool.ask("condor_q", &asked)
    }
}

/// A run whose first attempt stays, and whose main process was killed. The cluster job id of the attempt.
fn left_alone(two: &Two) -> (Run, String) {
    let run = tiny_job(two.place(), "stays", "");
    let mut main = run.start();
    let id = await_first_attempt(&run);
    main.kill();
    let _ = main.wait();
    (run, id)
}

#[test]
fn a_run_goes_on_at_the_access_point_that_has_its_attempts() {
    let two = Two::up();
    let _user = two.pool.become_user();
    let (run, id) = left_alone(&two);
    let path = run.dir().path().to_str().expect("UTF-8").to_owned();
    // It waits for somebody to end it: a person evicts it.
    let resumed = std::thread::scope(|scope| {
        let resumed = scope.spawn(|| two.at(&two.second, &run, &["resume", &path]));
        run.until("a main process", || {
            let runs = run.status()["state"] == "running";
            (runs || resumed.is_finished()).then_some(())
        });
        let mut evict = two.pool.command("condor_vacate_job");
        let evicted = evict.arg(&id).current_dir("/tmp").output();
        assert!(evicted.expect("the wrapper is there").status.success());
        resumed.join().expect("no panic")
    });
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(
        resumed.stderr.contains("goes on at the access point"),
        "{resumed:?}"
    );
    assert_promises(&run);
    assert_eq!(two.queue(&two.second), "", "nothing was submitted there");
}

#[test]
fn a_stop_from_another_access_point_removes_the_attempt() {
    let two = Two::up();
    let _user = two.pool.become_user();
    let (run, _) = left_alone(&two);
    // A job of the user's own with the same number, at the other one.
    let stranger = two.work.path().join("stranger.sub");
    let text = "executable = /bin/sleep\narguments = 600\ntransfer_executable = false\n\
                should_transfer_files = no\nrequest_memory = 100\nqueue\n";
    std::fs::write(&stranger, text).expect("the directory is the user's");
    let mut submit = two.pool.command("condor_submit");
    submit
        .args(["-name", &two.second])
        .arg(&stranger)
        .current_dir("/tmp");
    let submitted = submit.output().expect("the wrapper is there");
    assert!(submitted.status.success(), "{submitted:?}");
    let path = run.dir().path().to_str().expect("UTF-8").to_owned();
    let stopped = two.at(&two.second, &run, &["stop", "all", &path]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let job = run.show(0);
    assert_eq!(job["state"], "cancelled", "{job}");
    assert_eq!(two.queue(&two.first), "", "the attempt was removed");
    assert_eq!(two.queue(&two.second), "undefined\n", "the stranger stays");
}

#[test]
fn attempts_at_an_access_point_that_is_gone_can_be_abandoned() {
    let two = Two::up();
    let _user = two.pool.become_user();
    let (run, _) = left_alone(&two);
    let path = run.dir().path().to_str().expect("UTF-8").to_owned();
    let needless = two.at(&two.second, &run, &["resume", "--abandon-attempts", &path]);
    assert_eq!(needless.code, Some(2), "{needless:?}");
    assert!(
        needless.stderr.contains("nothing to abandon"),
        "{needless:?}"
    );
    two.pool.kill("schedd");
    let refused = two.at(&two.second, &run, &["resume", &path]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.stderr.contains("--abandon-attempts"), "{refused:?}");
    assert_eq!(two.queue(&two.second), "", "nothing was submitted");
    let resumed = two.at(&two.second, &run, &["resume", "--abandon-attempts", &path]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    // The fence: what still ran of the old attempt, and what runs here, did not overlap.
    assert_promises(&run);
    let job = run.show(0);
    assert_eq!(ends(&job).first(), Some(&"lost"), "{job}");
    assert_eq!(ends(&job).last(), Some(&"completed"), "{job}");
}

#[test]
fn an_id_that_a_lost_queue_gives_again_is_a_strangers() {
    let pool = CondorPool::own("");
    let work = pool.work_directory();
    let place = place::in_pool(&pool, work.path());
    let user = pool.become_user();
    let run = tiny_job(place, "stays", "");
    let mut main = run.start();
    let id = await_first_attempt(&run);
    main.kill();
    let _ = main.wait();
    pool.kill("schedd");
    drop(user);
    // The queue is lost, and ids begin anew.
    let queue = pool.home().join("spool/job_queue.log");
    std::fs::remove_file(queue).expect("root may");
    pool.start("schedd");
    let _user = pool.become_user();
    let stranger = work.path().join("stranger.sub");
    let text = "executable = /bin/sleep\narguments = 600\ntransfer_executable = false\n\
                should_transfer_files = no\nrequest_memory = 100\nqueue\n";
    std::fs::write(&stranger, text).expect("the directory is the user's");
    let mut submit = pool.command("condor_submit");
    let submitted = submit
        .arg("-terse")
        .arg(&stranger)
        .current_dir("/tmp")
        .output();
    let said = String::from_utf8(submitted.expect("the wrapper is there").stdout);
    let given = said
        .expect("text")
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(given, id, "the id was given again");
    let stopped = run.cu(&["stop", "all"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let left = pool.ask("condor_q", &["-all", "-af", "ClusterId"]);
    assert_eq!(left.trim(), "1", "the stranger's job is left alone");
    assert_eq!(ids(&run.show(0)), [&*id]);
}
