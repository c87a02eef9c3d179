//! The main process is itself a job of the cluster: a node of a DAG, or a batch job that is put back into the queue.
//! One command starts it each time, `cu run --or-resume`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use std::process::Command;

use cu_cluster_tests::runs::{ask, assert_chain, in_a_lane};
use cu_cluster_tests::{CondorPool, SlurmCluster, Suite, place};
use cu_tests::process::kill;
use cu_tests::run::{Place, Run};

/// Each attempt says that it is there, and waits for a word. The first one is resumed.
const WAITS: [&str; 3] = [
    "sh",
    "-c",
    "echo here >> here-$CU_ATTEMPT; while [ ! -e go-$CU_ATTEMPT ]; do sleep 0.1; done; [ $CU_ATTEMPT -ge 1 ] || exit 3",
];

/// The main process as a script that starts or continues the run, and counts that.
struct Started {
    run: Run,
    script: PathBuf,
}

impl Started {
    fn at(place: Place) -> Self {
        let run = Run::at(place, &WAITS, "");
        let config = run.config();
        let cu = run.command(&["run", "--or-resume", config.to_str().expect("UTF-8")]);
        // HTCondor gives a job no PATH.
        let mut text = "#!/bin/sh\nexport PATH=\"${PATH:-/usr/bin:/bin}\"\n".to_owned();
        for (name, value) in cu.get_envs() {
            let (name, value) = (name.display(), value.expect("it is set").display());
            text.push_str(&format!("export {name}='{value}'\n"));
        }
        text.push_str(&format!(
            "cd '{0}' && echo $$ >> starts && exec",
            run.path("").display()
        ));
        for word in std::iter::once(cu.get_program()).chain(cu.get_args()) {
            text.push_str(&format!(" '{}'", word.display()));
        }
        let script = run.path("main-process");
        std::fs::write(&script, text).expect("the directory is the user's");
        std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("it is the user's");
        Self { run, script }
    }

    /// The process ids of the main processes so far.
    fn starts(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.run.path("starts")).unwrap_or_default();
        text.lines()
            .map(|line| line.parse().expect("a number"))
            .collect()
    }

    /// Waits until this many were started, and the last works on the run.
    fn await_start(&self, number: usize) {
        self.await_start_while(number, || ());
    }

    /// The same, as long as `check` finds nothing wrong.
    fn await_start_while(&self, number: usize, check: impl Fn()) {
        let what = format!("main process {number}");
        self.run.until(&what, || {
            check();
            let starts = self.starts();
            assert!(starts.len() <= number, "{starts:?}");
            let log = std::fs::read_to_string(self.run.dir().log()).unwrap_or_default();
            let last = starts.get(number - 1)?;
            log.contains(&format!("process={last} ")).then_some(())
        });
    }

    fn await_attempt(&self, attempt: u32) {
        self.run
            .await_file(&self.run.output(0, &format!("here-{attempt}")));
    }

    fn let_go(&self, attempt: u32) {
        let go = self.run.output(0, &format!("go-{attempt}"));
        std::fs::write(go, "").expect("the directory is the user's");
    }

    /// Both attempts were started once, and the last main process heard of the end.
    fn assert_completed(&self) {
        let job = assert_chain(&self.run, 1);
        for attempt in 0..2 {
            let here = self.run.output(0, &format!("here-{attempt}"));
            let here = std::fs::read_to_string(here).expect("it was started");
            assert_eq!(here.lines().count(), 1, "{job}");
        }
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// HTCondor starts a job that it has vacated again by itself. A killed one has failed, and DAGMan retries its node.
#[test]
fn a_node_of_a_dag_that_is_vacated_and_killed_goes_on() {
    let pool = CondorPool::up();
    let lane = pool.lane();
    let work = pool.work_directory();
    let place = place::on_htcondor(&pool, &lane, work.path());
    let _user = pool.become_user();
    let started = Started::at(place);
    let run = &started.run;
    let directory = run.path("").display().to_string();
    let directory = directory.trim_end_matches('/');
    let submit = |name: &str, command: String| {
        let text = format!(
            "{command}\nshould_transfer_files = NO\nrequest_memory = 100\n{}\n\
             initialdir = {directory}\noutput = {name}.out\nerror = {name}.err\nlog = {name}.log\nqueue\n",
            lane.submit_line(),
        );
        std::fs::write(run.path(name), text).expect("the directory is the user's");
    };
    submit("run", format!("executable = {}", started.script.display()));
    submit(
        "after",
        "executable = /usr/bin/touch\narguments = after-ran".to_owned(),
    );
    // Where no disk is shared, DAGMan would not have its log below /tmp.
    let config = run.path("dagman.config");
    std::fs::write(&config, "DAGMAN_USE_STRICT = 0\n").expect("the directory is the user's");
    let dag = format!(
        "CONFIG {}\nJOB run run\nJOB after after\nPARENT run CHILD after\nRETRY run 1\n",
        config.display()
    );
    std::fs::write(run.path("dag"), dag).expect("the directory is the user's");
    let mut dagman = pool.on_login_node("condor_submit_dag");
    succeed(dagman.arg("dag").current_dir(run.path("")));

    started.await_start(1);
    started.await_attempt(0);
    // 000 (012.000.000) 2026-12-01 13:31:04 Job submitted …
    let log = std::fs::read_to_string(run.path("run.log")).expect("the node's own log");
    let id = log.split(['(', '.']).nth(1).expect("the id of the job");
    let mut vacate = pool.command("condor_vacate_job");
    succeed(vacate.arg(id.trim_start_matches('0')).current_dir("/tmp"));
    started.await_start(2);
    started.let_go(0);

    started.await_attempt(1);
    kill(started.starts()[1]);
    started.await_start(3);
    started.let_go(1);
    run.await_file(&run.path("after-ran"));
    started.assert_completed();
}

#[test]
fn a_main_process_that_slurm_puts_back_goes_on() {
    let cluster = SlurmCluster::up(Suite::Trixie);
    in_a_lane(&cluster, |lane, place| {
        let started = Started::at(place);
        let run = &started.run;
        let mut sbatch = cluster.command("sbatch");
        sbatch.args([
            "--parsable",
            "--requeue",
            "--mem=200",
            "--open-mode=append",
            "--output=main.out",
        ]);
        sbatch
            .args(["--partition", lane.partition()])
            .arg(&started.script);
        let id = succeed(sbatch.current_dir(run.path("")));
        let id = id.trim();
        let job = || {
            let job = ask(&cluster, "scontrol", &["show", "job", id]);
            assert!(!job.contains("JobState=FAILED"), "{job}");
            job
        };
        started.await_start(1);
        started.await_attempt(0);
        ask(&cluster, "scontrol", &["requeue", id]);
        started.await_start_while(2, || drop(job()));
        started.let_go(0);
        started.await_attempt(1);
        started.let_go(1);
        run.until("the end of the main process", || {
            job().contains("JobState=COMPLETED").then_some(())
        });
        started.assert_completed();
    });
}
