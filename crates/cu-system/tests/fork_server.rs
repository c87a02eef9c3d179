//! A fork server and its owner.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use cu_system::fork_server::{Busy, Ended, ForkServer, News, Order, Standby, Word};
use cu_system::process::{ProcessId, Stat};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(60);

fn server() -> ForkServer {
    ForkServer::start(&[env!("CARGO_BIN_EXE_cu-system-fork-server").to_owned()]).unwrap()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < BOUND, "{what} within {BOUND:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn news(server: &ForkServer) -> News {
    until("news", || server.news().unwrap())
}

fn standby(server: &ForkServer) -> Standby {
    server.ask_for(1).unwrap();
    match news(server) {
        News::StandsBy(standby) => standby,
        other => panic!("{other:?}"),
    }
}

fn order(directory: &Path, script: &str) -> Order {
    Order {
        arguments: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![("ORDERED".to_owned(), "a word".to_owned())],
        directory: directory.to_owned(),
    }
}

/// The files for the output of an order.
fn outputs(scratch: &TempDir) -> (File, File) {
    let create = |name| File::create(scratch.path().join(name)).unwrap();
    (create("stdout"), create("stderr"))
}

fn read(scratch: &TempDir, name: &str) -> String {
    std::fs::read_to_string(scratch.path().join(name)).unwrap()
}

#[test]
fn an_order_has_its_own_outputs_variables_directory_and_group() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    let standby = standby(&server);
    let process = standby.process();
    let script = "echo $ORDERED $$; pwd; wc -c; ls -l /proc/self/fd >&2; exit 7";
    let order = order(scratch.path(), script);
    standby.begin(&order, stdout, stderr).unwrap();
    match news(&server) {
        News::Ended { pid, end, .. } => {
            assert_eq!((pid, end), (process.pid, Ended::Exited(7)));
        }
        other => panic!("{other:?}"),
    }
    let directory = scratch.path().canonicalize().unwrap();
    let expected = format!("a word {}\n{}\n0\n", process.pid, directory.display());
    assert_eq!(read(&scratch, "stdout"), expected);
    let open = read(&scratch, "stderr");
    assert!(!open.contains("socket"), "a socket is inherited: {open}");
}

#[test]
fn a_copy_can_say_that_it_is_done_before_it_ends() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    for (variable, word) in [("DONE", Word::Done), ("OTHER", Word::Nothing)] {
        let standby = standby(&server);
        let process = standby.process();
        let mut waiting = order(scratch.path(), "while [ ! -e go ]; do sleep 0.01; done");
        waiting.environment.push((variable.into(), "1".into()));
        let busy = standby.begin(&waiting, &stdout, &stderr).unwrap();
        assert_eq!(until("a word", || busy.word()), word);
        assert!(process.is_alive());
    }
    File::create(scratch.path().join("go")).unwrap();
}

#[test]
fn one_order_leaves_nothing_for_the_next() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    let first = standby(&server);
    let mut setting = order(scratch.path(), "cd /; sleep 1000 & export OWN=1");
    setting
        .environment
        .push(("FIRST".to_owned(), "1".to_owned()));
    first.begin(&setting, &stdout, &stderr).unwrap();
    // Its group is killed with it, and may be dying still.
    assert!(matches!(
        news(&server),
        News::Ended {
            end: Ended::Exited(0),
            ..
        }
    ));
    let second = standby(&server);
    let script = "echo $ORDERED.$FIRST.$OWN; pwd";
    let next = order(scratch.path(), script);
    second.begin(&next, &stdout, &stderr).unwrap();
    assert!(matches!(
        news(&server),
        News::Ended {
            end: Ended::Exited(0),
            ..
        }
    ));
    let directory = scratch.path().canonicalize().unwrap();
    let expected = format!("a word..\n{}\n", directory.display());
    assert_eq!(read(&scratch, "stdout"), expected);
}

#[test]
fn half_an_order_is_not_obeyed() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let standby = standby(&server);
    let pid = standby.process().pid;
    drop(standby);
    match news(&server) {
        News::Ended {
            pid: ended, end, ..
        } => assert_eq!((ended, end), (pid, Ended::Exited(0))),
        other => panic!("{other:?}"),
    }
    assert!(!scratch.path().join("stdout").exists());
}

#[test]
fn a_begun_order_outlives_the_server_and_a_standby_does_not() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    let (busy, idle) = (standby(&server), standby(&server));
    let (busy_process, idle_process) = (busy.process(), idle.process());
    let script = "while [ ! -e go ]; do sleep 0.01; done; touch done";
    let waiting = order(scratch.path(), script);
    busy.begin(&waiting, stdout, stderr).unwrap();
    drop(idle);
    let mut process = server.dismiss();
    until("the server's end", || process.try_wait().unwrap());
    until("the idle one's end", || {
        (!idle_process.is_alive()).then_some(())
    });
    assert!(busy_process.is_alive());
    assert_eq!(Stat::of(busy_process.pid).unwrap().group, busy_process.pid);
    File::create(scratch.path().join("go")).unwrap();
    until("its work is done", || {
        scratch.path().join("done").exists().then_some(())
    });
}

#[test]
fn after_a_killed_server_its_standby_still_takes_an_order() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    let standby = standby(&server);
    let id = ProcessId::of(server.pid()).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(id.pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let error = until("the server's end", || server.news().err());
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    server.ask_for(1).unwrap_err();
    let order = order(scratch.path(), "touch done");
    standby.begin(&order, stdout, stderr).unwrap();
    until("its work is done", || {
        scratch.path().join("done").exists().then_some(())
    });
    server.dismiss().wait().unwrap();
}

/// An order after which its copy stands by again.
fn resident(directory: &Path, script: &str) -> Order {
    let mut order = order(directory, script);
    order.environment.push(("RESIDENT".into(), "1".into()));
    order
}

/// Waits until an order is over. Returns its code, and the copy that stands by again.
fn over(busy: Busy) -> (u8, Standby) {
    match until("a word", || busy.word()) {
        Word::Over(code) => (code, busy.stands_by()),
        other => panic!("{other:?}"),
    }
}

fn ended(server: &ForkServer) -> (u32, Ended) {
    match news(server) {
        News::Ended { pid, end, .. } => (pid, end),
        other => panic!("{other:?}"),
    }
}

fn kill(process: ProcessId) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_copy_carries_out_one_order_after_the_other() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let mut standby = standby(&server);
    let process = standby.process();
    for code in [7, 0, 3] {
        let (stdout, stderr) = outputs(&scratch);
        let script = format!("echo $PPID; exit {code}");
        let order = resident(scratch.path(), &script);
        let (said, again) = over(standby.begin(&order, stdout, stderr).unwrap());
        assert_eq!(said, code);
        assert_eq!(read(&scratch, "stdout"), format!("{}\n", process.pid));
        standby = again;
    }
    assert_eq!(standby.process(), process);
    assert!(server.news().unwrap().is_none(), "it has ended");
}

#[test]
fn an_order_finds_nothing_of_the_one_before() {
    let looks = "env | sort; pwd; umask; ulimit -a; grep 'Sig[BIC]' /proc/self/status; ls -l /proc/self/fd | wc -l";
    let alone = TempDir::new().unwrap();
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    let shown = |standby: Standby| {
        let (stdout, stderr) = outputs(&alone);
        let order = resident(alone.path(), looks);
        let (code, standby) = over(standby.begin(&order, stdout, stderr).unwrap());
        assert_eq!(code, 0);
        (read(&alone, "stdout"), standby)
    };
    let (expected, _fresh) = shown(standby(&server));
    let mut first = resident(scratch.path(), "umask 0; ulimit -n 9; export OWN=1; exit 5");
    first.environment.push(("FIRST".into(), "1".into()));
    first.environment.push(("PATH".into(), "/nowhere".into()));
    let busy = standby(&server).begin(&first, stdout, stderr).unwrap();
    let (code, used) = over(busy);
    assert_eq!(code, 5);
    // Nothing of the order is kept as it stands by.
    let pid = used.process().pid;
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(
        [link("cwd"), link("fd/1"), link("fd/2")],
        ["/", "/dev/null", "/dev/null"].map(std::path::PathBuf::from)
    );
    assert_eq!(shown(used).0, expected);
}

#[test]
fn a_copy_in_which_something_is_left_ends() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    for left in ["a child", "a file", "a thread"] {
        let (stdout, stderr) = outputs(&scratch);
        let standby = standby(&server);
        let process = standby.process();
        let mut order = resident(scratch.path(), "exit 9");
        order.environment.push(("LEAVES".into(), left.into()));
        let busy = standby.begin(&order, stdout, stderr).unwrap();
        assert_eq!(ended(&server), (process.pid, Ended::Exited(9)), "{left}");
        assert_eq!(busy.word(), Some(Word::Nothing), "{left}");
    }
}

#[test]
fn a_copy_ends_with_its_owner_after_an_order() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    let begin = |standby: Standby, script: &str| {
        let order = resident(scratch.path(), script);
        standby.begin(&order, &stdout, &stderr).unwrap()
    };
    // As it stands by again, and while it has an order: this one's code is what it exits with.
    let (_, again) = over(begin(standby(&server), "exit 4"));
    let pid = again.process().pid;
    drop(again);
    assert_eq!(ended(&server), (pid, Ended::Exited(4)));
    let standby = standby(&server);
    let pid = standby.process().pid;
    drop(begin(standby, "exit 6"));
    assert_eq!(ended(&server), (pid, Ended::Exited(6)));
}

#[test]
fn a_copy_killed_between_two_orders_is_reported() {
    let scratch = TempDir::new().unwrap();
    let server = server();
    let (stdout, stderr) = outputs(&scratch);
    let order = resident(scratch.path(), "exit 4");
    let (_, again) = over(standby(&server).begin(&order, &stdout, &stderr).unwrap());
    let pid = again.process().pid;
    kill(again.process());
    assert_eq!(ended(&server), (pid, Ended::Signaled(9)));
    again.begin(&order, stdout, stderr).unwrap_err();
}
