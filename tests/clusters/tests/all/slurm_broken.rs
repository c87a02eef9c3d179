//! Slurms that break or are short of something, each a cluster of the test's own: a controller that
//! forgets, a node that is not well, limits on submissions, answers that are lost on the way.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cu_cluster_tests::own::{make_sick, with_a_prolog, with_lines, without_accounting};
use cu_cluster_tests::runs::{
    GRID, ask, assert_completes, assert_grid, assert_promises, assert_submitted_once_each,
    await_first_attempt, complete, ends, in_a_lane, program, start, tiny_job,
};
use cu_cluster_tests::{SlurmCluster, Suite, place};
use cu_tests::run::Run;

/// Keeps what the controller remembers.
fn remember(cluster: &SlurmCluster) {
    cluster.stop("slurmctld");
    cluster.inside(&["cp", "-a", "/var/lib/cu/state", "/var/lib/cu/before"]);
    cluster.start("slurmctld");
}

/// The controller crashes, and comes back with what it remembered before: it has forgotten all jobs since,
/// and gives their ids out again.
fn forget(cluster: &SlurmCluster, run: &Run) {
    cluster.kill("slurmctld");
    let forget = "rm -rf /var/lib/cu/state && cp -a /var/lib/cu/before /var/lib/cu/state";
    cluster.inside(&["sh", "-c", forget]);
    // It may drain nodes at once, whose jobs it does not know, so that it never looks healthy.
    cluster.inside(&["slurmctld"]);
    run.until("the controller", || {
        let answer = cluster.command("squeue").current_dir("/tmp").output();
        answer.is_ok_and(|it| it.status.success()).then_some(())
    });
}

/// Does what an administrator does about a node that the controller has drained.
fn resume_if_drained(cluster: &SlurmCluster, node: &str) {
    let resume = format!(
        "sinfo -h -N -n {node} -o %T | grep -q drain && scontrol update nodename={node} state=resume; true"
    );
    cluster.inside(&["sh", "-c", &resume]);
}

/// What the backend has noted about its calls of sbatch.
fn journal(run: &Run) -> String {
    let journal = run.dir().path().join("backend/slurm/journal");
    std::fs::read_to_string(journal).expect("a journal")
}

/// The ids that Slurm has given to calls of sbatch, in order.
fn given_ids(run: &Run) -> Vec<u64> {
    let text = journal(run);
    let lines = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["accepted"]["id"].as_u64()
    });
    lines.collect()
}

#[test]
fn ids_that_are_given_out_again_mix_no_attempts_up() {
    let cluster = without_accounting(Suite::Trixie, &[]);
    in_a_lane(&cluster, |lane, place| {
        remember(&cluster);
        let run = Run::at(place, &program("tiny_job"), GRID);
        let main_process = run.start();
        run.await_file(&run.output(0, "steps.log"));
        forget(&cluster, &run);
        run.until("the end of the run", || {
            resume_if_drained(&cluster, &lane.node());
            (run.status()["jobs"]["completed"] == 6).then_some(())
        });
        assert_completes(&run, main_process);
        assert_grid(&run);
        let mut ids = given_ids(&run);
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() < all, "no id was given out twice: {ids:?}");
    });
}

#[test]
fn a_stranger_with_our_id_is_not_cancelled() {
    let cluster = without_accounting(Suite::Bookworm, &[]);
    in_a_lane(&cluster, |lane, place| {
        remember(&cluster);
        let run = tiny_job(place, "stays", "");
        let mut main_process = run.start();
        let id = await_first_attempt(&run);
        main_process.kill();
        forget(&cluster, &run);
        // Held, since Slurm itself cancels a job that it starts on a node where the forgotten one of its id
        // is still at work.
        let held = ["--parsable", "--hold", "--wrap=true", "--output=/dev/null"];
        let stranger = [&held[..], &["--partition", lane.partition()]].concat();
        let stranger = ask(&cluster, "sbatch", &stranger);
        assert_eq!(stranger.trim(), id);
        // Without a main process it acts as one.
        let stopped = run.cu(&["stop", "all"]);
        assert_eq!(stopped.code, Some(0), "{stopped:?}");
        assert_eq!(run.show(0)["state"], "cancelled");
        let state = ask(
            &cluster,
            "squeue",
            &["-h", "-t", "all", "-o", "%T", "-j", &id],
        );
        assert_eq!(state.trim(), "PENDING");
    });
}

#[test]
fn a_prolog_that_fails_costs_a_loss() {
    let (cluster, directory) = with_a_prolog(Suite::Trixie);
    make_sick(&directory);
    in_a_lane(&cluster, |lane, place| {
        let run = tiny_job(place, "works", "");
        let main_process = start(&run);
        run.until("the end of the first attempt", || {
            (ends(&run.show(0)).first() == Some(&"lost")).then_some(())
        });
        let shown = run.cu(&["show", "0"]).stdout;
        assert!(shown.contains(&lane.node()), "{shown}");
        // Slurm has drained it.
        let node = format!("nodename={}", lane.node());
        cluster.ask("scontrol", &["update", &node, "state=resume"]);
        assert_completes(&run, main_process);
        assert_promises(&run);
    });
}

#[test]
fn many_runs_start_under_a_limit_on_requests() {
    let cluster = without_accounting(Suite::Trixie, &["SlurmctldParameters=rl_enable"]);
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let place = place::in_partition(&cluster, "debug", work.path());
    let run = |_| Run::at(place.clone(), &["true"], "");
    let runs: Vec<Run> = (0..12).map(run).collect();
    let started: Vec<_> = runs.iter().map(Run::start).collect();
    for (run, main_process) in runs.iter().zip(started) {
        assert_completes(run, main_process);
    }
}

#[test]
fn hundreds_of_jobs_run_under_a_small_limit_on_requests() {
    let limit = "SlurmctldParameters=rl_enable,rl_bucket_size=5,rl_refill_rate=1";
    let cluster = without_accounting(Suite::Forky, &[limit]);
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let place = place::in_partition(&cluster, "debug", work.path());
    let values: Vec<u32> = (0..300).collect();
    let run = Run::at(
        place,
        &["true"],
        &format!("[grid]\nparameter = {values:?}\n"),
    );
    complete(&run);
    assert_eq!(run.status()["jobs"]["completed"], 300);
}

/// A way to the controller on which its answers can be lost.
struct Proxy {
    port: u16,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
}

impl Proxy {
    fn before(controller: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (loses, lost) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let proxy = Self {
            port,
            loses: loses.clone(),
            lost: lost.clone(),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", controller)) else {
                    continue;
                };
                let (loses, lost) = (loses.clone(), lost.clone());
                let (from, to) = (client.try_clone(), server.try_clone());
                if let (Ok(mut from), Ok(mut to)) = (from, to) {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
                std::thread::spawn(move || answer(server, client, &loses, &lost));
            }
        });
        proxy
    }
}

/// Passes the controller's answer on, unless it is to be lost: then the client waits in vain.
fn answer(mut server: TcpStream, mut client: TcpStream, loses: &AtomicBool, lost: &AtomicUsize) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = server.read(&mut bytes) {
        if loses.load(Ordering::SeqCst) {
            lost.fetch_add(1, Ordering::SeqCst);
            // Until the client gives up.
            let _ = client.read(&mut bytes);
            return;
        }
        if client.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
}

#[test]
fn answers_of_the_controller_that_are_lost_submit_nothing_twice() {
    let cluster = with_lines(Suite::Trixie, &[]);
    let settings =
        std::fs::read_to_string(cluster.home().join("etc/slurm.conf")).expect("settings");
    let port = settings
        .lines()
        .find_map(|line| line.strip_prefix("SlurmctldPort="));
    let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
    let proxy = Proxy::before(port);
    in_a_lane(&cluster, |_, mut place| {
        let ours = place.directory.join("slurm.conf");
        let direct = format!("SlurmctldPort={port}\n");
        let through = format!("SlurmctldPort={}\n", proxy.port);
        std::fs::write(&ours, settings.replace(&direct, &through)).expect("it is the user's");
        let path = ours.to_str().expect("UTF-8").to_owned();
        place.environment.push(("SLURM_CONF".into(), path.into()));
        let run = Run::at(place, &program("tiny_job"), GRID);
        let main_process = run.start();
        run.await_file(&run.output(0, "steps.log"));
        proxy.loses.store(true, Ordering::SeqCst);
        // Calls are made one after the other: the answer to the first from now on is lost once there is a second.
        let calls = || journal(&run).matches("{\"call\"").count();
        let before = calls();
        run.until("a submission whose answer was lost", || {
            (calls() >= before + 2).then_some(())
        });
        assert!(proxy.lost.load(Ordering::SeqCst) > 0);
        proxy.loses.store(false, Ordering::SeqCst);
        assert_completes(&run, main_process);
        assert_grid(&run);
        assert_submitted_once_each(&cluster, &run);
    });
}
