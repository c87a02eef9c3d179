//! A stranger at the main process's port without the secret is refused or harmless, and the run
//! continues. The texts of a config reach the program unchanged.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use cu_core::ask;
use cu_protocol::blocking::connect;
use cu_protocol::client::Client;
use cu_protocol::{
    FromServer, OperatorAnswer, OperatorRequest, Role, RunId, Secret, Selection, ToServer,
};
use cu_run_dir::ServerFile;
use cu_tests::chance::Chance;
use cu_tests::process::Process;
use cu_tests::run::Run;
use cu_tests::stranger::{STRANGER, can_be_played};
use cu_tests::wait::{BOUND, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A run whose only job waits for a barrier.
struct Waiting {
    run: Run,
    main_process: Process,
    address: SocketAddr,
    /// The name of its Unix socket.
    local: String,
    id: RunId,
    secret: Secret,
}

impl Waiting {
    fn start() -> Self {
        let config = "settings.behaviour = \"waits\"\nsettings.barrier = \"barrier\"\n";
        let run = Run::new(&[env!("CARGO_BIN_EXE_tiny_job")], config);
        let main_process = run.start();
        run.await_file(&run.output(0, "here"));
        let server = ServerFile::read(&run.dir().server_file()).expect("server.json");
        let secret = std::fs::read_to_string(run.dir().secret()).expect("the secret");
        Self {
            run,
            main_process,
            address: server.addresses[0].parse().expect("an address"),
            local: server.local.expect("all attempts are on this machine"),
            id: server.run,
            secret: Secret::parse(&secret).expect("a secret"),
        }
    }

    fn stranger(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(BOUND)).expect("a time-out");
        stream
    }

    /// A stranger of the same user at the Unix socket, who says this.
    fn local_stranger(&self, said: &[u8]) -> UnixStream {
        let address = UnixAddress::from_abstract_name(&self.local).expect("a name");
        let mut stream = UnixStream::connect_addr(&address).expect("the server listens");
        stream.set_read_timeout(Some(BOUND)).expect("a time-out");
        stream.write_all(said).expect("it reads");
        stream
    }

    fn ping(&self) -> Result<OperatorAnswer, cu_core::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(ask(&self.run.dir(), OperatorRequest::Ping))
    }

    /// Checks that the main process answers, reports the right run, and completes it.
    fn assert_goes_on(self) {
        self.ping().expect("an answer");
        let status = self.run.status();
        assert_eq!(status["state"], "running", "{status}");
        // The job has started, or is about to be reported as started.
        let jobs = &status["jobs"];
        let alive = [&jobs["queued"], &jobs["running"]].map(|count| count.as_u64());
        assert_eq!(alive.into_iter().flatten().sum::<u64>(), 1, "{status}");
        std::fs::write(self.run.output(0, "barrier"), "").expect("the barrier");
        let exit = self.main_process.wait();
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let job = self.run.show(0);
        assert_eq!(job["state"], "completed", "{job}");
    }
}

/// The bytes until the other end closes.
fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => answer,
        // The server closed it before it had read all our bytes.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("the server neither answers nor closes: {error}"),
    }
}

#[test]
fn a_wrong_secret_is_refused() {
    let waiting = Waiting::start();
    let stream = waiting.stranger();
    let wrong = Secret::generate().expect("a secret");
    let connected = connect(&stream, &stream, &wrong, waiting.id, Role::Operator);
    connected.expect_err("nobody without the secret is let in");
    waiting.assert_goes_on();
}

#[test]
fn a_user_without_the_secret_is_refused_at_the_unix_socket() {
    let waiting = Waiting::start();
    let hello = |secret: &Secret, run| {
        let role = Role::Operator;
        Client::local(secret, run, role).unsent().to_vec()
    };
    let wrong = hello(&Secret::generate().expect("a secret"), waiting.id);
    let right = hello(&waiting.secret, waiting.id);
    let is_answered = |said: &[u8]| {
        let mut answer = [0; 14];
        let mut stream = waiting.local_stranger(said);
        stream.read_exact(&mut answer).expect("an answer");
        answer != [0; 14]
    };
    assert!(!is_answered(&wrong), "nobody without the secret is let in");
    assert!(is_answered(&right));
    let other = hello(&waiting.secret, RunId::generate().expect("a run"));
    let answer = read_to_end(waiting.local_stranger(&other));
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("this is the main process of run"), "{text}");
    let garbage = [b'x'; 4096];
    let stream = waiting.local_stranger(&garbage);
    assert_eq!(read_to_end(stream), b"", "it is not answered");
    for _ in 0..100 {
        drop(waiting.local_stranger(&right[..20]));
    }
    waiting.assert_goes_on();
}

#[test]
fn another_user_is_not_answered_at_the_unix_socket() {
    const KNOCKS: &str = "import socket, sys
knock = socket.socket(socket.AF_UNIX)
knock.settimeout(60)
knock.connect('\\0' + sys.argv[1])
try:
    knock.sendall(bytes.fromhex(sys.argv[2]))
    answer = knock.recv(1000)
except ConnectionError:
    answer = b''
sys.exit(len(answer))";
    if !can_be_played() {
        return;
    }
    let waiting = Waiting::start();
    // Even with the secret.
    let client = Client::local(&waiting.secret, waiting.id, Role::Operator);
    let digits = client.unsent().iter().map(|byte| format!("{byte:02x}"));
    let hello: String = digits.collect();
    let knocks_as = |user| {
        let mut command = Command::new("python3");
        command
            .args(["-c", KNOCKS, &waiting.local, &hello])
            .uid(user);
        let exit = Process::start(command, &waiting.run.path("")).wait();
        exit.code.expect("it exits")
    };
    assert_eq!(knocks_as(STRANGER), 0);
    assert!(
        knocks_as(0) >= 14,
        "the version that is spoken, and perhaps a welcome"
    );
    waiting.assert_goes_on();
}

#[test]
fn another_run_is_refused() {
    let waiting = Waiting::start();
    let stream = waiting.stranger();
    let other = RunId::generate().expect("a run");
    let connected = connect(&stream, &stream, &waiting.secret, other, Role::Operator);
    let error = connected.expect_err("this is another run").to_string();
    assert!(error.contains(&other.to_string()), "{error}");
    waiting.assert_goes_on();
}

#[test]
fn a_connection_that_ends_at_once_is_harmless() {
    let waiting = Waiting::start();
    for _ in 0..100 {
        drop(waiting.stranger());
    }
    waiting.assert_goes_on();
}

#[test]
fn random_bytes_are_refused() {
    let waiting = Waiting::start();
    let mut chance = Chance::from_environment();
    for length in [1, 11, 12, 13, 48, 60, 61, 4096, 1 << 20] {
        let mut stream = waiting.stranger();
        // The server may close before it has read all.
        let _ = stream.write_all(&chance.bytes(length));
        let _ = stream.shutdown(Shutdown::Write);
        let answer = read_to_end(stream);
        assert!(answer.len() < 100, "{length} bytes were answered");
    }
    waiting.assert_goes_on();
}

/// A writer that keeps a copy of all bytes.
struct Recorder {
    stream: TcpStream,
    copy: Arc<Mutex<Vec<u8>>>,
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        let mut copy = self.copy.lock().expect("no panic");
        copy.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[test]
fn a_replayed_session_has_no_effect() {
    let waiting = Waiting::start();
    let stream = waiting.stranger();
    let copy = Arc::default();
    let recorder = Recorder {
        stream: stream.try_clone().expect("a clone"),
        copy: Arc::clone(&copy),
    };
    let connected = connect(
        &stream,
        recorder,
        &waiting.secret,
        waiting.id,
        Role::Operator,
    );
    let (mut sender, mut receiver, _) = connected.expect("the secret is right");
    let mut request = |request| {
        sender.send(&ToServer::Request(request)).expect("sent");
        receiver.receive().expect("an answer")
    };
    let done = FromServer::Answer(OperatorAnswer::Done { jobs: 1 });
    assert_eq!(request(OperatorRequest::Pause(Selection::All)), done);
    let recorded = copy.lock().expect("no panic").clone();
    assert_eq!(request(OperatorRequest::Continue(Selection::All)), done);
    let mut replay = waiting.stranger();
    replay.write_all(&recorded).expect("written");
    read_to_end(replay);
    // If the replay had an effect, the job would be paused, and the run would not end.
    waiting.assert_goes_on();
}

const IDLE: usize = 10_000;
/// The number of connections at a time.
const CROWD: usize = 100;

#[test]
fn ten_thousand_idle_connections_lock_no_client_out() {
    raise_file_limit();
    let waiting = Waiting::start();
    let mut idle = Vec::with_capacity(IDLE);
    while idle.len() < IDLE {
        idle.push(waiting.stranger());
        if idle.len().is_multiple_of(CROWD) {
            // In the crowd a handshake may be pushed out, and the next one gets through. Its answer
            // also means that the queue of the listener is empty; a connection that overflows the
            // queue waits for a second.
            until("an answer in the crowd", || waiting.ping().ok());
        }
    }
    waiting.assert_goes_on();
    assert_eq!(idle.len(), IDLE);
}

/// A connection is a file, and the usual limit is lower.
fn raise_file_limit() {
    let needed = Some(IDLE as u64 + 500);
    let limit = getrlimit(Resource::Nofile);
    let suffices = |limit: Option<u64>| limit.is_none() || limit >= needed;
    let raised = Rlimit {
        current: needed,
        maximum: if suffices(limit.maximum) {
            limit.maximum
        } else {
            needed
        },
    };
    if !suffices(limit.current) {
        setrlimit(Resource::Nofile, raised).expect("10500 open files (ulimit -Hn)");
    }
}

/// Texts with a meaning to shells, TOML, CSV and terminals.
const PECULIAR: [&str; 11] = [
    "a $(touch F) b",
    "`touch F`; touch F & touch F",
    "one\ntwo\r\n\tthree\n",
    "it's \"quoted\" \\ and \\n, 'twice'",
    "",
    " ",
    "--json",
    "-",
    "key=value",
    "*?[a-z]{x,y}~$HOME%PATH%!!#",
    "smørrebrød 🦀 \u{202e}right\u{202c} e\u{301} \u{fffd} \u{7f}\u{1b}[31m",
];

fn told(run: &Run, job: u32) -> (Vec<String>, serde_json::Value) {
    let read = |name| std::fs::read(run.output(job, name)).expect("the program's report");
    let arguments = serde_json::from_slice(&read("arguments.json"));
    let parameter = serde_json::from_slice(&read("parameter.json"));
    (arguments.expect("JSON"), parameter.expect("JSON"))
}

#[test]
fn texts_of_a_config_reach_the_program_unchanged() {
    let mut command = vec![env!("CARGO_BIN_EXE_tiny_job")];
    command.extend(PECULIAR);
    let parameters = toml::Value::from(PECULIAR.to_vec());
    let config = format!("settings.behaviour = \"reports\"\ngrid.parameter = {parameters}\n");
    let run = Run::new(&command, &config);
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for (job, parameter) in (0..).zip(PECULIAR) {
        assert_eq!(
            told(&run, job),
            (
                command.iter().map(|word| (*word).to_owned()).collect(),
                parameter.into()
            )
        );
        assert!(!run.output(job, "F").exists());
        assert_eq!(run.show(job)["parameters"]["parameter"], parameter);
    }
    assert!(!run.path("F").exists());
}

#[test]
fn texts_of_a_command_line_reach_the_program_unchanged() {
    let run = Run::new(&["unused"], "");
    let mut arguments = vec!["run", "--name", "run", "--setting", "behaviour=reports"];
    let setting = "parameter=a $(touch F) 'b'\n\"c\"";
    arguments.extend(["--setting", setting, "--"]);
    arguments.push(env!("CARGO_BIN_EXE_tiny_job"));
    let place = arguments.len() - 1;
    arguments.extend(PECULIAR);
    let exit = run.cu(&arguments);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let (told, parameter) = told(&run, 0);
    assert_eq!(told, arguments[place..]);
    assert_eq!(
        Some(parameter.as_str()),
        Some(setting.strip_prefix("parameter="))
    );
    assert!(!run.path("F").exists() && !run.output(0, "F").exists());
}
