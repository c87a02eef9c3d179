//! Real programs with a supervisor, without one, and with one that dies: the messages, the output
//! directory, and the ends of the programs.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cu_client::StopCause;
use cu_protocol::{
    Attempt, CheckpointId, Message, MetricValue, ProgramAnswer, ProgramRequest, ResumeRequest,
};
use cu_test_privileges::leave_out;
use rustix::process::Signal;
use support::{BOUND, Process, Supervisor, program};

fn integer(value: i64) -> MetricValue {
    MetricValue::Integer(value)
}

fn ready() -> Message {
    Message::EarlyMetrics(BTreeMap::from([(
        "ready".to_owned(),
        MetricValue::Boolean(true),
    )]))
}

#[test]
fn a_supervisor_hears_everything_in_order() {
    let supervisor = Supervisor::new();
    let end = supervisor.start("says_everything").end();
    assert!(end.status.success(), "{end:?}");
    assert!(end.stderr.contains("no early results"), "{end:?}");

    let mut messages = vec![supervisor.message()];
    messages.extend(supervisor.other_messages());
    let fractions: Vec<f64> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Progress(fraction) => Some(fraction.get()),
            _ => None,
        })
        .collect();
    assert_eq!(fractions.first(), Some(&0.0));
    assert_eq!(fractions.last(), Some(&1.0), "the last one is always sent");
    assert!(fractions.len() < 500, "not all of them are sent");

    let loss = BTreeMap::from([("loss".to_owned(), MetricValue::Float(0.5))]);
    assert!(messages.contains(&Message::EarlyMetrics(loss)));
    let Some(Message::Results(results)) = messages.last() else {
        panic!("{messages:?}")
    };
    assert_eq!(results["accuracy"], MetricValue::Float(0.925));
    assert!(matches!(results["loss"], MetricValue::Float(loss) if loss.is_nan()));
    assert!(results.contains_key("time_elapsed"));
    let metrics = supervisor.read("metrics.csv");
    assert!(
        metrics.starts_with("accuracy,loss,time_elapsed\r\n0.925,nan,"),
        "{metrics}"
    );
    assert_eq!(supervisor.read("param_choice.csv"), "\r\n\r\n");
}

#[test]
fn exit_for_resume_ends_with_code_3_and_names_the_checkpoint() {
    let supervisor = Supervisor::new();
    std::fs::write(supervisor.output("settings.json"), r#"{"after_millis": 1}"#).unwrap();
    for counter in 0..2 {
        let end = supervisor.start("steps_until_it_should_exit").end();
        assert_eq!(end.status.code(), Some(3), "{end:?}");
        assert_eq!(supervisor.message(), ready());
        let checkpoint = Some(CheckpointId {
            attempt: Attempt(3),
            counter,
        });
        let request = Message::ResumeRequest(ResumeRequest { checkpoint });
        assert_eq!(supervisor.message(), request);
        assert_eq!(supervisor.read("reason"), r#""time_budget""#);
    }
}

#[test]
fn each_signal_is_a_reason_to_exit() {
    for signal in [Signal::USR1, Signal::USR2, Signal::TERM, Signal::INT] {
        let supervisor = Supervisor::new();
        let process = supervisor.start("steps_until_it_should_exit");
        assert_eq!(supervisor.message(), ready());
        process.signal(signal);
        let end = process.end();
        assert_eq!(end.status.code(), Some(3), "{end:?}");
        let reason = format!(r#"{{"signal":{}}}"#, signal.as_raw());
        assert_eq!(supervisor.read("reason"), reason);
    }
}

#[test]
fn repeated_signals_do_not_end_a_program_that_saves() {
    for signal in [Signal::TERM, Signal::INT] {
        let supervisor = Supervisor::new();
        let mut process = supervisor.start("saves_until_it_may_go_on");
        supervisor.await_output("ready", &mut process);
        process.signal(signal);
        supervisor.await_output("saving", &mut process);
        // The kernel merges signals that wait together: at least one comes while it saves.
        for _ in 0..100 {
            process.signal(signal);
            std::thread::yield_now();
        }
        std::fs::write(supervisor.output("go"), "").unwrap();
        let end = process.end();
        assert_eq!(end.status.code(), Some(3), "{end:?}");
    }
}

#[test]
fn signals_end_a_program_as_usual_once_its_job_has_ended() {
    for signal in [Signal::TERM, Signal::INT] {
        let supervisor = Supervisor::new();
        let mut process = supervisor.start("goes_on_after_its_end");
        supervisor.await_output("ready", &mut process);
        process.signal(signal);
        std::fs::write(supervisor.output("go"), "").unwrap();
        supervisor.await_output("finished", &mut process);
        process.signal(signal);
        assert_eq!(process.end().status.signal(), Some(signal.as_raw()));
    }
}

#[test]
fn a_handler_from_before_the_job_is_alone_after_it() {
    let supervisor = Supervisor::new();
    let mut process = supervisor.start("handles_term_itself");
    supervisor.await_output("ready", &mut process);
    process.signal(Signal::TERM);
    let end = process.end();
    assert_eq!(end.status.code(), Some(0), "{end:?}");
}

#[test]
fn by_hand_a_second_interrupt_ends_the_program() {
    let supervisor = Supervisor::new();
    let mut command = supervisor.supervise(program("never_asks"));
    command.env_remove("CU_SOCKET");
    let mut process = Process::start(command);
    supervisor.await_output("ready", &mut process);
    for _ in 0..100 {
        process.signal(Signal::TERM);
        std::thread::yield_now();
    }
    let begun = Instant::now();
    // Sent several times, since the kernel merges signals that wait together.
    while process.is_running() {
        process.signal(Signal::INT);
        assert!(begun.elapsed() < BOUND);
        std::thread::yield_now();
    }
    assert_eq!(process.end().status.signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn the_stop_file_is_a_reason_to_exit() {
    let supervisor = Supervisor::new();
    let process = supervisor.start("steps_until_it_should_exit");
    assert_eq!(supervisor.message(), ready());
    std::fs::write(supervisor.path("stop"), "").unwrap();
    assert_eq!(process.end().status.code(), Some(3));
    assert_eq!(supervisor.read("reason"), r#""stop_file""#);
}

#[test]
fn the_operators_wish_is_a_reason_to_exit() {
    let wishes = |request: &ProgramRequest| {
        Some(match request {
            ProgramRequest::Say(_) => ProgramAnswer::Noted,
            ProgramRequest::ShouldExit => ProgramAnswer::ShouldExit(Some(StopCause::Operator)),
        })
    };
    let supervisor = Supervisor::answering(wishes);
    let end = supervisor.start("steps_until_it_should_exit").end();
    assert_eq!(end.status.code(), Some(3), "{end:?}");
    assert_eq!(supervisor.read("reason"), r#""operator""#);

    let supervisor = Supervisor::answering(wishes);
    let end = supervisor.start("is_a_script").end();
    assert_eq!(end.status.code(), Some(3), "{end:?}");
    let said = supervisor.other_messages();
    assert!(matches!(
        said[..],
        [
            Message::Progress(_),
            Message::EarlyMetrics(_),
            Message::ResumeRequest(_)
        ]
    ));
}

#[test]
fn the_time_limit_is_a_reason_to_exit() {
    let supervisor = Supervisor::new();
    let in_five_seconds = std::time::SystemTime::now() + Duration::from_secs(5);
    let deadline = in_five_seconds
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let mut command = supervisor.supervise(program("steps_until_it_should_exit"));
    command.env("CU_DEADLINE", deadline.as_secs().to_string());
    assert_eq!(Process::start(command).end().status.code(), Some(3));
    assert_eq!(supervisor.read("reason"), r#""time_limit""#);
}

#[test]
fn a_panic_is_reported_with_its_place() {
    let supervisor = Supervisor::new();
    let end = supervisor.start("panics").end();
    assert!(!end.status.success());
    let Message::Failed(failure) = supervisor.message() else {
        panic!("something else was said first")
    };
    assert!(failure.text.contains("the limit is 0"), "{failure:?}");
    assert!(
        failure.text.contains("tests/programs/client.rs:"),
        "{failure:?}"
    );
    assert!(failure.text.contains("the cause"), "{failure:?}");
    assert!(end.stderr.contains("the limit is 0"), "it is still printed");
}

#[test]
fn a_caught_panic_is_not_a_failure() {
    let supervisor = Supervisor::new();
    let end = supervisor.start("catches_its_panics").end();
    assert!(end.status.success(), "{end:?}");
    assert!(matches!(supervisor.message(), Message::Results(_)));
    assert_eq!(supervisor.other_messages(), []);
}

#[test]
fn an_error_is_reported_with_its_cause() {
    let supervisor = Supervisor::new();
    let end = supervisor.start("returns_an_error").end();
    assert!(!end.status.success());
    assert!(end.stderr.contains("error: No such file"), "{end:?}");
    let Message::Failed(failure) = supervisor.message() else {
        panic!("something else was said first")
    };
    assert!(failure.text.starts_with("No such file"), "{failure:?}");
}

#[test]
fn settings_that_do_not_fit_are_reported_too() {
    let supervisor = Supervisor::new();
    for (settings, words) in [
        ("{}", "missing field `seed`"),
        (r#"{"seed": 1, "sed": 2}"#, "unknown field `sed`"),
    ] {
        std::fs::write(supervisor.output("settings.json"), settings).unwrap();
        let end = supervisor.start("wants_other_settings").end();
        assert!(!end.status.success());
        let Message::Failed(failure) = supervisor.message() else {
            panic!("something else was said first")
        };
        assert!(failure.text.contains(words), "{failure:?}");
        assert!(failure.text.contains("settings.json"), "{failure:?}");
    }
}

#[test]
fn the_loop_as_one_call_needs_four_attempts() {
    let supervisor = Supervisor::new();
    let mut codes = Vec::new();
    for _ in 0..4 {
        let end = supervisor.start("counts_to_ten").end();
        codes.push(end.status.code());
    }
    assert_eq!(codes, [Some(3), Some(3), Some(3), Some(0)]);
    let messages = supervisor.other_messages();
    let Some(Message::Results(results)) = messages.last() else {
        panic!("{messages:?}")
    };
    assert_eq!(results["count"], integer(10));
}

#[test]
fn a_supervisor_that_dies_stops_nobody() {
    // It dies on the second message, and every later connection ends at once.
    let supervisor = Supervisor::answering(|request| match request {
        ProgramRequest::Say(Message::EarlyMetrics(metrics)) if metrics["step"] == integer(0) => {
            Some(ProgramAnswer::Noted)
        }
        ProgramRequest::ShouldExit => Some(ProgramAnswer::ShouldExit(None)),
        ProgramRequest::Say(_) => None,
    });
    let end = supervisor.start("outlives_its_supervisor").end();
    assert!(end.status.success(), "{end:?}");
    assert!(supervisor.read("metrics.csv").starts_with("done,"));
    let outcome = supervisor.read("outcome");
    assert!(outcome.contains("did not confirm the results"), "{outcome}");
    let complaints = end.stderr.matches("can't reach the supervisor").count();
    assert_eq!(complaints, 1, "once is enough: {end:?}");
}

#[test]
fn a_refusal_is_an_error_where_it_matters() {
    let supervisor = Supervisor::answering(|request| {
        Some(match request {
            ProgramRequest::Say(_) => ProgramAnswer::Refused("not today".to_owned()),
            ProgramRequest::ShouldExit => ProgramAnswer::ShouldExit(None),
        })
    });
    let end = supervisor.start("outlives_its_supervisor").end();
    assert!(end.status.success(), "{end:?}");
    assert!(
        end.stderr.contains("refused the early results: not today"),
        "{end:?}"
    );
    let outcome = supervisor.read("outcome");
    assert_eq!(outcome, "the supervisor refused the results: not today");
    // The request is refused, but the exit code means the same.
    std::fs::write(supervisor.output("settings.json"), r#"{"after_millis": 1}"#).unwrap();
    let end = supervisor.start("steps_until_it_should_exit").end();
    assert_eq!(end.status.code(), Some(3), "{end:?}");
}

#[test]
fn without_a_supervisor_everything_works_and_says_so_once() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("mine.json");
    std::fs::write(&settings, r#"{"after_millis": 1}"#).unwrap();
    let by_hand = |name| {
        let mut command = program(name);
        command
            .current_dir(directory.path())
            .env("CU_SETTINGS", &settings);
        Process::start(command).end()
    };
    let end = by_hand("steps_until_it_should_exit");
    assert_eq!(end.status.code(), Some(3), "{end:?}");
    assert_eq!(end.stderr.matches("no supervisor").count(), 1, "{end:?}");
    assert!(
        end.stderr.contains("start the same command again"),
        "{end:?}"
    );
    for _ in 0..3 {
        std::fs::remove_dir_all(directory.path().join("checkpoints")).ok();
        let codes = [(); 4].map(|()| by_hand("counts_to_ten").status.code());
        assert_eq!(codes, [Some(3), Some(3), Some(3), Some(0)]);
        let metrics = std::fs::read_to_string(directory.path().join("metrics.csv")).unwrap();
        assert!(
            metrics.starts_with("count,time_elapsed\r\n10,"),
            "{metrics}"
        );
    }
}

/// The id of the user `nobody` on every Linux.
const STRANGER: u32 = 65_534;

#[test]
fn a_socket_of_another_user_hears_no_results() {
    if !rustix::process::geteuid().is_root() {
        return leave_out("sockets of other users", "only root can act for them");
    }
    let supervisor = Supervisor::new();
    let his = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    // Another user may not enter the directory where cargo builds.
    let program = his.path().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_cu-client-programs"), &program).unwrap();
    std::os::unix::fs::chown(his.path(), Some(STRANGER), Some(STRANGER)).unwrap();
    let socket = his.path().join("socket");
    let mut impostor = Command::new(program)
        .arg("confirms_every_message")
        .arg(&socket)
        .uid(STRANGER)
        .gid(STRANGER)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(impostor.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "listening\n");

    let mut command = supervisor.supervise(support::program("says_everything"));
    command.env("CU_SOCKET", &socket);
    let end = Process::start(command).end();
    impostor.kill().unwrap();
    impostor.wait().unwrap();
    line.clear();
    said.read_to_string(&mut line).unwrap();
    assert_eq!(line, "", "{end:?}");
    assert!(!end.status.success(), "{end:?}");
    assert!(
        end.stderr.contains("listens there, not our supervisor"),
        "{end:?}"
    );
}
