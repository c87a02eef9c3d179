//! Programs for the Python package cluster_utils: what its client says by datagrams is heard if it arrives,
//! and decides nothing. The programs here speak as the client does; tests/tests/python_package.rs has the
//! real one.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod common;

use common::{JOB, Run};
use cu_protocol::{
    Attempt, ExitRecord, Fraction, Message, MetricValue, Metrics, ProgramEnd, ResumeRequest,
};
use cu_run_dir::{Part, RefusedMessages, Template, read_early_results};

/// Sends messages as the client does: a new socket for each.
const CLIENT: &str = r#"
import ast, os, pickle, random, socket, sys, time
assert sys.argv[1].startswith("--job-id=") and sys.argv[3] == "--parameter-dict", sys.argv
job = int(sys.argv[1].partition("=")[2])
host, _, port = sys.argv[2].partition("=")[2].rpartition(":")
settings = ast.literal_eval(sys.argv[4])
assert settings["id"] == job == 4 and settings["working_dir"] == os.environ["CU_OUTPUT_DIR"]
def send(data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(data, (host, int(port)))
def say(kind, *payload, id=job):
    send(pickle.dumps((kind, (id, *payload)), 4))
def results(text="loss,name\r\n0.5,best\r\n"):
    with open(os.path.join(settings["working_dir"], "metrics.csv"), "w", newline="") as file:
        file.write(text)
"#;

/// A run of this program.
fn run_of(program: &str) -> Run {
    let text = |text: &str| Template::from(text);
    let program = text(&format!("{CLIENT}{program}"));
    let arguments = [Part::ClusterUtils].into_iter().collect();
    Run::of([text("python3"), text("-c"), program, arguments])
}

fn run(program: &str) -> (Run, ExitRecord, String) {
    let run = run_of(program);
    let mut supervisor = run.start(0);
    supervisor.wait();
    let said = supervisor.said();
    let record = run.record(0);
    (run, record, said)
}

fn messages(run: &Run, attempt: u32) -> Vec<Message> {
    let messages = run.outbox(attempt).into_iter().map(|it| it.message);
    messages.filter(|it| !it.is_of_supervisor()).collect()
}

fn results() -> Message {
    let results: [(&str, MetricValue); 2] = [("loss", 0.5.into()), ("name", "best".into())];
    let results = results.map(|(name, value)| (name.to_owned(), value));
    Message::Results(Metrics::from(results))
}

fn refused(run: &Run) -> RefusedMessages {
    RefusedMessages::read(&run.dir.refused_messages(JOB)).unwrap()
}

#[test]
fn words_of_the_client_arrive() {
    let (run, record, said) = run(r#"
say(0, "vm")
say(5, 0.25)
for step in range(3):
    say(6, {"loss": 1.0 - step, "deep": {"er": step}})
say(5, 1)
results()
say(2, {"loss": 77})
say(3)
"#);
    assert_eq!(record.end, ProgramEnd::Exited(0), "{said}");
    let early = Metrics::from([
        ("loss".to_owned(), (-1.0).into()),
        ("deep.er".to_owned(), 2.into()),
    ]);
    // In the outbox, the latest stands for all before it.
    let expected = [
        Message::EarlyMetrics(early),
        Message::Progress(Fraction::new(1.0).unwrap()),
        results(),
    ];
    assert_eq!(messages(&run, 0), expected);
    let series = read_early_results(&run.dir.early_results(JOB)).unwrap();
    let series: Vec<_> = series.iter().map(|it| (it.attempt, it.number)).collect();
    assert_eq!(series, [0, 1, 2].map(|number| (Attempt(0), number)));
    assert_eq!(refused(&run).count, 0);
    assert_eq!(said, "");
}

/// Whatever becomes of the datagrams, and whoever sends them.
#[test]
fn the_exit_code_and_the_file_decide() {
    let said_resume = Message::ResumeRequest(ResumeRequest::default());
    let failed = |text: &str| {
        Message::Failed(cu_protocol::Failure {
            text: text.to_owned(),
        })
    };
    for (program, code, expected) in [
        // No datagram arrives.
        ("results()", 0, vec![results()]),
        // All of them come twice, in another order, and there are too many for the kernel.
        (
            r#"
results()
said = [(0, "vm"), (2, {"loss": 1}), (3,), (4,), (1, ["Traceback\n", "Error\n"])] + [(5, 0.5)] * 245
said += said
random.Random(1).shuffle(said)
for kind, *payload in said:
    say(kind, *payload)
"#,
            0,
            vec![Message::Progress(Fraction::new(0.5).unwrap()), results()],
        ),
        // Children speak for the job, and end before it does.
        (
            r#"
for child in range(3):
    if os.fork() == 0:
        say(0, "vm")
        say(2, {"loss": 99})
        say(3)
        os._exit(0)
for child in range(3):
    os.wait()
results()
"#,
            0,
            vec![results()],
        ),
        // It wanted to exit for resume in a thread, went on, and is done.
        ("say(4); results(); say(2, {}); say(3)", 0, vec![results()]),
        // It wanted to exit for resume, and something caught that.
        (
            r#"say(4); say(1, ["Traceback\n", "SystemExit: 3\n"]); say(3); sys.exit(1)"#,
            1,
            vec![failed("Traceback\nSystemExit: 3\n")],
        ),
        // Results, and then it asks to be resumed.
        (
            "results(); say(2, {}); say(4); sys.exit(3)",
            3,
            vec![said_resume],
        ),
        // The note is lost; the exit code has its own meaning.
        ("sys.exit(3)", 3, vec![]),
        // A metric that can't be pickled: the file is whole.
        (
            r#"results(); say(1, ["a\x1b[2J\r\n", "PicklingError\n"]); sys.exit(1)"#,
            1,
            vec![failed("a\\u{1b}[2J\\r\nPicklingError\n")],
        ),
        // It has no results, or not all of them.
        ("say(2, {'loss': 1}); say(3)", 0, vec![]),
        (r#"results("loss,name\r\n0.5,b")"#, 0, vec![]),
    ] {
        let (run, record, said) = run(program);
        assert_eq!(record.end, ProgramEnd::Exited(code), "{program}: {said}");
        let mut messages = messages(&run, 0);
        messages.dedup();
        assert_eq!(messages, expected, "{program}: {said}");
        assert_eq!(refused(&run).count, 0, "{program}");
        let has_traceback = expected.iter().any(|it| matches!(it, Message::Failed(_)));
        assert!(
            said.contains("Error\n") || said.contains("SystemExit") || !has_traceback,
            "{said}"
        );
        let has_results = expected.contains(&results());
        let complains = said.contains("has left no results") || said.contains("not complete");
        assert_eq!(complains, code == 0 && !has_results, "{program}: {said}");
    }
}

#[test]
fn results_of_an_earlier_attempt_do_not_count() {
    let run = run_of("'first' in os.environ and results()");
    run.start_with(0, &[("first", "")]).wait();
    assert_eq!(messages(&run, 0), [results()]);
    assert_eq!(run.run(1).end, ProgramEnd::Exited(0));
    assert_eq!(messages(&run, 1), []);
}

#[test]
fn a_message_that_is_not_plain_data_is_refused_and_counted() {
    let (run, record, said) = run(r#"
class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)
say(6, {"loss": Evil()})
say(6, {"loss": Evil()})
whole = pickle.dumps((6, (job, {"loss": 0.5})), 4)
send(whole[:20])
send(b"\x80\x04X\xff\xff\xff\xff")
send(b"x" * 65507)
say(6, {"loss": 0.5}, id=8)
say(5, 1.5)
say(6, {"loss": [1, 2]})
say(9)
results()
"#);
    assert_eq!(record.end, ProgramEnd::Exited(0), "{said}");
    assert!(!run.file("ran").exists());
    assert_eq!(messages(&run, 0), [results()]);
    let RefusedMessages { count, reasons, .. } = refused(&run);
    assert_eq!(
        reasons,
        [
            "it names posix.system, which is not plain data",
            "it is cut short",
            "it has the instruction 0x78, which plain data don't need",
            "it speaks for job 8",
            "it has 1.5 in the place of a fraction",
        ]
    );
    assert_eq!(count, 9);
    for reason in reasons {
        let line = format!("cu exec: a message for cluster_utils was refused: {reason}\n");
        assert_eq!(said.matches(&line).count(), 1, "{line} in {said}");
    }
}

#[test]
fn a_program_that_shouts_harms_nobody() {
    let (run, record, said) = run(r#"
for step in range(1000):
    say(6, {"step": step})
    step % 100 or send(b"")
results()
"#);
    assert_eq!(record.end, ProgramEnd::Exited(0), "{said}");
    assert_eq!(messages(&run, 0).last(), Some(&results()));
    assert_eq!(refused(&run).reasons, ["it is cut short"]);
}
